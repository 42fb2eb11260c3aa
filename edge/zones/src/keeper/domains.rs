//! The zones of the directory's domains, made from the template.

use super::Keeper;
use super::kept::{Kept, Kind};
use crate::config::ZonesConfig;
use crate::template::{self, Words};
use postring_dns::zone::parse_zone;
use postring_dns::{Name, Service};
use std::path::Path;
use std::sync::Arc;
use std::time::UNIX_EPOCH;

impl Keeper {
    /// Makes the zones of the directory's domains that are new or have changed, and takes away those that are gone.
    pub(super) fn make_domains(&mut self) {
        let Some(snapshot) = self.snapshot.clone().filter(|_| self.config.domain_zones) else {
            let domains = self.kept.values().filter(|kept| matches!(kept.kind, Kind::Domain { .. }));
            for origin in domains.map(|kept| kept.origin.clone()).collect::<Vec<_>>() {
                self.remove(&origin);
            }
            return;
        };
        let changed_template =
            self.config.domain_template.as_deref().and_then(|path| std::fs::metadata(path).ok()?.modified().ok());
        let changed_template =
            changed_template.and_then(|time| time.duration_since(UNIX_EPOCH).ok()).map_or(0, |time| time.as_secs());
        let (mut seen, mut made) = (std::collections::BTreeSet::new(), 0_usize);
        for domain in snapshot.domains() {
            let Ok(origin) = Name::absolute(domain.name).map(|name| name.to_key()) else { continue };
            if self.kept.get(&origin).is_some_and(|kept| !matches!(kept.kind, Kind::Domain { .. })) {
                // The administrator's own file says more.
                continue;
            }
            let dkim: Vec<(String, String)> =
                domain.dkim_keys().map(|(selector, record)| (selector.to_owned(), record.to_owned())).collect();
            // Of the one domain this host is in.
            let is_ours = template::is_within(&self.config.hostname, domain.name);
            let (tlsa, changed_tlsa) = if is_ours { self.tlsa.clone() } else { (Vec::new(), 0) };
            let within = |(name, _): &&(String, String)| template::is_within(name, domain.name);
            let challenges: Vec<(String, String)> = self.challenges.iter().filter(within).cloned().collect();
            let had = match self.kept.get(&origin).map(|kept| &kept.kind) {
                Some(Kind::Domain { serial, challenges: had, .. }) if *had == challenges => u64::from(*serial),
                Some(_) => self.challenges_changed,
                None => 0,
            };
            // A zone that has changed once for a challenge does not become older again.
            let changed = domain.changed.max(changed_template).max(changed_tlsa).max(had);
            let serial = u32::try_from(changed & 0xffff_ffff).unwrap_or(1).max(1);
            let kind = Kind::Domain { serial, dkim, tlsa, challenges };
            seen.insert(origin.clone());
            if self.kept.get(&origin).is_some_and(|kept| kept.kind == kind && kept.error.is_none()) {
                continue;
            }
            let Kind::Domain { dkim, tlsa, challenges, .. } = &kind else { continue };
            let words = Words {
                domain: domain.name,
                hostname: &self.config.hostname,
                serial,
                name_servers: &self.config.name_servers(),
                dkim,
                tlsa,
                challenges,
            };
            let zone = template::fill(&self.template, &words).and_then(|text| {
                parse_zone(&origin, Path::new("the template"), &mut |_| Ok(text.clone())).map_err(|error| error.to_string())
            });
            match zone {
                Ok(zone) => {
                    let kept = Kept::new(&origin, kind, Arc::new(Service::Zone(zone)));
                    self.put(kept);
                    made += 1;
                }
                Err(error) => tracing::error!("the zone of the domain {}: {error}", domain.name),
            }
        }
        let domains = self.kept.values().filter(|kept| matches!(kept.kind, Kind::Domain { .. }) && !seen.contains(&kept.origin));
        for origin in domains.map(|kept| kept.origin.clone()).collect::<Vec<_>>() {
            self.remove(&origin);
        }
        if made > 0 {
            tracing::info!("zones of {made} domains of the directory are made");
        }
    }
}

/// A template must give a zone; tried with a domain nobody has.
pub(super) fn check_template(template: &str, config: &ZonesConfig) -> Result<(), String> {
    let place = config.domain_template.as_ref().map_or_else(|| "the template".to_owned(), |path| path.display().to_string());
    let name_servers = config.name_servers();
    let dkim = [("selector".to_owned(), "v=DKIM1; p=".to_owned())];
    let hostname = if config.hostname.is_empty() { "mx.example" } else { &config.hostname };
    let words = Words {
        domain: "domain.example",
        hostname,
        serial: 1,
        name_servers: &name_servers,
        dkim: &dkim,
        tlsa: &[],
        challenges: &[],
    };
    let text = template::fill(template, &words).map_err(|error| format!("dns.domain_template: {place}: {error}"))?;
    let origin = Name::absolute("domain.example").map_err(|error| error.to_string())?;
    parse_zone(&origin, Path::new(&place), &mut |_| Ok(text.clone())).map_err(|error| format!("dns.domain_template: {error}"))?;
    Ok(())
}
