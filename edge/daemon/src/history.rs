//! What a message's senders have brought before, and whether this one is put off.

use crate::message::{Checks, is_for_postmaster};
use crate::shard::Shard;
use postring_auth::dkim::Status;
use postring_auth::dmarc::{DmarcResult, Domain};
use postring_auth::spf::SpfResult;
use postring_control::Counter;
use postring_handoff::Receipt;
use postring_mail::Reply;
use postring_mail::verdict::Symbol;
use postring_policy::memory::{Greylist, Record, SenderReputation, Visit};
use postring_policy::{Disposition, PolicyConfig};
use postring_smtp::{Protocol, Session};
use smallvec::SmallVec;
use std::net::IpAddr;

/// What is known of the client, and of the domain that has authenticated the message.
pub(crate) struct History<'a> {
    client: IpAddr,
    address: Record,
    /// With its history.
    domain: Option<(&'a str, Record)>,
}

/// What became of a message.
pub(crate) struct Learned {
    /// Its points, without what the history itself has added.
    pub(crate) score: f64,
    /// The same without what is the client's alone: whoever sends a domain's mail on shall not spoil its history.
    pub(crate) of_domain: f64,
    /// It went to Junk whatever its points.
    pub(crate) junk: bool,
}

/// True for a client that need not show that it can wait.
pub(crate) fn is_good_client(shard: &Shard, client: IpAddr) -> bool {
    let config = shard.config();
    let reputation = SenderReputation::new(&shard.memory().reputation, &config.policy.reputation);
    config.policy.reputation.check && reputation.is_good(reputation.address(client, shard.now().unix_seconds()))
}

impl<'a> History<'a> {
    /// Looks it up; `None` for mail of our users, of the server that delivers to us and of networks of our own.
    pub(crate) fn look_up(shard: &Shard, session: &Session<Receipt>, checks: Checks<'a>) -> Option<Self> {
        let client = session.client().address;
        let config = shard.config();
        if session.config().protocol != Protocol::Smtp || session.account().is_some() || config.policy.is_trusted(client) {
            return None;
        }
        let (now, reputation) =
            (shard.now().unix_seconds(), SenderReputation::new(&shard.memory().reputation, &config.policy.reputation));
        let domain = authentic_domain(checks);
        Some(Self {
            client,
            address: reputation.address(client, now),
            domain: domain.map(|domain| (domain, reputation.domain(domain, now))),
        })
    }

    /// The findings.
    pub(crate) fn symbols(&self, shard: &Shard, policy: &PolicyConfig) -> SmallVec<[Symbol<'a>; 2]> {
        let reputation = SenderReputation::new(&shard.memory().reputation, &policy.reputation);
        let address = reputation.symbol("ADDRESS_REPUTATION", self.address, "");
        let domain = self.domain.and_then(|(domain, record)| reputation.symbol("DOMAIN_REPUTATION", record, domain));
        address.into_iter().chain(domain).filter(|_| policy.reputation.check).collect()
    }

    /// Remembers what became of a message.
    pub(crate) fn learn(&self, shard: &Shard, policy: &PolicyConfig, learned: &Learned) {
        if !policy.reputation.check {
            return;
        }
        let (now, reputation) =
            (shard.now().unix_seconds(), SenderReputation::new(&shard.memory().reputation, &policy.reputation));
        // Good, bad, or between the two, which says nothing; so does what goes to Junk for its author's policy: mailing lists and forwarders break
        // what senders sign, and are not bad for it.
        let verdict = |score: f64| match score {
            score if score >= policy.junk_score => Some(false),
            score if score < policy.mark_score && !learned.junk => Some(true),
            _ => None,
        };
        if let Some(is_good) = verdict(learned.score) {
            reputation.learn_address(self.client, is_good, now);
        }
        if let (Some((domain, _)), Some(is_good)) = (self.domain, verdict(learned.of_domain)) {
            reputation.learn_domain(domain, is_good, now);
        }
    }

    /// The reply to a message that would be taken, if it is put off.
    pub(crate) fn put_off(
        &self,
        shard: &Shard,
        session: &Session<Receipt>,
        checks: Checks<'_>,
        policy: &PolicyConfig,
        (disposition, score): (&Disposition, f64),
    ) -> Option<Reply> {
        let greylist = &policy.greylist;
        let is_authentic = checks.dmarc.is_some_and(|dmarc| dmarc.result == DmarcResult::Pass);
        if !greylist.check
            || score < greylist.score
            || is_authentic
            || is_for_postmaster(session)
            || matches!(disposition, Disposition::Refuse(_))
        {
            return None;
        }
        let reputation = SenderReputation::new(&shard.memory().reputation, &policy.reputation);
        let is_good = policy.reputation.check
            && (reputation.is_good(self.address) || self.domain.is_some_and(|(_, record)| reputation.is_good(record)));
        if is_good {
            return None;
        }
        let transaction = session.transaction();
        // Whatever their order is with the next try.
        let recipient = transaction.recipients.iter().map(|recipient| recipient.address.as_str()).min()?;
        let list = Greylist::new(&shard.memory().greylist, greylist);
        match list.visit(self.client, &transaction.reverse_path, recipient, shard.now().unix_seconds()) {
            Visit::Known => None,
            Visit::Passed => {
                shard.stats().add(Counter::GreylistPassed, 1);
                None
            }
            Visit::PutOff(minutes) => {
                shard.stats().add(Counter::GreylistDeferred, 1);
                Some(policy.greylist_reply(minutes))
            }
        }
    }
}

/// The domain that has authenticated the message: the author's, a signature's, the envelope's.
fn authentic_domain(checks: Checks<'_>) -> Option<&str> {
    let author = checks.dmarc.filter(|dmarc| dmarc.result == DmarcResult::Pass).and_then(|dmarc| dmarc.author.as_ref());
    let signature = checks.signatures.dkim.iter().find(|signature| signature.status() == Status::Pass);
    author
        .map(Domain::as_str)
        .or_else(|| signature.and_then(|signature| signature.domain.as_deref()))
        .or_else(|| checks.spf.filter(|spf| spf.result == SpfResult::Pass).map(|spf| spf.domain.as_str()))
}
