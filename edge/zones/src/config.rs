//! What an administrator can set of zones and lists: the tables `[[dns.zone]]`, `[[dns.key]]` and `[[dns.block_list]]`. The doc comment of a
//! field is its manual.

use postring_dns::Name;
use postring_dns::list::ListKind;
use postring_dns::transfer::AccessList;
use postring_dns::tsig::Key;
use serde::{Deserialize, Serialize};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

/// `[[dns.zone]]`: a zone this server is in charge of, as its primary (from `file`) or as a secondary (from `primaries`).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ZoneConfig {
    /// Its apex.
    pub name: String,
    /// Its master file, relative to this file. Not with `primaries`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub file: Option<PathBuf>,
    /// Servers it is copied from, with port, asked in turn (AXFR, IXFR); they may also send NOTIFY. Not with `file`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub primaries: Vec<SocketAddr>,
    /// The `[[dns.key]]` our requests to `primaries` and our notifications are signed with. Default: none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
    /// Who may copy the zone (AXFR, IXFR): each entry a network ("192.0.2.0/24"), a key ("key:NAME"), or both with a blank between. Default:
    /// nobody.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub transfer_to: Vec<String>,
    /// Servers told of changes at once (NOTIFY), with port.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub notify: Vec<SocketAddr>,
    /// Keys that may change the zone (dynamic update, RFC 2136). Changes are kept in a journal; the file stays as it is. Default: none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub update_keys: Vec<String>,
    /// Sign it: "off", "nsec" or "nsec3". Keys are made at the first start and kept in the data folder; `postring dns zone list` shows the DS
    /// for the registrar. Default "off".
    #[serde(default)]
    pub dnssec: DnssecMode,
    /// The algorithm of new keys: "ecdsap256sha256" or "ed25519". Default "ecdsap256sha256", which every resolver knows.
    #[serde(default)]
    pub algorithm: SigningAlgorithm,
}

/// See [`ZoneConfig::dnssec`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum DnssecMode {
    /// Served as it is.
    #[default]
    Off,
    /// Signed; what is not there is proven by names.
    Nsec,
    /// Signed; what is not there is proven by hashes of names.
    Nsec3,
}

/// See [`ZoneConfig::algorithm`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SigningAlgorithm {
    /// ECDSA with P-256 and SHA-256 (13).
    #[default]
    EcdsaP256Sha256,
    /// Ed25519 (15).
    Ed25519,
}

/// `[[dns.key]]`: a secret shared with another server or a program (TSIG, RFC 8945).
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KeyConfig {
    /// Its name, the same at both ends.
    pub name: String,
    /// "hmac-sha256", "hmac-sha384" or "hmac-sha512". Default "hmac-sha256".
    #[serde(default = "hmac_sha256")]
    pub algorithm: String,
    /// The secret in base 64, as `tsig-keygen` prints it.
    pub secret: String,
}

fn hmac_sha256() -> String {
    "hmac-sha256".to_owned()
}

impl std::fmt::Debug for KeyConfig {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("KeyConfig").field("name", &self.name).field("algorithm", &self.algorithm).finish_non_exhaustive()
    }
}

impl KeyConfig {
    /// The key.
    ///
    /// # Errors
    /// One line: its name, and what is wrong.
    pub fn key(&self) -> Result<Key, String> {
        let text = format!("{}:{}:{}", self.algorithm, self.name, self.secret.trim());
        Key::parse(&text).map_err(|error| format!("dns.key: name = \"{}\": {error}", self.name))
    }
}

/// `[[dns.block_list]]`: a list in rbldnsd's format.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BlockListConfig {
    /// The zone it is served as.
    pub name: String,
    /// Its file, relative to this file; a list of several files is one after the other.
    pub file: Files,
    /// What it lists, rbldnsd's data set types: "ip4set", "ip4trie", "ip6tset", "ip6trie", "dnset", "combined" or "generic".
    pub kind: FileKind,
    /// Refuse SMTP clients it names, 554 5.7.1 at connect. Default true; a list of names refuses nobody.
    #[serde(default = "refuse")]
    pub refuse: bool,
    /// Who may copy it (AXFR), as for a zone. Default: nobody.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub transfer_to: Vec<String>,
}

fn refuse() -> bool {
    true
}

/// One file or several.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Files {
    /// One.
    One(PathBuf),
    /// Several, read in this order.
    Several(Vec<PathBuf>),
}

impl Files {
    /// All of them.
    #[must_use]
    pub fn paths(&self) -> &[PathBuf] {
        match self {
            Self::One(path) => std::slice::from_ref(path),
            Self::Several(paths) => paths,
        }
    }

    fn paths_mut(&mut self) -> &mut [PathBuf] {
        match self {
            Self::One(path) => std::slice::from_mut(path),
            Self::Several(paths) => paths,
        }
    }
}

/// See [`ListKind`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[allow(missing_docs)] // their names are rbldnsd's
pub enum FileKind {
    Ip4set,
    Ip4trie,
    Ip4tset,
    Ip6trie,
    Ip6tset,
    Dnset,
    Generic,
    Combined,
}

impl FileKind {
    /// The list's kind.
    #[must_use]
    pub fn kind(self) -> ListKind {
        match self {
            Self::Ip4set => ListKind::Ip4Set,
            Self::Ip4trie => ListKind::Ip4Trie,
            Self::Ip4tset => ListKind::Ip4TrivialSet,
            Self::Ip6trie => ListKind::Ip6Trie,
            Self::Ip6tset => ListKind::Ip6TrivialSet,
            Self::Dnset => ListKind::DnSet,
            Self::Generic => ListKind::Generic,
            Self::Combined => ListKind::Combined,
        }
    }

    /// True if it lists addresses: then it may refuse clients.
    #[must_use]
    pub fn lists_addresses(self) -> bool {
        !matches!(self, Self::Dnset | Self::Generic)
    }
}

/// Everything the keeper of zones needs to know; a part of `[dns]`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ZonesConfig {
    /// This host's name, for the template.
    pub hostname: String,
    /// `[[dns.zone]]`.
    pub zone: Vec<ZoneConfig>,
    /// `[[dns.key]]`.
    pub key: Vec<KeyConfig>,
    /// `[[dns.block_list]]`.
    pub block_list: Vec<BlockListConfig>,
    /// `dns.domain_zones`.
    pub domain_zones: bool,
    /// `dns.domain_template`.
    pub domain_template: Option<PathBuf>,
    /// `dns.name_servers`.
    pub name_servers: Vec<String>,
}

impl ZonesConfig {
    /// Names of the servers of the domains' zones: configured, or this host.
    #[must_use]
    pub fn name_servers(&self) -> Vec<String> {
        if self.name_servers.is_empty() { vec![self.hostname.clone()] } else { self.name_servers.clone() }
    }
}

/// Zones and lists of one configuration; the domains' zones come beside them.
const SERVICES_MAX: usize = 100_000;

/// Says what does not fit together.
///
/// # Errors
/// One line: the table, the name, and what would be right.
pub fn check(zones: &[ZoneConfig], keys: &[KeyConfig], lists: &[BlockListConfig]) -> Result<(), String> {
    if zones.len() + lists.len() > SERVICES_MAX {
        return Err(format!("dns.zone and dns.block_list: more than {SERVICES_MAX} in all"));
    }
    for key in keys {
        check_name("dns.key", &key.name)?;
        key.key()?;
    }
    let plain = |name: &str| name.trim_end_matches('.').to_ascii_lowercase();
    let known = |name: &str| keys.iter().any(|key| plain(&key.name) == plain(name));
    for zone in zones {
        check_name("dns.zone", &zone.name)?;
        let wrong = |text: &str| Err(format!("dns.zone: name = \"{}\": {text}", zone.name));
        match (&zone.file, zone.primaries.as_slice()) {
            (Some(_), [_, ..]) => return wrong("give `file` (a primary) or `primaries` (a secondary), not both"),
            (None, []) => return wrong("give `file` (the master file) or `primaries` (servers to copy it from)"),
            (None, [_, ..]) if !zone.update_keys.is_empty() => {
                return wrong("update_keys: a secondary cannot be changed; send the update to its primary");
            }
            (None, [_, ..]) if zone.dnssec != DnssecMode::Off => {
                return wrong("dnssec: a secondary serves the signatures of its primary");
            }
            _ => {}
        }
        let access = AccessList::parse(zone.transfer_to.iter().map(String::as_str));
        let access = access.or_else(|error| wrong(&format!("transfer_to: {error}")).map(|()| AccessList::default()))?;
        let keys = access.0.iter().filter_map(|entry| entry.key.as_ref()).map(ToString::to_string);
        let mut named = zone.key.iter().chain(&zone.update_keys).cloned().chain(keys);
        if let Some(missing) = named.find(|name| !known(name)) {
            return wrong(&format!("there is no [[dns.key]] named \"{missing}\""));
        }
    }
    for list in lists {
        check_name("dns.block_list", &list.name)?;
        let wrong = |text: &str| Err(format!("dns.block_list: name = \"{}\": {text}", list.name));
        if list.file.paths().is_empty() {
            return wrong("file is an empty list");
        }
        if let Err(error) = AccessList::parse(list.transfer_to.iter().map(String::as_str)) {
            return wrong(&format!("transfer_to: {error}"));
        }
    }
    Ok(())
}

fn check_name(key: &str, name: &str) -> Result<(), String> {
    Name::absolute(name).map(|_| ()).map_err(|error| format!("{key}: name = \"{name}\": {error}"))
}

/// Paths become those of `folder`.
pub fn make_absolute(zones: &mut [ZoneConfig], lists: &mut [BlockListConfig], folder: &Path) {
    for file in zones.iter_mut().filter_map(|zone| zone.file.as_mut()) {
        *file = folder.join(&*file);
    }
    for file in lists.iter_mut().flat_map(|list| list.file.paths_mut()) {
        *file = folder.join(&*file);
    }
}
