//! Other software that is asked about mail: policy servers in Postfix's protocol, and milters.

use postring_mail::Reply;
use serde::{Deserialize, Serialize};
use std::net::SocketAddr;
use std::path::PathBuf;

/// Policy servers and milters there may be together: the counts have room for so many.
pub const HELPERS_MAX: usize = 8;
/// Octets of a socket's path: what the kernel has room for.
const PATH_BYTES_MAX: usize = 107;

/// `[[policy.delegate]]`: a policy server that is asked in Postfix's protocol (SMTPD_POLICY_README), like postgrey or policyd. Several are asked in
/// their order; OK ends it. On port 25 they are not asked about clients in `policy.trusted_networks`, nor about the postmaster as a recipient. HOLD,
/// REDIRECT and what else is not done here is taken as DUNNO, with a warning.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DelegateConfig {
    /// Where it listens: an address and port like 127.0.0.1:10023, or unix:/path. Nobody is asked for the address of a name.
    pub address: String,
    /// "recipient": it is asked for each recipient we would take (protocol_state=RCPT); "message": once, at the last dot (END-OF-MESSAGE).
    /// Default "recipient".
    #[serde(default = "at")]
    pub at: DelegateAt,
    /// Services it is asked for, of "smtp", "submission" and "lmtp". Default: smtp alone.
    #[serde(default = "services")]
    pub services: Vec<Service>,
    /// Milliseconds one question may take, with the connection and a wait for one to be free. Default 5000.
    #[serde(default = "delegate_timeout_ms")]
    pub timeout_ms: u64,
    /// What happens if it does not answer, or nothing that makes sense: "accept" as if it had not been asked, or "defer" with 451 4.7.1.
    /// Default "accept": nothing is refused because another program fails.
    #[serde(default = "on_failure")]
    pub on_failure: OnFailure,
    /// Ask, count and log, and do nothing about it. Default false.
    #[serde(default)]
    pub dry_run: bool,
    /// Connections to it at once, for one shard. Default 20.
    #[serde(default = "connections_max")]
    pub connections_max: usize,
    /// Failures one after the other (in one shard) from which on it is not asked for a while. Default 5.
    #[serde(default = "failures_max")]
    pub failures_max: u32,
    /// Seconds of that while; then one question tries again. Default 30.
    #[serde(default = "pause_seconds")]
    pub pause_seconds: u32,
}

/// `[[policy.milter]]`: a milter (Sendmail's protocol, version 2 to 6), like opendkim or clamav-milter, asked at the last dot with the envelope and
/// the message as it came. A recipient it refuses is refused alone where the client hears of each (PRDR, LMTP); else the message is. It may change
/// header fields, the body, the sender, and the recipients: one it adds must have a mailbox here, or the message be from a user or a trusted network;
/// what it wants and cannot have is a failure, and nothing of it is done. A message it wants put aside (quarantine) goes to the Junk folder; one it wants
/// thrown away (discard), or sent to nobody, is refused. Several are asked in their order, each sees what the one before has changed. The scan comes
/// after them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MilterConfig {
    /// Where it listens: an address and port like 127.0.0.1:8891, or unix:/path. Nobody is asked for the address of a name.
    pub address: String,
    /// Services whose mail it sees, of "smtp", "submission" and "lmtp". Default: smtp alone.
    #[serde(default = "services")]
    pub services: Vec<Service>,
    /// Milliseconds for each of its answers, and for the connection. Default 10000.
    #[serde(default = "milter_timeout_ms")]
    pub timeout_ms: u64,
    /// Milliseconds for all of a message, with a wait for a connection to be free. Default 60000: clients wait for the reply to the last dot for
    /// minutes (RFC 5321 section 4.5.3.2.6).
    #[serde(default = "total_ms")]
    pub total_ms: u64,
    /// What happens if it does not come to an end: "accept" without it, or "defer" with 451 4.7.1. Default "accept": nothing is refused because
    /// another program fails.
    #[serde(default = "on_failure")]
    pub on_failure: OnFailure,
    /// Ask, count and log, and do nothing about it: no change either. Default false.
    #[serde(default)]
    pub dry_run: bool,
    /// Connections to it at once, for one shard. Default 20.
    #[serde(default = "connections_max")]
    pub connections_max: usize,
    /// Failures one after the other (in one shard) from which on it is not asked for a while. Default 5.
    #[serde(default = "failures_max")]
    pub failures_max: u32,
    /// Seconds of that while; then one message tries again. Default 30.
    #[serde(default = "pause_seconds")]
    pub pause_seconds: u32,
}

/// See [`DelegateConfig::at`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum DelegateAt {
    /// At RCPT.
    Recipient,
    /// At the last dot.
    Message,
}

/// See [`DelegateConfig::services`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Service {
    /// Mail from other servers.
    Smtp,
    /// Mail from our users, whether TLS begins at once or by STARTTLS.
    Submission,
    /// What another server delivers to us.
    Lmtp,
}

impl Service {
    /// Its name, as it is told to those who are asked.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Smtp => "smtp",
            Self::Submission => "submission",
            Self::Lmtp => "lmtp",
        }
    }
}

/// See [`DelegateConfig::on_failure`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum OnFailure {
    /// As if it had not been asked.
    Accept,
    /// 451, the sender tries again.
    Defer,
}

impl OnFailure {
    /// The reply, if there is one.
    #[must_use]
    pub const fn reply(self) -> Option<Reply> {
        match self {
            Self::Accept => None,
            Self::Defer => Some(Reply::fixed(451, 7, 1, "The mail could not be checked now, try again later")),
        }
    }
}

fn at() -> DelegateAt {
    DelegateAt::Recipient
}

fn services() -> Vec<Service> {
    vec![Service::Smtp]
}

fn delegate_timeout_ms() -> u64 {
    5000
}

fn milter_timeout_ms() -> u64 {
    10_000
}

fn total_ms() -> u64 {
    60_000
}

fn on_failure() -> OnFailure {
    OnFailure::Accept
}

fn connections_max() -> usize {
    20
}

fn failures_max() -> u32 {
    5
}

fn pause_seconds() -> u32 {
    30
}

/// Where somebody listens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HelperAddress {
    /// An address and port.
    Tcp(SocketAddr),
    /// A socket in the file system.
    Unix(PathBuf),
}

impl HelperAddress {
    /// Reads what an administrator has written; `None` if it is neither.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        match text.strip_prefix("unix:") {
            Some(path) => {
                let is_path = path.starts_with('/') && path.len() <= PATH_BYTES_MAX && !path.chars().any(char::is_control);
                is_path.then(|| Self::Unix(path.into()))
            }
            None => text.parse().ok().filter(|address: &SocketAddr| address.port() != 0).map(Self::Tcp),
        }
    }
}

/// Says what cannot be of all of them.
///
/// # Errors
/// One line: the section, the address, and what would be right.
pub(crate) fn check(delegates: &[DelegateConfig], milters: &[MilterConfig]) -> Result<(), String> {
    if delegates.len() + milters.len() > HELPERS_MAX {
        let count = delegates.len() + milters.len();
        return Err(format!("policy.delegate and policy.milter: there are {count}; give at most {HELPERS_MAX} together"));
    }
    for (place, one) in delegates.iter().enumerate() {
        let wrong = |text: String| Err(format!("policy.delegate: address = \"{}\": {text}", one.address));
        if delegates.iter().take(place).any(|other| (&other.address, other.at) == (&one.address, one.at)) {
            return wrong("it is there twice; give each once".to_owned());
        }
        let numbers = (one.connections_max, one.failures_max, one.pause_seconds);
        check_one(&one.address, &one.services, &[("timeout_ms", one.timeout_ms)], numbers).or_else(wrong)?;
    }
    for (place, one) in milters.iter().enumerate() {
        let wrong = |text: String| Err(format!("policy.milter: address = \"{}\": {text}", one.address));
        if milters.iter().take(place).any(|other| other.address == one.address) {
            return wrong("it is there twice; give each once".to_owned());
        }
        let waits = [("timeout_ms", one.timeout_ms), ("total_ms", one.total_ms)];
        let numbers = (one.connections_max, one.failures_max, one.pause_seconds);
        check_one(&one.address, &one.services, &waits, numbers).or_else(wrong)?;
        if one.timeout_ms > one.total_ms {
            return wrong(format!("timeout_ms = {} <= total_ms = {} does not hold", one.timeout_ms, one.total_ms));
        }
    }
    Ok(())
}

fn check_one(
    address: &str,
    services: &[Service],
    waits: &[(&str, u64)],
    (connections_max, failures_max, pause_seconds): (usize, u32, u32),
) -> Result<(), String> {
    if HelperAddress::parse(address).is_none() {
        return Err("give an address and port like 127.0.0.1:10023, or unix:/path".to_owned());
    }
    if services.is_empty() {
        return Err("services: give at least one of \"smtp\", \"submission\" and \"lmtp\"".to_owned());
    }
    if let Some((key, value)) = waits.iter().find(|(_, value)| !(100..=300_000).contains(value)) {
        return Err(format!("{key} = {value}: give a number from 100 to 300000"));
    }
    if !(1..=1000).contains(&connections_max) {
        return Err(format!("connections_max = {connections_max}: give a number from 1 to 1000"));
    }
    if !(1..=1000).contains(&failures_max) {
        return Err(format!("failures_max = {failures_max}: give a number from 1 to 1000"));
    }
    if !(1..=3600).contains(&pause_seconds) {
        return Err(format!("pause_seconds = {pause_seconds}: give a number of seconds from 1 to 3600"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn delegate(rest: &str) -> DelegateConfig {
        serde_json::from_str(&format!(r#"{{ "address": "127.0.0.1:10023"{rest} }}"#)).unwrap()
    }

    fn milter(rest: &str) -> MilterConfig {
        serde_json::from_str(&format!(r#"{{ "address": "unix:/run/m.sock"{rest} }}"#)).unwrap()
    }

    #[test]
    fn addresses() {
        let tcp = |text: &str| Some(HelperAddress::Tcp(text.parse().unwrap()));
        assert_eq!(HelperAddress::parse("[::1]:10023"), tcp("[::1]:10023"));
        assert_eq!(HelperAddress::parse("unix:/run/m.sock"), Some(HelperAddress::Unix("/run/m.sock".into())));
        for bad in [
            "",
            "localhost:1",
            "127.0.0.1",
            "127.0.0.1:0",
            "unix:run/m",
            "unix:",
            "/run/m",
            &format!("unix:/{}", "x".repeat(107)),
        ] {
            assert_eq!(HelperAddress::parse(bad), None, "{bad}");
        }
    }

    #[test]
    fn defaults_fit_and_bad_values_are_named() {
        let plain = delegate("");
        assert_eq!((plain.at, plain.on_failure, plain.dry_run), (DelegateAt::Recipient, OnFailure::Accept, false));
        assert_eq!(check(&[plain.clone(), delegate(r#", "at": "message""#)], &[milter("")]), Ok(()));
        for (delegates, milters, expected) in [
            (vec![plain.clone(), plain.clone()], vec![], "policy.delegate: address = \"127.0.0.1:10023\": it is there twice"),
            (vec![], vec![milter(""), milter("")], "policy.milter: address = \"unix:/run/m.sock\": it is there twice"),
            (vec![delegate(r#", "timeout_ms": 1"#)], vec![], "timeout_ms = 1: give"),
            (vec![delegate(r#", "services": []"#)], vec![], "services: give"),
            (vec![delegate(r#", "failures_max": 0"#)], vec![], "failures_max = 0: give"),
            (vec![], vec![milter(r#", "pause_seconds": 0"#)], "pause_seconds = 0: give"),
            (vec![], vec![milter(r#", "connections_max": 0"#)], "connections_max = 0: give"),
            (vec![], vec![milter(r#", "total_ms": 9999"#)], "timeout_ms = 10000 <= total_ms = 9999"),
            (vec![plain.clone(); 9], vec![], "there are 9; give at most 8"),
        ] {
            let error = check(&delegates, &milters).unwrap_err();
            assert!(error.contains(expected) && !error.contains('\n'), "{error}");
        }
        assert!(serde_json::from_str::<MilterConfig>(r#"{ "address": "127.0.0.1:1", "at": "recipient" }"#).is_err());
    }

    #[test]
    fn a_failure_refuses_only_if_that_is_wanted() {
        assert_eq!(OnFailure::Accept.reply(), None);
        assert!(OnFailure::Defer.reply().is_some_and(|reply| reply.is_transient()));
    }
}
