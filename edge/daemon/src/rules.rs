//! What the rules say of a client and a sender: looked at when a message's first recipient is accepted.

use crate::budget::Lookups;
use crate::reverse::ReverseName;
use crate::shard::Shard;
use futures_lite::future::{or, zip};
use postring_auth::{Lookup, together};
use postring_control::RuleCount;
use postring_dns::{Name, Rtype};
use postring_handoff::Receipt;
use postring_mail::Reply;
use postring_policy::Rule;
use postring_policy::rules::helo_rules;
use postring_smtp::{Protocol, Session};
use postring_transport::dns::ReverseName as Answer;
use smallvec::SmallVec;
use std::future::Future;
use std::net::IpAddr;
use std::rc::Rc;
use std::time::Duration;

/// Whom the rules are about.
pub(crate) struct Asked<'a> {
    pub(crate) address: IpAddr,
    /// What it says in EHLO.
    pub(crate) helo: &'a str,
    pub(crate) reverse_path: &'a str,
    /// Its name by DNS.
    pub(crate) reverse: &'a ReverseName,
    /// It spoke before the greeting.
    pub(crate) early_talk: bool,
    /// The address it has connected to; costs a system call.
    pub(crate) own_address: &'a dyn Fn() -> Option<IpAddr>,
    /// What may be asked of the DNS about it.
    pub(crate) lookups: &'a Lookups,
}

/// The rules that hit in one transaction. Owns 8 bytes if none was looked at.
#[derive(Default)]
pub(crate) struct RuleCheck {
    checked: Option<Box<Checked>>,
}

struct Checked {
    /// For whom: another name or sender is looked at anew.
    helo: Box<str>,
    reverse_path: Box<str>,
    hits: SmallVec<[Rule; 4]>,
}

impl RuleCheck {
    /// Looks at client and sender, if that is not done yet. Our users, the server that delivers to us and our own networks are not looked at.
    ///
    /// Cost: with all answers in memory a look-up each, at most eight; else it waits, at most `policy.rules_wait_ms`.
    pub(crate) async fn check(&mut self, shard: &Rc<Shard>, session: &Session<Receipt>, client: Asked<'_>) {
        let is_checked = session.config().protocol == Protocol::Smtp && session.account().is_none();
        if !is_checked || shard.config().policy.is_trusted(client.address) {
            self.checked = None;
            return;
        }
        if self.are_about(client.helo, client.reverse_path) {
            return;
        }
        let hits = look(shard, &client).await;
        self.checked = Some(Box::new(Checked { helo: client.helo.into(), reverse_path: client.reverse_path.into(), hits }));
    }

    /// True if they were looked at for this name and sender.
    pub(crate) fn are_about(&self, helo: &str, reverse_path: &str) -> bool {
        self.checked.as_ref().is_some_and(|checked| *checked.helo == *helo && *checked.reverse_path == *reverse_path)
    }

    /// The reply of the first rule that refuses.
    pub(crate) fn refusal(&self, shard: &Shard) -> Option<Reply> {
        let config = shard.config();
        self.hits().iter().find_map(|rule| {
            let reply = config.policy.rule_refusal(*rule)?;
            shard.stats().add_rule(rule.index(), RuleCount::Refused);
            Some(reply)
        })
    }

    /// The rules that have hit.
    pub(crate) fn hits(&self) -> &[Rule] {
        self.checked.as_ref().map_or(&[], |checked| &checked.hits)
    }
}

/// The rules that a client and a sender hit. Counts it.
pub(crate) async fn look(shard: &Rc<Shard>, client: &Asked<'_>) -> SmallVec<[Rule; 4]> {
    let mut looking = Looking { shard, hits: SmallVec::new() };
    looking.judge(&[Rule::EarlyTalk], Some(client.early_talk.then_some(Rule::EarlyTalk)));
    let by_name = helo_rules(client.helo, client.address, shard.hostname(), client.own_address);
    looking.judge(&[Rule::HeloOwnName, Rule::HeloAddress, Rule::HeloNotQualified], Some(by_name));

    let config = shard.config();
    if looking.hits.iter().any(|rule| config.policy.rule_refusal(*rule).is_some()) {
        // Nobody is asked about who is refused anyway.
        return looking.hits;
    }
    let wait = Duration::from_millis(config.policy.rules_wait_ms);
    let helo_name = Some(client.helo).filter(|_| by_name.is_none()).and_then(ascii_name);
    let domain = client.reverse_path.rsplit_once('@').and_then(|(_, domain)| ascii_name(domain));
    let names = zip(
        within(wait, async { helo_unknown(client.lookups, helo_name.as_ref()?).await }),
        within(wait, async { sender_domain(client.lookups, domain.as_ref()?).await }),
    );
    let ((helo_unknown, sender), reverse) = zip(names, within(wait, async { Some(client.reverse.answer().await) })).await;
    if helo_name.is_some() {
        looking.judge(&[Rule::HeloUnknown], helo_unknown);
    }
    if domain.is_some() {
        looking.judge(&[Rule::SenderDomainUnknown, Rule::SenderNullMx], sender);
    }
    let reverse = match reverse {
        None | Some(Answer::Unknown) => None,
        Some(Answer::Confirmed(_)) => Some(None),
        Some(Answer::Missing) => Some(Some(Rule::ReverseNameMissing)),
        Some(Answer::Unconfirmed) => Some(Some(Rule::ReverseNameUnconfirmed)),
    };
    looking.judge(&[Rule::ReverseNameMissing, Rule::ReverseNameUnconfirmed], reverse);
    looking.hits
}

/// Counts and collects.
struct Looking<'a> {
    shard: &'a Shard,
    hits: SmallVec<[Rule; 4]>,
}

impl Looking<'_> {
    /// Takes what was found for rules that are looked at together: one of them, none of them, or nothing could be found.
    fn judge(&mut self, rules: &[Rule], found: Option<Option<Rule>>) {
        let stats = self.shard.stats();
        for rule in rules {
            stats.add_rule(rule.index(), RuleCount::Checked);
            if found.is_none() {
                stats.add_rule(rule.index(), RuleCount::Late);
            }
        }
        if let Some(Some(rule)) = found {
            stats.add_rule(rule.index(), RuleCount::Hit);
            self.hits.push(rule);
        }
    }
}

/// What is found in time.
async fn within<T>(wait: Duration, finding: impl Future<Output = Option<T>>) -> Option<T> {
    or(finding, async {
        glommio::timer::sleep(wait).await;
        None
    })
    .await
}

/// A domain as a name; `None` for an address literal and what cannot be asked for.
fn ascii_name(domain: &str) -> Option<Name> {
    Name::absolute(domain).ok().filter(|_| domain.is_ascii() && !domain.starts_with('['))
}

/// Whether a name of EHLO is nobody's.
async fn helo_unknown(lookups: &Lookups, name: &Name) -> Option<Option<Rule>> {
    let has_any = has_any(lookups, name, &[Rtype::A, Rtype::AAAA, Rtype::MX]).await?;
    Some((!has_any).then_some(Rule::HeloUnknown))
}

/// Whether a report to the sender would find a server.
async fn sender_domain(lookups: &Lookups, name: &Name) -> Option<Option<Rule>> {
    let answer = lookups.lookup(name, Rtype::MX).await;
    if answer.is_failure() {
        return None;
    }
    let mut servers = answer.rdata(Rtype::MX);
    match (servers.next(), servers.next()) {
        //= RFC 7505 section 3
        //# a single MX RR [...] with a preference number of 0 and a zero-length label
        (Some([0, 0, 0]), None) => Some(Some(Rule::SenderNullMx)),
        (Some(_), _) => Some(None),
        //= RFC 5321 section 5.1
        //# If an empty list of MXs is returned, the address is treated as if it was associated with an implicit MX RR
        (None, _) => {
            let has_any = has_any(lookups, name, &[Rtype::A, Rtype::AAAA]).await?;
            Some((!has_any).then_some(Rule::SenderDomainUnknown))
        }
    }
}

/// True if the name has records of one of the types; `None` if nobody could say. All are asked for at the same time.
async fn has_any(lookups: &Lookups, name: &Name, rtypes: &[Rtype]) -> Option<bool> {
    let answers = together(rtypes.iter().map(|rtype| lookups.lookup(name, *rtype))).await;
    if answers.iter().zip(rtypes).any(|(answer, rtype)| answer.rdata(*rtype).next().is_some()) {
        return Some(true);
    }
    (!answers.iter().any(|answer| answer.is_failure())).then_some(false)
}
