//! What entries say: an A value and a template of the TXT record, each kept once.
//!
//! ```text
//!   id 0   the entry is an exclusion          id 1   127.0.0.2 without a text
//!   id n   stored[n - 1]: 4 octets A, where its template lies in `texts`
//!   id with the highest bit: a group, several values of one entry; the rest is its place in `groups`
//! ```
//! In a template `$` stands for what is listed, `$0` to `$9` for variables of the file, `$$` for a dollar sign; a base template `$=` is written
//! around those that do not begin with `=`. Nothing is put together before somebody asks for the text.

use super::asked::{Asked, TextBuffer};
use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::net::Ipv4Addr;

/// Number of a value or of a group.
pub(super) type ValueId = u32;
/// The value of an exclusion.
pub(super) const EXCLUDED: ValueId = 0;
/// 127.0.0.2, no text.
pub(super) const PLAIN: ValueId = 1;
const GROUP: u32 = 1 << 31;
/// Octets of a template that are kept: of what is made of it 255 are served.
const TEMPLATE_BYTES_MAX: usize = 1024;
/// Values of one entry; more would not fit in an answer.
pub(super) const GROUP_MAX: usize = 64;

#[derive(Clone, Copy, Debug)]
struct Stored {
    address: [u8; 4],
    at: u32,
    length: u16,
}

/// Variables of a file: `$0` to `$9`, and the base template `$=` as the eleventh.
pub(super) type Variables = [Option<Box<[u8]>>; 11];
/// Where the base template stands among them.
pub(super) const BASE: usize = 10;

/// All values of a dataset.
#[derive(Debug)]
pub(super) struct Values {
    stored: Vec<Stored>,
    texts: Vec<u8>,
    groups: Vec<Box<[ValueId]>>,
    pub(super) variables: Variables,
}

/// One value.
#[derive(Clone, Copy, Debug)]
pub(super) struct Value<'v> {
    pub(super) address: Ipv4Addr,
    template: &'v [u8],
    variables: &'v Variables,
}

impl Values {
    /// The values of an id: none of an exclusion, several of a group.
    pub(super) fn each(&self, id: ValueId) -> impl Iterator<Item = Value<'_>> {
        let group = if id & GROUP == 0 { None } else { self.groups.get((id ^ GROUP) as usize) };
        let one = (id & GROUP == 0).then_some(id);
        one.into_iter().chain(group.into_iter().flatten().copied()).filter_map(|id| self.one(id))
    }

    fn one(&self, id: ValueId) -> Option<Value<'_>> {
        let stored = self.stored.get(id.checked_sub(1)? as usize)?;
        let at = stored.at as usize;
        let template = self.texts.get(at..at + usize::from(stored.length)).unwrap_or_default();
        Some(Value { address: stored.address.into(), template, variables: &self.variables })
    }

    /// Writes what is made of a template that is not kept here.
    pub(super) fn write_template(&self, template: &[u8], asked: &Asked<'_>, out: &mut TextBuffer) {
        Value { address: Ipv4Addr::UNSPECIFIED, template, variables: &self.variables }.write(asked, out);
    }

    /// Bytes of memory.
    pub(super) fn bytes(&self) -> usize {
        let groups: usize = self.groups.iter().map(|group| group.len() * 4 + 16).sum();
        self.stored.capacity() * size_of::<Stored>() + self.texts.capacity() + groups
    }
}

impl Value<'_> {
    /// False if a TXT query gets nothing.
    pub(super) fn has_text(&self) -> bool {
        !self.template.is_empty() || self.variables.get(BASE).is_some_and(Option::is_some)
    }

    /// Writes the text, cut at 255 octets. Cost: one pass over the template; no allocation.
    pub(super) fn write(&self, asked: &Asked<'_>, out: &mut TextBuffer) {
        let own = self.template.strip_prefix(b"=");
        match (own, self.variables.get(BASE)) {
            (None, Some(Some(base))) => self.expand(base, Some(self.template), asked, out),
            (own, _) => self.expand(own.unwrap_or(self.template), None, asked, out),
        }
    }

    fn expand(&self, template: &[u8], inner: Option<&[u8]>, asked: &Asked<'_>, out: &mut TextBuffer) {
        let mut rest = template;
        while let Some(dollar) = rest.iter().position(|byte| *byte == b'$') {
            let (before, behind) = rest.split_at(dollar);
            out.push(before);
            let behind = behind.get(1..).unwrap_or_default();
            let variable = |digit: u8| self.variables.get(usize::from(digit.wrapping_sub(b'0')))?.as_deref();
            rest = match (behind.split_first(), inner) {
                (Some((b'$', rest)), _) => {
                    out.push(b"$");
                    rest
                }
                (Some((digit @ b'0'..=b'9', rest)), _) => {
                    match variable(*digit) {
                        Some(text) => out.push(text),
                        None => out.push(&[b'$', *digit]),
                    }
                    rest
                }
                (Some((b'=', rest)), Some(inner)) => {
                    if inner.is_empty() {
                        asked.write(out);
                    } else {
                        out.push(inner);
                    }
                    rest
                }
                _ => {
                    asked.write(out);
                    behind
                }
            };
        }
        out.push(rest);
    }
}

/// Collects values; equal ones get one id.
#[derive(Debug)]
pub(super) struct ValuesBuilder {
    values: Values,
    /// By hash: of two that differ and have one hash the second is stored again each time, which costs memory and nothing else.
    known: HashMap<u64, ValueId>,
    groups: HashMap<Box<[ValueId]>, ValueId>,
    hasher: RandomState,
}

impl ValuesBuilder {
    pub(super) fn new(variables: Variables) -> Self {
        let values = Values { stored: Vec::new(), texts: Vec::new(), groups: Vec::new(), variables };
        let mut builder = Self { values, known: HashMap::new(), groups: HashMap::new(), hasher: RandomState::new() };
        let _ = builder.add([127, 0, 0, 2], b"");
        builder
    }

    /// The id of a value.
    ///
    /// # Errors
    /// There are too many.
    pub(super) fn add(&mut self, address: [u8; 4], template: &[u8]) -> Result<ValueId, String> {
        let template = template.get(..TEMPLATE_BYTES_MAX).unwrap_or(template);
        let hash = self.hasher.hash_one((address, template));
        if let Some(&id) = self.known.get(&hash)
            && self.values.one(id).is_some_and(|value| value.address.octets() == address && value.template == template)
        {
            return Ok(id);
        }
        let id =
            u32::try_from(self.values.stored.len() + 1).ok().filter(|id| id & GROUP == 0).ok_or("too many different values")?;
        let at = u32::try_from(self.values.texts.len()).map_err(|_| "4 GiB of texts are the most")?;
        let length = u16::try_from(template.len()).unwrap_or(u16::MAX);
        self.values.texts.extend_from_slice(template);
        self.values.stored.push(Stored { address, at, length });
        self.known.insert(hash, id);
        Ok(id)
    }

    /// Address and template of a value.
    pub(super) fn get(&self, id: ValueId) -> ([u8; 4], &[u8]) {
        self.values.one(id).map_or(([127, 0, 0, 2], &[]), |value| (value.address.octets(), value.template))
    }

    pub(super) fn variables(&mut self) -> &mut Variables {
        &mut self.values.variables
    }

    /// The id that stands for all of these: an exclusion among them wins.
    pub(super) fn group(&mut self, ids: &[ValueId]) -> ValueId {
        match ids {
            [] => return EXCLUDED,
            [one] => return *one,
            ids if ids.contains(&EXCLUDED) => return EXCLUDED,
            _ => {}
        }
        let mut all: Vec<ValueId> = Vec::new();
        for &id in ids {
            match self.values.groups.get((id ^ GROUP) as usize).filter(|_| id & GROUP != 0) {
                Some(group) => all.extend_from_slice(group),
                None => all.push(id),
            }
        }
        all.sort_unstable();
        all.dedup();
        all.truncate(GROUP_MAX);
        if let [one] = all.as_slice() {
            return *one;
        }
        let all: Box<[ValueId]> = all.into();
        if let Some(&known) = self.groups.get(&all) {
            return known;
        }
        let id = GROUP | u32::try_from(self.values.groups.len()).unwrap_or(u32::MAX);
        self.values.groups.push(all.clone());
        self.groups.insert(all, id);
        id
    }

    pub(super) fn finish(mut self) -> Values {
        self.values.stored.shrink_to_fit();
        self.values.texts.shrink_to_fit();
        self.values
    }
}
