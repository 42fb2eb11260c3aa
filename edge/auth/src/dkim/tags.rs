//! Tag-lists: `name = value; name = value` (RFC 6376 section 3.2), the form of signatures and of key records.

use super::Problem;

/// A list with more is nobody's: the RFC defines fourteen tags for signatures.
const TAGS_MAX: usize = 64;

/// A tag-list that was read; values are borrowed from the text.
#[derive(Debug)]
pub struct TagList<'a> {
    tags: Vec<(&'a [u8], &'a [u8])>,
}

impl<'a> TagList<'a> {
    /// Reads a tag-list. The white space around names and values, folded or not, is no part of them; that within a value is.
    ///
    /// # Errors
    /// [`Problem::TagList`] says what does not fit the syntax; a list with a tag twice is invalid as a whole.
    pub fn parse(text: &'a [u8]) -> Result<Self, Problem> {
        let mut tags: Vec<(&[u8], &[u8])> = Vec::new();
        let mut specs = text.split(|byte| *byte == b';').peekable();
        while let Some(spec) = specs.next() {
            let spec = trim(spec);
            if spec.is_empty() && specs.peek().is_none() {
                break; // the semicolon that may stand at the end
            }
            let equals = memchr::memchr(b'=', spec).ok_or(Problem::TagList("a tag has no \"=\""))?;
            let (name, value) = spec.split_at_checked(equals).unwrap_or((spec, b""));
            let (name, value) = (trim(name), trim(value.get(1..).unwrap_or_default()));
            //= RFC 6376 section 3.2
            //# tag-name = ALPHA *ALNUMPUNC ; ALNUMPUNC = ALPHA / DIGIT / "_"
            let named = name.first().is_some_and(u8::is_ascii_alphabetic)
                && name.iter().all(|byte| byte.is_ascii_alphanumeric() || *byte == b'_');
            if !named {
                return Err(Problem::TagList("a tag's name is not letters, digits and underscores"));
            }
            if !is_value(value) {
                return Err(Problem::TagList("a tag's value has characters that may not be in one"));
            }
            //= RFC 6376 section 3.2
            //# Tags with duplicate names MUST NOT occur within a single tag-list; if
            //# a tag name does occur more than once, the entire tag-list is invalid.
            if tags.iter().any(|(other, _)| *other == name) {
                return Err(Problem::TagList("a tag is there twice"));
            }
            if tags.len() == TAGS_MAX {
                return Err(Problem::TagList("it has more than 64 tags"));
            }
            tags.push((name, value));
        }
        Ok(Self { tags })
    }

    /// The value of a tag; names have their case.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&'a [u8]> {
        self.tags.iter().find(|(tag, _)| *tag == name.as_bytes()).map(|(_, value)| *value)
    }

    /// The name of the first tag.
    #[must_use]
    pub fn first(&self) -> Option<&'a [u8]> {
        self.tags.first().map(|(name, _)| *name)
    }
}

/// White space of a folded field.
pub(crate) fn is_space(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\r' | b'\n')
}

/// Without the white space around.
pub(crate) fn trim(mut text: &[u8]) -> &[u8] {
    while let [first, rest @ ..] = text
        && is_space(*first)
    {
        text = rest;
    }
    while let [rest @ .., last] = text
        && is_space(*last)
    {
        text = rest;
    }
    text
}

/// The items of a list with colons between, without the white space around them.
pub(crate) fn items(value: &[u8]) -> impl Iterator<Item = &[u8]> {
    value.split(|byte| *byte == b':').map(trim)
}

/// The octets of a base64 value, white space within left out; missing padding is forgiven.
pub(crate) fn base64(value: &[u8]) -> Option<Vec<u8>> {
    use base64::Engine;
    use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
    const LENIENT: GeneralPurpose = GeneralPurpose::new(
        &base64::alphabet::STANDARD,
        GeneralPurposeConfig::new()
            .with_decode_padding_mode(DecodePaddingMode::Indifferent)
            .with_decode_allow_trailing_bits(true),
    );
    let packed: Vec<u8> = value.iter().copied().filter(|byte| !is_space(*byte)).collect();
    LENIENT.decode(packed).ok()
}

/// `tval` and the white space between: VALCHAR (%x21-3A, %x3C-7E; the semicolon is gone already), and UTF-8 by RFC 8616.
fn is_value(value: &[u8]) -> bool {
    let plain = |byte: &u8| byte.is_ascii_graphic() || is_space(*byte);
    value.iter().all(plain) || (value.iter().all(|byte| plain(byte) || !byte.is_ascii()) && std::str::from_utf8(value).is_ok())
}

/// Fuzz entry: any octets are a list or none, and a list is the same with space around each part.
///
/// # Panics
/// If that does not hold.
pub fn fuzz_tags(data: &[u8]) {
    let Ok(list) = TagList::parse(data) else { return };
    let mut spaced = Vec::new();
    for (name, value) in &list.tags {
        spaced.extend_from_slice(b"\r\n ");
        spaced.extend_from_slice(name);
        spaced.extend_from_slice(b"\t=  ");
        spaced.extend_from_slice(value);
        spaced.extend_from_slice(b" ;");
    }
    let again = TagList::parse(&spaced).map(|list| list.tags.len());
    assert_eq!(again, Ok(list.tags.len()));
    for (name, value) in &list.tags {
        let name = String::from_utf8_lossy(name);
        assert_eq!(list.get(&name), Some(*value));
        let _ = base64(value);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn lists() {
        let list = TagList::parse(b" v=1; a =\r\n\trsa-sha256 ;b=a b=\r\n c==;\r\n").unwrap();
        assert_eq!(list.first(), Some(&b"v"[..]));
        assert_eq!(list.get("a"), Some(&b"rsa-sha256"[..]));
        assert_eq!(list.get("b"), Some(&b"a b=\r\n c=="[..]));
        assert_eq!(list.get("A"), None);
        assert_eq!(TagList::parse(b"p=").unwrap().get("p"), Some(&b""[..]));
        assert!(TagList::parse("i=ü@x".as_bytes()).is_ok());
        assert_eq!(TagList::parse(b"").unwrap().first(), None);
        let many: String = (0..65).map(|number| format!("t{number}=;")).collect();
        for (text, wrong) in [
            (&b"v=1;;a=b"[..], "no \"=\""),
            (b";v=1", "no \"=\""),
            (b"v", "no \"=\""),
            (b"=1", "name"),
            (b"1v=1", "name"),
            (b"v-w=1", "name"),
            (b"v=\x01", "characters"),
            (b"v=\xff", "characters"),
            (b"v=1;v=1", "twice"),
            (many.as_bytes(), "64"),
        ] {
            let problem = TagList::parse(text).unwrap_err();
            assert!(problem.to_string().contains(wrong), "{problem}");
        }
    }

    #[test]
    fn base64_is_lenient_with_space_alone() {
        assert_eq!(base64(b"QU\r\n JD").as_deref(), Some(&b"ABC"[..]));
        assert_eq!(base64(b"QUI").as_deref(), Some(&b"AB"[..]));
        assert_eq!(base64(b"QU!D"), None);
    }

    proptest! {
        #[test]
        fn any_octets_are_harmless(data in proptest::collection::vec(any::<u8>(), 0..200)) { fuzz_tags(&data); }

        #[test]
        fn likely_text_is_harmless(text in "[a-c=; \r\n1é]{0,60}") { fuzz_tags(text.as_bytes()); }
    }
}
