//! What is agreed with a milter before the first message: the version, what it may change, which steps it is told (SMFIC_OPTNEG).

use crate::packet::command;
use crate::problem::Problem;

/// The version we speak.
pub(crate) const VERSION: u32 = 6;
/// What a milter may ask of us (SMFIF): add fields, change the body, add recipients, take some away, change fields, put a message aside, change the
/// sender, add recipients with parameters. All but the choice of macros (0x100): it gets all there are.
pub(crate) const ACTIONS: u32 = 0x01 | 0x02 | 0x04 | 0x08 | 0x10 | 0x20 | 0x40 | 0x80;
/// Bits of SMFIP: which steps it does without, which it does not answer.
pub(crate) mod bits {
    pub(crate) const NO_CONNECT: u32 = 0x01;
    pub(crate) const NO_HELO: u32 = 0x02;
    pub(crate) const NO_MAIL: u32 = 0x04;
    pub(crate) const NO_RECIPIENT: u32 = 0x08;
    pub(crate) const NO_BODY: u32 = 0x10;
    pub(crate) const NO_HEADER: u32 = 0x20;
    pub(crate) const NO_HEADER_END: u32 = 0x40;
    pub(crate) const NO_REPLY_HEADER: u32 = 0x80;
    pub(crate) const NO_UNKNOWN: u32 = 0x100;
    pub(crate) const NO_DATA: u32 = 0x200;
    pub(crate) const SKIP: u32 = 0x400;
    pub(crate) const NO_REPLY_CONNECT: u32 = 0x1000;
    pub(crate) const NO_REPLY_HELO: u32 = 0x2000;
    pub(crate) const NO_REPLY_MAIL: u32 = 0x4000;
    pub(crate) const NO_REPLY_RECIPIENT: u32 = 0x8000;
    pub(crate) const NO_REPLY_DATA: u32 = 0x1_0000;
    pub(crate) const NO_REPLY_UNKNOWN: u32 = 0x2_0000;
    pub(crate) const NO_REPLY_HEADER_END: u32 = 0x4_0000;
    pub(crate) const NO_REPLY_BODY: u32 = 0x8_0000;
    pub(crate) const LEADING_SPACE: u32 = 0x10_0000;
    /// It would hear of recipients we have refused; it does not, which is no harm.
    pub(crate) const REFUSED_RECIPIENTS: u32 = 0x800;
    /// The library's own.
    pub(crate) const INTERNAL: u32 = 0x7000_0000;
    /// All but the recipients we have refused.
    pub(crate) const OFFERED: u32 = 0x1f_f7ff;
}
const _: () = assert!(
    bits::OFFERED
        == bits::NO_CONNECT
            | bits::NO_HELO
            | bits::NO_MAIL
            | bits::NO_RECIPIENT
            | bits::NO_BODY
            | bits::NO_HEADER
            | bits::NO_HEADER_END
            | bits::NO_REPLY_HEADER
            | bits::NO_UNKNOWN
            | bits::NO_DATA
            | bits::SKIP
            | bits::NO_REPLY_CONNECT
            | bits::NO_REPLY_HELO
            | bits::NO_REPLY_MAIL
            | bits::NO_REPLY_RECIPIENT
            | bits::NO_REPLY_DATA
            | bits::NO_REPLY_UNKNOWN
            | bits::NO_REPLY_HEADER_END
            | bits::NO_REPLY_BODY
            | bits::LEADING_SPACE
);

/// What was agreed with a milter; holds as long as its connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Options {
    pub(crate) version: u32,
    pub(crate) steps: u32,
}

impl Options {
    /// True if this bit of SMFIP was agreed on.
    pub(crate) fn has(self, bit: u32) -> bool {
        self.steps & bit != 0
    }

    /// Reads the milter's side of the negotiation.
    ///
    /// # Errors
    /// It is of a version, or wants the protocol in a way, that is not offered.
    pub fn parse(data: &[u8]) -> Result<Self, Problem> {
        let number = |at: usize| data.get(at..)?.first_chunk::<4>().map(|bytes| u32::from_be_bytes(*bytes));
        let bad = Problem::BadData(command::NEGOTIATE);
        // The second number says which actions it wants. Some name all they know whatever is offered (rspamd), as Postfix lets them: what was not
        // offered is a problem when it is done. Behind the three numbers it may name the macros it wants; it gets all there are.
        let (version, steps) = (number(0).ok_or(bad.clone())?, number(8).ok_or(bad)?);
        if !(2..=VERSION).contains(&version) {
            return Err(Problem::Version(version));
        }
        let unknown = steps & !bits::OFFERED & !bits::REFUSED_RECIPIENTS & !bits::INTERNAL;
        if unknown != 0 {
            return Err(Problem::Steps(unknown));
        }
        Ok(Self { version, steps })
    }
}
