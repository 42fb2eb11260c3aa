//! What is to be changed in a header, and the header changed.

use memchr::memchr;
use postring_mail::limits::HEADER_BYTES_MAX;
use std::borrow::Cow;

/// Changes of one milter to one message.
pub const EDITS_MAX: usize = 100;
/// Octets of all of them.
pub const EDIT_BYTES_MAX: usize = 64 * 1024;
/// Fields of a header; each is a question to a milter.
const FIELDS_MAX: usize = 2000;
/// Octets of a field's name.
const NAME_BYTES_MAX: usize = 255;

/// A change of a header. Its fields are whole lines with CRLF ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Edit {
    /// Put this field behind all others (SMFIR_ADDHEADER).
    Add(Vec<u8>),
    /// Put it at this place (SMFIR_INSHEADER): 0 and 1 are before the first field, 2 before the second. Milters count our own Received field,
    /// which they do not see and which stands above all others, as the first.
    Insert(u32, Vec<u8>),
    /// Put it in the place of the so many-th of its name, from 1 on, or take that away (SMFIR_CHGHEADER).
    Change {
        /// Which of its name.
        index: u32,
        /// Its name.
        name: Vec<u8>,
        /// What it becomes.
        field: Option<Vec<u8>>,
    },
}

impl Edit {
    /// The edit that adds a field; `None` if the name is none.
    pub(crate) fn add(name: &[u8], value: &[u8], leading_space: bool) -> Option<Self> {
        field(name, value, leading_space).map(Self::Add)
    }

    pub(crate) fn insert(index: u32, name: &[u8], value: &[u8], leading_space: bool) -> Option<Self> {
        field(name, value, leading_space).map(|field| Self::Insert(index, field))
    }

    pub(crate) fn change(index: u32, name: &[u8], value: &[u8], leading_space: bool) -> Option<Self> {
        let whole = field(name, value, leading_space)?;
        Some(Self::Change { index, name: name.to_owned(), field: (!value.is_empty()).then_some(whole) })
    }

    /// A field on top, as somebody wrote it: `Name: value`; `None` if it is none.
    #[must_use]
    pub fn prepend(line: &str) -> Option<Self> {
        let (name, value) = line.split_once(':')?;
        Self::insert(0, name.trim_end().as_bytes(), value.trim().as_bytes(), false)
    }

    /// Octets it keeps.
    pub(crate) fn bytes(&self) -> usize {
        match self {
            Self::Add(field) | Self::Insert(_, field) => field.len(),
            Self::Change { name, field, .. } => name.len() + field.as_ref().map_or(0, Vec::len),
        }
    }
}

/// A field as it stands in a message: lines end with CRLF, and each but the first begins with white space, whatever somebody sends us.
fn field(name: &[u8], value: &[u8], leading_space: bool) -> Option<Vec<u8>> {
    //= RFC 5322 section 2.2
    //# A field name MUST be composed of printable US-ASCII characters (i.e., characters that have values between 33 and 126, inclusive), except colon.
    if !is_name(name) {
        return None;
    }
    let mut out = Vec::with_capacity(name.len() + value.len() + 8);
    out.extend_from_slice(name);
    out.push(b':');
    if !leading_space {
        out.push(b' ');
    }
    for (at, line) in value.split(|byte| *byte == b'\n').enumerate() {
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        if at > 0 {
            // A line of nothing would end the header.
            if line.trim_ascii().is_empty() {
                continue;
            }
            out.extend_from_slice(b"\r\n");
            if !matches!(line.first(), Some(b' ' | b'\t')) {
                out.push(b'\t');
            }
        }
        out.extend(line.iter().map(|byte| if matches!(byte, b'\r' | 0) { b'?' } else { *byte }));
    }
    out.extend_from_slice(b"\r\n");
    Some(out)
}

fn is_name(name: &[u8]) -> bool {
    (1..=NAME_BYTES_MAX).contains(&name.len()) && name.iter().all(|byte| byte.is_ascii_graphic() && *byte != b':')
}

/// Where the fields of a message end, and where its content begins: behind the empty line, if there is one. What is no field is content.
#[must_use]
pub fn header_end(message: &[u8]) -> (usize, usize) {
    let mut at = 0;
    for _ in 0..FIELDS_MAX {
        let end = field_end(message, at);
        if name_and_value(message.get(at..end).unwrap_or_default()).is_none() || end > HEADER_BYTES_MAX {
            break;
        }
        at = end;
    }
    let is_empty_line = message.get(at..).is_some_and(|rest| rest.starts_with(b"\r\n"));
    (at, if is_empty_line { at + 2 } else { at })
}

/// True if the header ends where everybody sees it end: at an empty line, or with the message. Behind a line that is no field, or beyond what is looked
/// at, some read fields and others content.
#[must_use]
pub fn has_clear_end(message: &[u8]) -> bool {
    let (fields, content) = header_end(message);
    content > fields || fields >= message.len()
}

/// Where the field that begins at `at` ends, its continuation lines included.
pub(crate) fn field_end(message: &[u8], at: usize) -> usize {
    let mut end = at;
    loop {
        let line = message.get(end..).unwrap_or_default();
        end += memchr(b'\n', line).map_or(line.len(), |newline| newline + 1);
        if !matches!(message.get(end), Some(b' ' | b'\t')) || end - at > HEADER_BYTES_MAX {
            return end;
        }
    }
}

/// The name of a field, and what is behind the colon; the last line's end is no part of it.
pub(crate) fn name_and_value(field: &[u8]) -> Option<(&[u8], &[u8])> {
    let (name, value) = memchr(b':', field).and_then(|colon| field.split_at_checked(colon))?;
    let name = name.trim_ascii_end();
    let value = value.get(1..)?;
    let value = value.strip_suffix(b"\n").map_or(value, |value| value.strip_suffix(b"\r").unwrap_or(value));
    is_name(name).then_some((name, value))
}

/// The header (its fields, without the empty line) after the changes, one after the other.
///
/// Cost: a copy of the header; a pass over its fields for each change of one.
#[must_use]
pub fn apply(header: &[u8], edits: &[Edit]) -> Vec<u8> {
    let mut fields: Vec<Cow<'_, [u8]>> = Vec::new();
    let mut at = 0;
    while at < header.len() {
        let end = field_end(header, at);
        fields.push(Cow::Borrowed(header.get(at..end).unwrap_or_default()));
        at = end;
    }
    for edit in edits {
        match edit {
            Edit::Add(field) => fields.push(Cow::Borrowed(field)),
            Edit::Insert(index, field) => {
                let place = usize::try_from(index.saturating_sub(1)).unwrap_or(usize::MAX).min(fields.len());
                fields.insert(place, Cow::Borrowed(field));
            }
            Edit::Change { index, name, field } => {
                let skip = usize::try_from(index.saturating_sub(1)).unwrap_or(usize::MAX);
                let is_named = |one: &[u8]| name_and_value(one).is_some_and(|(found, _)| found.eq_ignore_ascii_case(name));
                let place = fields.iter().enumerate().filter(|(_, one)| is_named(one)).nth(skip).map(|(at, _)| at);
                match (place, field) {
                    (Some(place), Some(field)) => {
                        if let Some(changed) = fields.get_mut(place) {
                            *changed = Cow::Borrowed(field);
                        }
                    }
                    (Some(place), None) => drop(fields.remove(place)),
                    // As Postfix and Sendmail do.
                    (None, Some(field)) => fields.push(Cow::Borrowed(field)),
                    (None, None) => {}
                }
            }
        }
    }
    fields.concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEADER: &[u8] = b"A: 1\r\nB: 2\r\n more\r\na : 3\r\n";

    fn applied(edits: &[Option<Edit>]) -> String {
        let edits: Vec<Edit> = edits.iter().cloned().map(Option::unwrap).collect();
        String::from_utf8(apply(HEADER, &edits)).unwrap()
    }

    #[test]
    fn fields_are_added_changed_and_taken_away() {
        assert_eq!(applied(&[Edit::add(b"C", b"4", false)]), "A: 1\r\nB: 2\r\n more\r\na : 3\r\nC: 4\r\n");
        for (index, expected) in [
            (0, "C: 4\r\nA: 1\r\nB: 2\r\n more\r\na : 3\r\n"),
            (1, "C: 4\r\nA: 1\r\nB: 2\r\n more\r\na : 3\r\n"),
            (2, "A: 1\r\nC: 4\r\nB: 2\r\n more\r\na : 3\r\n"),
            (u32::MAX, "A: 1\r\nB: 2\r\n more\r\na : 3\r\nC: 4\r\n"),
        ] {
            assert_eq!(applied(&[Edit::insert(index, b"C", b" 4", true)]), expected, "{index}");
        }
        assert_eq!(applied(&[Edit::change(2, b"A", b"x", false)]), "A: 1\r\nB: 2\r\n more\r\nA: x\r\n");
        assert_eq!(applied(&[Edit::change(1, b"b", b"", false)]), "A: 1\r\na : 3\r\n");
        assert_eq!(applied(&[Edit::change(3, b"a", b"", false)]).as_bytes(), HEADER);
        assert_eq!(applied(&[Edit::change(3, b"a", b"x", false)]), "A: 1\r\nB: 2\r\n more\r\na : 3\r\na: x\r\n");
        assert_eq!(
            applied(&[Edit::change(1, b"A", b"", false), Edit::change(1, b"A", b"y", false)]),
            "B: 2\r\n more\r\nA: y\r\n",
            "each sees what the one before it has left"
        );
    }

    #[test]
    fn no_value_ends_the_header() {
        for (value, expected) in [
            (&b"a\n\tb"[..], "X: a\r\n\tb\r\n"),
            (b"a\r\nb", "X: a\r\n\tb\r\n"),
            (b"a\r\n\r\nEvil: 1", "X: a\r\n\tEvil: 1\r\n"),
            (b"a\n \n\n b\n", "X: a\r\n b\r\n"),
            (b"a\rb\r\r\n c", "X: a?b?\r\n c\r\n"),
            (b"", "X: \r\n"),
        ] {
            assert_eq!(String::from_utf8(field(b"X", value, false).unwrap()).unwrap(), expected);
        }
        assert_eq!(Edit::prepend("X-Greylist : delayed 5 s"), Some(Edit::Insert(0, b"X-Greylist: delayed 5 s\r\n".to_vec())));
        assert_eq!(Edit::prepend("no field").or(Edit::prepend(": x")).or(Edit::prepend("a b: x")), None);
    }

    #[test]
    fn the_header_ends_where_what_is_no_field_begins() {
        for (message, expected) in [
            (&b"A: 1\r\n\r\nbody"[..], (6, 8)),
            (b"\r\nbody", (0, 2)),
            (b"", (0, 0)),
            (b"A: 1\r\n b\r\n", (10, 10)),
            (b"A: 1\r\nno field\r\nB: 2\r\n\r\n", (6, 6)),
            (b" A: 1\r\n\r\n", (0, 0)),
            (b"A: 1", (4, 4)),
        ] {
            assert_eq!(header_end(message), expected, "{}", String::from_utf8_lossy(message));
        }
        let many = b"A: 1\r\n".repeat(FIELDS_MAX + 10);
        assert_eq!(header_end(&many), (FIELDS_MAX * 6, FIELDS_MAX * 6));
        let long = [b"A: ".to_vec(), vec![b'x'; HEADER_BYTES_MAX]].concat();
        assert_eq!(header_end(&long), (0, 0));
    }
}
