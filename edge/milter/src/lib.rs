//! How other software takes part in the decision about a mail, without I/O: Sendmail's milters and Postfix's policy delegation.
//!
//! - [`packet`], [`response`]: what goes over the wire between us and a milter, and what a milter may say
//! - [`Conversation`]: one message told to one milter, from CONNECT to its judgement
//! - [`Changes`]: what milters want changed; [`edits`]: of a header, and the header they change
//! - [`delegation`]: a question in Postfix's protocol, and the action that answers it
//! - [`Breaker`]: when one that fails is not asked any more
//!
//! Neither protocol has an RFC. Milters: protocol version 6 as libmilter of Sendmail 8.14 and later speaks it (`include/libmilter/mfdef.h`, the
//! documents of the library), told in Postfix's words where the two differ (MILTER_README). Policy delegation: Postfix's SMTPD_POLICY_README.
//!
//! All that comes from such software is outside data: it is bounded, and what breaks the protocol is a [`Problem`], never a panic.

mod breaker;
mod changes;
mod conversation;
pub mod delegation;
pub mod edits;
pub mod envelope;
mod fuzz;
mod options;
pub mod packet;
mod problem;
pub mod response;
mod text;

pub use breaker::Breaker;
pub use changes::{Changes, RECIPIENT_CHANGES_MAX, RecipientChange};
pub use conversation::{Conversation, Judgement, Next, Verdict, for_all};
pub use edits::Edit;
pub use envelope::Envelope;
#[doc(hidden)]
pub use fuzz::{fuzz_answer, fuzz_conversation, fuzz_edits, fuzz_response};
pub use options::Options;
pub use problem::Problem;
