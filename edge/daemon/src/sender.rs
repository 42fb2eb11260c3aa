//! What the sender's domain says of the client: begun at a transaction's first recipient, waited for at the last dot.

use crate::budget::Lookups;
use crate::found::Found;
use crate::last_dot::LastDot;
use crate::shard::Shard;
use futures_lite::future::or;
use postring_auth::spf::{self, Session as SpfSession, Spf, SpfResult};
use postring_control::Counter;
use postring_handoff::Receipt;
use postring_smtp::{Protocol, Session};
use std::cell::OnceCell;
use std::rc::Rc;
use std::time::Duration;

/// The check of one transaction. Owns 8 bytes if nothing is checked.
#[derive(Default)]
pub(crate) struct SenderCheck {
    under_way: Option<Box<UnderWay>>,
}

/// Dropped, the check ends: a client that goes away or begins anew leaves no questions behind.
struct UnderWay {
    checked: Rc<Checked>,
    _task: glommio::Task<()>,
}

/// What is checked, and what the task finds.
struct Checked {
    /// Another name or sender begins another check.
    helo: Box<str>,
    reverse_path: Box<str>,
    spf: Found<Spf>,
    /// Of the name it says in EHLO, if that is looked at as well and was there in time.
    spf_of_helo: OnceCell<Spf>,
}

impl SenderCheck {
    /// Begins to check the transaction's sender, if that is not done yet. Our users and our own networks are not checked.
    ///
    /// One task a transaction, bounded by `policy.spf.wait_ms` and by SPF's own limit of questions; a connection has one at a time.
    pub(crate) fn begin(&mut self, shard: &Rc<Shard>, lookups: &Rc<Lookups>, session: &Session<Receipt>) {
        let client = session.client().address;
        let config = shard.config();
        let is_checked = config.policy.spf.check && !config.policy.is_trusted(client);
        if session.config().protocol != Protocol::Smtp || session.account().is_some() || !is_checked {
            self.under_way = None;
            return;
        }
        let reverse_path: &str = &session.transaction().reverse_path;
        let is_same = |checked: &Checked| &*checked.reverse_path == reverse_path && &*checked.helo == session.helo();
        if self.under_way.as_ref().is_some_and(|under_way| is_same(&under_way.checked)) {
            return;
        }
        let found = Rc::new(Checked {
            helo: session.helo().into(),
            reverse_path: reverse_path.into(),
            spf: Found::default(),
            spf_of_helo: OnceCell::new(),
        });
        let (shard, lookups, checked) = (Rc::clone(shard), Rc::clone(lookups), Rc::clone(&found));
        let wait = Duration::from_millis(config.policy.spf.wait_ms);
        // Of the null sender it is what is checked; of the sender's own domain it says nothing new.
        let is_another = |(_, domain): (&str, &str)| !domain.eq_ignore_ascii_case(session.helo());
        let checks_helo = config.policy.spf.check_helo && reverse_path.rsplit_once('@').is_some_and(is_another);
        let task = glommio::spawn_local(async move {
            let session = SpfSession {
                client,
                helo: &checked.helo,
                mail_from: &checked.reverse_path,
                receiver: shard.hostname(),
                unix_seconds: shard.now().unix_seconds(),
            };
            let too_long = async {
                glommio::timer::sleep(wait).await;
                late(&session)
            };
            let spf = or(spf::check(&*lookups, session), too_long).await;
            shard.stats().add(counter(spf.result), 1);
            checked.spf.set(spf);
            //= RFC 7208 section 2.3
            //# It is RECOMMENDED that SPF verifiers not only check the "MAIL FROM" identity but also separately check the "HELO" identity
            // Afterwards, and nobody waits for it: a slow or greedy domain in EHLO takes neither time nor questions from the sender's.
            if checks_helo {
                let of_helo = spf::check(&*lookups, SpfSession { mail_from: "", ..session }).await;
                let _ = checked.spf_of_helo.set(of_helo);
            }
        });
        self.under_way = Some(Box::new(UnderWay { checked: found, _task: task }));
    }

    /// What was found, once it is.
    pub(crate) async fn spf(&self, dot: &LastDot<'_>) -> Option<&Spf> {
        dot.wait(dot.answer(self.under_way.as_ref()?.checked.spf.wait())).await
    }

    /// What the name in EHLO says of the client, if it was asked beside the sender's and is known by now.
    pub(crate) fn spf_of_helo(&self) -> Option<&Spf> {
        self.under_way.as_ref()?.checked.spf_of_helo.get()
    }
}

fn late(session: &SpfSession<'_>) -> Spf {
    let domain = session.mail_from.rsplit_once('@').map_or(session.helo, |(_, domain)| domain).to_owned();
    let reason = format!("the servers of {domain} took too long");
    Spf { result: SpfResult::TempError, domain, reason, explanation: None, questions: 0 }
}

fn counter(result: SpfResult) -> Counter {
    match result {
        SpfResult::Pass => Counter::SpfPass,
        SpfResult::Fail => Counter::SpfFail,
        SpfResult::SoftFail => Counter::SpfSoftFail,
        SpfResult::TempError => Counter::SpfTempError,
        SpfResult::PermError => Counter::SpfPermError,
        SpfResult::None | SpfResult::Neutral => Counter::SpfNeutral,
    }
}
