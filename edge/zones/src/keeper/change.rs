//! Changes of a primary's zone: dynamic updates (RFC 2136), and new signatures.

use super::Keeper;
use super::kept::{Kind, zone_of};
use crate::state;
use postring_dns::transfer::{build_zone, changed_records, journal};
use postring_dns::tsig::Check;
use postring_dns::update::{Names, Update, UpdatePolicy, UpdateRule, write_update_response};
use postring_dns::{Name, Rcode, Service};
use std::sync::Arc;

/// Octets of a journal that is written anew: then the file's administrator is told to take the changes over.
const JOURNAL_BYTES_WARN: u64 = 64 << 20;

/// Whose update it is.
#[derive(Clone, Copy)]
pub(super) enum By<'a> {
    /// Whoever has this key, if there is one.
    Key(Option<&'a Name>),
    /// The keeper's own.
    Ourselves,
}

impl Keeper {
    /// A dynamic update from the network; gives the response. What it says is done is on disk.
    pub(super) fn handle_update(&mut self, packet: &[u8]) -> Option<Vec<u8>> {
        let now = self.now();
        let mut out = Vec::new();
        let signer = match self.served.keys.check(packet, now) {
            Check::Unsigned => None,
            Check::Signed(signer) => Some(signer),
            Check::Refused(refusal) => {
                refusal.write(packet, now, &mut out);
                return Some(out);
            }
        };
        let key = signer.as_ref().map(|signer| signer.key().name().clone());
        let rcode = match Update::parse(packet) {
            Ok(update) => self.update(&update, By::Key(key.as_ref()), now),
            Err(rcode) => rcode?,
        };
        write_update_response(packet, rcode, signer, now, &mut out);
        Some(out)
    }

    pub(super) fn update(&mut self, update: &Update, by: By<'_>, now: u64) -> Rcode {
        let origin = update.zone.to_key();
        let Some(kept) = self.kept.get_mut(&origin) else { return Rcode::NOTAUTH };
        let Kind::Primary(config) = &kept.kind else { return Rcode::REFUSED };
        let rules = config.update_keys.iter().filter_map(|name| Name::absolute(name).ok());
        let rules = rules.map(|key| UpdateRule { key: key.to_key(), names: Names::All, types: Vec::new() }).collect();
        // Nobody's key has the root's name.
        let own = Name::root();
        let (policy, key) = match by {
            By::Key(key) => (UpdatePolicy { rules }, key),
            By::Ourselves => (UpdatePolicy::all_of_zone(&own), Some(&own)),
        };
        let Some(zone) = kept.plain.as_deref().and_then(zone_of) else { return Rcode::SERVFAIL };
        let outcome = update.apply(zone, key, &policy);
        let Some(difference) = outcome.difference else { return outcome.rcode };
        let built = build_zone(&origin, changed_records(zone.records(), &difference));
        let changed = match built {
            Ok(changed) => changed,
            Err(error) => {
                tracing::warn!("{origin}: an update was refused: {error}");
                return Rcode::SERVFAIL;
            }
        };
        let path = self.state.zone_journal(&origin);
        let mut entry = Vec::new();
        let written = journal::write(&difference, &mut entry).map_err(|_| "the change is too large".to_owned());
        if let Err(error) = written.and_then(|()| state::append(&path, &entry, state::ZONE_MODE)) {
            tracing::error!("{origin}: an update could not be kept: {error}");
            return Rcode::SERVFAIL;
        }
        if path.metadata().is_ok_and(|metadata| metadata.len() > JOURNAL_BYTES_WARN) {
            tracing::warn!(
                "{}: it is large; take the changes over into the zone's file (dig AXFR) and raise its serial",
                path.display()
            );
        }
        let by = match by {
            By::Key(key) => key.map(|key| format!(" of key {key}")).unwrap_or_default(),
            By::Ourselves => " of our own".to_owned(),
        };
        tracing::info!(
            "{origin}: version {} by update{by}: {} records went, {} came",
            changed.serial(),
            difference.removed.len(),
            difference.added.len()
        );
        if kept.signing.is_none() {
            kept.history.push(Arc::new(difference));
        }
        kept.plain = Some(Arc::new(Service::Zone(changed)));
        if let Err(error) = kept.sign(now) {
            tracing::error!("{origin}: it could not be signed and is served as before: {error}");
        }
        self.serve(&origin);
        self.notify_secondaries(&origin);
        Rcode::NOERROR
    }

    /// Signs a zone anew when its signatures or its keys are due.
    pub(super) fn sign_if_due(&mut self, origin: &Name, now: u64) {
        let due = self.kept.get(origin).and_then(|kept| kept.signing.as_ref()).is_some_and(|signing| now >= signing.resign_at);
        if due && let Err(error) = self.sign(origin, now) {
            tracing::error!("{error}");
        }
    }

    /// Signs a zone anew and serves it.
    pub(super) fn sign(&mut self, origin: &Name, now: u64) -> Result<(), String> {
        let Some(kept) = self.kept.get_mut(origin) else { return Err(format!("{origin} is not served here")) };
        let result = kept.sign(now).map_err(|error| format!("{origin}: it could not be signed and is served as before: {error}"));
        if let (Err(_), Some(signing)) = (&result, &mut kept.signing) {
            // Tried again in a while, not at every tick.
            signing.resign_at = now + 300;
        }
        result?;
        self.serve(origin);
        self.notify_secondaries(origin);
        Ok(())
    }
}
