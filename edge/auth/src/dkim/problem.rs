//! What can be wrong with a signature or its key, in one list: the result each gives (RFC 8601 section 2.7.1) and the words for people.

use super::Status;
use std::fmt;

/// Why a signature does not count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Problem {
    /// The message has no signature.
    Unsigned,
    /// The header has more octets or fields than are looked at.
    Header,
    /// The signatures of the message sign more octets of its header than are hashed.
    TooMuch,
    /// So many signatures are there beyond those that are looked at.
    MoreSignatures(usize),
    /// The tag-list of the signature is none.
    TagList(&'static str),
    /// A tag the signature must have is not there.
    Missing(&'static str),
    /// A tag's value is none.
    Value(&'static str, &'static str),
    /// Something of the signature is not known here, and may be good.
    Unknown(&'static str),
    /// An algorithm nobody should believe any more (RFC 8301 section 3.1).
    Sha1,
    /// `h=` does not have the From field.
    FromNotSigned,
    /// `i=` is not in the domain `d=`.
    Identity,
    /// `x=` is over.
    Expired,
    /// `t=` is to come.
    Future,
    /// The DNS could not say whether there is a key.
    KeyNotAnswered,
    /// There is no key.
    NoKey,
    /// The key record is none.
    KeyRecord(&'static str),
    /// The key's `p=` is empty.
    Revoked,
    /// The key is not for this: `h=`, `k=`, `s=`, or `t=s` of its record.
    KeyNotFor(&'static str),
    /// The RSA key has so few bits (RFC 8301 section 3.2).
    ShortKey(usize),
    /// `bh=` is not the body's hash.
    Body,
    /// `l=` says more octets than the body has.
    BodyShorter,
    /// The signature is not one of these fields by this key.
    Signature,
    /// All is right, but so many octets of the body are not signed (`l=`).
    BodyUnsigned(u64),
}

impl Problem {
    /// The result: what stands in an Authentication-Results field.
    ///
    /// Broken syntax and what is not known here is `neutral`, what can never count `permerror`, a wrong hash or signature `fail`; what is right by
    /// the RFC and yet not believed is `policy`.
    #[must_use]
    pub const fn status(self) -> Status {
        match self {
            Self::Unsigned => Status::None,
            Self::Header | Self::TooMuch | Self::MoreSignatures(_) | Self::TagList(_) | Self::Value(..) | Self::Unknown(_) => {
                Status::Neutral
            }
            Self::KeyNotAnswered => Status::TempError,
            Self::Missing(_)
            | Self::Sha1
            | Self::FromNotSigned
            | Self::Identity
            | Self::Expired
            | Self::Future
            | Self::NoKey
            | Self::KeyRecord(_)
            | Self::Revoked
            | Self::KeyNotFor(_)
            | Self::ShortKey(_) => Status::PermError,
            Self::Body | Self::BodyShorter | Self::Signature => Status::Fail,
            Self::BodyUnsigned(_) => Status::Policy,
        }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unsigned => f.write_str("the message has no signature"),
            Self::TooMuch => f.write_str("the signatures of the message sign more than is looked at"),
            Self::Header => f.write_str("the header is too large to be looked at"),
            Self::MoreSignatures(count) => write!(f, "{count} more signatures were not looked at"),
            Self::TagList(wrong) => write!(f, "the signature cannot be read: {wrong}"),
            Self::Missing(tag) => write!(f, "the signature has no {tag}="),
            Self::Value(tag, wrong) => write!(f, "the signature's {tag}= {wrong}"),
            Self::Unknown(what) => write!(f, "the signature's {what} is not known here"),
            Self::Sha1 => f.write_str("the signature is made with SHA-1, which is not believed any more"),
            Self::FromNotSigned => f.write_str("the signature does not cover the From field"),
            Self::Identity => f.write_str("the signature's i= is not in the domain of its d="),
            Self::Expired => f.write_str("the signature has expired"),
            Self::Future => f.write_str("the signature is of the future"),
            Self::KeyNotAnswered => f.write_str("the DNS did not answer for the key"),
            Self::NoKey => f.write_str("there is no key at the selector"),
            Self::KeyRecord(wrong) => write!(f, "the key's record cannot be read: {wrong}"),
            Self::Revoked => f.write_str("the key was revoked"),
            Self::KeyNotFor(what) => write!(f, "the key is not for {what}"),
            Self::ShortKey(bits) => write!(f, "the key has {bits} bits, fewer than 1024"),
            Self::Body => f.write_str("the body was changed"),
            Self::BodyShorter => f.write_str("the body has fewer octets than were signed"),
            Self::Signature => f.write_str("the signature does not fit the signed fields and the key"),
            Self::BodyUnsigned(octets) => write!(f, "{octets} octets at the end of the body are not signed"),
        }
    }
}

impl std::error::Error for Problem {}
