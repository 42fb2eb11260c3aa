//! Does an address lie in a network?

use std::net::IpAddr;

/// Lengths of the prefixes of an `a` or `mx` term; whole addresses where none is given (RFC 7208 section 5.6).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Prefixes {
    pub(super) ip4: u8,
    pub(super) ip6: u8,
}

impl Prefixes {
    pub(super) const WHOLE: Self = Self { ip4: 32, ip6: 128 };
}

/// True if the addresses are of one family and have the first bits in common.
pub(super) fn is_in(client: IpAddr, network: IpAddr, prefixes: Prefixes) -> bool {
    match (client, network) {
        (IpAddr::V4(client), IpAddr::V4(network)) => {
            let differing = client.to_bits() ^ network.to_bits();
            differing.leading_zeros() >= u32::from(prefixes.ip4)
        }
        (IpAddr::V6(client), IpAddr::V6(network)) => {
            let differing = client.to_bits() ^ network.to_bits();
            differing.leading_zeros() >= u32::from(prefixes.ip6)
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_bits_count() {
        let is_in = |client: &str, network: &str, ip4, ip6| {
            is_in(client.parse().unwrap(), network.parse().unwrap(), Prefixes { ip4, ip6 })
        };
        assert!(is_in("192.0.2.130", "192.0.2.129", 30, 128));
        assert!(!is_in("192.0.2.132", "192.0.2.129", 30, 128));
        assert!(is_in("192.0.2.1", "203.0.113.1", 0, 128));
        assert!(!is_in("192.0.2.1", "192.0.2.2", 32, 0));
        assert!(is_in("2001:db8::1", "2001:db8::ffff", 32, 112));
        assert!(!is_in("2001:db8::1", "2001:db8::1:0", 32, 112));
        assert!(!is_in("2001:db8::1", "192.0.2.1", 0, 0));
    }
}
