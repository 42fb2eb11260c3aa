//! What an administrator can set of DNS. The doc comment of a field is its manual.

use ipnet::IpNet;
use postring_dns::list::{BlockList, ListKind};
use postring_dns::zone::{ZoneFileError, parse_zone};
use postring_dns::{Hosted, Name, Service};
use serde::{Deserialize, Serialize};
use std::io::Read;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};

/// Bytes of a zone or list file; more is somebody's mistake.
const FILE_BYTES_MAX: u64 = 1 << 30;

/// `[dns]`: what is served, and where to ask for the rest. All but `cache_mib` is taken by a reload.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct DnsConfig {
    /// Resolvers that are asked for what is not ours, with port. Default: those of /etc/resolv.conf.
    pub forwarders: Option<Vec<SocketAddr>>,
    /// Networks whose clients may ask for any name. Default: this machine alone; a resolver open to all is a weapon.
    pub recursion: Vec<IpNet>,
    /// MiB of answers kept, a shard. Default 32.
    pub cache_mib: usize,
    /// Answer for `localhost`, private reverse trees and the like ourselves (RFC 6303, RFC 6761) instead of asking outside. Default true;
    /// false if your own servers know the names of your private addresses.
    pub local_zones: bool,
    /// Zones served from master files, each a table: `[[dns.zone]]` with `name` and `file` (relative to this file).
    pub zone: Vec<ZoneConfig>,
    /// Block lists in rbldnsd's format, each a table: `[[dns.block_list]]` with `name` (the zone they are served as), `file`, `kind` (`ip4set`
    /// or `dnset`) and `refuse` (refuse SMTP clients it names; default true).
    pub block_list: Vec<BlockListConfig>,
    /// Names only this server knows, each a table: `[[dns.host]]` with `name` and `address`.
    pub host: Vec<HostConfig>,
}

/// A zone.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ZoneConfig {
    /// Its apex.
    pub name: String,
    /// Its master file.
    pub file: PathBuf,
}

/// A block list.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BlockListConfig {
    /// The zone it is served as.
    pub name: String,
    /// Its file.
    pub file: PathBuf,
    /// What it lists.
    pub kind: FileKind,
    /// Refuse SMTP clients it names, 554 5.7.1 at connect. Default true; a list of names refuses nobody.
    #[serde(default = "refuse")]
    pub refuse: bool,
}

fn refuse() -> bool {
    true
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

/// A static host.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HostConfig {
    /// Its name.
    pub name: String,
    /// Its address; a name with several stands several times.
    pub address: IpAddr,
}

impl Default for DnsConfig {
    fn default() -> Self {
        Self {
            forwarders: None,
            recursion: [(IpAddr::from([127, 0, 0, 0]), 8), (std::net::Ipv6Addr::LOCALHOST.into(), 128)]
                .into_iter()
                .filter_map(|(address, length)| IpNet::new(address, length).ok())
                .collect(),
            cache_mib: 32,
            local_zones: true,
            zone: Vec::new(),
            block_list: Vec::new(),
            host: Vec::new(),
        }
    }
}

impl DnsConfig {
    /// Says what does not fit together.
    ///
    /// # Errors
    /// One line: the key, its value, and what would be right.
    pub fn check(&self) -> Result<(), String> {
        if !(1..=65_536).contains(&self.cache_mib) {
            return Err(format!("dns.cache_mib = {}: give a number from 1 to 65536", self.cache_mib));
        }
        if self.forwarders.as_ref().is_some_and(|forwarders| forwarders.len() > 16) {
            return Err("dns.forwarders: give at most 16".to_owned());
        }
        let zones = self.zone.iter().map(|zone| ("dns.zone", &zone.name));
        let lists = self.block_list.iter().map(|list| ("dns.block_list", &list.name));
        let hosts = self.host.iter().map(|host| ("dns.host", &host.name));
        for (key, name) in zones.chain(lists).chain(hosts) {
            Name::absolute(name).map_err(|error| format!("{key}: name = \"{name}\": {error}"))?;
        }
        Ok(())
    }

    /// Paths become those of `folder`.
    pub fn make_absolute(&mut self, folder: &Path) {
        let files = self.zone.iter_mut().map(|zone| &mut zone.file).chain(self.block_list.iter_mut().map(|list| &mut list.file));
        files.for_each(|file| *file = folder.join(&*file));
    }

    /// The forwarders: configured, or the system's.
    #[must_use]
    pub fn forwarders(&self) -> Vec<SocketAddr> {
        match &self.forwarders {
            Some(forwarders) => forwarders.clone(),
            None => system_forwarders(&std::fs::read_to_string("/etc/resolv.conf").unwrap_or_default()),
        }
    }

    /// The block lists that refuse clients.
    #[must_use]
    pub fn refusing_lists(&self) -> Vec<Name> {
        let refusing = self.block_list.iter().filter(|list| list.refuse && list.kind == FileKind::Ip4set);
        refusing.filter_map(|list| Name::absolute(&list.name).ok()).collect()
    }

    /// The static hosts.
    #[must_use]
    pub fn hosts(&self) -> Vec<(Name, IpAddr)> {
        self.host.iter().filter_map(|host| Some((Name::absolute(&host.name).ok()?, host.address))).collect()
    }
}

/// `nameserver` lines (resolv.conf(5): three are used).
fn system_forwarders(text: &str) -> Vec<SocketAddr> {
    let address = |line: &str| {
        let mut words = line.split_ascii_whitespace();
        words.next().filter(|word| *word == "nameserver")?;
        words.next()?.parse::<IpAddr>().ok()
    };
    text.lines().filter_map(address).take(3).map(|address| SocketAddr::new(address, 53)).collect()
}

fn read(path: &Path) -> std::io::Result<String> {
    let mut text = String::new();
    std::fs::File::open(path)?.take(FILE_BYTES_MAX).read_to_string(&mut text)?;
    Ok(text)
}

fn load_each(
    config: &DnsConfig,
    mut each: impl FnMut(&Name, Result<Service, ZoneFileError>) -> Result<(), String>,
) -> Result<(), String> {
    let name = |text: &str| Name::absolute(text).map_err(|error| format!("\"{text}\": {error}"));
    for zone in &config.zone {
        let origin = name(&zone.name)?;
        each(&origin, parse_zone(&origin, &zone.file, &mut read).map(Service::Zone))?;
    }
    for list in &config.block_list {
        let origin = name(&list.name)?;
        let kind = match list.kind {
            FileKind::Ip4set => ListKind::Ip4Set,
            FileKind::Dnset => ListKind::DnSet,
        };
        each(&origin, BlockList::parse(&origin, kind, &list.file, &mut read).map(Service::List))?;
    }
    Ok(())
}

/// Reads all zones and lists.
///
/// # Errors
/// The first that is wrong, with file and line.
pub fn load(config: &DnsConfig) -> Result<Hosted, String> {
    let mut hosted = Hosted::default();
    load_each(config, |origin, service| hosted.add(origin, service.map_err(|error| error.to_string())?))?;
    Ok(hosted)
}

/// Reads what can be read, for a process that is started again while a file is broken: mail goes on, a broken zone says SERVFAIL. Gives what
/// is wrong.
#[must_use]
pub fn load_what_can_be(config: &DnsConfig) -> (Hosted, Vec<String>) {
    let (mut hosted, mut wrong) = (Hosted::default(), Vec::new());
    let result = load_each(config, |origin, service| {
        let service = service.unwrap_or_else(|error| {
            wrong.push(format!("{origin} is not served: {error}"));
            Service::Broken
        });
        hosted.add(origin, service)
    });
    wrong.extend(result.err());
    (hosted, wrong)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_systems_resolvers() {
        let text = "# x\nsearch a.b\nnameserver 192.0.2.1\n  nameserver ::1\nnameserver nonsense\nnameserver 192.0.2.2\nnameserver 192.0.2.3\n";
        let expected: Vec<SocketAddr> = ["192.0.2.1:53", "[::1]:53", "192.0.2.2:53"].map(|text| text.parse().unwrap()).into();
        assert_eq!(system_forwarders(text), expected);
    }

    #[test]
    fn recursion_is_for_this_machine_by_default() {
        let recursion = DnsConfig::default().recursion;
        assert_eq!(recursion.iter().map(ToString::to_string).collect::<Vec<_>>(), ["127.0.0.0/8", "::1/128"]);
    }
}
