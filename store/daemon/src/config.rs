//! What an administrator can set of the roles `store` and `send`. The doc comment of a field is its manual.

use postring_queue::QueueConfig;
use postring_transport::dns::DnsConfig;
use serde::{Deserialize, Serialize};

/// `[store]`: mailboxes and their journal.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct StoreConfig {
    /// Line ends of files in Maildirs: "lf" or "crlf". Default "lf": what Dovecot and Postfix write, and mutt, grep and procmail expect.
    pub line_ends: LineEnds,
    /// MiB of one segment of a shard's journal. Default 64; at least 48, so that the largest message fits. A shard keeps two or three.
    pub journal_segment_mib: u64,
    /// Segments a shard may have before it answers 452. Default 8.
    pub journal_segments_max: usize,
}

/// See [`StoreConfig::line_ends`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LineEnds {
    /// LF.
    Lf,
    /// CR LF, as on the wire.
    Crlf,
}

impl Default for StoreConfig {
    fn default() -> Self {
        Self { line_ends: LineEnds::Lf, journal_segment_mib: 64, journal_segments_max: 8 }
    }
}

impl StoreConfig {
    /// Says what does not fit together.
    ///
    /// # Errors
    /// One line: the key, its value, and what would be right.
    pub fn check(&self) -> Result<(), String> {
        if !(48..=4096).contains(&self.journal_segment_mib) {
            return Err(format!("store.journal_segment_mib = {}: give a number from 48 to 4096", self.journal_segment_mib));
        }
        if !(2..=1024).contains(&self.journal_segments_max) {
            return Err(format!("store.journal_segments_max = {}: give a number from 2 to 1024", self.journal_segments_max));
        }
        Ok(())
    }
}

/// `[send]`: mail to other servers. All of it is taken by a reload, but for the attempts under way.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SendConfig {
    /// A server that takes all mail for elsewhere, "host" or "host:port". Default: none, each domain's own mail hosts are asked for in DNS.
    pub relay: Option<String>,
    /// TLS to other servers: "opportunistic" (used if offered, RFC 7435), "required" or "never". Default "opportunistic": certificates of
    /// mail hosts can be verified with DANE or MTA-STS only.
    pub tls: TlsPolicy,
    /// Seconds until the first new attempt; doubled with every further one. Default 300: a greylist is over by then.
    pub retry_seconds_min: u64,
    /// Seconds between attempts at most. Default 14400 (4 hours).
    pub retry_seconds_max: u64,
    /// Seconds until mail is returned to its sender. Default 432000 (5 days): RFC 5321 section 4.5.4.1.
    pub lifetime_seconds: u64,
    /// Connections to other servers at once, a shard. Default 40.
    pub connections_max: usize,
    /// Connections to one domain at once, a shard. Default 4: more offends small servers.
    pub connections_per_domain_max: usize,
    /// Messages queued, a shard; more are answered 452. Default 100000.
    pub messages_max: usize,
    /// Port of other servers. Default 25; only a test wants another.
    pub port: u16,
    /// Send to addresses of this machine (127.0.0.0/8, ::1), too. Default false: a domain that names them would have us speak to ourselves.
    pub loopback: bool,
}

/// See [`SendConfig::tls`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum TlsPolicy {
    /// If offered; without, if the handshake fails.
    Opportunistic,
    /// Or no delivery.
    Required,
    /// Not, even if offered.
    Never,
}

impl Default for SendConfig {
    fn default() -> Self {
        Self {
            relay: None,
            tls: TlsPolicy::Opportunistic,
            retry_seconds_min: 300,
            retry_seconds_max: 14_400,
            lifetime_seconds: 432_000,
            connections_max: 40,
            connections_per_domain_max: 4,
            messages_max: 100_000,
            port: 25,
            loopback: false,
        }
    }
}

impl SendConfig {
    /// Says what does not fit together.
    ///
    /// # Errors
    /// One line: the key, its value, and what would be right.
    pub fn check(&self) -> Result<(), String> {
        if !(1..=self.retry_seconds_max).contains(&self.retry_seconds_min) || self.retry_seconds_max > self.lifetime_seconds {
            return Err(format!(
                "send.retry_seconds_min = {}: 1 <= retry_seconds_min <= retry_seconds_max ({}) <= lifetime_seconds ({}) must hold",
                self.retry_seconds_min, self.retry_seconds_max, self.lifetime_seconds
            ));
        }
        if self.lifetime_seconds > 30 * 86_400 {
            return Err(format!("send.lifetime_seconds = {}: 2592000 (30 days) is the most", self.lifetime_seconds));
        }
        if !(1..=1000).contains(&self.connections_max) || !(1..=self.connections_max).contains(&self.connections_per_domain_max) {
            return Err(format!(
                "send.connections_max = {}: give a number from 1 to 1000, and connections_per_domain_max ({}) not above it",
                self.connections_max, self.connections_per_domain_max
            ));
        }
        if !(1..=1_000_000).contains(&self.messages_max) {
            return Err(format!("send.messages_max = {}: give a number from 1 to 1000000", self.messages_max));
        }
        if self.port == 0 {
            return Err("send.port = 0: give the port of other servers, 25".to_owned());
        }
        if let Some(relay) = &self.relay {
            let (host, port) = self.relay_parts().ok_or_else(|| relay_error(relay))?;
            let is_literal = postring_mail::path::is_address_literal(&host);
            if port == 0 || !(is_literal || postring_mail::path::is_domain(&host)) {
                return Err(relay_error(relay));
            }
        }
        Ok(())
    }

    /// Host and port of the relay; an IP address as an address literal.
    #[must_use]
    pub fn relay_parts(&self) -> Option<(String, u16)> {
        let relay = self.relay.as_deref()?;
        if let Ok(address) = relay.parse::<std::net::SocketAddr>() {
            return Some((literal(address.ip()), address.port()));
        }
        if let Ok(address) = relay.parse::<std::net::IpAddr>() {
            return Some((literal(address), self.port));
        }
        match relay.rsplit_once(':') {
            Some((host, port)) => Some((host.to_owned(), port.parse().ok()?)),
            None => Some((relay.to_owned(), self.port)),
        }
    }

    /// What the queue needs of it.
    #[must_use]
    pub fn queue(&self) -> QueueConfig {
        QueueConfig {
            lifetime_us: self.lifetime_seconds.saturating_mul(1_000_000),
            retry_min_us: self.retry_seconds_min.saturating_mul(1_000_000),
            retry_max_us: self.retry_seconds_max.saturating_mul(1_000_000),
            messages_max: self.messages_max,
            attempts_max: self.connections_max,
            attempts_per_domain_max: self.connections_per_domain_max,
        }
    }
}

fn literal(address: std::net::IpAddr) -> String {
    match address {
        std::net::IpAddr::V4(address) => format!("[{address}]"),
        std::net::IpAddr::V6(address) => format!("[IPv6:{address}]"),
    }
}

fn relay_error(relay: &str) -> String {
    format!("send.relay = \"{relay}\": give \"host\" or \"host:port\", like \"smtp.example.net:25\"")
}

/// What a send process is launched and reloaded with.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct SendLaunch {
    /// `[send]`.
    pub send: SendConfig,
    /// `[dns]`: the sending machine asks through a resolver of its own.
    pub dns: DnsConfig,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn relays() {
        let parts = |relay: &str| {
            let config = SendConfig { relay: Some(relay.to_owned()), ..SendConfig::default() };
            (config.relay_parts(), config.check().is_ok())
        };
        let expected = |host: &str, port: u16| (Some((host.to_owned(), port)), true);
        assert_eq!(parts("smtp.example.net"), expected("smtp.example.net", 25));
        assert_eq!(parts("smtp.example.net:2525"), expected("smtp.example.net", 2525));
        assert_eq!(parts("192.0.2.1"), expected("[192.0.2.1]", 25));
        assert_eq!(parts("[2001:db8::1]:26"), expected("[IPv6:2001:db8::1]", 26));
        for bad in ["", "a b", "host:port", "host:0", "host:99999"] {
            assert!(!parts(bad).1, "{bad}");
        }
    }

    #[test]
    fn bad_values_are_named() {
        assert_eq!(SendConfig::default().check(), Ok(()));
        let bad = SendConfig { retry_seconds_min: 0, ..SendConfig::default() };
        assert!(bad.check().unwrap_err().contains("retry_seconds_min = 0"));
    }
}
