//! Canonical forms of header fields (RFC 6376 section 3.4.1, 3.4.2); those of the body are in `body.rs`.

/// How much of a message's look may change on its way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Canonicalization {
    /// Almost nothing.
    Simple,
    /// White space, and the case of field names.
    Relaxed,
}

impl Canonicalization {
    /// Header's and body's of a `c=` tag (RFC 6376 section 3.5); what is not said of the body is simple.
    #[must_use]
    pub(crate) fn pair(value: &[u8]) -> Option<(Self, Self)> {
        let mut parts = value.split(|byte| *byte == b'/').map(Self::parse);
        let header = parts.next()??;
        let body = parts.next().unwrap_or(Some(Self::Simple))?;
        parts.next().is_none().then_some((header, body))
    }

    fn parse(word: &[u8]) -> Option<Self> {
        match word {
            b"simple" => Some(Self::Simple),
            b"relaxed" => Some(Self::Relaxed),
            _ => None,
        }
    }
}

/// Appends a field in its canonical form without the line end behind it. `name` is what stands before the colon, `value` all behind it, without
/// the last line end.
///
/// Cost: the octets are copied once, the hash needs them in one piece.
pub(crate) fn write_field(form: Canonicalization, name: &[u8], value: &[u8], out: &mut Vec<u8>) {
    match form {
        Canonicalization::Simple => {
            out.extend_from_slice(name);
            out.push(b':');
            out.extend_from_slice(value);
        }
        Canonicalization::Relaxed => {
            //= RFC 6376 section 3.4.2
            //# Convert all header field names (not the header field values) to lowercase.
            //# Delete any WSP characters remaining before and after the colon
            out.extend(name.trim_ascii_end().iter().map(u8::to_ascii_lowercase));
            out.push(b':');
            let start = out.len();
            //= RFC 6376 section 3.4.2
            //# Unfold all header field continuation lines [...] Convert all sequences of one or more WSP characters to a single SP
            let mut space = false;
            let mut bytes = value.iter().copied().peekable();
            while let Some(byte) = bytes.next() {
                if matches!(byte, b' ' | b'\t') {
                    space = true;
                    continue;
                }
                if byte == b'\r' && bytes.next_if_eq(&b'\n').is_some() {
                    continue;
                }
                if space && out.len() > start {
                    out.push(b' ');
                }
                space = false;
                out.push(byte);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn relaxed(name: &[u8], value: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        write_field(Canonicalization::Relaxed, name, value, &mut out);
        out
    }

    /// RFC 6376 section 3.4.5.
    #[test]
    fn the_examples_of_the_rfc() {
        assert_eq!(relaxed(b"A", b" X"), b"a:X");
        assert_eq!(relaxed(b"B ", b" Y\t\r\n\tZ  "), b"b:Y Z");
        assert_eq!(relaxed(b"C", b"\r\n \r\n\t a\nb\rc \r\n "), b"c:a\nb\rc");
        let mut simple = Vec::new();
        write_field(Canonicalization::Simple, b"B ", b" Y\t\r\n\tZ  ", &mut simple);
        assert_eq!(simple, b"B : Y\t\r\n\tZ  ");
    }

    #[test]
    fn pairs() {
        use Canonicalization::{Relaxed, Simple};
        for (value, pair) in [
            ("simple", Some((Simple, Simple))),
            ("relaxed", Some((Relaxed, Simple))),
            ("simple/relaxed", Some((Simple, Relaxed))),
            ("relaxed/relaxed", Some((Relaxed, Relaxed))),
            ("nofws", None),
            ("relaxed/nofws", None),
            ("relaxed/simple/simple", None),
            ("", None),
        ] {
            assert_eq!(Canonicalization::pair(value.as_bytes()), pair, "{value}");
        }
    }

    proptest! {
        #[test]
        fn relaxed_is_stable(name in "[A-Za-z-]{1,9}[ \t]{0,2}", value in "([a-z :]|\r\n |\t){0,40}") {
            let once = relaxed(name.as_bytes(), value.as_bytes());
            let colon = once.iter().position(|byte| *byte == b':').unwrap();
            prop_assert_eq!(&relaxed(&once[..colon], &once[colon + 1..]), &once);
        }
    }
}
