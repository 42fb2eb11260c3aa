//! Domain names in wire form (RFC 1035 section 3.1).
//!
//! A name is its labels, each behind a length octet, and the empty label at the end. Look-ups use the lower-case form, the key: two
//! names are equal if their keys are (RFC 4343). The functions on slices expect what [`Name`] and the message reader have checked:
//! whole labels, one root, at most 255 octets; on anything else they end early and never panic.

use smallvec::SmallVec;
use std::fmt;

/// Octets of the longest name (RFC 1035 section 2.3.4).
pub const NAME_BYTES_MAX: usize = 255;
/// Octets of the longest label (RFC 1035 section 2.3.4).
pub const LABEL_BYTES_MAX: usize = 63;

/// A domain name in wire form, letters as they were given. Names up to 32 octets need no allocation.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Name(SmallVec<[u8; 32]>);

/// Why a text is no domain name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NameError {
    /// An empty label, as in `a..b`.
    EmptyLabel,
    /// A label over 63 octets.
    LongLabel,
    /// A name over 255 octets.
    LongName,
    /// A backslash that is not followed by a character or three digits up to 255.
    BadEscape,
    /// A name that is not absolute where no origin is known.
    NoOrigin,
}

impl fmt::Display for NameError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::EmptyLabel => "the name has an empty label (two dots in a row)",
            Self::LongLabel => "a label of the name is longer than 63 octets",
            Self::LongName => "the name is longer than 255 octets",
            Self::BadEscape => "a backslash must be followed by a character or by three digits up to 255",
            Self::NoOrigin => "the name does not end in a dot, and there is no $ORIGIN it could be relative to",
        })
    }
}

impl std::error::Error for NameError {}

impl Name {
    /// The root.
    #[must_use]
    pub fn root() -> Self {
        Self(SmallVec::from_slice(&[0]))
    }

    /// Reads the text form of RFC 1035 section 5.1: labels with dots between, `\X` and `\DDD`, `@` for the origin; without a dot at the
    /// end the name is relative to `origin`.
    ///
    /// # Errors
    /// See [`NameError`].
    pub fn parse(text: &str, origin: Option<&Self>) -> Result<Self, NameError> {
        if text == "@" {
            return origin.cloned().ok_or(NameError::NoOrigin);
        }
        if text == "." {
            return Ok(Self::root());
        }
        let mut wire: SmallVec<[u8; 32]> = SmallVec::new();
        let mut label: SmallVec<[u8; 64]> = SmallVec::new();
        let mut bytes = text.bytes();
        let mut absolute = false;
        let close = |label: &mut SmallVec<[u8; 64]>, wire: &mut SmallVec<[u8; 32]>| {
            let length = u8::try_from(label.len()).map_err(|_| NameError::LongLabel)?;
            match label.len() {
                0 => return Err(NameError::EmptyLabel),
                1..=LABEL_BYTES_MAX => {}
                _ => return Err(NameError::LongLabel),
            }
            wire.push(length);
            wire.extend_from_slice(label);
            label.clear();
            if wire.len() < NAME_BYTES_MAX { Ok(()) } else { Err(NameError::LongName) }
        };
        while let Some(byte) = bytes.next() {
            absolute = false;
            match byte {
                b'.' => {
                    close(&mut label, &mut wire)?;
                    absolute = true;
                }
                b'\\' => label.push(escaped(&mut bytes)?),
                byte => label.push(byte),
            }
            if label.len() > LABEL_BYTES_MAX {
                return Err(NameError::LongLabel);
            }
        }
        if absolute {
            wire.push(0);
        } else {
            close(&mut label, &mut wire)?;
            wire.extend_from_slice(&origin.ok_or(NameError::NoOrigin)?.0);
        }
        if wire.len() > NAME_BYTES_MAX { Err(NameError::LongName) } else { Ok(Self(wire)) }
    }

    /// Reads a name a person or a configuration gives: absolute with or without the dot at the end.
    ///
    /// # Errors
    /// See [`NameError`].
    pub fn absolute(text: &str) -> Result<Self, NameError> {
        Self::parse(text, Some(&Self::root()))
    }

    /// Takes a name in wire form.
    ///
    /// # Errors
    /// [`NameError`] if its labels or its length are not as they must be.
    pub fn from_wire(wire: &[u8]) -> Result<Self, NameError> {
        if wire.len() > NAME_BYTES_MAX {
            return Err(NameError::LongName);
        }
        let mut rest = wire;
        loop {
            match rest.split_first() {
                Some((0, [])) => return Ok(Self(SmallVec::from_slice(wire))),
                Some((&length, behind)) if usize::from(length) <= LABEL_BYTES_MAX && length > 0 => {
                    rest = behind.get(usize::from(length)..).ok_or(NameError::EmptyLabel)?;
                }
                Some((0, _)) | None => return Err(NameError::EmptyLabel),
                Some(_) => return Err(NameError::LongLabel),
            }
        }
    }

    /// The wire form, the root's octet included.
    #[must_use]
    pub fn wire(&self) -> &[u8] {
        &self.0
    }

    /// The lower-case form look-ups use.
    #[must_use]
    pub fn to_key(&self) -> Self {
        let mut key = self.clone();
        key.0.make_ascii_lowercase();
        key
    }

    /// This name below `parent`: `child` must be one label.
    ///
    /// # Errors
    /// [`NameError`] if the label or the name becomes too long.
    pub fn child(label: &[u8], parent: &Self) -> Result<Self, NameError> {
        let length = u8::try_from(label.len()).map_err(|_| NameError::LongLabel)?;
        let mut wire: SmallVec<[u8; 64]> = SmallVec::new();
        wire.push(length);
        wire.extend_from_slice(label);
        wire.extend_from_slice(parent.wire());
        Self::from_wire(&wire)
    }
}

fn escaped(bytes: &mut impl Iterator<Item = u8>) -> Result<u8, NameError> {
    let first = bytes.next().ok_or(NameError::BadEscape)?;
    if !first.is_ascii_digit() {
        return Ok(first);
    }
    let mut value = u16::from(first - b'0');
    for _ in 0..2 {
        let digit = bytes.next().filter(u8::is_ascii_digit).ok_or(NameError::BadEscape)?;
        value = value * 10 + u16::from(digit - b'0');
    }
    u8::try_from(value).map_err(|_| NameError::BadEscape)
}

/// Writes a name in wire form as text, with the dot at its end.
pub fn write_text(wire: &[u8], out: &mut impl fmt::Write) -> fmt::Result {
    let mut any = false;
    for label in labels(wire) {
        any = true;
        for &byte in label {
            match byte {
                b'.' | b'\\' | b'"' | b';' | b'(' | b')' | b'@' | b'$' => write!(out, "\\{}", char::from(byte))?,
                b'!'..=b'~' => out.write_char(char::from(byte))?,
                _ => write!(out, "\\{byte:03}")?,
            }
        }
        out.write_char('.')?;
    }
    if any { Ok(()) } else { out.write_char('.') }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_text(&self.0, f)
    }
}

impl fmt::Debug for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_text(&self.0, f)
    }
}

/// The labels from the first to the last before the root.
pub fn labels(wire: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut rest = wire;
    std::iter::from_fn(move || {
        let (&length, behind) = rest.split_first()?;
        if length == 0 {
            return None;
        }
        let (label, behind) = behind.split_at_checked(length.into())?;
        rest = behind;
        Some(label)
    })
}

/// The name without its first label; the root has none.
#[must_use]
pub fn parent(wire: &[u8]) -> Option<&[u8]> {
    match wire.first() {
        None | Some(0) => None,
        Some(&length) => wire.get(usize::from(length) + 1..),
    }
}

/// The name itself, then each of its parents, the root last.
pub fn suffixes(wire: &[u8]) -> impl Iterator<Item = &[u8]> {
    std::iter::successors(Some(wire), |wire| parent(wire))
}

/// True if `key` is `zone` or below it; both lower-case.
#[must_use]
pub fn is_within(key: &[u8], zone: &[u8]) -> bool {
    key.len() >= zone.len() && suffixes(key).any(|suffix| suffix == zone)
}

/// The name of an address in the reverse tree: `4.3.2.1.in-addr.arpa.` or 32 nibbles below `ip6.arpa.` (RFC 3596 section 2.5).
#[must_use]
pub fn reverse(address: std::net::IpAddr) -> Name {
    use fmt::Write;
    let mut text = String::with_capacity(80);
    // Writing to a String cannot fail, and the text is a name by its form.
    let _ = match address.to_canonical() {
        std::net::IpAddr::V4(address) => {
            let [a, b, c, d] = address.octets();
            write!(text, "{d}.{c}.{b}.{a}.in-addr.arpa.")
        }
        std::net::IpAddr::V6(address) => {
            let nibbles = address.octets().into_iter().rev().flat_map(|octet| [octet & 15, octet >> 4]);
            nibbles.into_iter().try_for_each(|nibble| write!(text, "{nibble:x}.")).and_then(|()| text.write_str("ip6.arpa."))
        }
    };
    Name::parse(&text, None).unwrap_or_else(|_| Name::root())
}

/// For the fuzzer and the replay of its inputs: what is a name, as text or on the wire, survives both forms; nothing panics.
#[doc(hidden)]
pub fn fuzz_name(data: &[u8]) {
    let both_ways = |name: &Name| {
        assert!(name.wire().len() <= NAME_BYTES_MAX);
        assert_eq!(Name::from_wire(name.wire()).as_ref(), Ok(name));
        assert_eq!(Name::parse(&name.to_string(), None).as_ref(), Ok(name));
        assert_eq!(suffixes(name.wire()).count(), labels(name.wire()).count() + 1);
    };
    let _ = Name::from_wire(data).as_ref().map(both_ways);
    if let Ok(text) = std::str::from_utf8(data)
        && let Ok(origin) = Name::absolute("example.org")
    {
        let _ = Name::parse(text, Some(&origin)).as_ref().map(both_ways);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn texts() {
        let origin = Name::parse("example.org.", None).unwrap();
        for (text, expected) in [
            ("@", Ok("example.org.")),
            (".", Ok(".")),
            ("mx", Ok("mx.example.org.")),
            ("Mx.Other.", Ok("Mx.Other.")),
            ("a\\.b", Ok("a\\.b.example.org.")),
            ("a\\032b.", Ok("a\\032b.")),
            ("a..b", Err(NameError::EmptyLabel)),
            (".a", Err(NameError::EmptyLabel)),
            ("a\\25", Err(NameError::BadEscape)),
            ("a\\256", Err(NameError::BadEscape)),
            ("", Err(NameError::EmptyLabel)),
        ] {
            assert_eq!(Name::parse(text, Some(&origin)).map(|name| name.to_string()), expected.map(str::to_owned), "{text}");
        }
        assert_eq!(Name::parse("a", None), Err(NameError::NoOrigin));
        assert_eq!(Name::parse(&"x".repeat(64), Some(&origin)), Err(NameError::LongLabel));
        assert_eq!(Name::parse(&"abc.".repeat(64), None), Err(NameError::LongName));
        assert!(Name::parse(&"abc.".repeat(63), None).is_ok());
    }

    #[test]
    fn trees() {
        let key = Name::absolute("a.b.c").unwrap();
        let zone = Name::absolute("b.c").unwrap();
        assert!(is_within(key.wire(), zone.wire()) && !is_within(zone.wire(), key.wire()));
        assert!(!is_within(Name::absolute("ab.c").unwrap().wire(), Name::absolute("b.c").unwrap().wire()));
        assert_eq!(reverse([192, 0, 2, 7].into()).to_string(), "7.2.0.192.in-addr.arpa.");
        let six = reverse("2001:db8::567:89ab".parse().unwrap()).to_string();
        assert_eq!(six, "b.a.9.8.7.6.5.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.8.b.d.0.1.0.0.2.ip6.arpa.");
    }

    proptest! {
        #[test]
        fn text_and_wire_agree(labels in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 1..20), 0..8)) {
            let mut wire = Vec::new();
            for label in &labels {
                wire.push(u8::try_from(label.len()).unwrap());
                wire.extend_from_slice(label);
            }
            wire.push(0);
            let name = Name::from_wire(&wire).unwrap();
            prop_assert_eq!(Name::parse(&name.to_string(), None).unwrap(), name);
        }

        #[test]
        fn any_bytes_are_harmless(wire in proptest::collection::vec(any::<u8>(), 0..300)) {
            let _ = Name::from_wire(&wire);
            let _ = (labels(&wire).count(), suffixes(&wire).count(), is_within(&wire, &[0]));
        }
    }
}
