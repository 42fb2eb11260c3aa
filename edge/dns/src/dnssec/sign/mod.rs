//! Signing a zone: its keys, their states, and its signatures, made when they are asked for. No I/O: files are texts, time is an argument.
//!
//! ```text
//!   key files ─> key_file ─> SigningKey ─┐                        ┌─> prepare: DNSKEY, CDS, CDNSKEY, NSEC3PARAM, serial
//!   state file ─> state_file ────────────┴> ZoneKeys ─ advance ───┼─> ZoneSigner: RRSIG of a set
//!        └────────── state_text <────────── roll, ds_seen, ...    └─> status, for people
//! ```
//! Who publishes a zone does this: read the state file; [`ZoneKeys::advance`]; [`prepare`] the records, with the serial of
//! [`SerialPolicy::next`]; finish the zone with a [`ZoneSigner`]; write the state file *before* the zone is served, for what caches may know
//! must not be forgotten. Again at [`ZoneKeys::next_change`] and at [`ZoneSigner::resign_at`].
//!
//! Cost of a signature with all around it: P-256 16 us, Ed25519 19 us of one core (`cargo bench --bench sign`, a server of 2 shared cores); a zone
//! of 100,000 sets is signed in less than two seconds, if ever all of it is asked for.

mod advance;
mod apex;
mod key;
mod key_file;
mod roll;
mod serial;
mod signer;
mod stamp;
mod state_file;
mod status;
mod zone_keys;

pub use advance::Timing;
pub use apex::{apex_sets, largest_ttl, prepare};
pub use key::{KeyError, PrivateKey, SIGNATURE_BYTES, SigningKey};
pub use key_file::{KeyFileError, dnskey_text, fuzz_key_file, key_file_stem, private_text, public_text, read_key, read_public};
pub use roll::{Change, NewKey, RollError};
pub use serial::{SerialPolicy, is_ahead};
pub use signer::{Validity, ZoneSigner};
pub use stamp::{parse_stamp, stamp};
pub use state_file::{StateFileError, fuzz_state_file};
pub use zone_keys::{KEYS_MAX, KeyState, Role, ZoneKey, ZoneKeys};
