//! What the lists say of one client: asked for at connect, waited for at its first recipient.

use super::Lists;
use crate::found::Found;
use crate::shard::Shard;
use postring_dns::resolver::Resolved;
use postring_dns::{Name, Rtype, record};
use postring_policy::dnsbl::{Outcome, Reputation};
use postring_transport::dns::{Lookup, Resolver};
use std::cell::RefCell;
use std::future::{Future, poll_fn};
use std::net::{IpAddr, Ipv4Addr};
use std::pin::Pin;
use std::rc::Rc;
use std::task::Poll;
use std::time::Duration;

/// The check of one client. Owns 8 bytes if nothing was asked, and nothing is to be waited for.
#[derive(Default)]
pub(crate) struct Check {
    found: Option<Rc<Found<Reputation>>>,
}

impl Check {
    /// Asks all lists that are well. What the resolver knows is there at once; for the rest one task waits, no longer than the lists' timeouts,
    /// whether the client stays or not.
    pub(crate) fn begin(shard: &Rc<Shard>, client: IpAddr) -> Self {
        let lists = shard.lists();
        let config = shard.config();
        if lists.lists.is_empty() || config.policy.is_trusted(client) {
            return Self::default();
        }
        let mut questions: Vec<Pin<Box<dyn Future<Output = ()>>>> = Vec::new();
        let answers = Rc::new(Answers { shard: Rc::clone(shard), lists, reputation: RefCell::default() });
        for at in 0..answers.lists.lists.len() {
            let Some((name, timeout_ms)) = answers.question(at, client) else { continue };
            let known = shard.resolver().known(&name, Rtype::A, Lookup::MAIL);
            let asked = answers.lists.policy(at).map(|mut list| list.ask(known.is_some(), shard.now().unix_seconds()));
            match (asked, known) {
                (Some(Ok(())), Some(resolved)) => answers.take(at, Some(&resolved)),
                (Some(Ok(())), None) => {
                    let (answers, resolver) = (Rc::clone(&answers), shard.resolver().clone());
                    let timeout = Duration::from_millis(timeout_ms.min(config.policy.dnsbl_wait_ms));
                    questions.push(Box::pin(async move {
                        let resolved = within(timeout, &resolver, &name).await;
                        answers.take(at, resolved.as_ref());
                    }));
                }
                (Some(Err(_)) | None, _) => {}
            }
        }
        let found = Rc::new(Found::default());
        let check = Self { found: Some(Rc::clone(&found)) };
        if questions.is_empty() {
            let reputation = answers.reputation.take();
            if reputation.is_empty() {
                return Self::default();
            }
            found.set(reputation);
        } else {
            glommio::spawn_local(async move {
                all(questions).await;
                found.set(answers.reputation.take());
            })
            .detach();
        }
        check
    }

    /// What the lists say, once they have said it or their time is over.
    pub(crate) async fn reputation(&self) -> Option<&Reputation> {
        self.found.as_ref()?.wait().await
    }

    /// What the lists have said so far: all, once [`Self::reputation`] was waited for.
    pub(crate) fn known(&self) -> Option<&Reputation> {
        self.found.as_ref()?.get()
    }
}

/// What has come so far.
struct Answers {
    shard: Rc<Shard>,
    lists: Rc<Lists>,
    reputation: RefCell<Reputation>,
}

impl Answers {
    /// The name to ask for, and milliseconds to wait for it.
    fn question(&self, list: usize, client: IpAddr) -> Option<(Name, u64)> {
        let policy = self.lists.policy(list)?;
        Some((policy.question(client)?, policy.config().timeout_ms))
    }

    /// Takes what a list says; `None`: it was too late.
    fn take(&self, list: usize, resolved: Option<&Resolved>) {
        let outcome = match resolved {
            // What is beyond its time may be given because the list does not answer: it is no reason to refuse anybody.
            None => Outcome::Late,
            Some(resolved) if resolved.is_stale() => Outcome::Late,
            Some(resolved) if resolved.is_failure() => Outcome::Failed,
            Some(_) => Outcome::Answered,
        };
        let Some(mut policy) = self.lists.policy(list) else { return };
        let listing = policy.handle_answer(outcome, addresses(resolved), self.shard.now().unix_seconds());
        let trouble = policy.trouble();
        drop(policy);
        if let Some(trouble) = trouble {
            self.lists.health.put_aside(list, trouble);
        }
        if let (Some(listing), Some(list)) = (listing, self.lists.lists.get(list)) {
            self.reputation.borrow_mut().add(&list.zone, listing);
        }
    }
}

/// The return codes of an answer.
pub(super) fn addresses(resolved: Option<&Resolved>) -> impl Iterator<Item = Ipv4Addr> {
    let rdata = resolved.into_iter().flat_map(|resolved| resolved.rdata(Rtype::A));
    rdata.filter_map(|rdata| match record::address(rdata) {
        Some(IpAddr::V4(code)) => Some(code),
        Some(IpAddr::V6(_)) | None => None,
    })
}

/// The answer, if it comes in time. A later one is kept by the resolver for the next client.
pub(super) async fn within(timeout: Duration, resolver: &Resolver, name: &Name) -> Option<Resolved> {
    let answer = async { Some(resolver.lookup(name, Rtype::A).await) };
    let too_long = async {
        glommio::timer::sleep(timeout).await;
        None
    };
    futures_lite::future::or(answer, too_long).await
}

/// Waits for all at the same time; a list of some tens, each looked at when any of them has news.
async fn all(mut futures: Vec<Pin<Box<dyn Future<Output = ()>>>>) {
    poll_fn(|cx| {
        futures.retain_mut(|future| future.as_mut().poll(cx).is_pending());
        if futures.is_empty() { Poll::Ready(()) } else { Poll::Pending }
    })
    .await;
}
