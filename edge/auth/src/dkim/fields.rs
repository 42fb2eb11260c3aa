//! The fields of a message's header, and which of them a signature means (RFC 6376 section 5.4.2).

use std::collections::HashMap;

/// More octets of a header are not looked at: they are hashed once for each key of each signature, on the thread that serves others.
const HEADER_BYTES_MAX: usize = 256 * 1024;

/// More fields are not looked at.
const FIELDS_MAX: usize = 10_000;

/// One field of a header.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Field<'a> {
    /// What stands before the colon.
    pub name: &'a [u8],
    /// All behind the colon, without the last line end.
    pub value: &'a [u8],
}

/// A message in its parts.
#[derive(Debug)]
pub(crate) struct Message<'a> {
    /// From the top down.
    pub fields: Vec<Field<'a>>,
    /// All behind the empty line.
    pub body: &'a [u8],
}

impl<'a> Message<'a> {
    /// Splits a message with CRLF at its line ends; `None` if its header is larger than what is looked at.
    ///
    /// Cost: the header is searched for line ends, the body is not touched.
    pub fn parse(message: &'a [u8]) -> Option<Self> {
        let mut fields: Vec<Field<'a>> = Vec::new();
        let mut rest = message;
        loop {
            let field_bytes = field_length(rest);
            let Some((field, behind)) = rest.split_at_checked(field_bytes) else { break };
            if field.is_empty() || field == b"\r\n" {
                return Some(Self { fields, body: behind });
            }
            if message.len() - behind.len() > HEADER_BYTES_MAX {
                return None;
            }
            rest = behind;
            let field = field.strip_suffix(b"\r\n").unwrap_or(field);
            // What has no colon is no field, and nothing can sign it.
            if let Some((name, value)) = memchr::memchr(b':', field).and_then(|colon| field.split_at_checked(colon)) {
                if fields.len() == FIELDS_MAX {
                    return None;
                }
                fields.push(Field { name, value: value.get(1..).unwrap_or_default() });
            }
        }
        Some(Self { fields, body: b"" })
    }
}

impl Field<'_> {
    /// True if the field has this name, in whatever case.
    pub fn is(&self, name: &str) -> bool {
        self.name.trim_ascii_end().eq_ignore_ascii_case(name.as_bytes())
    }
}

/// Octets of the first field with its continuation lines, or of the empty line.
fn field_length(rest: &[u8]) -> usize {
    let mut end = 0;
    loop {
        let Some(line) = rest.get(end..) else { return end };
        let Some(length) = memchr::memmem::find(line, b"\r\n") else { return rest.len() };
        let is_empty_line = end == 0 && length == 0;
        end += length + 2;
        if is_empty_line || !matches!(rest.get(end), Some(b' ' | b'\t')) {
            return end;
        }
    }
}

/// Where the fields of each name are.
#[derive(Debug)]
pub(crate) struct Index {
    /// By name in lower case, places from the top down.
    places: HashMap<Vec<u8>, Vec<usize>>,
}

impl Index {
    /// Looks at each field once.
    pub fn new(fields: &[Field<'_>]) -> Self {
        let mut places: HashMap<Vec<u8>, Vec<usize>> = HashMap::new();
        for (place, field) in fields.iter().enumerate() {
            places.entry(field.name.trim_ascii_end().to_ascii_lowercase()).or_default().push(place);
        }
        Self { places }
    }

    /// The places of the fields that the names of an `h=` tag mean; `own`, the signature itself, is none of them. A name beyond the last field of
    /// it stands for nothing: it signs that there is no other.
    ///
    /// Cost: a look-up a name; no field is passed twice.
    pub fn select(&self, names: &[&[u8]], own: usize) -> Vec<usize> {
        let mut left: HashMap<Vec<u8>, &[usize]> = HashMap::new();
        let mut selected = Vec::with_capacity(names.len());
        for name in names {
            let name = name.to_ascii_lowercase();
            let Some(places) = self.places.get(&name) else { continue };
            //= RFC 6376 section 5.4.2
            //# Signers wishing to sign multiple instances of such a header field MUST include the header field name multiple times in
            //# the "h=" tag of the DKIM-Signature header field and MUST sign such header fields in order from the bottom of the header
            //# field block to the top.
            let left = left.entry(name).or_insert(places);
            while let [above @ .., place] = *left {
                *left = above;
                if *place != own {
                    selected.push(*place);
                    break;
                }
            }
        }
        selected
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn select(header: &str, names: &[&str], own: usize) -> Vec<usize> {
        let message = Message::parse(header.as_bytes()).unwrap();
        let names: Vec<&[u8]> = names.iter().map(|name| name.as_bytes()).collect();
        Index::new(&message.fields).select(&names, own)
    }

    #[test]
    fn parts() {
        let message = Message::parse(b"A: 1\r\n 2\r\nno field\r\nB :x\r\n\r\nbody\r\n").unwrap();
        let fields: Vec<(&[u8], &[u8])> = message.fields.iter().map(|field| (field.name, field.value)).collect();
        assert_eq!(fields, [(&b"A"[..], &b" 1\r\n 2"[..]), (b"B ", b"x")]);
        assert!(message.fields[1].is("b"));
        assert_eq!(message.body, b"body\r\n");
        for (text, fields, body) in [("", 0, ""), ("\r\n", 0, ""), ("\r\nA: b", 0, "A: b"), ("A:", 1, ""), ("A: b\r\n c", 1, "")]
        {
            let message = Message::parse(text.as_bytes()).unwrap();
            assert_eq!((message.fields.len(), message.body), (fields, body.as_bytes()), "{text:?}");
        }
    }

    #[test]
    fn too_much_is_not_looked_at() {
        assert!(Message::parse("A:\r\n".repeat(FIELDS_MAX).as_bytes()).is_some());
        assert!(Message::parse("A:\r\n".repeat(FIELDS_MAX + 1).as_bytes()).is_none());
        assert!(Message::parse(format!("A:{}\r\n\r\n", "a".repeat(HEADER_BYTES_MAX)).as_bytes()).is_none());
        assert!(Message::parse(format!("A:\r\n\r\n{}", "a".repeat(HEADER_BYTES_MAX)).as_bytes()).is_some());
    }

    #[test]
    fn from_the_bottom_up() {
        let header = "A: 0\r\nB: 1\r\nA: 2\r\nSig: 3\r\na: 4\r\n\r\n";
        assert_eq!(select(header, &["a", "A", "b"], 3), [4, 2, 1]);
        assert_eq!(select(header, &["a", "a", "a", "a", "c", "b"], 3), [4, 2, 0, 1]);
        assert_eq!(select(header, &["a", "a"], 4), [2, 0]);
        assert_eq!(select(header, &["sig"], 3), [0usize; 0]);
    }
}
