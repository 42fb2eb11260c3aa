//! Which of many a name belongs to: names as certificates have them (RFC 6125, RFC 9525), asked by the server name of a client's greeting
//! (SNI, RFC 6066 section 3).
//!
//! Two tables, one for whole names and one for what stands behind a wildcard: a look-up is at most two hashes, however many names there are.

use std::collections::HashMap;

/// Octets of the longest name (RFC 1035 section 2.3.4), a dot at its end not counted.
const NAME_BYTES_MAX: usize = 253;
/// Octets of the longest label.
const LABEL_BYTES_MAX: usize = 63;

/// Something for each name, and one thing for all others.
#[derive(Clone, Debug)]
pub struct ByName<T> {
    default: T,
    whole: HashMap<Box<str>, T>,
    /// By what stands behind `*.`.
    wildcards: HashMap<Box<str>, T>,
}

impl<T> ByName<T> {
    /// No name yet: everybody gets `default`.
    #[must_use]
    pub fn new(default: T) -> Self {
        Self { default, whole: HashMap::new(), wildcards: HashMap::new() }
    }

    /// Adds a name, `mail.example.org` or `*.example.org`. The first thing a name was given stays.
    ///
    /// # Errors
    /// One line: the name is none, or has something already.
    pub fn add(&mut self, name: &str, thing: T) -> Result<(), String> {
        let plain = plain(name);
        if !is_pattern(&plain) {
            return Err(format!("\"{name}\" is no name of a certificate: give mail.example.org or *.example.org"));
        }
        let (table, key) = match plain.strip_prefix("*.") {
            Some(behind) => (&mut self.wildcards, behind),
            None => (&mut self.whole, plain.as_str()),
        };
        if table.contains_key(key) {
            return Err(format!("\"{name}\" has a certificate already"));
        }
        table.insert(key.into(), thing);
        Ok(())
    }

    /// What a name has; a whole name goes before a wildcard. No name, or one nobody knows: the default.
    ///
    /// Costs a copy of the name and at most two look-ups.
    //= RFC 6066 section 3
    //# If the server understood the ClientHello extension but
    //# does not recognize the server name, the server SHOULD take one of two
    //# actions: either abort the handshake by sending a fatal-level
    //# unrecognized_name(112) alert or continue the handshake.
    /// We continue: a mail server that asks for a name we do not know (the domain of the address, some alias of the MX) would send without
    /// TLS if we did not, which is worse.
    #[must_use]
    pub fn find(&self, name: Option<&str>) -> &T {
        let Some(name) = name.filter(|name| name.len() <= NAME_BYTES_MAX + 1) else { return &self.default };
        let name = plain(name);
        if let Some(thing) = self.whole.get(name.as_str()) {
            return thing;
        }
        //= RFC 6125 section 6.4.3
        //# If the wildcard character is the only character of the left-most
        //# label in the presented identifier, the client SHOULD NOT compare
        //# against anything but the left-most label of the reference
        //# identifier
        name.split_once('.')
            .filter(|(label, _)| !label.is_empty())
            .and_then(|(_, behind)| self.wildcards.get(behind))
            .unwrap_or(&self.default)
    }
}

/// Lower case, without a dot at the end.
fn plain(name: &str) -> String {
    name.strip_suffix('.').unwrap_or(name).to_ascii_lowercase()
}

/// True for what may stand in a certificate as a DNS name: a name, its left-most label a `*` or none.
//= RFC 6125 section 6.4.3
//# The client SHOULD NOT attempt to match a presented identifier in
//# which the wildcard character comprises a label other than the
//# left-most label
#[must_use]
pub fn is_pattern(name: &str) -> bool {
    let behind = name.strip_prefix("*.").unwrap_or(name);
    let is_label = |label: &str| {
        (1..=LABEL_BYTES_MAX).contains(&label.len())
            && !label.starts_with('-')
            && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_')
    };
    name.len() <= NAME_BYTES_MAX && behind.split('.').all(is_label)
}

/// True if a name of a certificate stands for `name`, which may itself be a wildcard: that is covered by the same wildcard alone.
#[must_use]
pub fn covers(pattern: &str, name: &str) -> bool {
    let (pattern, name) = (plain(pattern), plain(name));
    if pattern == name {
        return true;
    }
    let Some(behind) = pattern.strip_prefix("*.") else { return false };
    name.split_once('.').is_some_and(|(label, rest)| !label.is_empty() && label != "*" && rest == behind)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table() -> ByName<u8> {
        let mut names = ByName::new(0);
        for (name, number) in [("mail.example.org", 1), ("*.example.org", 2), ("*.sub.example.org.", 3), ("Example.NET", 4)] {
            names.add(name, number).unwrap();
        }
        names
    }

    #[test]
    fn a_name_gets_its_own_or_the_wildcards_or_the_default() {
        let names = table();
        for (name, expected) in [
            (Some("mail.example.org"), 1),
            (Some("MAIL.example.ORG."), 1),
            (Some("smtp.example.org"), 2),
            // One label, neither none nor two.
            (Some("example.org"), 0),
            (Some("a.b.example.org"), 0),
            (Some(".example.org"), 0),
            (Some("a.sub.example.org"), 3),
            // A wildcard covers the parent of another wildcard.
            (Some("sub.example.org"), 2),
            (Some("example.net"), 4),
            (Some("www.example.net"), 0),
            (Some("org"), 0),
            (Some(""), 0),
            (Some("."), 0),
            (None, 0),
        ] {
            assert_eq!(*names.find(name), expected, "{name:?}");
        }
        assert_eq!(*names.find(Some(&format!("{}.example.org", "a".repeat(300)))), 0);
    }

    #[test]
    fn what_is_no_name_is_said_and_the_first_stays() {
        let mut names = table();
        for bad in ["", "*", "*.", "f*.example.org", "a.*.org", "**.example.org", "a..b", "-a.org", "a b.org", "ä.org", "*.*.org"]
        {
            assert!(names.add(bad, 9).unwrap_err().contains("no name of a certificate"), "{bad}");
        }
        assert!(names.add(&"a.".repeat(127), 9).is_ok());
        assert!(names.add(&"a.".repeat(128), 9).is_err());
        for twice in ["MAIL.example.org", "*.EXAMPLE.org"] {
            assert!(names.add(twice, 9).unwrap_err().contains("already"), "{twice}");
        }
        assert_eq!(*names.find(Some("mail.example.org")), 1);
    }

    #[test]
    fn a_certificates_name_covers_what_it_says() {
        for (pattern, name, expected) in [
            ("mx.example.org", "MX.example.org", true),
            ("*.example.org", "mx.example.org", true),
            ("*.example.org", "*.example.org", true),
            ("*.example.org", "example.org", false),
            ("*.example.org", "a.b.example.org", false),
            ("*.org", "*.example.org", false),
            ("mx.example.org", "*.example.org", false),
        ] {
            assert_eq!(covers(pattern, name), expected, "{pattern} {name}");
        }
    }
}
