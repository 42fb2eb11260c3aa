//! Header fields of an entity: those that say what its body is.

use crate::NotConvertible;
use memchr::memmem;
use std::ops::Range;

/// Octets of an entity's header.
const HEADER_BYTES_MAX: usize = 256 * 1024;
/// Octets of a boundary (RFC 2046 section 5.1.1).
const BOUNDARY_BYTES_MAX: usize = 70;

/// Where a field stands, and its value without folding.
pub(crate) struct Field {
    /// From its name to behind its last line.
    pub range: Range<usize>,
    pub value: Vec<u8>,
}

/// Where the header that begins here ends: in front of the empty line, and behind it. A header without one is all there is.
pub(crate) fn header_end(content: &[u8], range: &Range<usize>) -> Result<(usize, usize), NotConvertible> {
    let octets = content.get(range.clone()).unwrap_or_default();
    if octets.starts_with(b"\r\n") {
        return Ok((range.start, range.start + 2));
    }
    match memmem::find(octets.get(..octets.len().min(HEADER_BYTES_MAX)).unwrap_or_default(), b"\r\n\r\n") {
        Some(at) => Ok((range.start + at + 2, range.start + at + 4)),
        // There is no body to convert, and no place for a field.
        None => Err(NotConvertible),
    }
}

/// The field of this name; two of them could be read either way.
pub(crate) fn field(content: &[u8], header: &Range<usize>, name: &[u8]) -> Result<Option<Field>, NotConvertible> {
    let mut found = None;
    let mut at = header.start;
    while at < header.end {
        let end = line_end(content, at, header.end);
        let mut last = end;
        while content.get(last).is_some_and(|octet| *octet == b' ' || *octet == b'\t') && last < header.end {
            last = line_end(content, last, header.end);
        }
        let line = content.get(at..last).unwrap_or_default();
        if let Some(colon) = line.iter().position(|octet| *octet == b':')
            && line.get(..colon).is_some_and(|before| before.trim_ascii_end().eq_ignore_ascii_case(name))
        {
            if found.is_some() {
                return Err(NotConvertible);
            }
            let value =
                line.get(colon + 1..).unwrap_or_default().iter().copied().filter(|octet| *octet != b'\r' && *octet != b'\n');
            found = Some(Field { range: at..last, value: value.collect() });
        }
        at = last;
    }
    Ok(found)
}

/// Behind the CR LF of the line that begins here.
fn line_end(content: &[u8], at: usize, end: usize) -> usize {
    let rest = content.get(at..end).unwrap_or_default();
    memmem::find(rest, b"\r\n").map_or(end, |found| at + found + 2)
}

/// `type/subtype`, lower-case.
pub(crate) fn media_type(value: &[u8]) -> String {
    let end = value.iter().position(|octet| *octet == b';').unwrap_or(value.len());
    String::from_utf8_lossy(value.get(..end).unwrap_or_default()).trim().to_ascii_lowercase()
}

/// The boundary of a Content-Type; one that is none is not guessed at.
//= RFC 2046 section 5.1.1
//# boundary := 0*69<bchars> bcharsnospace
pub(crate) fn boundary(value: &[u8]) -> Result<Vec<u8>, NotConvertible> {
    let mut rest = value;
    let mut found = None;
    while let Some(semicolon) = outside_quotes(rest, b';') {
        rest = rest.get(semicolon + 1..).unwrap_or_default().trim_ascii_start();
        let Some(equals) = rest.iter().position(|octet| *octet == b'=') else { continue };
        let is_boundary = rest.get(..equals).is_some_and(|name| name.trim_ascii().eq_ignore_ascii_case(b"boundary"));
        let behind = rest.get(equals + 1..).unwrap_or_default().trim_ascii_start();
        if is_boundary {
            if found.is_some() {
                return Err(NotConvertible);
            }
            found = Some(word(behind).ok_or(NotConvertible)?);
        }
        rest = behind;
    }
    let found = found.ok_or(NotConvertible)?;
    let is_bchar = |octet: &u8| octet.is_ascii_alphanumeric() || b"'()+_,-./:=? ".contains(octet);
    let fits = (1..=BOUNDARY_BYTES_MAX).contains(&found.len()) && found.last() != Some(&b' ');
    if fits && found.iter().all(is_bchar) { Ok(found) } else { Err(NotConvertible) }
}

/// Where an octet stands first that is not within quotes.
fn outside_quotes(text: &[u8], wanted: u8) -> Option<usize> {
    let (mut quoted, mut escaped) = (false, false);
    text.iter().position(|octet| {
        if escaped {
            escaped = false;
            return false;
        }
        match octet {
            b'\\' if quoted => escaped = true,
            b'"' => quoted = !quoted,
            _ => {}
        }
        !quoted && *octet == wanted
    })
}

/// A token or a quoted string, without its quotes; none with a backslash, which no boundary has.
fn word(text: &[u8]) -> Option<Vec<u8>> {
    if let Some(quoted) = text.strip_prefix(b"\"") {
        let end = quoted.iter().position(|octet| *octet == b'"')?;
        return quoted.get(..end).filter(|word| !word.contains(&b'\\')).map(<[u8]>::to_vec);
    }
    let end = text.iter().position(|octet| octet.is_ascii_whitespace() || b";(\"".contains(octet)).unwrap_or(text.len());
    text.get(..end).map(<[u8]>::to_vec)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn boundaries() {
        let of = |value: &str| boundary(value.as_bytes()).ok().map(|found| String::from_utf8(found).unwrap());
        assert_eq!(of("multipart/mixed; boundary=abc").as_deref(), Some("abc"));
        assert_eq!(of("multipart/mixed; charset=\"a;b\"; BOUNDARY = \"a b\" ; x=y").as_deref(), Some("a b"));
        for bad in [
            "multipart/mixed",
            "multipart/mixed; boundary=",
            "multipart/mixed; boundary=\"a",
            "m/m; boundary=a; boundary=b",
            "m/m; boundary=\"a \"",
            "m/m; boundary=a@b",
            "m/m; x=\"boundary=a\"",
        ] {
            assert_eq!(of(bad), None, "{bad}");
        }
        assert_eq!(of(&format!("m/m; boundary={}", "a".repeat(71))), None);
    }
}
