//! DKIM: a domain signs a message, and has put the key into its zone (RFC 6376; RFC 8301: no SHA-1, no short keys; RFC 8463: Ed25519).
//!
//! ```text
//!   message ─> fields ─┬─> signatures (tags) ──> questions ──> keys ─┐
//!                      ├─> selected fields ────> canonical ──────────┼─> a Verification for each signature
//!                      └─> body ───────────────> canonical, hashed ──┘
//! ```
//! What a message can cost is bounded: eight signatures are looked at, each asks one question, and the header has a limit of octets and fields. The
//! body is read once for each of the two forms in which it is signed.

mod body;
mod canonical;
mod der;
pub(crate) mod fields;
pub(crate) mod hashes;
mod key;
pub(crate) mod keys;
mod problem;
pub(crate) mod result;
pub(crate) mod signature;
pub(crate) mod signed;
pub(crate) mod tags;
mod verify;

pub(crate) use fields::Message;
pub(crate) use result::write_value;
pub(crate) use signature::domain_text;

pub use body::{Body, fuzz_body};
pub use canonical::Canonicalization;
pub use key::{Key, fuzz_key};
pub use problem::Problem;
pub use result::{Algorithm, Status, Verification};
pub use signature::{Signature, fuzz_signature};
pub use tags::{TagList, fuzz_tags};
pub(crate) use verify::Signatures;
pub use verify::verify;
