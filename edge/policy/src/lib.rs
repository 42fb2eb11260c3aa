//! Which verdict gives which reply: the one table between what the scanner found and what the client hears.
//!
//! No I/O. The thresholds are the administrator's ([`PolicyConfig`]); everything that is not certain is accepted:
//! a scan that failed puts the message off (`451`), it never loses and never wrongly refuses it.

pub mod dkim;
pub mod dmarc;
pub mod dmarc_reports;
pub mod dnsbl;
mod fields;
mod findings;
pub mod helpers;
pub mod limits;
pub mod memory;
mod points;
pub mod rules;
pub mod spf;

pub use dkim::DkimConfig;
pub use dmarc::{DmarcConfig, DmarcFound};
pub use dnsbl::{Dnsbl, DnsblConfig, Reputation};
pub use fields::{is_mark_field, mark_fields};
pub use findings::Findings;
pub use helpers::{DelegateConfig, MilterConfig};
pub use rules::{Rule, RulesConfig};
pub use spf::SpfConfig;

use dnsbl::LISTS_MAX;
use ipnet::IpNet;
use limits::LimitsConfig;
use memory::{GreylistConfig, ReputationConfig};
use postring_mail::Reply;
use postring_mail::verdict::{Outcome, VerdictView};
use serde::{Deserialize, Serialize};
use std::net::IpAddr;

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
    /// Networks of your own, of whose clients nothing is checked but what their mail carries: relays, which send with addresses of others. Their
    /// Authentication-Results and X-Spam fields are believed; of all other clients those that claim to be ours are taken out. Default: loopback,
    /// private and link-local.
    pub trusted_networks: Vec<IpNet>,
    /// Address of a page that explains refusals; added to every refusal by policy. Default empty: no link.
    pub information_link: String,
    /// From this sum of the points of `[[policy.dnsbl]]` on a client's recipients are refused with 554 5.7.1, but for the postmaster, who is
    /// there for complaints. Default 5: two lists of the default weight agree, or one you gave that weight is sure.
    pub dnsbl_reject_score: f64,
    /// From this sum on a message carries the X-Spam fields, whatever its own score. Default 3: one list of the default weight.
    pub dnsbl_mark_score: f64,
    /// What a refused client is told; {address} is its address, {lists} the zones that list it.
    /// Default "Client [{address}] is listed by {lists}; ask there to be taken off".
    pub dnsbl_reject_text: String,
    /// Milliseconds after the connect for which all lists together may hold up a client's first recipient. Default 3000: each has its own
    /// `timeout_ms` below that, and most clients take longer to come to that point than the lists to answer.
    pub dnsbl_wait_ms: u64,
    /// Block lists asked by DNS about every client of port 25, each a table `[[policy.dnsbl]]`, see below. Default: none.
    pub dnsbl: Vec<DnsblConfig>,
    /// Milliseconds for which a client without a good history waits for the greeting; one that speaks before breaks the rule `early_talk`, as senders
    /// of spam do that wait for nobody. Default 2000: what postscreen waits when it is busy. 0: no wait, and no rule.
    pub greeting_wait_ms: u64,
    /// Milliseconds, from the first recipient on, for which what the rules ask of the DNS may hold it up. Default 3000: then what is not known
    /// hits nothing.
    pub rules_wait_ms: u64,
    /// Questions of the DNS for all checks of one transaction together, whether the answer is in memory or not; beyond, nothing more is found out of
    /// it, and only what the author's domain asks for (DMARC) is still applied. Default 200: SPF may come to a hundred (RFC 7208 section 4.6.4), that
    /// of the name in EHLO takes what is left, signatures come to 24, all else to twenty.
    pub questions_max: u32,
    /// Octets of their answers. Default 262144.
    pub answer_bytes_max: usize,
    /// Milliseconds for which all checks together may hold up the reply to a last dot; what is not known then is a temporary error. Default 8000.
    pub last_dot_wait_ms: u64,
    /// Rules about client and sender, a table `[policy.rules]`, see below.
    pub rules: RulesConfig,
    /// What the sender's domain says of the client, a table `[policy.spf]`, see below.
    pub spf: SpfConfig,
    /// What a message's signatures are worth, a table `[policy.dkim]`, see below.
    pub dkim: DkimConfig,
    /// What is done about mail that is not from the domain it shows, a table `[policy.dmarc]`, see below.
    pub dmarc: DmarcConfig,
    /// Who is put off once, a table `[policy.greylist]`, see below.
    pub greylist: GreylistConfig,
    /// What senders have brought before, a table `[policy.reputation]`, see below.
    pub reputation: ReputationConfig,
    /// How much anybody may do, a table `[policy.limits]`, see below.
    pub limits: LimitsConfig,
    /// Policy servers in Postfix's protocol, each a table `[[policy.delegate]]`, see below. Default: none.
    pub delegate: Vec<DelegateConfig>,
    /// Milters, each a table `[[policy.milter]]`, see below. Default: none.
    pub milter: Vec<MilterConfig>,
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
            trusted_networks: TRUSTED.iter().filter_map(|network| network.parse().ok()).collect(),
            information_link: String::new(),
            dnsbl_reject_score: 5.0,
            dnsbl_mark_score: 3.0,
            dnsbl_reject_text: "Client [{address}] is listed by {lists}; ask there to be taken off".to_owned(),
            dnsbl_wait_ms: 3000,
            dnsbl: Vec::new(),
            greeting_wait_ms: 2000,
            rules_wait_ms: 3000,
            questions_max: 200,
            answer_bytes_max: 256 * 1024,
            last_dot_wait_ms: 8000,
            rules: RulesConfig::default(),
            spf: SpfConfig::default(),
            dkim: DkimConfig::default(),
            dmarc: DmarcConfig::default(),
            greylist: GreylistConfig::default(),
            reputation: ReputationConfig::default(),
            limits: LimitsConfig::default(),
            delegate: Vec::new(),
            milter: Vec::new(),
        }
    }
}

/// Networks that stand for nobody on the Internet (RFC 1918, RFC 4193, RFC 3927, RFC 4291).
const TRUSTED: [&str; 8] =
    ["127.0.0.0/8", "10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "169.254.0.0/16", "::1/128", "fc00::/7", "fe80::/10"];
/// Octets of a refusal that quotes a stranger, without the link: a reply is a line of 512 octets (RFC 5321 section 4.5.3.1.5).
const REFUSAL_BYTES_MAX: usize = 300;
/// Characters of [`PolicyConfig::dnsbl_reject_text`]: a reply is a line of 512 octets (RFC 5321 section 4.5.3.1.5).
const TEXT_BYTES_MAX: usize = 200;

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
        self.check_dnsbl()?;
        if !(100..=60_000).contains(&self.last_dot_wait_ms) {
            return Err(format!("policy.last_dot_wait_ms = {}: give a number from 100 to 60000", self.last_dot_wait_ms));
        }
        if !(20..=10_000).contains(&self.questions_max) || !(4096..=64 * 1024 * 1024).contains(&self.answer_bytes_max) {
            return Err(format!(
                "policy.questions_max = {}, policy.answer_bytes_max = {}: give 20 to 10000 questions and 4096 to 67108864 octets",
                self.questions_max, self.answer_bytes_max
            ));
        }
        if !(100..=30_000).contains(&self.rules_wait_ms) {
            return Err(format!("policy.rules_wait_ms = {}: give a number from 100 to 30000", self.rules_wait_ms));
        }
        if self.greeting_wait_ms > 60_000 {
            return Err(format!("policy.greeting_wait_ms = {}: give a number up to 60000", self.greeting_wait_ms));
        }
        self.rules.check()?;
        self.spf.check()?;
        self.dkim.check()?;
        self.dmarc.check()?;
        self.greylist.check()?;
        self.reputation.check()?;
        self.limits.check()?;
        helpers::check(&self.delegate, &self.milter)
    }

    fn check_dnsbl(&self) -> Result<(), String> {
        for (key, score) in [("dnsbl_reject_score", self.dnsbl_reject_score), ("dnsbl_mark_score", self.dnsbl_mark_score)] {
            if !(0.001..=10_000.0).contains(&score) {
                return Err(format!("policy.{key} = {score}: give a number above 0, at most 10000"));
            }
        }
        let text = &self.dnsbl_reject_text;
        if text.is_empty() || text.len() > TEXT_BYTES_MAX || !text.bytes().all(|byte| (b' '..=b'~').contains(&byte)) {
            return Err(format!("policy.dnsbl_reject_text: give one line of 1 to {TEXT_BYTES_MAX} ASCII characters"));
        }
        if !(100..=30_000).contains(&self.dnsbl_wait_ms) {
            return Err(format!("policy.dnsbl_wait_ms = {}: give a number from 100 to 30000", self.dnsbl_wait_ms));
        }
        if self.dnsbl.len() > LISTS_MAX {
            return Err(format!("policy.dnsbl: there are {} lists; give at most {LISTS_MAX}", self.dnsbl.len()));
        }
        let mut seen = Vec::new();
        for list in &self.dnsbl {
            list.check()?;
            let zone = list.zone.trim_end_matches('.').to_ascii_lowercase();
            if seen.contains(&zone) {
                return Err(format!("policy.dnsbl: zone = \"{}\" is there twice; give each list once", list.zone));
            }
            seen.push(zone);
        }
        Ok(())
    }

    /// True for a client in a network of our own.
    #[must_use]
    pub fn is_trusted(&self, client: IpAddr) -> bool {
        let client = client.to_canonical();
        self.trusted_networks.iter().any(|network| network.contains(&client))
    }

    /// The refusal of a message whose sender's domain disowns the client, if that is wanted; `result` as [`SpfConfig::symbol`] takes it.
    #[must_use]
    pub fn spf_refusal(&self, result: &str, domain: &str, explanation: Option<&str>) -> Option<Reply> {
        if !self.spf.reject_fail || self.spf.dry_run || result != "fail" {
            return None;
        }
        let mut text = match explanation {
            Some(explanation) => format!("{domain} explained: {explanation}"),
            None => format!("{domain} says that your address may not send its mail (SPF)"),
        };
        text.truncate(text.floor_char_boundary(REFUSAL_BYTES_MAX));
        //= RFC 7372 section 3.2
        //# SPF validation failed [...] 550 [...] X.7.23
        Some(Reply::with_text(550, 7, 23, self.with_link(&text)))
    }

    /// The refusal of a message that fails DMARC, if that is wanted.
    #[must_use]
    pub fn dmarc_refusal(&self, found: DmarcFound<'_>) -> Option<Reply> {
        if self.dmarc.action(found) != dmarc::Action::Refuse {
            return None;
        }
        let text = if found.broken_from {
            "The From field of this message is not of one domain".to_owned()
        } else {
            format!("This is not from {}, which asks to refuse such mail (DMARC)", found.author)
        };
        //= RFC 7372 section 3.3
        //# X.7.26 Multiple authentication checks failed
        Some(Reply::with_text(550, 7, 26, self.with_link(&text)))
    }

    /// The refusal of a client's recipients for a rule that has hit, if the rule refuses.
    #[must_use]
    pub fn rule_refusal(&self, rule: Rule) -> Option<Reply> {
        self.rules.refusal(rule).map(|reply| Reply { text: self.with_link(&reply.text).into(), ..reply })
    }

    /// The reply to a message that is put off by greylisting.
    #[must_use]
    pub fn greylist_reply(&self, minutes: u32) -> Reply {
        //= RFC 6647 section 5
        //# A server implementing greylisting [...] SHOULD use [...] "421" or "450" [...]
        Reply::with_text(
            451,
            7,
            1,
            self.with_link(&format!("You are not known here yet, try again in {minutes} minutes (greylisting)")),
        )
    }

    /// A text for the peer with the page that explains it.
    fn with_link(&self, text: &str) -> String {
        if self.information_link.is_empty() { text.to_owned() } else { format!("{text}; see {}", self.information_link) }
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

/// Turns a verdict and what was found of the sender into a disposition. `None`: no scanner answered within its time.
///
/// Costs no allocation unless the message is refused.
#[must_use]
pub fn judge(config: &PolicyConfig, verdict: Option<&VerdictView<'_>>, findings: &Findings<'_>) -> Disposition {
    judge_for(config, Scores { junk: None, reject: None }, verdict, findings)
}

/// From which scores on a message is spam for one recipient; `None`: the configuration's.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Scores {
    /// Instead of [`PolicyConfig::junk_score`].
    pub junk: Option<f64>,
    /// Instead of [`PolicyConfig::reject_score`].
    pub reject: Option<f64>,
}

/// The same for a recipient with scores of its own.
#[must_use]
pub fn judge_for(
    config: &PolicyConfig,
    scores: Scores,
    verdict: Option<&VerdictView<'_>>,
    findings: &Findings<'_>,
) -> Disposition {
    let (junk_score, reject_score) = (scores.junk.unwrap_or(config.junk_score), scores.reject.unwrap_or(config.reject_score));
    let Some(verdict) = verdict.filter(|verdict| verdict.outcome != Outcome::Failed) else {
        return match config.scan_failure {
            ScanFailure::Accept => Disposition::Mark,
            ScanFailure::Defer => {
                Disposition::Refuse(Reply::fixed(451, 7, 1, "The content check could not be done now, try again later"))
            }
        };
    };
    let score = score(verdict, findings);
    if verdict.outcome == Outcome::Malware {
        return Disposition::Refuse(refusal(config, "Message refused: it carries malware"));
    }
    if score >= reject_score {
        return Disposition::Refuse(refusal(config, "Message refused: it looks like spam"));
    }
    match score {
        score if score >= junk_score || findings.junk => Disposition::Junk,
        score if score >= config.mark_score => Disposition::Mark,
        _ if !findings.lists.is_empty() && findings.lists.score() >= config.dnsbl_mark_score => Disposition::Mark,
        _ => Disposition::Accept,
    }
}

/// The points of a message: the scanner's, and those of its sender.
#[must_use]
pub fn score(verdict: &VerdictView<'_>, findings: &Findings<'_>) -> f64 {
    f64::from(verdict.score_milli) / 1000.0 + findings.score()
}

//= RFC 3463 section 3.8
//# X.7.1   Delivery not authorized, message refused
fn refusal(config: &PolicyConfig, text: &'static str) -> Reply {
    Reply::with_text(550, 7, 1, config.with_link(text))
}

#[cfg(test)]
mod tests {
    use super::*;
    use postring_mail::verdict::{Symbol, VerdictWriter};

    fn nothing() -> Findings<'static> {
        static NOTHING: std::sync::LazyLock<Reputation> = std::sync::LazyLock::new(Reputation::default);
        Findings { lists: &NOTHING, sender: &[], junk: false }
    }

    fn judged(weight_milli: i32, outcome: Outcome) -> Disposition {
        let mut writer = VerdictWriter::default();
        writer.push(Symbol { name: "X", weight_milli, detail: "" });
        writer.set_outcome(outcome);
        judge(&PolicyConfig::default(), Some(&VerdictView::parse(writer.finish()).unwrap()), &nothing())
    }

    #[test]
    fn the_table() {
        assert_eq!(judged(4_999, Outcome::Complete), Disposition::Accept);
        assert_eq!(judged(5_000, Outcome::Complete), Disposition::Mark);
        assert_eq!(judged(6_000, Outcome::Partial), Disposition::Junk);
        assert!(matches!(judged(15_000, Outcome::Complete), Disposition::Refuse(reply) if reply.code == 550));
        assert!(matches!(judged(-9_000, Outcome::Malware), Disposition::Refuse(reply) if reply.code == 550));
        assert!(matches!(judged(0, Outcome::Failed), Disposition::Refuse(reply) if reply.code == 451));
        assert!(matches!(judge(&PolicyConfig::default(), None, &nothing()), Disposition::Refuse(reply) if reply.is_transient()));
        let open = PolicyConfig { scan_failure: ScanFailure::Accept, ..PolicyConfig::default() };
        assert_eq!(judge(&open, None, &nothing()), Disposition::Mark);
    }

    #[test]
    fn networks_of_our_own() {
        let config = PolicyConfig::default();
        assert!(!config.is_trusted([192, 0, 2, 1].into()));
        assert!(config.is_trusted([127, 0, 0, 1].into()) && config.is_trusted("::ffff:10.1.1.1".parse().unwrap()));
    }

    #[test]
    fn scores_that_do_not_fit_together_are_named() {
        let config = PolicyConfig { junk_score: 20.0, ..PolicyConfig::default() };
        assert!(config.check().unwrap_err().contains("junk_score 20"));
        assert!(PolicyConfig { mark_score: f64::NAN, ..PolicyConfig::default() }.check().is_err());
    }

    #[test]
    fn a_sender_disowned_is_refused_only_if_that_is_wanted() {
        let open = PolicyConfig::default();
        assert_eq!(open.spf_refusal("fail", "a.example", None), None);
        let strict = PolicyConfig { spf: SpfConfig { reject_fail: true, ..SpfConfig::default() }, ..open };
        assert_eq!(strict.spf_refusal("softfail", "a.example", None), None);
        let text = |explanation| strict.spf_refusal("fail", "a.example", explanation).unwrap().to_string();
        assert_eq!(text(None), "550 5.7.23 a.example says that your address may not send its mail (SPF)");
        assert_eq!(text(Some("ask us")), "550 5.7.23 a.example explained: ask us");
    }
}
