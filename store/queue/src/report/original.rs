//! The header of the message a report is about, cut so that it is safe to send back (RFC 6522 section 4: text/rfc822-headers).

/// Octets of the original's header in a report. A header with long traces, DKIM and ARC has ten thousand; whole fields beyond it
/// are left out.
pub const ORIGINAL_HEADER_BYTES_MAX: usize = 32 * 1024;

//= RFC 5322 section 2.1.1
//# Each line of characters MUST be no more than 998 characters, and SHOULD be no more than 78 characters, excluding the CRLF.
const LINE_BYTES_MAX: usize = 998;

/// Appends the header's fields, until the empty line, something that is no field, or the limit. Only whole fields; one with a line
/// that is too long is left out. A control character that is no tab (a bare CR or LF too) becomes `?`.
///
/// Looks at no more than [`ORIGINAL_HEADER_BYTES_MAX`] octets of the message.
pub(super) fn write_header(original: &[u8], out: &mut Vec<u8>) {
    let window = original.get(..ORIGINAL_HEADER_BYTES_MAX).unwrap_or(original);
    // The field that is being read: it is whole once the line behind it is seen to be no continuation.
    let mut field: Vec<u8> = Vec::new();
    let mut is_good = true;
    let mut rest = window;
    while let Some((line, behind)) = split_line(rest) {
        rest = behind;
        let continues = matches!(line.first(), Some(b' ' | b'\t'));
        if !continues {
            flush(&mut field, is_good, out);
            is_good = true;
            if !begins_field(line) {
                return;
            }
        } else if field.is_empty() {
            return;
        }
        is_good &= line.len() <= LINE_BYTES_MAX;
        field.extend(line.iter().map(|byte| if byte.is_ascii_control() && *byte != b'\t' { b'?' } else { *byte }));
        field.extend_from_slice(b"\r\n");
    }
    // Lines ran out before the header did. What comes next tells if the last field is whole; behind the window it is not known.
    let is_whole = match rest.first() {
        Some(b' ' | b'\t') => false,
        Some(_) => true,
        None => window.len() == original.len(),
    };
    flush(&mut field, is_good && is_whole, out);
}

/// True if the message can go back as a whole: every line ends with CRLF, none is longer than one may be, and no octet is NUL.
pub(super) fn is_fit(original: &[u8]) -> bool {
    let mut rest = original;
    while let Some((line, behind)) = split_line(rest) {
        if line.len() > LINE_BYTES_MAX || line.iter().any(|byte| matches!(byte, b'\r' | b'\n' | 0)) {
            return false;
        }
        rest = behind;
    }
    rest.is_empty()
}

fn flush(field: &mut Vec<u8>, is_good: bool, out: &mut Vec<u8>) {
    if is_good {
        out.extend_from_slice(field);
    }
    field.clear();
}

fn split_line(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let end = bytes.windows(2).position(|pair| pair == b"\r\n")?;
    Some((bytes.get(..end)?, bytes.get(end + 2..)?))
}

//= RFC 5322 section 2.2
//# A field name MUST be composed of printable US-ASCII characters (i.e., characters that have values between 33 and 126, inclusive), except colon.
fn begins_field(line: &[u8]) -> bool {
    let name = line.split(|byte| *byte == b':').next().unwrap_or_default();
    // Old messages have spaces before the colon (section 4.5.8).
    let name = name.trim_ascii_end();
    name.len() < line.len() && line.contains(&b':') && !name.is_empty() && name.iter().all(u8::is_ascii_graphic)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn header(original: &[u8]) -> String {
        let mut out = Vec::new();
        write_header(original, &mut out);
        String::from_utf8_lossy(&out).into_owned()
    }

    #[test]
    fn only_the_header_and_only_what_is_one() {
        assert_eq!(header(b"A: 1\r\n 2\r\nB : 3\r\n\r\nC: body\r\n"), "A: 1\r\n 2\r\nB : 3\r\n");
        assert_eq!(header(b"A: 1\r\nno field\r\nB: 2\r\n"), "A: 1\r\n");
        assert_eq!(header(b" A: 1\r\n"), "");
        assert_eq!(header(b"\r\nA: 1\r\n"), "");
        assert_eq!(header(b"A B: 1\r\n"), "");
        assert_eq!(header(b":\r\n"), "");
        assert_eq!(header(b"A: 1\r\nB: 2"), "A: 1\r\n");
        assert_eq!(header(b"A: 1\r\n B: 2"), "");
        assert_eq!(header(b"A: 1\nB: 2\r3\0\t\r\n"), "A: 1?B: 2?3?\t\r\n");
    }

    #[test]
    fn fit_is_what_has_lines_only() {
        assert!(is_fit(b"A: 1\r\n\r\n\xE9\r\n") && is_fit(b""));
        for bad in [&b"A: 1"[..], b"A: 1\n\r\n", b"A: \r1\r\n", b"\0\r\n"] {
            assert!(!is_fit(bad));
        }
        assert!(!is_fit(format!("{}\r\n", "x".repeat(999)).as_bytes()));
    }

    #[test]
    fn fields_are_whole_and_lines_short() {
        let long = format!("A: 1\r\nL: 2\r\n {}\r\nB: 3\r\n\r\n", "x".repeat(998));
        assert_eq!(header(long.as_bytes()), "A: 1\r\nB: 3\r\n");
        // Not assert_eq: nobody wants to read these.
        let field = format!("F: {}\r\n", "x".repeat(95));
        assert!(header(format!("{}\r\n", field.repeat(1000)).as_bytes()) == field.repeat(ORIGINAL_HEADER_BYTES_MAX / 100));
        // Cut by the window in the middle of a field, and exactly between a line and what may be its continuation.
        let fill = "F: 89\r\n".repeat(ORIGINAL_HEADER_BYTES_MAX / 7);
        assert!(header(format!("{fill}GG: goes on\r\n behind\r\n\r\n").as_bytes()) == fill);
        let (fill, last) = ("F: 89\r\n".repeat((ORIGINAL_HEADER_BYTES_MAX - 8) / 7), "G: 890\r\n");
        assert_eq!(fill.len() + last.len(), ORIGINAL_HEADER_BYTES_MAX);
        assert!(header(format!("{fill}{last} behind\r\n\r\n").as_bytes()) == fill);
        assert!(header(format!("{fill}{last}").as_bytes()) == format!("{fill}{last}"));
    }

    proptest! {
        #[test]
        fn any_bytes_are_harmless(lines in proptest::collection::vec("[A-C]{0,2}[: \t]{0,2}[a\r\n\0\u{e9}]{0,9}(\r\n){0,2}", 0..30)) {
            let original = lines.concat();
            let mut out = Vec::new();
            write_header(original.as_bytes(), &mut out);
            prop_assert!(out.len() <= original.len());
            let shown = String::from_utf8(out).unwrap();
            prop_assert!(shown.is_empty() || shown.ends_with("\r\n"));
            for line in shown.split_terminator("\r\n") {
                prop_assert!(!line.is_empty() && !line.contains(['\r', '\n', '\0']));
            }
        }
    }
}
