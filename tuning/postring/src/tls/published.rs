//! Whether the TLSA records a zone of ours publishes for this host are those of its key. Servers that heed them do not deliver to another
//! (RFC 7672 section 2.2), and nobody here would hear of it.

use crate::config::Config;
use postring_dns::record::rdata_text;
use postring_dns::{Name, Rtype};
use postring_zones::State;
use postring_zones::source::read_primary;
use postring_zones::template::is_within;

/// What is wrong, if anything is: of a zone from a file, which is the administrator's own. A zone of a domain is made with the right ones.
/// `records`: RDATA of our keys, the one in force first.
pub fn disagreement(config: &Config, records: &[String]) -> Option<String> {
    let hostname = config.server.hostname.trim_end_matches('.');
    let zones = config.dns.zone.iter().filter(|zone| zone.file.is_some() && is_within(hostname, &zone.name));
    // The closest one has the name, unless it is given away further down, which is not ours to know.
    let zone = zones.max_by_key(|zone| zone.name.trim_end_matches('.').len())?;
    let (own, owner) = (records.first()?, Name::absolute(&format!("_25._tcp.{hostname}")).ok()?);
    // A zone that cannot be read is somebody else's complaint.
    let read = read_primary(zone, &Name::absolute(&zone.name).ok()?, &State::new(&config.server.data), &mut |_| {}).ok()?;
    let is_its = |name: &[u8]| name.eq_ignore_ascii_case(owner.wire());
    let found = read.zone.records().filter(|record| record.rtype == Rtype::TLSA && is_its(record.owner));
    let found: Vec<String> = found.map(|record| rdata_text(record.rtype, record.rdata).to_string()).collect();
    judge(&found, own).then(|| {
        format!(
            "tls: the zone {} has TLSA records for _25._tcp.{hostname}, and none is of the key in force: servers that heed them hold their \
             mail back; add \"_25._tcp.{hostname}. IN TLSA {own}\", as `postring tls tlsa` prints it",
            zone.name.trim_end_matches('.')
        )
    })
}

/// True if there are records and ours is not among them. One of another kind (of an authority, of a whole certificate) may be right.
fn judge(found: &[String], own: &str) -> bool {
    let plain = |record: &String| record.split_whitespace().collect::<Vec<_>>().join(" ").to_ascii_lowercase();
    let found: Vec<String> = found.iter().map(plain).collect();
    let own = plain(&own.to_owned());
    !found.is_empty() && found.iter().all(|record| record.starts_with("3 1 1 ") && *record != own)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ours_must_be_among_them() {
        let judge = |found: &[&str]| judge(&found.iter().map(|record| (*record).to_owned()).collect::<Vec<_>>(), "3 1 1 0a0b");
        for (found, wrong) in [
            (&[][..], false),
            (&["3 1 1 0A0B"], false),
            (&["3 1 1 0A0C", "3  1 1 0a0b"], false),
            (&["3 1 1 0a0c"], true),
            (&["3 1 1 0a0c", "3 1 1 0a0d"], true),
            (&["3 1 1 0a0c", "2 1 1 0a0c"], false),
        ] {
            assert_eq!(judge(found), wrong, "{found:?}");
        }
    }
}
