//! A zone's DNSSEC keys on disk, and the zone signed with them.

use crate::config::{DnssecMode, SigningAlgorithm, ZoneConfig};
use crate::state::{self, State};
use postring_dns::dnssec::Denial;
use postring_dns::dnssec::algorithm::Algorithm;
use postring_dns::dnssec::sign::{
    KeyState, Role, SerialPolicy, SigningKey, Timing, Validity, ZoneKeys, ZoneSigner, apex_sets, key_file_stem, private_text,
    public_text, read_key,
};
use postring_dns::transfer::Soa;
use postring_dns::zone::{Zone, ZoneBuilder};
use postring_dns::{Name, Rtype};
use std::fs;
use std::path::PathBuf;
use std::sync::Arc;

/// TTL of the DNSKEY, CDS and CDNSKEY sets.
const KEY_TTL: u32 = 3600;
/// Tries to make a key whose tag nobody has: one in 65,536 fails.
const TAG_TRIES_MAX: usize = 8;

/// The keys of one zone, and how it is signed.
#[derive(Debug)]
pub struct Signing {
    origin: Name,
    folder: PathBuf,
    denial: Denial,
    algorithm: Algorithm,
    keys: ZoneKeys,
    /// When the signatures must be made anew.
    pub resign_at: u64,
    zone_ttl: u32,
    /// Made the signatures of the last version; what it has signed is good until its time is up or the keys are others.
    signer: Option<Arc<ZoneSigner>>,
}

fn algorithm_of(config: &ZoneConfig) -> Algorithm {
    match config.algorithm {
        SigningAlgorithm::EcdsaP256Sha256 => Algorithm::ECDSAP256SHA256,
        SigningAlgorithm::Ed25519 => Algorithm::ED25519,
    }
}

impl Signing {
    /// Reads the keys of a zone, or makes its first one.
    ///
    /// # Errors
    /// A file cannot be read or written, or does not hold what it should.
    pub fn open(config: &ZoneConfig, origin: &Name, state: &State, now: u64) -> Result<Option<Self>, String> {
        let denial = match config.dnssec {
            DnssecMode::Off => return Ok(None),
            DnssecMode::Nsec => Denial::Nsec,
            //= RFC 9276 section 3.1
            //# an iterations value of 0 MUST be used
            DnssecMode::Nsec3 => Denial::Nsec3 { iterations: 0, salt: Box::default() },
        };
        let folder = state.key_folder(origin);
        let path = folder.join("state");
        let algorithm = algorithm_of(config);
        let mut signing = Self {
            origin: origin.to_key(),
            keys: ZoneKeys::new(origin),
            folder,
            denial,
            algorithm,
            resign_at: 0,
            zone_ttl: KEY_TTL,
            signer: None,
        };
        if path.exists() {
            let text = fs::read_to_string(&path).map_err(|error| format!("{}: {error}", path.display()))?;
            signing.keys = ZoneKeys::parse_state(origin, &text, &mut |algorithm, tag| signing.load(algorithm, tag).map(Arc::new))
                .map_err(|error| format!("{}: {error}", path.display()))?;
        }
        if signing.keys.is_unsigned() {
            let key = signing.make_key(algorithm, now)?;
            signing.keys.start(now, vec![(Role::Csk, key)]).map_err(|error| format!("{origin}: {error}"))?;
            signing.save()?;
        }
        Ok(Some(signing))
    }

    fn load(&self, algorithm: Algorithm, tag: u16) -> Result<SigningKey, String> {
        let stem = self.folder.join(key_file_stem(&self.origin, algorithm, tag));
        let read = |suffix: &str| {
            let mut path = stem.as_os_str().to_owned();
            path.push(suffix);
            let path = PathBuf::from(path);
            fs::read_to_string(&path).map_err(|error| format!("{}: {error}", path.display()))
        };
        read_key(&self.origin, &read(".key")?, &read(".private")?).map_err(|error| format!("{}: {error}", stem.display()))
    }

    fn make_key(&self, algorithm: Algorithm, now: u64) -> Result<Arc<SigningKey>, String> {
        for _ in 0..TAG_TRIES_MAX {
            let (key, private) = SigningKey::generate(algorithm, true).map_err(|error| format!("{}: {error}", self.origin))?;
            if !self.keys.is_tag_free(algorithm, key.tag()) {
                continue;
            }
            let stem = self.folder.join(key_file_stem(&self.origin, algorithm, key.tag()));
            for (suffix, text, mode) in
                [(".private", private_text(&key, &private, now), 0o600), (".key", public_text(&self.origin, &key, now), 0o644)]
            {
                let mut path = stem.as_os_str().to_owned();
                path.push(suffix);
                state::replace(&PathBuf::from(path), text.as_bytes(), mode)?;
            }
            return Ok(Arc::new(key));
        }
        Err(format!("{}: no key with a free tag could be made; try again", self.origin))
    }

    fn save(&self) -> Result<(), String> {
        state::replace(&self.folder.join("state"), self.keys.state_text().as_bytes(), 0o600)
    }

    fn timing(&self) -> Timing {
        Timing { dnskey_ttl: KEY_TTL, ..Timing::new(self.zone_ttl) }
    }

    /// Signs a zone anew: moves keys on that are due, gives it a serial nobody has seen, keeps the state, and builds it. The signatures
    /// themselves are made when they are asked for.
    ///
    /// # Errors
    /// The state cannot be kept, or the zone does not go together with its keys.
    pub fn sign(&mut self, zone: &Zone, now: u64) -> Result<Zone, String> {
        self.zone_ttl = zone.records().map(|record| record.ttl).max().unwrap_or(KEY_TTL);
        let timing = self.timing();
        for change in self.keys.advance(now, &timing) {
            tracing::info!("{}: {change}", self.origin);
        }
        let serial = SerialPolicy::Increment.next(zone.serial(), self.keys.serial_last, now);
        self.keys.serial_last = Some(serial);
        // Before it is served: a serial must not come twice.
        self.save()?;
        let mut builder = ZoneBuilder::from_zone(zone);
        let soa = zone.soa();
        let owner = Name::from_wire(soa.owner).map_err(|error| error.to_string())?;
        builder.remove_set(&owner, Rtype::SOA);
        builder.add(&owner, Rtype::SOA, soa.ttl, Soa::with_serial(soa.rdata, serial))?;
        for set in apex_sets(&self.keys, KEY_TTL, &self.denial) {
            builder.remove_set(&owner, set.rtype);
            for rdata in set.rdata {
                builder.add(&owner, set.rtype, set.ttl, rdata)?;
            }
        }
        let signer = self.signer.take();
        let signer = signer.filter(|signer| signer.has_keys_of(&self.keys) && !signer.is_resign_due(now, self.zone_ttl));
        let signer = signer.unwrap_or_else(|| Arc::new(ZoneSigner::new(&self.keys, now, Validity::default())));
        self.signer = Some(Arc::clone(&signer));
        self.resign_at = signer.resign_at(self.zone_ttl).min(self.keys.next_change(&timing).unwrap_or(u64::MAX));
        builder.finish_signed(signer, self.denial.clone())
    }

    /// Makes the next version with new signatures throughout.
    pub fn forget_signatures(&mut self) {
        self.signer = None;
    }

    /// Goes on with the signatures of an earlier one of the same zone, if its keys are the same.
    pub fn go_on(&mut self, before: &Self) {
        self.signer.clone_from(&before.signer);
    }

    /// Begins to replace the zone's key by one of the configured algorithm.
    ///
    /// # Errors
    /// A roll-over is under way, or the key cannot be kept.
    pub fn roll(&mut self, now: u64) -> Result<(), String> {
        let key = self.make_key(self.algorithm, now)?;
        self.keys.roll(now, vec![(Role::Csk, key)]).map_err(|error| format!("{}: {error}", self.origin))?;
        self.save()
    }

    /// The parent serves the DS of the key that waits for it.
    ///
    /// # Errors
    /// None waits.
    pub fn ds_seen(&mut self, now: u64) -> Result<(), String> {
        let waiting = self.keys.keys().iter().find(|key| key.state == KeyState::Ready).map(|key| key.key.tag());
        let tag = waiting.ok_or_else(|| format!("{}: no key waits for its DS at the parent", self.origin))?;
        self.keys.ds_seen(now, tag).map_err(|error| format!("{}: {error}", self.origin))?;
        self.save()
    }

    /// Keys, states, and what the registrar must be given; for people.
    #[must_use]
    pub fn status(&self, now: u64) -> String {
        self.keys.status(now, &self.timing())
    }
}
