//! `postring.toml`: one file for all roles, checked as a whole, every error one line that says where and what would be right.

use crate::tls::Tls;
use postring_control::Role;
use postring_edge::config::EdgeConfig;
use postring_policy::PolicyConfig;
use postring_scan::ScanConfig;
use postring_store::{SendConfig, StoreConfig};
use postring_transport::dns::DnsConfig;
use serde::{Deserialize, Serialize};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

/// The whole file.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    pub server: Server,
    #[serde(default)]
    pub users: Users,
    pub listen: Listen,
    #[serde(default)]
    pub tls: Tls,
    #[serde(default)]
    pub cores: Cores,
    #[serde(default)]
    pub edge: EdgeConfig,
    #[serde(default)]
    pub policy: PolicyConfig,
    #[serde(default)]
    pub scan: ScanConfig,
    #[serde(default)]
    pub store: StoreConfig,
    #[serde(default)]
    pub send: SendConfig,
    #[serde(default)]
    pub dns: DnsConfig,
}

/// `[server]`: who we are.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Server {
    /// This host's full name, as other servers see it in DNS; it stands in greetings, Received fields and file names.
    pub hostname: String,
    /// The data folder: mail, journals, directory, rules. Relative to this file. Default "data".
    #[serde(default = "data")]
    pub data: PathBuf,
}

fn data() -> PathBuf {
    "data".into()
}

/// `[users]`: what each process works as, and what it may touch.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Users {
    /// "auto": each process becomes its own user if `postring up` is started as root and the users exist. "required": it does not start
    /// otherwise. "off": all work as who starts it. Default "auto".
    pub mode: UsersMode,
    /// Who holds the connections: a name of /etc/passwd, or a number. Default "postring-edge".
    pub edge: String,
    /// Who judges mail. Default "postring-scan".
    pub scan: String,
    /// Who owns the mailboxes; the mail reader (Dovecot) works as this one too. Default "postring-store".
    pub store: String,
    /// Who owns the outbound queue. Default "postring-send".
    pub send: String,
    /// Have the kernel (Landlock, Linux 6.2) close everything but its own folders to each process, whoever it works as. A symbolic link
    /// in a mailbox or among the rules that leads elsewhere needs `false`; a bind mount does not. Default true.
    pub landlock: bool,
}

/// See [`Users::mode`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum UsersMode {
    Auto,
    Required,
    Off,
}

impl Default for Users {
    fn default() -> Self {
        let name = |role: Role| format!("postring-{role}");
        Self {
            mode: UsersMode::Auto,
            edge: name(Role::Edge),
            scan: name(Role::Scan),
            store: name(Role::Store),
            send: name(Role::Send),
            landlock: true,
        }
    }
}

impl Users {
    /// Every role with its user's name or number.
    pub fn names(&self) -> [(Role, &str); 4] {
        [(Role::Edge, &self.edge), (Role::Scan, &self.scan), (Role::Store, &self.store), (Role::Send, &self.send)]
    }

    fn check(&self) -> Result<(), String> {
        for (role, name) in self.names() {
            let number = name.parse::<u32>();
            let is_word = !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte));
            // The last number means "no change" to the kernel.
            if !is_word || name.starts_with('-') || name == "root" || number.is_ok_and(|uid| uid == 0 || uid == u32::MAX) {
                return Err(format!("users.{role} = \"{name}\": give the name or number of a user that is not root"));
            }
        }
        Ok(())
    }
}

/// `[listen]`: addresses and ports, a list each; an empty list serves nothing there.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Listen {
    /// Mail from other servers (RFC 5321), usually port 25.
    pub smtp: Vec<SocketAddr>,
    /// Mail from users with STARTTLS (RFC 6409), usually port 587.
    pub submission: Vec<SocketAddr>,
    /// Mail from users over TLS (RFC 8314), usually port 465.
    pub submissions: Vec<SocketAddr>,
    /// Delivery from another mail server (RFC 2033), usually port 24. Anybody who reaches it can deliver: keep it to loopback.
    pub lmtp: Vec<SocketAddr>,
    /// DNS, UDP and TCP, usually port 53: hosted zones and block lists for all, the resolver for `dns.recursion`.
    pub dns: Vec<SocketAddr>,
    /// Status page and metrics, read only. Keep it to loopback or an inner network.
    pub http: Vec<SocketAddr>,
}

/// `[cores]`: which role runs where; the length of a list is the number of shards or workers.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Cores {
    /// Shards that hold the connections. Default: chosen by the number of cores.
    pub edge: Option<Vec<usize>>,
    /// Scan workers. Default: chosen by the number of cores.
    pub scan: Option<Vec<usize>>,
    /// Shards that own mailboxes. Their number must stay as it is once there is mail in the journal. Default: one.
    pub store: Option<Vec<usize>>,
    /// Shards that send to other servers; an empty list sends nothing and refuses mail for elsewhere. Their number must stay as it is
    /// while mail is queued. Default: one.
    pub send: Option<Vec<usize>>,
}

impl Config {
    /// Reads and checks a file; paths become absolute.
    pub fn load(path: &Path) -> Result<Self, String> {
        let text = std::fs::read_to_string(path)
            .map_err(|error| format!("{}: {error}; `postring init --dir DIR --domain NAME` makes one", path.display()))?;
        let mut config = Self::parse(&text, &path.display().to_string())?;
        let folder = std::path::absolute(path).map_err(|error| error.to_string())?;
        let folder = folder.parent().unwrap_or(Path::new("/"));
        config.server.data = folder.join(&config.server.data);
        config.tls.make_absolute(folder);
        config.dns.make_absolute(folder);
        if let Some(list) = &mut config.policy.dmarc.suffix_list {
            *list = folder.join(&*list);
        }
        Ok(config)
    }

    /// Reads the files that are named, as far as nobody does it later who would have to go on without one.
    pub fn check_files(&self) -> Result<(), String> {
        self.dns.check_files()?;
        if let Some(list) = &self.policy.dmarc.suffix_list {
            postring_edge::read_suffixes(list).map_err(|error| format!("policy.dmarc.suffix_list: {error}"))?;
        }
        Ok(())
    }

    fn parse(text: &str, name: &str) -> Result<Self, String> {
        let config: Self = toml::from_str(text).map_err(|error| {
            let line = error.span().map_or(1, |span| line_of(text, span.start));
            format!("{name}:{line}: {}", error.message().replace('\n', "; "))
        })?;
        config.check().map_err(|error| {
            let line = place_of(text, &error);
            format!("{name}:{line}: {error}")
        })?;
        Ok(config)
    }

    fn check(&self) -> Result<(), String> {
        if !postring_mail::path::is_domain(&self.server.hostname) {
            return Err(format!(
                "server.hostname = \"{}\": give this host's full name, like mx.example.org",
                self.server.hostname
            ));
        }
        self.users.check()?;
        self.edge.check()?;
        self.policy.check()?;
        self.scan.check()?;
        self.store.check()?;
        self.send.check()?;
        self.dns.check()?;
        if let Some(list) = self.policy.dnsbl.iter().find(|list| self.dns.ttl.iter().any(|rule| rule.is_for(&list.zone))) {
            return Err(format!(
                "dns.ttl: zone = \"{}\" is a list of [[policy.dnsbl]]: give it ttl_min and ttl_max there instead",
                list.zone
            ));
        }
        self.tls.check()?;
        if self.tls.certificate.is_none() && !(self.listen.submission.is_empty() && self.listen.submissions.is_empty()) {
            return Err(
                "listen.submission and listen.submissions need tls.certificate and tls.key: nobody may log in without TLS"
                    .to_owned(),
            );
        }
        let mut seen = Vec::new();
        for (name, addresses) in self.listen.tcp() {
            for address in addresses {
                if seen.contains(address) && address.port() != 0 {
                    return Err(format!("listen.{name}: {address} is in use for another service of this file"));
                }
                seen.push(*address);
            }
        }
        let cores =
            [("edge", &self.cores.edge), ("scan", &self.cores.scan), ("store", &self.cores.store), ("send", &self.cores.send)];
        for (name, cores) in cores {
            let may_be_empty = name == "scan" || name == "send";
            if cores.as_ref().is_some_and(|cores| cores.len() > 64 || (cores.is_empty() && !may_be_empty)) {
                return Err(format!("cores.{name}: give a list of 1 to 64 core numbers"));
            }
        }
        Ok(())
    }
}

impl Listen {
    /// Every list with its key.
    pub fn tcp(&self) -> [(&'static str, &[SocketAddr]); 6] {
        [
            ("smtp", &self.smtp),
            ("submission", &self.submission),
            ("submissions", &self.submissions),
            ("lmtp", &self.lmtp),
            ("dns", &self.dns),
            ("http", &self.http),
        ]
    }
}

fn line_of(text: &str, offset: usize) -> usize {
    text.bytes().take(offset).filter(|byte| *byte == b'\n').count() + 1
}

/// The line of the first `section.key` an error names.
fn place_of(text: &str, error: &str) -> usize {
    let word = error.split(|c: char| !(c.is_ascii_alphanumeric() || c == '.' || c == '_')).find(|word| word.contains('.'));
    let Some((section, key)) = word.and_then(|word| word.split_once('.')) else { return 1 };
    let quoted = error.split('"').nth(1).filter(|value| !value.is_empty());
    let mut current = "";
    for (line, number) in text.lines().zip(1..) {
        let line = line.trim();
        // An entry of a list is found by the value the error quotes.
        if let Some(name) = line.strip_prefix("[[").and_then(|line| line.strip_suffix("]]")) {
            current = name;
        } else if let Some(name) = line.strip_prefix('[').and_then(|line| line.strip_suffix(']')) {
            current = name;
        } else if (current == section && line.split('=').next().is_some_and(|name| name.trim() == key))
            || (current.split_once('.') == Some((section, key)) && quoted.is_some_and(|value| line.contains(value)))
        {
            return number;
        }
    }
    1
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = "[server]\nhostname = \"mx.example.org\"\n\n[listen]\nsmtp = [\"127.0.0.1:2525\"]\n";

    #[test]
    fn errors_are_one_line_with_their_place() {
        assert!(Config::parse(GOOD, "f").is_ok());
        for (change, expected) in [
            ("[edge]\nmessage_bytes = 1\n", "f:7: unknown field `message_bytes`, expected one of `message_bytes_max`"),
            ("[edge]\nrecipients_max = \"many\"\n", "f:7: invalid type: string \"many\", expected usize"),
            ("[edge]\n\nrecipients_max = 0\n", "f:8: edge.recipients_max = 0: give a number from 1 to 100"),
            ("lmtp = [\"127.0.0.1:2525\"]\n", "f:6: listen.lmtp: 127.0.0.1:2525 is in use"),
            ("submission = [\"127.0.0.1:1\"]\n", "f:6: listen.submission"),
            (
                "[[dns.zone]]\nname = \"good.example\"\nfile = \"f\"\n[[dns.zone]]\nname = \"a..b\"\nfile = \"f\"\n",
                "f:10: dns.zone: name = \"a..b\"",
            ),
            ("[users]\nmode = \"required\"\nscan = \"0\"\n", "f:8: users.scan = \"0\": give the name or number of a user"),
            (
                "[[policy.dnsbl]]\nzone = \"bl.example\"\n[[dns.ttl]]\nzone = \"bl.example\"\n",
                "f:9: dns.ttl: zone = \"bl.example\" is a list of [[policy.dnsbl]]: give",
            ),
            ("[[dns.ttl]]\nzone = \"a.b\"\nmail_max = 1\n", "f:7: dns.ttl: zone = \"a.b\": mail_min is 900"),
            ("[tls]\nprofile = \"old\"\n", "f:7: unknown variant `old`, expected `modern` or `intermediate`"),
            ("[tls]\nkey = \"k\"\n", "tls.certificate and tls.key: give both or none"),
            (
                "[[tls.name]]\ncertificate = \"c\"\nkey = \"k\"\n",
                "tls.name: without tls.certificate and tls.key there is nothing",
            ),
            (
                "[tls]\ncertificate = \"c\"\nkey = \"k\"\n[[tls.name]]\nnames = [\"a.b\", \"*b.c\"]\ncertificate = \"c\"\nkey = \"k\"\n",
                "f:10: tls.name: names = \"*b.c\": give a name like",
            ),
            (
                "[tls]\ncertificate = \"c\"\nkey = \"k\"\n[[tls.name]]\nnames = [\"a.b\", \"A.B\"]\ncertificate = \"c\"\nkey = \"k\"\n",
                "f:10: tls.name: names = \"A.B\": it stands in two tables",
            ),
            ("[dns]\nnegative_entries = 1000000000\n", "f:7: dns.negative_entries = 1000000000: give"),
            ("[policy]\njunk_score = 1.0\n", "policy: mark_score 5 <= junk_score 1"),
        ] {
            let error = Config::parse(&format!("{GOOD}{change}"), "f").unwrap_err();
            assert!(error.contains(expected) && !error.contains('\n'), "{error}");
        }
    }
}
