//! Who may take a zone, tell about a newer version, or update it: by address, by key, or by both.

use crate::name::Name;
use ipnet::IpNet;
use std::net::IpAddr;
use std::str::FromStr;

/// One line of an access list: all that it names must fit.
///
/// Text: `192.0.2.0/24`, `2001:db8::1`, `key:NAME`, or both with a blank between; `any` is every address, `none` nobody.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AccessEntry {
    /// The addresses; `None`: any.
    pub network: Option<IpNet>,
    /// The key the message must be signed with, lower-case; `None`: none needed.
    pub key: Option<Name>,
    /// Fits nobody.
    pub nobody: bool,
}

impl FromStr for AccessEntry {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let mut entry = Self { network: None, key: None, nobody: false };
        let mut words = text.split_ascii_whitespace().peekable();
        if words.peek().is_none() {
            return Err("an empty entry; write a network, key:NAME, any or none".to_owned());
        }
        for word in words {
            if let Some(name) = word.strip_prefix("key:") {
                let name = Name::absolute(name).map_err(|error| format!("\"{name}\": {error}"))?;
                if entry.key.replace(name.to_key()).is_some() {
                    return Err(format!("\"{text}\" names two keys; a message has one"));
                }
            } else if word == "none" {
                entry.nobody = true;
            } else if word != "any" {
                let network = word.parse().or_else(|_| word.parse::<IpAddr>().map(IpNet::from));
                let network = network.map_err(|_| format!("\"{word}\" is no network, no address, and not key:NAME"))?;
                if entry.network.replace(network).is_some() {
                    return Err(format!("\"{text}\" names two networks; write two entries"));
                }
            }
        }
        Ok(entry)
    }
}

/// Entries; one that fits is enough. An empty list fits nobody.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AccessList(pub Vec<AccessEntry>);

impl AccessList {
    /// From the texts of a configuration.
    ///
    /// # Errors
    /// What is wrong with the first that is.
    pub fn parse<'t>(texts: impl IntoIterator<Item = &'t str>) -> Result<Self, String> {
        texts.into_iter().map(str::parse).collect::<Result<_, _>>().map(Self)
    }

    /// True if somebody at this address, having signed with this key (lower-case; `None`: not signed), may do it.
    #[must_use]
    pub fn permits(&self, address: IpAddr, key: Option<&Name>) -> bool {
        let address = address.to_canonical();
        self.0.iter().any(|entry| {
            !entry.nobody
                && entry.network.is_none_or(|network| network.contains(&address))
                && entry.key.as_ref().is_none_or(|needed| key == Some(needed))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_may() {
        let list = AccessList::parse(["192.0.2.0/24", "key:One.Example", "2001:db8::/32 key:two.example"]).unwrap();
        let (one, two, three) = ["one.example", "two.example", "three"].map(|text| Name::absolute(text).unwrap()).into();
        let may = |address: &str, key: Option<&Name>| list.permits(address.parse().unwrap(), key);
        assert!(may("192.0.2.7", None) && may("192.0.2.7", Some(&three)) && may("::ffff:192.0.2.7", None));
        assert!(may("203.0.113.1", Some(&one)) && !may("203.0.113.1", None) && !may("203.0.113.1", Some(&two)));
        assert!(may("2001:db8::1", Some(&two)) && !may("2001:db8::1", None) && !may("2001:db9::1", Some(&two)));
        assert!(!AccessList::default().permits([127, 0, 0, 1].into(), Some(&one)));
        assert!(AccessList::parse(["any"]).unwrap().permits([1, 2, 3, 4].into(), None));
        assert!(!AccessList::parse(["none"]).unwrap().permits([1, 2, 3, 4].into(), Some(&one)));
        for wrong in ["", "192.0.2.0/33", "key:a..b", "10.0.0.0/8 11.0.0.0/8", "key:a key:b", "x"] {
            assert!(wrong.parse::<AccessEntry>().is_err(), "{wrong}");
        }
    }
}
