//! Where the tree begins: the thirteen root servers (RFC 9609: hints to ask the root itself who serves it).

use std::net::{IpAddr, SocketAddr};

/// Addresses as IANA publishes them in named.root, of 2026. An old list still works as long as one of them does.
const ROOT_SERVERS: &[(&str, &str, &str)] = &[
    ("a.root-servers.net", "198.41.0.4", "2001:503:ba3e::2:30"),
    ("b.root-servers.net", "170.247.170.2", "2801:1b8:10::b"),
    ("c.root-servers.net", "192.33.4.12", "2001:500:2::c"),
    ("d.root-servers.net", "199.7.91.13", "2001:500:2d::d"),
    ("e.root-servers.net", "192.203.230.10", "2001:500:a8::e"),
    ("f.root-servers.net", "192.5.5.241", "2001:500:2f::f"),
    ("g.root-servers.net", "192.112.36.4", "2001:500:12::d0d"),
    ("h.root-servers.net", "198.97.190.53", "2001:500:1::53"),
    ("i.root-servers.net", "192.36.148.17", "2001:7fe::53"),
    ("j.root-servers.net", "192.58.128.30", "2001:503:c27::2:30"),
    ("k.root-servers.net", "193.0.14.129", "2001:7fd::1"),
    ("l.root-servers.net", "199.7.83.42", "2001:500:9f::42"),
    ("m.root-servers.net", "202.12.27.33", "2001:dc3::35"),
];
/// Addresses taken from a hints file; there are 26.
const HINTS_MAX: usize = 64;

/// The addresses built in, with the port of DNS.
#[must_use]
pub fn built_in_hints() -> Vec<SocketAddr> {
    let texts = ROOT_SERVERS.iter().flat_map(|(_, four, six)| [*four, *six]);
    texts.filter_map(|text| Some(SocketAddr::new(text.parse().ok()?, 53))).collect()
}

/// The addresses of a hints file in the form of IANA's named.root: lines `NAME TTL A ADDRESS` and `AAAA`; the others say who they belong to.
///
/// # Errors
/// The line (from 1) and what is wrong with it.
pub fn parse_hints(text: &str) -> Result<Vec<SocketAddr>, (usize, String)> {
    let mut hints = Vec::new();
    for (number, line) in text.lines().enumerate() {
        let line = line.split(';').next().unwrap_or_default();
        let words: Vec<&str> = line.split_ascii_whitespace().collect();
        let [.., rtype, address] = words[..] else { continue };
        if !rtype.eq_ignore_ascii_case("A") && !rtype.eq_ignore_ascii_case("AAAA") {
            continue;
        }
        let address: IpAddr = address.parse().map_err(|_| (number + 1, format!("\"{address}\" is no address")))?;
        if hints.len() < HINTS_MAX {
            hints.push(SocketAddr::new(address, 53));
        }
    }
    if hints.is_empty() { Err((text.lines().count(), "there is no address in it".to_owned())) } else { Ok(hints) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hints() {
        assert_eq!(built_in_hints().len(), 26);
        let text =
            "; comment\n. 3600000 NS A.ROOT-SERVERS.NET.\nA.ROOT-SERVERS.NET. 3600000 A 198.41.0.4\na 1 IN AAAA ::1 ; here\n";
        let expected: Vec<SocketAddr> = ["198.41.0.4:53", "[::1]:53"].map(|text| text.parse().unwrap()).into();
        assert_eq!(parse_hints(text), Ok(expected));
        assert_eq!(parse_hints("\na 1 A b\n"), Err((2, "\"b\" is no address".to_owned())));
        assert!(parse_hints("").is_err());
    }
}
