//! Engines that judge a mail, behind one trait; and the message as they see it.
//!
//! No I/O on the way of a mail: rules and tokens are loaded before. Every engine works on [`Content`], which is the message in its
//! slot with its parts decoded once for all.

pub mod bayes;
mod content;
mod tests_of_standard;
#[cfg(feature = "yara")]
pub mod yara;

#[doc(hidden)]
pub use content::fuzz_content;
pub use content::{Content, Limits, Part, TextKind, with_content};
pub use tests_of_standard::StandardTests;

use postring_mail::verdict::VerdictWriter;

/// Something that looks at a message and says what it has found.
pub trait Engine {
    /// Its name in logs.
    fn name(&self) -> &'static str;
    /// Adds its findings. An engine that cannot do its work says so by a symbol and [`postring_mail::verdict::Outcome::Failed`].
    fn judge(&mut self, content: &Content<'_>, verdict: &mut VerdictWriter);
}
