//! DKIM and ARC of a message together: its header is split once, keys are asked for at the same time, and the body is hashed once for both.

use crate::Lookup;
use crate::arc::{self, Chain};
use crate::dkim::fields::Message;
use crate::dkim::keys::Keys;
use crate::dkim::signed::Signed;
use crate::dkim::{self, Signatures, Verification};

/// What [`dkim::verify`] and [`arc::verify`] give, for less than both cost.
pub async fn verify<'a>(lookup: &impl Lookup, message: &'a [u8], now: u64) -> (Vec<Verification>, Chain<'a>) {
    let Some(message) = Message::parse(message) else {
        return (vec![Verification::of_message(dkim::Problem::Header)], Chain::failed(arc::Problem::Header));
    };
    let signatures = Signatures::read(&message, now);
    let mut chain = arc::Draft::read(&message, now);
    let mut signed = Signed::new(&message);
    chain.check_body(&mut signed);
    let keys = Keys::ask(lookup, signatures.key_names().chain(chain.key_names())).await;
    (signatures.judge(&mut signed, &keys), chain.judge(&mut signed, &keys))
}
