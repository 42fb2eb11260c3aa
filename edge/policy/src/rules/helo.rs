//! What can be said of a client's name for itself without asking anybody.

use super::Rule;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// The rule that a name in EHLO or HELO breaks, if any. `hostname` is our name; `own`, the address the client has connected to, is only asked for
/// if the client gives an address.
///
/// Cost: comparisons, no allocation.
#[must_use]
pub fn helo_rules(helo: &str, client: IpAddr, hostname: &str, own: impl FnOnce() -> Option<IpAddr>) -> Option<Rule> {
    let client = client.to_canonical();
    let name = helo.trim_end_matches('.');
    if name.eq_ignore_ascii_case(hostname) {
        return Some(Rule::HeloOwnName);
    }
    let literal = helo.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
    if let Some(address) = literal.and_then(address_literal) {
        return (address != client).then(|| address_of(address, own));
    }
    if let Ok(address) = name.parse::<IpAddr>() {
        return Some(if address == client { Rule::HeloAddress } else { address_of(address, own) });
    }
    let label = |label: &str| {
        !label.is_empty()
            && label.len() <= 63
            && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'))
    };
    let is_qualified = name.contains('.') && name.split('.').all(label);
    (!is_qualified).then_some(Rule::HeloNotQualified)
}

/// An address that is not the client's: ours, or another.
fn address_of(address: IpAddr, own: impl FnOnce() -> Option<IpAddr>) -> Rule {
    if own().is_some_and(|own| own.to_canonical() == address) { Rule::HeloOwnName } else { Rule::HeloAddress }
}

//= RFC 5321 section 4.1.3
//# IPv6-address-literal = "IPv6:" IPv6-addr
fn address_literal(text: &str) -> Option<IpAddr> {
    match text.get(..5).filter(|tag| tag.eq_ignore_ascii_case("IPv6:")) {
        Some(_) => text.get(5..)?.parse::<Ipv6Addr>().ok().map(|address| IpAddr::from(address).to_canonical()),
        None => text.parse::<Ipv4Addr>().ok().map(IpAddr::from),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_addresses() {
        use Rule::{HeloAddress, HeloNotQualified, HeloOwnName};
        for (helo, rule) in [
            ("mail.example.org", None),
            ("mail.example.org.", None),
            ("my_host.example.org", None),
            ("MX.example.net", Some(HeloOwnName)),
            ("[192.0.2.7]", None),
            ("[192.0.2.8]", Some(HeloAddress)),
            ("[198.51.100.1]", Some(HeloOwnName)),
            ("198.51.100.1", Some(HeloOwnName)),
            ("192.0.2.7", Some(HeloAddress)),
            ("2001:db8::1", Some(HeloAddress)),
            ("[IPv6:2001:db8::1]", Some(HeloAddress)),
            ("[ipv6:::ffff:192.0.2.7]", None),
            ("[2001:db8::1]", Some(HeloNotQualified)),
            ("localhost", Some(HeloNotQualified)),
            ("a..example", Some(HeloNotQualified)),
            ("a!b.example", Some(HeloNotQualified)),
            ("[", Some(HeloNotQualified)),
            ("", Some(HeloNotQualified)),
            (".", Some(HeloNotQualified)),
        ] {
            let found = helo_rules(helo, [192, 0, 2, 7].into(), "mx.example.net", || Some([198, 51, 100, 1].into()));
            assert_eq!(found, rule, "{helo}");
        }
    }
}
