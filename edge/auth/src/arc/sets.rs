//! The sets of a message: which fields belong to which instance, and whether they may be a chain (RFC 8617 section 5.2, steps 1 to 3).

use super::{Kind, Problem, Set, Status};
use crate::authres::Reader;
use crate::dkim::fields::Message;
use crate::dkim::signature::domain_text;
use crate::dkim::tags::TagList;
use std::collections::BTreeMap;

/// RFC 8617 section 4.2.1: "Instance tag values can range from 1-50 (inclusive)."
pub(super) const INSTANCES_MAX: u8 = 50;

/// The fields of a set that were found; the first one of each kind.
#[derive(Debug, Default)]
pub(super) struct Found<'a> {
    /// Place of the field, and what stands behind its instance.
    pub results: Option<(usize, &'a [u8])>,
    /// Place of the field, and its tags.
    pub message_signature: Option<(usize, TagList<'a>)>,
    /// Place of the field, and its tags.
    pub seal: Option<(usize, TagList<'a>)>,
}

/// The fields of all sets by their instance, and the first thing wrong with them.
#[derive(Debug, Default)]
pub(super) struct Sets<'a> {
    /// From 1 to 50, not all of them.
    pub by_instance: BTreeMap<u8, Found<'a>>,
    /// Why they are no chain.
    pub problem: Option<Problem>,
}

impl<'a> Sets<'a> {
    /// Collects the sets of a message.
    ///
    /// Cost: each field's name is looked at; no more fields are read than 50 sets have.
    pub fn collect(message: &Message<'a>) -> Self {
        let mut sets = Self::default();
        let mut read: usize = 0;
        for (place, field) in message.fields.iter().enumerate() {
            let Some(kind) = Kind::ALL.into_iter().find(|kind| field.is(kind.name())) else { continue };
            //= RFC 8617 section 5.2 step 1
            //# The maximum number of ARC Sets that can be attached to a message is 50. If more than the maximum number exist, the Chain
            //# Validation Status is "fail", and the algorithm stops here.
            if read == Kind::ALL.len() * usize::from(INSTANCES_MAX) {
                sets.problem = Some(Problem::TooMany);
                return sets;
            }
            read += 1;
            if let Err(problem) = sets.add(kind, place, field.value) {
                sets.problem.get_or_insert(problem);
            }
        }
        sets.problem = sets.problem_of_structure();
        sets
    }

    fn add(&mut self, kind: Kind, place: usize, value: &'a [u8]) -> Result<(), Problem> {
        if kind == Kind::Results {
            let (instance, results) = results(value).ok_or(Problem::Instance(kind))?;
            let found = &mut self.by_instance.entry(instance).or_default().results;
            return put(found, (place, results), Problem::Twice(kind, instance));
        }
        let list = TagList::parse(value).map_err(|problem| Problem::Unreadable(kind, problem))?;
        let instance = list.get("i").and_then(position).ok_or(Problem::Instance(kind))?;
        let set = self.by_instance.entry(instance).or_default();
        let found = if kind == Kind::Seal { &mut set.seal } else { &mut set.message_signature };
        put(found, (place, list), Problem::Twice(kind, instance))
    }

    fn problem_of_structure(&self) -> Option<Problem> {
        let status = |set: &Found<'_>| set.seal.as_ref().and_then(|(_, list)| list.get("cv")).and_then(Status::parse);
        //= RFC 8617 section 5.2 step 2
        //# If the Chain Validation Status of the highest instance value ARC Set is "fail", then the Chain Validation Status is "fail",
        //# and the algorithm stops here.
        if let Some((newest, set)) = self.by_instance.last_key_value()
            && status(set) == Some(Status::Fail)
        {
            return Some(Problem::Reported(*newest));
        }
        if self.problem.is_some() {
            return self.problem;
        }
        let newest = *self.by_instance.last_key_value()?.0;
        let none = Found::default();
        for instance in 1..=newest {
            let set = self.by_instance.get(&instance).unwrap_or(&none);
            //= RFC 8617 section 5.2 step 3A
            //# Each ARC Set MUST contain exactly one each of the three ARC header fields (AAR, AMS, and AS).
            //= RFC 8617 section 5.2 step 3B
            //# The instance values of the ARC Sets MUST form a continuous sequence from 1..N with no gaps or repetition.
            let there = [
                (Kind::Results, set.results.is_some()),
                (Kind::MessageSignature, set.message_signature.is_some()),
                (Kind::Seal, set.seal.is_some()),
            ];
            if let Some((kind, _)) = there.into_iter().find(|(_, there)| !there) {
                return Some(Problem::Missing(kind, instance));
            }
            //= RFC 8617 section 5.2 step 3C
            //# The "cv" value for all ARC-Seal header fields MUST NOT be "fail". For ARC Sets with instance values > 1, the values MUST
            //# be "pass". For the ARC Set with instance value = 1, the value MUST be "none".
            if status(set) != Some(if instance == 1 { Status::None } else { Status::Pass }) {
                return Some(Problem::Status(instance));
            }
        }
        None
    }

    /// What is known of the sets without a key.
    pub fn entries(&self) -> Vec<Set<'a>> {
        let entry = |(instance, found): (&u8, &Found<'a>)| {
            let tag = |name| found.seal.as_ref().and_then(|(_, list)| list.get(name));
            Set {
                instance: *instance,
                domain: tag("d").and_then(domain_text),
                selector: tag("s").and_then(domain_text),
                status: tag("cv").and_then(Status::parse),
                results: found.results.map(|(_, results)| results),
                message_signature: None,
                seal: None,
            }
        };
        self.by_instance.iter().map(entry).collect()
    }
}

fn put<T>(place: &mut Option<T>, found: T, twice: Problem) -> Result<(), Problem> {
    if place.is_some() {
        return Err(twice);
    }
    *place = Some(found);
    Ok(())
}

/// `position = 1*2DIGIT ; 1 - 50`.
fn position(value: &[u8]) -> Option<u8> {
    if !matches!(value, [b'0'..=b'9'] | [b'0'..=b'9', b'0'..=b'9']) {
        return None;
    }
    let position = std::str::from_utf8(value).ok()?.parse().ok()?;
    (1..=INSTANCES_MAX).contains(&position).then_some(position)
}

/// The instance of an ARC-Authentication-Results field, which stands first, and the results behind it.
fn results(value: &[u8]) -> Option<(u8, &[u8])> {
    //= RFC 8617 section 3.9
    //# instance = [CFWS] %s"i" [CFWS] "=" [CFWS] position
    let mut reader = Reader { rest: value };
    (reader.word()? == "i").then_some(())?;
    reader.take(b'=')?;
    let instance = position(reader.word()?.as_bytes())?;
    reader.take(b';')?;
    Some((instance, reader.rest))
}

/// Fuzz entry: the fields of any header are sets or none.
///
/// # Panics
/// If there are more than there may be, or a structure without a problem is not one.
pub fn fuzz_sets(data: &[u8]) {
    let Some(message) = Message::parse(data) else { return };
    let sets = Sets::collect(&message);
    let entries = sets.entries();
    assert!(entries.len() <= usize::from(INSTANCES_MAX));
    for set in sets.by_instance.values() {
        for list in set.seal.iter().chain(&set.message_signature).map(|(_, list)| list) {
            let _ = (super::seal::Seal::parse(list, 0).is_ok(), super::seal::message_signature(list, 0).is_ok());
        }
    }
    if sets.problem.is_none() {
        let whole = |(place, set): (usize, &Set<'_>)| usize::from(set.instance) == place + 1 && set.results.is_some();
        assert!(entries.iter().enumerate().all(whole));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn problem(header: &str) -> Option<Problem> {
        fuzz_sets(header.as_bytes());
        Sets::collect(&Message::parse(header.as_bytes()).unwrap()).problem
    }

    fn set(instance: usize, status: &str) -> String {
        format!(
            "ARC-Seal: i={instance}; cv={status}\r\nARC-Message-Signature: i={instance}\r\nARC-Authentication-Results: i={instance}; a; none\r\n"
        )
    }

    #[test]
    fn instances() {
        for (value, instance) in [
            ("1", Some(1)),
            ("50", Some(50)),
            ("01", Some(1)),
            ("0", None),
            ("51", None),
            ("001", None),
            ("", None),
            ("+1", None),
            ("1 0", None),
            ("a", None),
        ] {
            assert_eq!(position(value.as_bytes()), instance, "{value}");
        }
        for (value, instance) in [
            (" i=1; a", Some(1)),
            ("\r\n (x) i (y) = (z)\t7 (w) ; a", Some(7)),
            ("I=1; a", None),
            (" a; i=1", None),
            (" i=1 a; b", None),
            (" i=1", None),
            (" i=\"1\"; a", None),
            (" i=1 1; a", None),
        ] {
            assert_eq!(results(value.as_bytes()).map(|(instance, _)| instance), instance, "{value}");
        }
    }

    #[test]
    fn chains_of_fifty() {
        let chain = |count: usize| -> String {
            let sets = (1..=count).rev().map(|instance| set(instance, if instance == 1 { "none" } else { "pass" }));
            sets.collect()
        };
        assert_eq!(problem(&chain(50)), None);
        assert_eq!(problem(&chain(51)), Some(Problem::TooMany));
        assert_eq!(problem(&set(1, "none").repeat(2_000)), Some(Problem::TooMany));
    }

    proptest! {
        #[test]
        fn any_sets_are_harmless(fields in proptest::collection::vec((0usize..3, 0u8..5, "(none|pass|fail|x)"), 0..12)) {
            let field = |(kind, instance, status): &(usize, u8, String)| {
                format!("{}: i={instance}; cv={status}\r\n", Kind::ALL[*kind].name())
            };
            let header: String = fields.iter().map(field).collect();
            fuzz_sets(header.as_bytes());
        }

        #[test]
        fn any_values_are_harmless(value in "[i=;0-9 ()ac\"\r\n]{0,30}") {
            for kind in Kind::ALL {
                fuzz_sets(format!("{}:{value}\r\n", kind.name()).as_bytes());
            }
        }
    }
}
