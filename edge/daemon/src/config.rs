//! What an administrator can set of the edge, and what the supervisor hands to an edge process.
//!
//! The doc comment of a field is its manual: the reference is made from it.

use ipnet::IpNet;
use postring_mail::limits;
use postring_policy::PolicyConfig;
use postring_transport::dns::DnsConfig;
use postring_transport::tls::Material;
use serde::{Deserialize, Serialize};

/// `[edge]`: the SMTP front end. A reload takes the connection limits, the networks and `scan`; sizes, recipients and slots need a restart.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct EdgeConfig {
    /// Largest message taken, bytes (SIZE, RFC 1870). Default 35 MiB, at most 39 MiB: what hosters allow today; a slot of the
    /// arena must hold it.
    pub message_bytes_max: u64,
    /// Recipients of one message; more are answered 452 4.5.3. Default 100, at most 100: what RFC 5321 section 4.5.3.1.8 asks for.
    pub recipients_max: usize,
    /// Connections at once for one shard; more are answered 421 4.3.2. Default 40000.
    pub connections_max: usize,
    /// Connections at once from one address for one shard; more are answered 421 4.7.0. Default 100: a big sender opens
    /// tens, only an attacker or a test needs more. Those of `policy.trusted_networks` are not limited.
    pub connections_per_address_max: usize,
    /// The same from one network, of IPv4 a /24, of IPv6 a /64. Default 500. How often they may come: `[policy.limits]`.
    pub connections_per_network_max: usize,
    /// Networks of load balancers that begin each connection with a PROXY header (version 1 or 2): their clients are who it says, for
    /// limits, lists, SPF and trace. A connection from there without one is closed. Default: none.
    pub proxy_networks: Vec<IpNet>,
    /// Networks of SMTP proxies that may say for whom they speak with XCLIENT (Postfix's XCLIENT_README). Behind `proxy_networks` the
    /// client's own address counts. Default: none.
    pub xclient_networks: Vec<IpNet>,
    /// VRFY says whether an address lives here: to a stranger, as many as its errors and idle commands allow. Default false: 252, send it and see.
    /// EXPN, which would tell who is on a list, is not offered.
    pub vrfy: bool,
    /// A message with a bare CR or LF: "refuse" it (550 5.6.0), or "normalise": each becomes CR LF, once the message has ended by the one end there
    /// is, so that nothing can be smuggled in either way; its signatures most likely break. Default "refuse": what sends so is broken or means harm.
    pub bare_line_ends: BareLineEnds,
    /// Scan messages before the answer to the last dot. Default true. With false nothing is refused for its content.
    pub scan: bool,
    /// Slots for messages up to 60 KiB, a shard. Default 1024: memory is used only while a message is under way.
    pub slots_small: u32,
    /// Slots for messages up to 1 MiB, a shard. Default 64.
    pub slots_medium: u32,
    /// Slots for the largest messages, a shard. Default 8. When all are taken, further messages are answered 452.
    pub slots_large: u32,
}

/// See [`EdgeConfig::bare_line_ends`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum BareLineEnds {
    /// 550 5.6.0.
    Refuse,
    /// They become CR LF.
    Normalise,
}

impl Default for EdgeConfig {
    fn default() -> Self {
        Self {
            message_bytes_max: limits::MESSAGE_BYTES_DEFAULT,
            recipients_max: limits::RECIPIENTS_MAX,
            connections_max: limits::CONNECTIONS_PER_SHARD_MAX,
            connections_per_address_max: 100,
            connections_per_network_max: 500,
            proxy_networks: Vec::new(),
            xclient_networks: Vec::new(),
            vrfy: false,
            bare_line_ends: BareLineEnds::Refuse,
            scan: true,
            slots_small: 1024,
            slots_medium: 64,
            slots_large: 8,
        }
    }
}

impl EdgeConfig {
    /// Says what does not fit together.
    ///
    /// # Errors
    /// One line: the key, its value, and what would be right.
    pub fn check(&self) -> Result<(), String> {
        if !(64 * 1024..=limits::MESSAGE_BYTES_CEILING).contains(&self.message_bytes_max) {
            return Err(format!(
                "edge.message_bytes_max = {}: give a number of bytes from 65536 to {}",
                self.message_bytes_max,
                limits::MESSAGE_BYTES_CEILING
            ));
        }
        if !(1..=limits::RECIPIENTS_MAX).contains(&self.recipients_max) {
            return Err(format!(
                "edge.recipients_max = {}: give a number from 1 to {}",
                self.recipients_max,
                limits::RECIPIENTS_MAX
            ));
        }
        let of_one = self.connections_per_address_max.min(self.connections_per_network_max);
        if !(1..=limits::CONNECTIONS_PER_SHARD_MAX).contains(&self.connections_max) || of_one == 0 {
            return Err(format!(
                "edge.connections_max = {}, edge.connections_per_address_max = {}, edge.connections_per_network_max = {}: give numbers from 1 to {}",
                self.connections_max,
                self.connections_per_address_max,
                self.connections_per_network_max,
                limits::CONNECTIONS_PER_SHARD_MAX
            ));
        }
        let slots = [self.slots_small, self.slots_medium, self.slots_large];
        if slots.iter().any(|count| !(1..=65_536).contains(count)) {
            return Err("edge.slots_small, slots_medium, slots_large: give numbers from 1 to 65536".to_owned());
        }
        Ok(())
    }
}

/// What an edge process is launched and reloaded with: the parts of the configuration it needs.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct EdgeLaunch {
    /// `[edge]`.
    pub edge: EdgeConfig,
    /// `[policy]`.
    pub policy: PolicyConfig,
    /// `[dns]`.
    pub dns: DnsConfig,
    /// Number of scan workers planned; 0: no scanning.
    pub scan_workers: u32,
    /// Number of send shards planned.
    pub send_shards: u32,
    /// There are certificates; they come in a message of their own. Without: STARTTLS is not offered and submission does not work.
    pub tls: bool,
}

/// What an edge process gets of certificates and keys, in sealed memory: at its start, and when they have changed.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct TlsLaunch {
    /// For the listeners.
    pub material: Material,
    /// RDATA of the TLSA records of this host.
    pub tlsa: Vec<String>,
    /// When they may have changed last, seconds since 1970.
    pub tlsa_changed: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn defaults_fit_and_bad_values_are_named() {
        assert_eq!(EdgeConfig::default().check(), Ok(()));
        let bad = EdgeConfig { message_bytes_max: 1 << 40, ..EdgeConfig::default() };
        assert!(bad.check().unwrap_err().contains("message_bytes_max"));
    }
}
