//! What lines are (RFC 5321 section 2.3.8, section 4.5.3.1.6; RFC 2045 section 2.7).

use memchr::{memchr, memchr_iter, memchr2_iter};

/// Octets of a line without its CR LF.
const LINE_BYTES_MAX: usize = 998;

/// True for content without NUL, in lines of at most 998 octets that end with CR LF; the last may have no end.
#[must_use]
pub fn are_lines(octets: &[u8]) -> bool {
    if memchr(0, octets).is_some() {
        return false;
    }
    let mut begin = 0;
    for end in memchr_iter(b'\n', octets) {
        let Some(line) = octets.get(begin..end).and_then(|line| line.strip_suffix(b"\r")) else { return false };
        if line.len() > LINE_BYTES_MAX || memchr(b'\r', line).is_some() {
            return false;
        }
        begin = end + 1;
    }
    let last = octets.get(begin..).unwrap_or_default();
    last.len() <= LINE_BYTES_MAX && memchr(b'\r', last).is_none()
}

/// The octets with CR LF wherever a CR or an LF stands alone.
#[must_use]
pub fn normalised(octets: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(octets.len() + octets.len() / 64 + 64);
    let mut at = 0;
    for end in memchr2_iter(b'\r', b'\n', octets) {
        // The second half of a pair.
        if end < at {
            continue;
        }
        out.extend_from_slice(octets.get(at..end).unwrap_or_default());
        out.extend_from_slice(b"\r\n");
        at = if octets.get(end..end + 2) == Some(b"\r\n") { end + 2 } else { end + 1 };
    }
    out.extend_from_slice(octets.get(at..).unwrap_or_default());
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_end_with_both() {
        let long = "x".repeat(998);
        for good in ["", "a", "a\r\n", "\r\n\r\nb", &long, &format!("{long}\r\n{long}")] {
            assert!(are_lines(good.as_bytes()), "{good:?}");
        }
        for bad in ["\n", "a\nb\r\n", "a\r", "a\rb\r\n", "\r\r\n", "a\0", &format!("{long}x"), &format!("{long}x\r\n")] {
            assert!(!are_lines(bad.as_bytes()), "{bad:?}");
        }
    }

    #[test]
    fn each_bare_end_becomes_one_line_end() {
        for (from, to) in [
            ("", ""),
            ("a\r\nb", "a\r\nb"),
            ("a\nb\rc", "a\r\nb\r\nc"),
            ("\n.\n", "\r\n.\r\n"),
            ("\r\r\n\n\r", "\r\n\r\n\r\n\r\n"),
        ] {
            assert_eq!(normalised(from.as_bytes()), to.as_bytes(), "{from:?}");
            assert!(are_lines(&normalised(from.as_bytes())));
        }
    }
}
