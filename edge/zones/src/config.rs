//! What an administrator can set of zones and lists: the tables `[[dns.zone]]`, `[[dns.key]]` and `[[dns.block_list]]`. The doc comment of a
//! field is its manual.

use base64::Engine;
use ipnet::IpNet;
use postring_dns::Name;
use postring_dns::list::ListKind;
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
    /// Networks that may copy the zone (AXFR, IXFR). With `transfer_keys` as well, a client must be in one of these and sign.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub transfer_to: Vec<IpNet>,
    /// Keys that may copy the zone. Default: none; without networks and keys nobody may.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub transfer_keys: Vec<String>,
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

/// Octets of a secret: RFC 8945 section 8 wants at least as many as the hash has, but shorter ones are in use.
const SECRET_BYTES: std::ops::RangeInclusive<usize> = 16..=256;

impl KeyConfig {
    /// The secret's octets.
    ///
    /// # Errors
    /// No base 64, or of a length nobody uses.
    pub fn secret_bytes(&self) -> Result<Vec<u8>, String> {
        let decoded = base64::engine::general_purpose::STANDARD.decode(self.secret.trim());
        let wrong = || format!("dns.key: name = \"{}\": the secret must be 16 to 256 octets in base 64", self.name);
        decoded.ok().filter(|secret| SECRET_BYTES.contains(&secret.len())).ok_or_else(wrong)
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
    /// Networks that may copy it (AXFR). Default: none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub transfer_to: Vec<IpNet>,
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
pub enum FileKind {
    /// IPv4 addresses, networks, ranges.
    Ip4set,
    /// Domain names.
    Dnset,
}

impl FileKind {
    /// The list's kind.
    #[must_use]
    pub fn kind(self) -> ListKind {
        match self {
            Self::Ip4set => ListKind::Ip4Set,
            Self::Dnset => ListKind::DnSet,
        }
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
        key.secret_bytes()?;
        if !["hmac-sha256", "hmac-sha384", "hmac-sha512"].contains(&key.algorithm.as_str()) {
            return Err(format!("dns.key: algorithm = \"{}\": give hmac-sha256, hmac-sha384 or hmac-sha512", key.algorithm));
        }
    }
    let known = |name: &str| keys.iter().any(|key| key.name.eq_ignore_ascii_case(name));
    for zone in zones {
        check_name("dns.zone", &zone.name)?;
        let wrong = |text: &str| Err(format!("dns.zone: name = \"{}\": {text}", zone.name));
        match (&zone.file, zone.primaries.as_slice()) {
            (Some(_), [_, ..]) => return wrong("give `file` (a primary) or `primaries` (a secondary), not both"),
            (None, []) => return wrong("give `file` (the master file) or `primaries` (servers to copy it from)"),
            (None, [_, ..]) if !zone.update_keys.is_empty() => return wrong("update_keys: a secondary cannot be changed; send the update to its primary"),
            (None, [_, ..]) if zone.dnssec != DnssecMode::Off => return wrong("dnssec: a secondary serves the signatures of its primary"),
            _ => {}
        }
        let mut named = zone.key.iter().chain(&zone.transfer_keys).chain(&zone.update_keys);
        if let Some(missing) = named.find(|name| !known(name)) {
            return wrong(&format!("there is no [[dns.key]] named \"{missing}\""));
        }
    }
    for list in lists {
        check_name("dns.block_list", &list.name)?;
        if list.file.paths().is_empty() {
            return Err(format!("dns.block_list: name = \"{}\": file is an empty list", list.name));
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
