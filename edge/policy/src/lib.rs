//! Which verdict gives which reply: the one table between what the scanner found and what the client hears.
//!
//! No I/O. The thresholds are the administrator's ([`PolicyConfig`]); everything that is not certain is accepted:
//! a scan that failed puts the message off (`451`), it never loses and never wrongly refuses it.

pub mod dnsbl;
mod fields;

pub use dnsbl::{Dnsbl, DnsblConfig};
pub use fields::mark_fields;

use postring_mail::Reply;
use postring_mail::verdict::{Outcome, VerdictView};
use serde::{Deserialize, Serialize};

/// What to do with a message of a given score. Scores are points, as in rspamd and SpamAssassin.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct PolicyConfig {
    /// From this score on a message carries X-Spam-Flag, X-Spam-Score and X-Spam-Symbols. Default 5: SpamAssassin's
    /// border, where most of what is above is spam and most of what is below is not.
    pub mark_score: f64,
    /// From this score on a message goes to the account's Junk folder. Default 6: rspamd's border for the same.
    pub junk_score: f64,
    /// From this score on a message is refused at the last dot with 550 5.7.1. Default 15: rspamd's border; wrong
    /// refusals are rare there, and the sender hears of them at once.
    pub reject_score: f64,
    /// What a message gets whose scan failed or timed out: "defer" (451, the sender tries again) or "accept" (marked
    /// with X-Spam-Scan: failed). Default "defer": mail is late rather than unscanned.
    pub scan_failure: ScanFailure,
    /// Address of a page that explains refusals; added to every refusal by policy. Default empty: no link.
    pub information_link: String,
}

/// See [`PolicyConfig::scan_failure`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ScanFailure {
    /// 451, the sender tries again.
    Defer,
    /// Accepted unscanned.
    Accept,
}

impl Default for PolicyConfig {
    fn default() -> Self {
        Self {
            mark_score: 5.0,
            junk_score: 6.0,
            reject_score: 15.0,
            scan_failure: ScanFailure::Defer,
            information_link: String::new(),
        }
    }
}

impl PolicyConfig {
    /// Says what does not fit together.
    ///
    /// # Errors
    /// One line: the key, its value, and what would be right.
    pub fn check(&self) -> Result<(), String> {
        let scores = [self.mark_score, self.junk_score, self.reject_score];
        if scores.iter().any(|score| !score.is_finite() || score.abs() > 10_000.0) {
            return Err("policy scores must be numbers between -10000 and 10000".to_owned());
        }
        if self.mark_score > self.junk_score || self.junk_score > self.reject_score {
            return Err(format!(
                "policy: mark_score {} <= junk_score {} <= reject_score {} does not hold; raise the later ones",
                self.mark_score, self.junk_score, self.reject_score
            ));
        }
        if self.information_link.chars().any(|c| c.is_control() || c == ' ') {
            return Err("policy.information_link: spaces and control characters are not allowed in a link".to_owned());
        }
        Ok(())
    }
}

/// What becomes of a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Disposition {
    /// Into the mailbox, nothing added.
    Accept,
    /// Into the mailbox with X-Spam fields.
    Mark,
    /// Into the Junk folder with X-Spam fields.
    Junk,
    /// The reply to the last dot; nothing is kept.
    Refuse(Reply),
}

/// Turns a verdict into a disposition. `None`: no scanner answered within its time.
///
/// Costs no allocation unless the message is refused.
#[must_use]
pub fn judge(config: &PolicyConfig, verdict: Option<&VerdictView<'_>>) -> Disposition {
    let Some(verdict) = verdict.filter(|verdict| verdict.outcome != Outcome::Failed) else {
        return match config.scan_failure {
            ScanFailure::Accept => Disposition::Mark,
            ScanFailure::Defer => {
                Disposition::Refuse(Reply::fixed(451, 7, 1, "The content check could not be done now, try again later"))
            }
        };
    };
    let score = f64::from(verdict.score_milli) / 1000.0;
    if verdict.outcome == Outcome::Malware {
        return Disposition::Refuse(refusal(config, "Message refused: it carries malware"));
    }
    if score >= config.reject_score {
        return Disposition::Refuse(refusal(config, "Message refused: it looks like spam"));
    }
    match score {
        score if score >= config.junk_score => Disposition::Junk,
        score if score >= config.mark_score => Disposition::Mark,
        _ => Disposition::Accept,
    }
}

//= RFC 3463 section 3.8
//# X.7.1   Delivery not authorized, message refused
fn refusal(config: &PolicyConfig, text: &'static str) -> Reply {
    if config.information_link.is_empty() {
        Reply::fixed(550, 7, 1, text)
    } else {
        Reply::with_text(550, 7, 1, format!("{text}; see {}", config.information_link))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use postring_mail::verdict::{Symbol, VerdictWriter};

    fn judged(weight_milli: i32, outcome: Outcome) -> Disposition {
        let mut writer = VerdictWriter::default();
        writer.push(Symbol { name: "X", weight_milli, detail: "" });
        writer.set_outcome(outcome);
        judge(&PolicyConfig::default(), Some(&VerdictView::parse(writer.finish()).unwrap()))
    }

    #[test]
    fn the_table() {
        assert_eq!(judged(4_999, Outcome::Complete), Disposition::Accept);
        assert_eq!(judged(5_000, Outcome::Complete), Disposition::Mark);
        assert_eq!(judged(6_000, Outcome::Partial), Disposition::Junk);
        assert!(matches!(judged(15_000, Outcome::Complete), Disposition::Refuse(reply) if reply.code == 550));
        assert!(matches!(judged(-9_000, Outcome::Malware), Disposition::Refuse(reply) if reply.code == 550));
        assert!(matches!(judged(0, Outcome::Failed), Disposition::Refuse(reply) if reply.code == 451));
        assert!(matches!(judge(&PolicyConfig::default(), None), Disposition::Refuse(reply) if reply.is_transient()));
        let open = PolicyConfig { scan_failure: ScanFailure::Accept, ..PolicyConfig::default() };
        assert_eq!(judge(&open, None), Disposition::Mark);
    }

    #[test]
    fn scores_that_do_not_fit_together_are_named() {
        let config = PolicyConfig { junk_score: 20.0, ..PolicyConfig::default() };
        assert!(config.check().unwrap_err().contains("junk_score 20"));
        assert!(PolicyConfig { mark_score: f64::NAN, ..PolicyConfig::default() }.check().is_err());
    }
}
