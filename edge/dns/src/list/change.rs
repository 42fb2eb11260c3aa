//! What an administrator changes of a list by command: `postring block add|del|import`.

use super::syntax::{a_value, ip4_range, ip6_prefix};
use crate::name::Name;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Which names an entry speaks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Scope {
    /// The name itself.
    Own,
    /// All names below it.
    Below,
}

/// What an entry speaks for.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Key {
    /// An IPv4 network: first address, prefix length 0 to 32; bits behind the prefix are not set.
    Ip4(u32, u8),
    /// An IPv6 network: first address, prefix length 0 to 128.
    Ip6(u128, u8),
    /// A name, lower-case, in wire form.
    Name(Box<[u8]>, Scope),
}

/// What is said of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It is listed; what an A query gets.
    Listed(Ipv4Addr),
    /// It is not listed, whatever the list's file says.
    Hidden,
}

/// One entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// What it speaks for.
    pub key: Key,
    /// What it says.
    pub verdict: Verdict,
    /// What a TXT query gets, as it is; empty: nothing. At most [`TEXT_BYTES_MAX`] octets.
    pub text: Box<str>,
    /// When it ends to hold, seconds since 1970; 0: never.
    pub expires: u64,
    /// When it was made, seconds since 1970.
    pub made: u64,
    /// Who made it.
    pub by: Box<str>,
    /// Why.
    pub why: Box<str>,
}

/// A change of a list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// The entry holds from now on, instead of an earlier one for the same.
    Put(Entry),
    /// What was said of it by command is forgotten: the list's file holds again.
    Forget(Key),
}

/// Octets of a text, and of who and why.
pub const TEXT_BYTES_MAX: usize = 255;
/// Networks one written range is cut into at most: two for each bit.
const PIECES_MAX: usize = 64;

impl Entry {
    /// True if it does not hold any more.
    #[must_use]
    pub fn is_expired(&self, now: u64) -> bool {
        self.expires != 0 && self.expires <= now
    }

    /// Seconds an answer may be kept: not longer than the entry holds.
    pub(super) fn ttl(&self, ttl: u32, now: u64) -> u32 {
        match self.expires {
            0 => ttl,
            expires => u32::try_from(expires.saturating_sub(now)).unwrap_or(u32::MAX).clamp(1, ttl.max(1)),
        }
    }
}

impl Key {
    /// A single address.
    #[must_use]
    pub fn address(address: IpAddr) -> Self {
        match address.to_canonical() {
            IpAddr::V4(address) => Self::Ip4(address.to_bits(), 32),
            IpAddr::V6(address) => Self::Ip6(address.to_bits(), 128),
        }
    }

    /// Reads what a person writes: an address, a network or a range of IPv4 as in `ip4set` (a range is several networks), an address or
    /// a prefix of IPv6, else a name: `name`, `*.name` (all below it) or `.name` (both).
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn parse(text: &str) -> Result<Vec<Self>, String> {
        let bad = |error: &str| format!("\"{text}\" {error}");
        if text.contains(':') {
            let (first, length) = ip6_prefix(text.as_bytes()).map_err(bad)?;
            return Ok(vec![Self::Ip6(first, u8::try_from(length).unwrap_or(128))]);
        }
        if text.bytes().all(|byte| byte.is_ascii_digit() || matches!(byte, b'.' | b'/' | b'-')) {
            let (first, last) = ip4_range(text.as_bytes()).map_err(bad)?;
            return Ok(networks(first, last));
        }
        let (name, scopes): (&str, &[Scope]) = match (text.strip_prefix("*."), text.strip_prefix('.')) {
            (Some(name), _) => (name, &[Scope::Below]),
            (_, Some(name)) => (name, &[Scope::Own, Scope::Below]),
            _ => (text, &[Scope::Own]),
        };
        let name = Name::absolute(name).map_err(|error| bad(&format!(": {error}")))?;
        if name == Name::root() {
            return Err(bad("would be all names"));
        }
        Ok(scopes.iter().map(|scope| Self::Name(name.to_key().wire().into(), *scope)).collect())
    }

    /// True for what one of the constructors could have made: the prefix fits, no bits behind it, a lower-case name.
    pub(super) fn is_sound(&self) -> bool {
        match self {
            Self::Ip4(network, length) => *length <= 32 && network & u32::MAX.checked_shr((*length).into()).unwrap_or(0) == 0,
            Self::Ip6(network, length) => *length <= 128 && network & u128::MAX.checked_shr((*length).into()).unwrap_or(0) == 0,
            Self::Name(name, _) => name.len() > 1 && Name::from_wire(name).is_ok_and(|name| name == name.to_key()),
        }
    }
}

/// The fewest networks that are the range together.
fn networks(first: u32, last: u32) -> Vec<Key> {
    let mut networks = Vec::new();
    let (mut from, last) = (u64::from(first), u64::from(last));
    while from <= last && networks.len() < PIECES_MAX {
        // The largest block that begins here and ends within.
        let aligned = if from == 0 { 32 } else { from.trailing_zeros().min(32) };
        let bits = aligned.min((last - from + 1).ilog2());
        networks.push(Key::Ip4(u32::try_from(from).unwrap_or(u32::MAX), 32 - u8::try_from(bits).unwrap_or(0)));
        from += 1 << bits;
    }
    networks
}

/// `192.0.2.1`, `192.0.2.0/24`, `2001:db8::/32`, `name.example`, `*.name.example`.
impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ip4(address, 32) => write!(f, "{}", Ipv4Addr::from_bits(*address)),
            Self::Ip4(network, length) => write!(f, "{}/{length}", Ipv4Addr::from_bits(*network)),
            Self::Ip6(address, 128) => write!(f, "{}", plain_ip6(*address)),
            Self::Ip6(network, length) => write!(f, "{}/{length}", plain_ip6(*network)),
            Self::Name(name, scope) => {
                let mut text = String::new();
                crate::name::write_text(name, &mut text)?;
                let text = text.strip_suffix('.').unwrap_or(&text);
                match (scope, text.strip_prefix('*')) {
                    (Scope::Below, _) => write!(f, "*.{text}"),
                    // A label that is a star, not the sign for what is below.
                    (Scope::Own, Some(rest)) => write!(f, "\\042{rest}"),
                    (Scope::Own, None) => f.write_str(text),
                }
            }
        }
    }
}

/// Without the form `::ffff:192.0.2.1`, which the reader of prefixes does not take.
fn plain_ip6(bits: u128) -> String {
    let address = Ipv6Addr::from_bits(bits);
    let text = address.to_string();
    if text.contains('.') { address.segments().map(|word| format!("{word:x}")).join(":") } else { text }
}

/// Reads the address to answer with: `127.0.0.2`, or `2` for that.
///
/// # Errors
/// It is none.
pub(super) fn answer_address(text: &str) -> Result<Ipv4Addr, String> {
    a_value(text.as_bytes()).map(Ipv4Addr::from).ok_or_else(|| format!("\"{text}\" is no IPv4 address to answer with"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_as_people_write_them() {
        let keys = |text: &str| Key::parse(text).map(|keys| keys.iter().map(ToString::to_string).collect::<Vec<_>>().join(" "));
        for (text, expected) in [
            ("192.0.2.1", "192.0.2.1"),
            ("192.0.2.0/24", "192.0.2.0/24"),
            ("192.0.2", "192.0.2.0/24"),
            ("192.0.2.1-4", "192.0.2.1 192.0.2.2/31 192.0.2.4"),
            ("0.0.0.0-255.255.255.255", "0.0.0.0/0"),
            ("2001:db8::/32", "2001:db8::/32"),
            ("2001:DB8::1", "2001:db8::1"),
            ("::ffff:c000:201", "0:0:0:0:0:ffff:c000:201"),
            ("Name.Example", "name.example"),
            ("*.name.example.", "*.name.example"),
            (".name.example", "name.example *.name.example"),
            ("a\\.b", "a\\.b"),
            ("\\*.b", "\\042.b"),
        ] {
            assert_eq!(keys(text).as_deref(), Ok(expected), "{text}");
            for key in Key::parse(text).unwrap() {
                assert!(key.is_sound());
                assert_eq!(Key::parse(&key.to_string()), Ok(vec![key]));
            }
        }
        for text in ["192.0.2.1/24", "1.2.3.4.5", "2001:db8::1/32", "a..b", ".", "", "*."] {
            assert!(Key::parse(text).is_err(), "{text}");
        }
    }
}
