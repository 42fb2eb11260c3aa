//! Signatures taken over from the version of a zone before: what did not change needs not be signed again, and a secondary needs not take it
//! again (IXFR).

use super::Zone;
use super::signed::{Chain, Source};
use std::sync::{Arc, OnceLock};

impl Zone {
    /// Takes over the signatures `old` has made of sets that are the same here, if both have the very same signer.
    ///
    /// Only what is made in `old` by now is taken: whoever compares the two makes all of `old`'s first ([`Zone::records_signed`]).
    ///
    /// Costs a look-up of each name, and a copy of each signature.
    pub fn take_signatures(&self, old: &Self) {
        let (Some(own), Some(before)) = (&self.signed, &old.signed) else { return };
        let (Source::Signer { signer, made }, Source::Signer { signer: signer_before, made: made_before }) =
            (&own.source, &before.source)
        else {
            return;
        };
        if !std::ptr::addr_eq(Arc::as_ptr(signer), Arc::as_ptr(signer_before)) {
            return;
        }
        let take = |set: u32, set_before: u32| {
            let is_same = self.encoded(set).octets == old.encoded(set_before).octets;
            let signature = made_before.get(set_before as usize).and_then(OnceLock::get).filter(|_| is_same);
            if let (Some(signature), Some(place)) = (signature, made.get(set as usize)) {
                // A place that is taken has a signature as good.
                let _ = place.set(signature.clone());
            }
        };
        for node in self.numbers() {
            let Some(node_before) = old.find_name(self.name(node)) else { continue };
            for set in self.set_range(node) {
                if let Some(set_before) = old.set_of(node_before, self.encoded(set).rtype) {
                    take(set, set_before);
                }
            }
        }
        if let (Chain::Nsec3 { links, .. }, Chain::Nsec3 { links: links_before, .. }) = (&own.denial, &before.denial) {
            for link in links {
                let at = links_before.binary_search_by(|other| other.hash.cmp(&link.hash));
                if let Some(link_before) = at.ok().and_then(|at| links_before.get(at)) {
                    take(link.set, link_before.set);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::dnssec::algorithm::Algorithm;
    use crate::dnssec::sign::{Role, SigningKey, Validity, ZoneKeys, ZoneSigner};
    use crate::dnssec::{Denial, SetSigner};
    use crate::record::rdata_text;
    use crate::transfer::{Difference, RecordRef};
    use crate::zone::{Zone, ZoneBuilder, parse_zone};
    use crate::{Name, Rtype};
    use std::path::Path;
    use std::sync::Arc;

    fn signer() -> Arc<dyn SetSigner> {
        let key = Arc::new(SigningKey::generate(Algorithm::ECDSAP256SHA256, true).unwrap().0);
        let mut keys = ZoneKeys::new(&Name::absolute("example.org").unwrap());
        keys.start(0, vec![(Role::Csk, key)]).unwrap();
        Arc::new(ZoneSigner::new(&keys, 1_790_000_000, Validity::default()))
    }

    fn zone(serial: u32, records: &str, signer: &Arc<dyn SetSigner>, denial: Denial) -> Zone {
        let text = format!("$TTL 60\n@ SOA ns h {serial} 60 60 60 60\n@ NS ns\nns A 192.0.2.1\nwww A 192.0.2.2\n{records}");
        let plain = parse_zone(&Name::absolute("example.org").unwrap(), Path::new("-"), &mut |_| Ok(text.clone())).unwrap();
        ZoneBuilder::from_zone(&plain).finish_signed(Arc::clone(signer), denial).unwrap()
    }

    /// Owner, type, and of a signature what it covers.
    fn shown(records: &[crate::record::Record]) -> Vec<String> {
        let show = |record: &crate::record::Record| {
            let text = rdata_text(record.rtype, &record.rdata);
            let covered = text.split(' ').next().filter(|_| record.rtype == Rtype::RRSIG).unwrap_or_default().to_owned();
            format!("{} {} {covered}", record.name.to_string().trim_end_matches("example.org."), record.rtype)
                .trim_end()
                .to_owned()
        };
        let mut shown: Vec<String> = records.iter().map(show).collect();
        shown.sort();
        shown
    }

    fn difference(old: &Zone, new: &Zone) -> Difference {
        let all = |zone: &Zone| zone.records_signed().map(|record| record.to_record().unwrap()).collect::<Vec<_>>();
        let old_records = all(old);
        new.take_signatures(old);
        let new_records = all(new);
        Difference::between(old_records.iter().map(RecordRef::from), new_records.iter().map(RecordRef::from)).unwrap()
    }

    #[test]
    fn only_what_changed_is_signed_anew() {
        let signer = signer();
        let [old, new] = [(1, ""), (2, "mail A 192.0.2.3\n")].map(|(serial, more)| zone(serial, more, &signer, Denial::Nsec));
        let difference = difference(&old, &new);
        // The apex's NSEC names ns before and mail after; the SOA's own record is not among what went.
        assert_eq!(shown(&difference.removed), [" NSEC", " RRSIG NSEC", " RRSIG SOA"]);
        assert_eq!(
            shown(&difference.added),
            [" NSEC", " RRSIG NSEC", " RRSIG SOA", "mail. A", "mail. NSEC", "mail. RRSIG A", "mail. RRSIG NSEC"]
        );
    }

    #[test]
    fn hashed_names_keep_theirs() {
        let signer = signer();
        let denial = || Denial::Nsec3 { iterations: 0, salt: Box::default() };
        let [old, new] = [(1, ""), (2, "mail A 192.0.2.3\n")].map(|(serial, more)| zone(serial, more, &signer, denial()));
        let difference = difference(&old, &new);
        // One link is split in two.
        let count = |records: &[crate::record::Record], rtype| records.iter().filter(|record| record.rtype == rtype).count();
        assert_eq!((count(&difference.removed, Rtype::NSEC3), count(&difference.added, Rtype::NSEC3)), (1, 2));
        assert_eq!((count(&difference.removed, Rtype::RRSIG), count(&difference.added, Rtype::RRSIG)), (2, 4));
    }

    #[test]
    fn of_another_signer_nothing_is_taken() {
        let old = zone(1, "", &signer(), Denial::Nsec);
        let new = zone(2, "", &signer(), Denial::Nsec);
        let all = old.records_signed().filter(|record| record.rtype == Rtype::RRSIG).count();
        assert_eq!(difference(&old, &new).removed.len(), all);
    }
}
