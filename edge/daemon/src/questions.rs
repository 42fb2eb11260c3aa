//! What a session asks, answered from the shard's snapshot of the directory. Only passwords leave the thread.

use crate::dnsbl::Check;
use crate::helpers::HelperCheck;
use crate::limits;
use crate::rules::{Asked, RuleCheck};
use crate::shard::Shard;
use postring_control::Counter;
use postring_directory::{Resolution, Target as Found, account_shard, verify_password};
use postring_handoff::Receipt;
use postring_mail::Reply;
use postring_smtp::{Account, Answer, Protocol, Question, RecipientAnswer, Session, Target};
use smallvec::{SmallVec, smallvec};
use std::net::IpAddr;
use std::rc::Rc;

/// A hash nobody has the password of: names that do not exist take as long as those that do.
const NOBODY: &str = "{ARGON2ID}$argon2id$v=19$m=19456,t=2,p=1$bm9ib2R5bm9ib2R5bm8$N0bodyN0bodyN0bodyN0bodyN0bodyN0bodyN0bodyN0";

/// Whether an address is taken, and from this client. Waits for what block lists say of it, at most what is left of their time since the connect.
pub(crate) async fn recipient(
    shard: &Rc<Shard>,
    session: &Session<Receipt>,
    (check, rules, client, helpers): (&Check, &mut RuleCheck, Asked<'_>, &mut HelperCheck),
    address: &str,
) -> Answer {
    let mut answer = resolve(shard, session.account().is_some(), address);
    if matches!(answer, Answer::Recipient(RecipientAnswer::Accept(_)))
        && let Some(reply) = objection(shard, session, (check, rules, client, helpers), address).await
    {
        tracing::info!(target: "mail", client = %session.client().address, from = session.transaction().reverse_path, to = address, "{reply}");
        answer = Answer::Recipient(RecipientAnswer::Refused(reply));
    }
    if matches!(answer, Answer::Recipient(RecipientAnswer::Accept(_)))
        && matches!(session.config().protocol, Protocol::Smtp | Protocol::Submission | Protocol::Submissions)
        && !is_postmaster(address)
        && let Some(reply) = limits::recipient_refusal(shard, session.account().map(|account| account.id), split(address).1)
    {
        answer = Answer::Recipient(RecipientAnswer::Refused(reply));
    }
    let accepted = matches!(answer, Answer::Recipient(RecipientAnswer::Accept(_)));
    shard.stats().add(if accepted { Counter::RecipientsAccepted } else { Counter::RecipientsRefused }, 1);
    answer
}

/// Why the client or the sender is not taken, if it is not. Mail for the postmaster is looked at and never refused.
async fn objection(
    shard: &Rc<Shard>,
    session: &Session<Receipt>,
    (check, rules, client, helpers): (&Check, &mut RuleCheck, Asked<'_>, &mut HelperCheck),
    address: &str,
) -> Option<Reply> {
    let reverse = client.reverse;
    // Both are under way since the connect.
    let reputation = check.reputation().await;
    rules.check(shard, session, client).await;
    if is_postmaster(address) {
        return None;
    }
    let listed = reputation.and_then(|reputation| reputation.refusal(&shard.config().policy, session.client().address));
    match listed.or_else(|| rules.refusal(shard)) {
        // Others are asked about what we would take.
        None => helpers.recipient(shard, session, reverse.get(), address).await,
        refusal => refusal,
    }
}

//= RFC 5321 section 4.5.1
//# Any system that includes an SMTP server supporting mail relaying or delivery MUST support the reserved mailbox "postmaster"
// Whoever is refused by mistake can say so there.
pub(crate) fn is_postmaster(address: &str) -> bool {
    split(address).0.eq_ignore_ascii_case("postmaster")
}

/// Finds the answer to what needs no waiting.
pub(crate) fn answer(shard: &Shard, session: &Session<Receipt>, question: &Question) -> Answer {
    match question {
        Question::Connect => {
            let answer = admit(shard, session.client().address, session.config().protocol);
            if answer != Answer::Welcome {
                shard.stats().add(Counter::ConnectionsRefused, 1);
            }
            answer
        }
        Question::Sender { address } => {
            session.account().map_or(Answer::Sender(false), |account| Answer::Sender(owns(shard, account, address)))
        }
        Question::Verify { address } => resolve(shard, false, address),
        // Asked with `recipient` and `authenticate`.
        Question::Recipient { .. } | Question::Authenticate { .. } => Answer::TemporaryFailure,
    }
}

fn admit(shard: &Shard, client: IpAddr, protocol: Protocol) -> Answer {
    match limits::refusal(shard, client).or_else(|| refused_by_a_list(shard, client, protocol)) {
        Some(reply) => Answer::Refused(reply),
        None => Answer::Welcome,
    }
}

/// The refusal, with its line end, of a client that has connected and speaks for itself, if one of our lists names it. Counted.
pub(crate) fn refused_at_once(shard: &Shard, client: IpAddr, protocol: Protocol) -> Option<Vec<u8>> {
    if shard.config().edge.proxy_networks.iter().any(|network| network.contains(&client)) {
        return None;
    }
    let reply = refused_by_a_list(shard, client, protocol)?;
    shard.stats().add(Counter::ConnectionsRefused, 1);
    let mut line = Vec::with_capacity(256);
    reply.write_to(&mut line);
    Some(line)
}

/// Our users come from anywhere and prove who they are; only other servers must be of good repute.
fn refused_by_a_list(shard: &Shard, client: IpAddr, protocol: Protocol) -> Option<Reply> {
    if protocol != Protocol::Smtp {
        return None;
    }
    let reply = blocked(shard, client)?;
    shard.stats().add(Counter::BlockListHits, 1);
    tracing::info!(target: "mail", %client, "{reply}");
    Some(reply)
}

/// The refusal of a client that one of our lists names. Costs a binary search a list; allocates on a hit only.
pub(crate) fn blocked(shard: &Shard, client: IpAddr) -> Option<Reply> {
    let hosted = shard.resolver().hosted();
    shard.refusing().iter().find_map(|origin| {
        let listing = hosted.list(origin)?.listed_address(client)?;
        let list = origin.to_string();
        let text = format!("Client [{client}] is blocked by {}: {}", list.trim_end_matches('.'), listing.text());
        //= RFC 5321 section 3.1
        //# a 554 response MAY be given in the initial connection opening message instead of the 220
        Some(Reply::with_text(554, 7, 1, text))
    })
}

fn split(address: &str) -> (&str, &str) {
    address.rsplit_once('@').unwrap_or((address, ""))
}

/// True if mail for the address reaches the account: its own, an alias of it, or the postmaster's.
fn owns(shard: &Shard, account: &Account, address: &str) -> bool {
    let Some(directory) = shard.directory() else { return false };
    let (local_part, domain) = split(address);
    match directory.resolve(local_part, domain) {
        Resolution::Targets(mut targets) => targets.any(|target| target == Found::Account(account.id)),
        Resolution::UnknownUser | Resolution::Disabled | Resolution::NotHosted => false,
    }
}

pub(crate) fn resolve(shard: &Shard, authenticated: bool, address: &str) -> Answer {
    let Some(directory) = shard.directory() else { return Answer::TemporaryFailure };
    let config = shard.config();
    let (local_part, domain) = split(address);
    // `<postmaster>` without a domain is this host's (RFC 5321 section 4.1.1.3): the first domain hosted that is a part of its name.
    let own = shard.hostname().split_once('.').map_or("", |(_, parent)| parent);
    let domain = match domain {
        "" if directory.hosts(shard.hostname()) => shard.hostname(),
        "" => own,
        domain => domain,
    };
    Answer::Recipient(match directory.resolve(local_part, domain) {
        //= RFC 6409 section 3.1
        //# the message [...] is relayed or delivered [...] for an authorized user
        Resolution::NotHosted if authenticated && config.send_shards > 0 => {
            RecipientAnswer::Accept(smallvec![Target::Remote(address.to_owned())])
        }
        Resolution::NotHosted => RecipientAnswer::NotHosted,
        Resolution::UnknownUser => RecipientAnswer::Unknown,
        Resolution::Disabled => RecipientAnswer::Disabled,
        Resolution::Targets(targets) => {
            let targets: SmallVec<[Target; 1]> = targets
                .map(|target| match target {
                    Found::Account(id) => Target::Account { id, shard: account_shard(id, shard.store_shards()) },
                    Found::Remote(address) => Target::Remote(address.to_owned()),
                })
                .collect();
            // Without a sending machine there is nobody to give it to; nobody at all is an alias that is just being changed.
            let nobody = config.send_shards == 0 && targets.iter().any(|target| matches!(target, Target::Remote(_)));
            if nobody || targets.is_empty() {
                return Answer::TemporaryFailure;
            }
            RecipientAnswer::Accept(targets)
        }
    })
}

/// Checks a name and a password, on a helper thread.
pub(crate) async fn authenticate(shard: &Shard, name: String, password: Vec<u8>) -> Answer {
    let Some(directory) = shard.directory() else { return Answer::TemporaryFailure };
    let found = directory.account_by_address(&name).filter(|account| account.enabled);
    let hash = found.map_or(NOBODY, |account| account.password_hash).to_owned();
    let account = found.map(|account| Account { id: account.id, address: account.address.to_owned() });
    // Tens of milliseconds by design: on the executor's helper thread, not on the shard's.
    let right = glommio::executor().spawn_blocking(move || verify_password(&hash, &password)).await;
    match account.filter(|_| right) {
        Some(account) => {
            shard.stats().add(Counter::AuthSuccesses, 1);
            Answer::Authenticated(account)
        }
        None => {
            shard.stats().add(Counter::AuthFailures, 1);
            Answer::AuthenticationFailed
        }
    }
}
