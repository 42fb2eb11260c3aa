//! Zones copied from other servers: when to look, what came of it, and whom of our own secondaries to tell.

use super::kept::{Kind, zone_of};
use super::network::{Done, Failure, Job, Told};
use super::{Keeper, own_key};
use crate::source;
use crate::state;
use postring_dns::notify::{Notify, write_notify_response};
use postring_dns::transfer::{Difference, Outcome, RecordRef, SecondaryStep, Soa, apply, build_zone, changed_records};
use postring_dns::tsig::Check;
use postring_dns::zone::Zone;
use postring_dns::{Name, Rcode, Service};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

/// Spreads the timers of many zones.
fn random() -> u32 {
    let mut octets = [0; 4];
    // Without it all are asked at the same time, which is no harm to us.
    let _ = getrandom::fill(&mut octets);
    u32::from_be_bytes(octets)
}

impl Keeper {
    /// Does what is due for a secondary.
    pub(super) fn poll_secondary(&mut self, origin: &Name, now: u64) {
        loop {
            let Some(kept) = self.kept.get_mut(origin) else { return };
            let Kind::Secondary(config) = &kept.kind else { return };
            let key = own_key(&self.keys, config);
            let Some(secondary) = &mut kept.secondary else { return };
            match secondary.poll(now) {
                SecondaryStep::Wait(_) => return,
                SecondaryStep::Expired => {
                    tracing::error!("{origin}: no primary has confirmed it for its expire time; it is not served any more");
                    kept.error = Some("expired: no primary answers".to_owned());
                    kept.service = Arc::new(Service::Broken);
                    self.serve(origin);
                }
                SecondaryStep::AskSoa(primary) => self.jobs.push(Job::Soa { origin: origin.clone(), primary, key }),
                SecondaryStep::Transfer { primary, differences } => {
                    let zone = kept.plain.as_deref().and_then(zone_of).filter(|_| differences);
                    let have = zone.and_then(|zone| zone.soa().to_record());
                    self.jobs.push(Job::Transfer { origin: origin.clone(), primary, have, key });
                }
            }
        }
    }

    pub(super) fn handle_done(&mut self, done: Done) {
        let now = self.now();
        match done {
            Done::Soa { origin, primary, result } => {
                let Some(secondary) = self.kept.get_mut(&origin).and_then(|kept| kept.secondary.as_mut()) else { return };
                match result {
                    Ok(serial) => {
                        tracing::debug!("{origin}: {primary} has version {serial}, we {:?}", secondary.serial());
                        let newest = secondary.serial() == Some(serial);
                        secondary.handle_soa(serial, now, random());
                        if newest {
                            self.confirm(&origin);
                        }
                    }
                    Err(error) => {
                        tracing::warn!("{origin}: {primary} was asked for its version: {error}");
                        secondary.handle_failure(now, random());
                    }
                }
                self.poll_secondary(&origin, now);
            }
            Done::Transfer { origin, primary, differences, result } => {
                self.handle_transferred(&origin, primary, differences, result, now);
                self.poll_secondary(&origin, now);
            }
            Done::Notify { origin, server, result } => match result {
                Ok(Told::Later(due, job)) => self.jobs.push_later(due, *job),
                Ok(Told::Answered(Rcode::NOERROR)) => tracing::debug!("{origin}: {server} was told of the new version"),
                Ok(Told::Answered(rcode)) => tracing::warn!("{origin}: {server} was told of the new version and answers {rcode}"),
                Err(error) => tracing::warn!("{origin}: {server} could not be told of the new version: {error}"),
            },
        }
    }

    /// The copy is the newest: an expired one is served again.
    fn confirm(&mut self, origin: &Name) {
        state::touch(&self.state.zone_file(origin));
        let Some(kept) = self.kept.get_mut(origin) else { return };
        if kept.error.take().is_some()
            && let Some(plain) = &kept.plain
        {
            kept.service = Arc::clone(plain);
            self.serve(origin);
        }
    }

    fn handle_transferred(
        &mut self,
        origin: &Name,
        primary: SocketAddr,
        differences: bool,
        result: Result<Outcome, Failure>,
        now: u64,
    ) {
        let taken = match result {
            Ok(Outcome::Current) => {
                if let Some(secondary) = self.secondary(origin) {
                    secondary.handle_current(now, random());
                }
                return self.confirm(origin);
            }
            Ok(Outcome::Whole(records)) => build_zone(origin, records.iter().map(RecordRef::from))
                .map(|zone| (zone, None))
                .map_err(|text| Failure { text, try_whole: false }),
            Ok(Outcome::Differences(steps)) => self.apply_steps(origin, &steps).map(|zone| (zone, Some(steps))),
            Ok(Outcome::AskTcp) => Err(Failure { text: "it wants TCP over TCP".to_owned(), try_whole: false }),
            Err(failure) => Err(failure),
        };
        let taken = taken.and_then(|(zone, steps)| {
            source::keep_secondary(origin, &zone, &self.state).map_err(|text| Failure { text, try_whole: false })?;
            Ok((zone, steps))
        });
        match taken {
            Ok((zone, steps)) => {
                let how = if steps.is_some() { "by differences" } else { "whole" };
                tracing::info!("{origin}: version {} came from {primary} {how}, {} records", zone.serial(), zone.record_count());
                self.take_copy(origin, zone, steps, now);
            }
            Err(failure) => {
                tracing::warn!("{origin}: no transfer from {primary}: {}", failure.text);
                let Some(kept) = self.kept.get_mut(origin) else { return };
                if kept.plain.is_none() {
                    kept.error = Some(format!("not here yet: {primary}: {}", failure.text));
                }
                let Some(secondary) = &mut kept.secondary else { return };
                if differences && failure.try_whole { secondary.handle_misfit() } else { secondary.handle_failure(now, random()) }
            }
        }
    }

    fn secondary(&mut self, origin: &Name) -> Option<&mut postring_dns::transfer::Secondary> {
        self.kept.get_mut(origin)?.secondary.as_mut()
    }

    fn apply_steps(&self, origin: &Name, steps: &[Difference]) -> Result<Zone, Failure> {
        let misfit = |text: String| Failure { text, try_whole: true };
        let plain = self.kept.get(origin).and_then(|kept| kept.plain.as_deref()).and_then(zone_of);
        let zone = plain.ok_or_else(|| misfit("differences to a zone that is not here".to_owned()))?;
        let whole = apply(zone, steps).map_err(|error| misfit(format!("the differences do not fit: {error}")))?;
        build_zone(origin, changed_records(zone.records(), &whole)).map_err(misfit)
    }

    fn take_copy(&mut self, origin: &Name, zone: Zone, steps: Option<Vec<Difference>>, now: u64) {
        let Some(kept) = self.kept.get_mut(origin) else { return };
        let soa = Soa::parse(zone.soa().rdata);
        match steps {
            Some(steps) => steps.into_iter().for_each(|step| kept.history.push(Arc::new(step))),
            None => {
                let before = kept.plain.as_deref().and_then(zone_of);
                match before.and_then(|before| Difference::between(before.records(), zone.records())) {
                    Some(difference) => kept.history.push(Arc::new(difference)),
                    None => kept.history.clear(),
                }
            }
        }
        let service = Arc::new(Service::Zone(zone));
        kept.plain = Some(Arc::clone(&service));
        kept.service = service;
        kept.error = None;
        if let (Some(secondary), Some(soa)) = (&mut kept.secondary, soa) {
            secondary.handle_transferred(soa, now, random());
        }
        self.serve(origin);
        self.notify_secondaries(origin);
    }

    /// Tells the secondaries of a zone that there is a newer version.
    pub(super) fn notify_secondaries(&mut self, origin: &Name) {
        let Some(kept) = self.kept.get(origin) else { return };
        let (Some(config), Some(zone)) = (kept.kind.zone_config(), zone_of(&kept.service)) else { return };
        let Some(soa) = zone.soa().to_record() else { return };
        let key = own_key(&self.keys, config);
        for server in config.notify.clone() {
            self.jobs.push(Job::notify(origin, soa.clone(), server, key.clone()));
        }
    }

    /// A NOTIFY from the network.
    pub(super) fn handle_notify(&mut self, packet: &[u8], client: IpAddr) -> Option<Vec<u8>> {
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
        let notify = match Notify::parse(packet) {
            Ok(notify) => notify,
            Err(rcode) => {
                postring_dns::transfer::write_transfer_refusal(packet, rcode?, signer, now, &mut out);
                return Some(out);
            }
        };
        let origin = notify.zone.to_key();
        let heard = self.served.rules(&origin).is_some_and(|rules| rules.notify_from.contains(&client.to_canonical()));
        let rcode = match self.kept.get_mut(&origin).map(|kept| &mut kept.secondary) {
            None => Rcode::NOTAUTH,
            Some(Some(secondary)) if heard => {
                tracing::info!("{origin}: {client} says there is a new version");
                secondary.handle_notify(client, notify.serial, now);
                Rcode::NOERROR
            }
            //= RFC 1996 section 3.10
            //# If a slave receives a NOTIFY request from a host that is not a known master for the zone
            Some(_) => Rcode::REFUSED,
        };
        self.poll_secondary(&origin, now);
        write_notify_response(&notify, rcode, signer, now, &mut out);
        Some(out)
    }
}
