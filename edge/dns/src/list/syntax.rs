//! The parts of a line of rbldnsd's files.

use std::net::Ipv6Addr;

/// A number in decimal digits, leading zeros as many as there are.
fn number(text: &[u8], max: u32) -> Option<u32> {
    if text.is_empty() {
        return None;
    }
    text.iter().try_fold(0_u32, |value, digit| {
        let digit = digit.is_ascii_digit().then(|| u32::from(digit - b'0'))?;
        value.checked_mul(10)?.checked_add(digit).filter(|value| *value <= max)
    })
}

/// One to four octets with dots between, from the first on.
fn octets(text: &[u8]) -> Option<([u8; 4], u32)> {
    let mut octets = [0; 4];
    let mut count = 0;
    for part in text.split(|byte| *byte == b'.') {
        *octets.get_mut(count)? = u8::try_from(number(part, 255)?).ok()?;
        count += 1;
    }
    Some((octets, u32::try_from(count).ok()?))
}

/// All ones behind the first `length` bits.
fn hosts(length: u32) -> u32 {
    u32::MAX.checked_shr(length).unwrap_or(0)
}

/// A range as `ip4set` writes it: `1.2.3.4`, `1.2.3` (all that begin so), `1.2.3.0/24`, `1.2/16`, `1.2.3.4-1.2.3.9`, `1.2-1.3`, `1.2.3.4-9`;
/// a single number is too little.
///
/// # Errors
/// What is wrong with it.
pub(super) fn ip4_range(text: &[u8]) -> Result<(u32, u32), &'static str> {
    const NONE: &str = "is no address, network (192.0.2.0/24) or range (192.0.2.1-192.0.2.9)";
    if let Some(dash) = text.iter().position(|byte| *byte == b'-') {
        let (from, to) = text.split_at(dash);
        let ((from, count), (to, to_count)) = octets(from).zip(to.get(1..).and_then(octets)).ok_or(NONE)?;
        let first = u32::from_be_bytes(from);
        let last = match to_count {
            // One number: instead of the last one that was given.
            1 => {
                let mut last = from;
                *last.get_mut(count as usize - 1).ok_or(NONE)? = to[0];
                u32::from_be_bytes(last)
            }
            same if same == count => u32::from_be_bytes(to),
            _ => return Err("is no range: give both ends with as many numbers, or one number as the end of the last"),
        } | hosts(8 * count);
        return if first <= last { Ok((first, last)) } else { Err("is a range that ends before it begins") };
    }
    let (network, length) = match text.iter().position(|byte| *byte == b'/') {
        Some(slash) => {
            let (network, length) = text.split_at(slash);
            (network, Some(length.get(1..).and_then(|length| number(length, 32)).ok_or(NONE)?))
        }
        None => (text, None),
    };
    let (network, count) = octets(network).ok_or(NONE)?;
    if count == 1 && length.is_none() {
        return Err("is one number only: say 10.0.0.0/8 or 10/8 if you mean the network");
    }
    let first = u32::from_be_bytes(network);
    let hosts = hosts(length.unwrap_or(8 * count));
    // A network with host bits is a mistake somebody should see.
    if first & hosts != 0 { Err("is no network: bits behind the prefix are set") } else { Ok((first, first | hosts)) }
}

/// A prefix as `ip6trie` writes it: `2001:db8` (all that begin so), `2001:db8::/32`, `::1`. Gives the length, too.
///
/// # Errors
/// What is wrong with it.
pub(super) fn ip6_prefix(text: &[u8]) -> Result<(u128, u32), &'static str> {
    const NONE: &str = "is no IPv6 address or prefix (2001:db8::/32)";
    let (words, length) = match text.iter().position(|byte| *byte == b'/') {
        Some(slash) => {
            let (words, length) = text.split_at(slash);
            (words, Some(length.get(1..).and_then(|length| number(length, 128)).ok_or(NONE)?))
        }
        None => (text, None),
    };
    let (first, bits) = if words.windows(2).any(|pair| pair == b"::") {
        let words = std::str::from_utf8(words).ok().filter(|words| !words.contains('.')).ok_or(NONE)?;
        (words.parse::<Ipv6Addr>().map_err(|_| NONE)?.to_bits(), 128)
    } else {
        let (mut first, mut bits) = (0_u128, 0);
        for word in words.split(|byte| *byte == b':') {
            let word = std::str::from_utf8(word).ok().filter(|word| (1..=4).contains(&word.len())).ok_or(NONE)?;
            let word = u16::from_str_radix(word, 16).ok().filter(|_| !word.starts_with('+')).ok_or(NONE)?;
            bits += 16;
            first |= u128::from(word) << 128_u32.checked_sub(bits).ok_or(NONE)?;
        }
        (first, bits)
    };
    let length = length.unwrap_or(bits);
    let hosts = u128::MAX.checked_shr(length).unwrap_or(0);
    if first & hosts != 0 { Err("is no network: bits behind the prefix are set") } else { Ok((first, length)) }
}

/// An A value: whole, or `3` for 127.0.0.3, or with fewer numbers, the last of which is the last octet.
pub(super) fn a_value(text: &[u8]) -> Option<[u8; 4]> {
    let (given, count) = octets(text)?;
    let [a, b, c, d] = given;
    let address = match count {
        1 => [127, 0, 0, a],
        2 => [a, 0, 0, b],
        3 => [a, b, 0, c],
        _ => [a, b, c, d],
    };
    (address != [0; 4] && given != [0; 4]).then_some(address)
}

/// `2021:01:31:12:00:00`, from the month on optional to the right, with `:` or `-` or nothing between; seconds since 1970. 0 or `-`: not given.
pub(super) fn timestamp(text: &str) -> Option<Option<u64>> {
    if text == "0" || text == "-" {
        return Some(None);
    }
    let digits: Vec<u8> = text.bytes().filter(|byte| !matches!(byte, b':' | b'-')).collect();
    if !(8..=14).contains(&digits.len()) || !digits.len().is_multiple_of(2) {
        return None;
    }
    let part = |from: usize, to: usize| digits.get(from..to).map_or(Some(0), |digits| number(digits, 9999)).map(u64::from);
    let (year, month, day) = (part(0, 4)?, part(4, 6)?, part(6, 8)?);
    let (hour, minute, second) = (part(8, 10)?, part(10, 12)?, part(12, 14)?);
    if year < 1970 || !(1..=12).contains(&month) || !(1..=31).contains(&day) || hour > 23 || minute > 59 || second > 59 {
        return None;
    }
    // Days of the years that begin in March, so that the leap day is the last.
    let (year, month) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let days = year * 365 + year / 4 - year / 100 + year / 400 + (month * 153 + 2) / 5 + day - 1 - 719_468;
    Some(Some(((days * 24 + hour) * 60 + minute) * 60 + second))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::Ipv4Addr;

    #[test]
    fn ranges() {
        let text = |text: &str| {
            ip4_range(text.as_bytes()).ok().map(|(first, last)| format!("{}-{}", Ipv4Addr::from(first), Ipv4Addr::from(last)))
        };
        for (given, expected) in [
            ("192.0.2.1", Some("192.0.2.1-192.0.2.1")),
            ("192.0.2", Some("192.0.2.0-192.0.2.255")),
            ("10", None),
            ("10/8", Some("10.0.0.0-10.255.255.255")),
            ("192.0.2.128/25", Some("192.0.2.128-192.0.2.255")),
            ("192.0.2.4-9", Some("192.0.2.4-192.0.2.9")),
            ("127.16-31", Some("127.16.0.0-127.31.255.255")),
            ("192.0.2.4-192.0.3.9", Some("192.0.2.4-192.0.3.9")),
            ("0.0.0.0/0", Some("0.0.0.0-255.255.255.255")),
            ("192.0.2.9-4", None),
            ("192.0.2.0/33", None),
            ("1.2.3.4.5", None),
            ("1..2", None),
            ("", None),
            ("-", None),
        ] {
            assert_eq!(text(given).as_deref(), expected, "{given}");
        }
    }

    #[test]
    fn times() {
        assert_eq!(timestamp("2005:01:02:03:04:05"), Some(Some(1_104_635_045)));
        assert_eq!(timestamp("20240229"), Some(Some(1_709_164_800)));
        assert_eq!(timestamp("1970-01-01"), Some(Some(0)));
        assert_eq!((timestamp("-"), timestamp("2005:13:01"), timestamp("2005"), timestamp("x")), (Some(None), None, None, None));
    }
}
