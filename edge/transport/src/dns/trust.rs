//! Trust anchors as an administrator writes them: `NAME DS TAG ALGORITHM DIGEST_TYPE HEX` or `NAME DNSKEY FLAGS PROTOCOL ALGORITHM BASE64`, as they
//! stand in a zone file or in what `dig` prints.

use base64::Engine;
use postring_dns::Name;
use postring_dns::dnssec::validate::Trust;

/// Adds an anchor.
///
/// # Errors
/// What is wrong with it.
pub(super) fn add_anchor(trust: &mut Trust, text: &str) -> Result<(), String> {
    let mut words = text.split_ascii_whitespace().filter(|word| !word.eq_ignore_ascii_case("IN"));
    let name = words.next().ok_or("it is empty")?;
    let name = Name::absolute(name).map_err(|error| error.to_string())?;
    let mut words = words.skip_while(|word| word.bytes().all(|byte| byte.is_ascii_digit()));
    let rtype = words.next().unwrap_or_default().to_ascii_uppercase();
    let mut number = |what: &str, max: u16| -> Result<u16, String> {
        let word = words.next().unwrap_or_default();
        word.parse().ok().filter(|number| *number <= max).ok_or(format!("\"{word}\" is no {what}"))
    };
    let supported = match rtype.as_str() {
        "DS" => {
            let (tag, algorithm, digest_type) =
                (number("key tag", u16::MAX)?, number("algorithm", 255)?, number("digest type", 255)?);
            let digest = hex(&words.collect::<String>()).ok_or("the digest is not hexadecimal")?;
            // Of SHA-256 and SHA-384; what is cut short would fit no key.
            let octets = [(2, 32), (4, 48)].into_iter().find(|(number, _)| *number == digest_type).map(|(_, octets)| octets);
            if octets.is_some_and(|octets| octets != digest.len()) {
                return Err("the digest is not as long as its type wants it".to_owned());
            }
            let rdata = [&tag.to_be_bytes()[..], &[low(algorithm), low(digest_type)], &digest].concat();
            trust.add_ds(&name, &rdata)
        }
        "DNSKEY" => {
            let (flags, protocol, algorithm) =
                (number("flags word", u16::MAX)?, number("protocol", 255)?, number("algorithm", 255)?);
            let text: String = words.collect();
            let key = base64::engine::general_purpose::STANDARD.decode(text).map_err(|_| "the key is not base64")?;
            trust.add_dnskey(&name, &[&flags.to_be_bytes()[..], &[low(protocol), low(algorithm)], &key].concat())
        }
        _ => {
            return Err(
                "write it as \"NAME DS TAG ALGORITHM DIGEST_TYPE HEX\" or \"NAME DNSKEY FLAGS 3 ALGORITHM BASE64\"".to_owned()
            );
        }
    };
    if supported { Ok(()) } else { Err("its algorithm or digest type is not supported, or it is cut short".to_owned()) }
}

fn low(number: u16) -> u8 {
    let [_, low] = number.to_be_bytes();
    low
}

fn hex(text: &str) -> Option<Vec<u8>> {
    let pair = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok();
    (text.len().is_multiple_of(2) && text.bytes().all(|byte| byte.is_ascii_hexdigit()))
        .then(|| text.as_bytes().chunks(2).map(pair).collect())?
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn anchors() {
        let digest = "E06D44B80B8F1D39A95C0B0D7C65D08458E880 409BBC683457104237C7F8EC8D";
        let mut trust = Trust::default();
        assert_eq!(add_anchor(&mut trust, &format!(". 172800 IN DS 20326 8 2 {digest}")), Ok(()));
        assert_eq!(add_anchor(&mut trust, "example DNSKEY 257 3 15 l02Woi0iS8Aa25FQkUd9RMzZHJpBoRQwAQEX1SxZJA4="), Ok(()));
        assert!(!trust.is_empty());
        for (text, wrong) in [
            ("", "it is empty"),
            ("a..b DS 1 8 2 00", "the name has an empty label (two dots in a row)"),
            ("a DS x 8 2 00", "\"x\" is no key tag"),
            ("a DS 1 8 2 0", "the digest is not hexadecimal"),
            ("a DS 1 8 2 00", "the digest is not as long as its type wants it"),
            ("a DS 1 250 9 00", "its algorithm or digest type is not supported, or it is cut short"),
            ("a DNSKEY 257 3 8 *", "the key is not base64"),
        ] {
            assert_eq!(add_anchor(&mut trust, text), Err(wrong.to_owned()), "{text}");
        }
        assert!(add_anchor(&mut trust, "a A 1").unwrap_err().starts_with("write it as"));
    }
}
