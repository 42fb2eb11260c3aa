//! Transfer encodings and charsets undone (RFC 2045 section 6). What is broken is decoded as far as it goes, as those who show mail do it:
//! a scanner that gives up where they go on sees another message than they show.

use mail_parser::decoders::charsets::map::charset_decoder;
use std::borrow::Cow;

/// The six bits of a letter of the alphabet.
fn sextet(byte: u8) -> Option<u32> {
    Some(u32::from(match byte {
        b'A'..=b'Z' => byte - b'A',
        b'a'..=b'z' => byte - b'a' + 26,
        b'0'..=b'9' => byte - b'0' + 52,
        b'+' => 62,
        b'/' => 63,
        _ => return None,
    }))
}

//= RFC 2045 section 6.8
//# All line breaks or other characters not found in Table 1 must be ignored by decoding software.
pub(super) fn decode_base64(encoded: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(encoded.len() / 4 * 3);
    let (mut bits, mut count) = (0_u32, 0_u32);
    for &byte in encoded {
        let Some(sextet) = sextet(byte) else {
            // Padding ends a group, wherever it stands; what follows begins another.
            if byte == b'=' {
                (bits, count) = (0, 0);
            }
            continue;
        };
        bits = bits << 6 | sextet;
        count += 6;
        if count >= 8 {
            count -= 8;
            out.push(u8::try_from(bits >> count & 0xff).unwrap_or_default());
        }
    }
    out
}

/// Lines keep the ends they have.
pub(super) fn decode_quoted_printable(encoded: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(encoded.len());
    for line in encoded.split_inclusive(|byte| *byte == b'\n') {
        let text = line.trim_ascii_end();
        let end = line.get(text.len()..).unwrap_or_default();
        let (text, soft) = text.strip_suffix(b"=").map_or((text, false), |text| (text, true));
        let mut bytes = text.iter().enumerate();
        while let Some((at, &byte)) = bytes.next() {
            let octet = text.get(at + 1..at + 3).filter(|_| byte == b'=').and_then(hex_octet);
            if octet.is_some() {
                bytes.nth(1);
            }
            //= RFC 2045 section 6.7
            //# A reasonable approach by a robust implementation might be to include the "=" character and the following character in the
            //# decoded data without any transformation
            out.push(octet.unwrap_or(byte));
        }
        if !soft {
            //= RFC 2045 section 6.7
            //# when decoding a Quoted-Printable body, any trailing white space on a line must be deleted
            out.extend(end.iter().filter(|byte| matches!(byte, b'\r' | b'\n')));
        }
    }
    out
}

fn hex_octet(digits: &[u8]) -> Option<u8> {
    let [high, low] = digits else { return None };
    let digit = |byte: u8| char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    Some(digit(*high)? << 4 | digit(*low)?)
}

/// Text as UTF-8; borrowed if it is that already.
pub(super) fn decode_text<'a>(bytes: Cow<'a, [u8]>, charset: Option<&str>) -> Cow<'a, [u8]> {
    let utf8 = charset.is_none_or(|charset| ["utf-8", "utf8", "us-ascii"].iter().any(|name| name.eq_ignore_ascii_case(charset)));
    let decoder = charset.filter(|_| !utf8).and_then(|charset| charset_decoder(charset.as_bytes()));
    let text: Cow<'_, str> = match decoder {
        Some(decoder) => decoder(&bytes).into(),
        None => String::from_utf8_lossy(&bytes),
    };
    if text.as_bytes() == &*bytes {
        return bytes;
    }
    Cow::Owned(text.into_owned().into_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn broken_encodings_are_decoded_as_far_as_they_go() {
        for (encoded, expected) in [
            ("aGVsbG8=", "hello"),
            ("aGVs\r\nbG8", "hello"),
            ("a!G-V*sbG8=\r\n", "hello"),
            ("aGU=bGxv", "hello"),
            ("aGVsbG8=====", "hello"),
            ("a", ""),
            ("", ""),
        ] {
            assert_eq!(decode_base64(encoded.as_bytes()), expected.as_bytes(), "{encoded}");
        }
        for (encoded, expected) in [
            ("h=65llo=20\r\nx", "hello \r\nx"),
            ("hel=\r\nlo=  \n!", "hello!"),
            ("a = b =zz =4 =", "a = b =zz =4 "),
            ("==41=", "=A"),
            ("trailing \t\r\n", "trailing\r\n"),
            ("\n\n=", "\n\n"),
        ] {
            assert_eq!(String::from_utf8(decode_quoted_printable(encoded.as_bytes())).unwrap(), expected, "{encoded}");
        }
    }

    #[test]
    fn charsets() {
        let text = |bytes: &'static [u8], charset| decode_text(Cow::Borrowed(bytes), charset);
        assert!(matches!(text(b"plain", Some("ISO-8859-1")), Cow::Borrowed(b"plain")));
        assert!(matches!(text("\u{e4}".as_bytes(), Some("UTF-8")), Cow::Borrowed(_)));
        assert_eq!(&*text(b"\xe4", Some("iso-8859-1")), "\u{e4}".as_bytes());
        assert_eq!(&*text(b"\xe4", None), "\u{fffd}".as_bytes());
        assert_eq!(&*text(b"h\0i\0", Some("utf-16le")), b"hi");
    }
}
