//! What can be wrong with a chain, in the words for people. Each makes it fail: there are no errors for a time.

use crate::dkim;
use std::fmt;

/// The three fields of a set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// ARC-Authentication-Results: what was found.
    Results,
    /// ARC-Message-Signature: the message as it was then.
    MessageSignature,
    /// ARC-Seal: the sets up to this one.
    Seal,
}

impl Kind {
    /// All, in the order they are sealed in.
    pub const ALL: [Self; 3] = [Self::Results, Self::MessageSignature, Self::Seal];

    /// The name of the field.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Results => "ARC-Authentication-Results",
            Self::MessageSignature => "ARC-Message-Signature",
            Self::Seal => "ARC-Seal",
        }
    }
}

/// Why a chain fails. The numbers are instances.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Problem {
    /// The header has more octets or fields than are looked at.
    Header,
    /// There are more fields than 50 sets have.
    TooMany,
    /// A field cannot be read.
    Unreadable(Kind, dkim::Problem),
    /// A field has no instance of 1 to 50.
    Instance(Kind),
    /// A set has two fields of a kind.
    Twice(Kind, u8),
    /// A set has no field of a kind.
    Missing(Kind, u8),
    /// The newest sealer says that the chain failed before.
    Reported(u8),
    /// `cv=` is not what it must be: `none` in the first seal, `pass` in the others.
    Status(u8),
    /// Its selectors have so many keys that more would have to be tried than may be for a chain.
    TooManyKeys,
    /// The newest message signature, or a seal, does not count.
    Signature(Kind, u8, dkim::Problem),
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Header => f.write_str("the header is too large to be looked at"),
            Self::TooMany => f.write_str("there are more fields than 50 sets have"),
            Self::Unreadable(kind, problem) => write!(f, "a field {}: {problem}", kind.name()),
            Self::Instance(kind) => write!(f, "a field {} has no instance of 1 to 50", kind.name()),
            Self::Twice(kind, instance) => write!(f, "set {instance} has two fields {}", kind.name()),
            Self::Missing(kind, instance) => write!(f, "set {instance} has no field {}", kind.name()),
            Self::Reported(instance) => write!(f, "seal {instance} says that the chain failed before it (cv=fail)"),
            Self::Status(1) => f.write_str("the cv= of seal 1 is not none"),
            Self::Status(instance) => write!(f, "the cv= of seal {instance} is not pass"),
            Self::TooManyKeys => f.write_str("its selectors have more keys than are tried"),
            Self::Signature(kind, instance, problem) => write!(f, "{} {instance}: {problem}", kind.name()),
        }
    }
}

impl std::error::Error for Problem {}
