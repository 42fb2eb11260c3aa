//! The reference of the configuration, made from the doc comments of the fields.

const DNS: &str = include_str!("../../../edge/transport/src/dns/config.rs");
const HELPERS: &str = include_str!("../../../edge/policy/src/helpers.rs");
const ZONES: &str = include_str!("../../../edge/zones/src/config.rs");

/// Each section with the source its fields stand in, and the type's name there.
const SECTIONS: &[(&str, &str, &str)] = &[
    ("server", include_str!("config.rs"), "pub struct Server "),
    ("users", include_str!("config.rs"), "pub struct Users "),
    ("listen", include_str!("config.rs"), "pub struct Listen "),
    ("tls", include_str!("tls/config.rs"), "pub struct Tls "),
    ("tls.acme", include_str!("acme/config.rs"), "pub struct Acme "),
    ("[tls.name]", include_str!("tls/config.rs"), "pub struct NameConfig "),
    ("cores", include_str!("config.rs"), "pub struct Cores "),
    ("edge", include_str!("../../../edge/daemon/src/config.rs"), "pub struct EdgeConfig "),
    ("policy", include_str!("../../../edge/policy/src/lib.rs"), "pub struct PolicyConfig "),
    ("[policy.dnsbl]", include_str!("../../../edge/policy/src/dnsbl/config.rs"), "pub struct DnsblConfig "),
    ("policy.rules", include_str!("../../../edge/policy/src/rules/mod.rs"), "pub struct RulesConfig "),
    ("policy.dkim", include_str!("../../../edge/policy/src/dkim.rs"), "pub struct DkimConfig "),
    ("policy.dmarc", include_str!("../../../edge/policy/src/dmarc.rs"), "pub struct DmarcConfig "),
    ("policy.dmarc.reports", include_str!("../../../edge/policy/src/dmarc_reports.rs"), "pub struct DmarcReportsConfig "),
    ("policy.greylist", include_str!("../../../edge/policy/src/memory/greylist.rs"), "pub struct GreylistConfig "),
    ("policy.reputation", include_str!("../../../edge/policy/src/memory/reputation.rs"), "pub struct ReputationConfig "),
    ("policy.limits", include_str!("../../../edge/policy/src/limits.rs"), "pub struct LimitsConfig "),
    ("[policy.delegate]", HELPERS, "pub struct DelegateConfig "),
    ("[policy.milter]", HELPERS, "pub struct MilterConfig "),
    ("policy.spf", include_str!("../../../edge/policy/src/spf.rs"), "pub struct SpfConfig "),
    ("scan", include_str!("../../../scan/daemon/src/config.rs"), "pub struct ScanConfig "),
    ("store", include_str!("../../../store/daemon/src/config.rs"), "pub struct StoreConfig "),
    ("send", include_str!("../../../store/daemon/src/config.rs"), "pub struct SendConfig "),
    ("dns", DNS, "pub struct DnsConfig "),
    ("dns.rate_limit", DNS, "pub struct RateLimitConfig "),
    ("[dns.ttl]", include_str!("../../../edge/transport/src/dns/ttl.rs"), "pub struct TtlConfig "),
    ("[dns.zone]", ZONES, "pub struct ZoneConfig "),
    ("[dns.key]", ZONES, "pub struct KeyConfig "),
    ("[dns.block_list]", ZONES, "pub struct BlockListConfig "),
    ("[dns.stub]", DNS, "pub struct ServersConfig "),
    ("[dns.forward]", DNS, "pub struct ServersConfig "),
    ("[dns.host]", DNS, "pub struct HostConfig "),
];

/// Every key with its meaning and default.
pub fn text() -> String {
    let mut out = String::from("# Every key of postring.toml.\n");
    for (section, source, start) in SECTIONS.iter() {
        out.push_str(&format!("\n[{section}]\n"));
        let body = source.split_once(start).and_then(|(_, rest)| rest.split_once("\n}")).map_or("", |(body, _)| body);
        for line in body.lines().map(str::trim) {
            if let Some(comment) = line.strip_prefix("///") {
                out.push_str(&format!("#{comment}\n"));
            } else if let Some((name, _)) = line.strip_prefix("pub ").and_then(|field| field.split_once(':')) {
                out.push_str(&format!("# {name} =\n\n"));
            }
        }
    }
    out
}

#[cfg(test)]
mod tests {
    #[test]
    fn every_section_has_its_keys() {
        let text = super::text();
        for key in [
            "hostname",
            "landlock",
            "smtp",
            "certificate",
            "submission_profile",
            "names",
            "edge",
            "message_bytes_max",
            "junk_score",
            "probe_interval",
            "softfail_points",
            "on_failure",
            "total_ms",
            "rules",
            "line_ends",
            "relay",
            "forwarders",
            "responses_per_second",
            "refuse",
            "negative_entries",
            "mail_negative_max",
        ] {
            assert!(text.contains(&format!("# {key} =")), "{key}");
        }
        assert!(text.contains("# Largest message taken, bytes (SIZE, RFC 1870)."));
    }
}
