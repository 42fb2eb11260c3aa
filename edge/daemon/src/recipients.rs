//! The verdict for each recipient: what is one account's spam is another's mail.
//!
//! Cost: nothing more than the verdict for all where no account has scores of its own, which a look at each target tells; a judgement a target else.

use crate::helpers::EnvelopeChanges;
use crate::questions::is_postmaster;
use crate::shard::Shard;
use postring_directory::Scores as Own;
use postring_handoff::Receipt;
use postring_mail::Reply;
use postring_mail::envelope::Fate;
use postring_mail::verdict::{Outcome, VerdictView};
use postring_policy::{Disposition, Findings, PolicyConfig, Scores};
use postring_smtp::{Session, Target};
use smallvec::SmallVec;

/// What becomes of a message.
pub(crate) struct Judged {
    /// For all, or as far as it is the same for all: what its header says, and what history learns.
    pub(crate) disposition: Disposition,
    /// For each target of each recipient, in their order; empty: as for all.
    pub(crate) fates: Vec<Fate>,
    /// Recipients that refuse it, by their place, where the client hears of each.
    pub(crate) refused: Vec<(usize, Reply)>,
}

/// Judges a message that some want and others do not. `envelope`: who gets it.
pub(crate) fn judge(
    shard: &Shard,
    (session, envelope): (&Session<Receipt>, &EnvelopeChanges),
    policy: &PolicyConfig,
    verdict: Option<&VerdictView<'_>>,
    findings: &Findings<'_>,
) -> Judged {
    let disposition = postring_policy::judge(policy, verdict, findings);
    let for_all = |disposition| Judged { disposition, fates: Vec::new(), refused: Vec::new() };
    // Malware is nobody's taste, and what could not be scanned is put off for all.
    let is_taste = verdict.is_some_and(|verdict| !matches!(verdict.outcome, Outcome::Malware | Outcome::Failed));
    let recipients = || envelope.recipients(session.transaction());
    let is_refused = matches!(disposition, Disposition::Refuse(_));
    let own = |target: &Target| own_scores(shard, target).filter(|own| !own.are_default());
    let differs = |target: &Target| own(target).is_some();
    if !is_taste
        || !recipients()
            .any(|(_, recipient)| recipient.targets.iter().any(differs) || is_refused && is_postmaster(&recipient.address))
    {
        return for_all(disposition);
    }

    let one = |target: &Target, address: &str| {
        let disposition = match own(target) {
            Some(Own { junk, reject }) => postring_policy::judge_for(policy, Scores { junk, reject }, verdict, findings),
            None => disposition.clone(),
        };
        // Whoever was refused by mistake can say so to the postmaster.
        if matches!(disposition, Disposition::Refuse(_)) && is_postmaster(address) { Disposition::Junk } else { disposition }
    };
    let each: SmallVec<[One; 4]> = recipients()
        .map(|(place, recipient)| One {
            place,
            targets: recipient.targets.iter().map(|target| one(target, &recipient.address)).collect(),
            leaves: recipient.targets.iter().map(|target| matches!(target, Target::Remote(_))).collect(),
        })
        .collect();
    // Of one that a milter has added the client does not hear.
    let is_told = |one: &One| session.answers_each() && one.place < session.transaction().recipients.len();
    let leaving = || each.iter().find(|one| !is_told(one) && one.refuses_elsewhere()).and_then(One::refusal);
    let all = each.iter().map(One::refusal).collect::<Option<Vec<_>>>();
    if let Some(all) = all.and_then(|all| all.into_iter().next()).or_else(leaving) {
        return for_all(all);
    }
    let (mut fates, mut refused) = (Vec::new(), Vec::new());
    for recipient in &each {
        let refusal = recipient.refusal().filter(|_| is_told(recipient));
        fates.extend(recipient.targets.iter().map(|one| match one {
            _ if refusal.is_some() => Fate::Refused,
            // Whoever has sent it hears one reply, that it was taken; it is not lost, and nothing is sent back.
            Disposition::Refuse(_) | Disposition::Junk => Fate::Junk,
            Disposition::Accept | Disposition::Mark => Fate::Delivered,
        }));
        if let Some(Disposition::Refuse(reply)) = refusal {
            refused.push((recipient.place, reply));
        }
    }
    let all_junk = fates.iter().all(|fate| *fate != Fate::Delivered);
    let any_marked = each.iter().flat_map(|one| &one.targets).any(|one| *one != Disposition::Accept);
    let disposition = match (all_junk, any_marked) {
        (true, _) => Disposition::Junk,
        (false, true) => Disposition::Mark,
        (false, false) => Disposition::Accept,
    };
    Judged { disposition, fates, refused }
}

/// A recipient with what becomes of each of its targets.
struct One {
    place: usize,
    targets: SmallVec<[Disposition; 1]>,
    /// Which of them are elsewhere.
    leaves: SmallVec<[bool; 1]>,
}

impl One {
    /// Its refusal: if all its targets refuse, or one elsewhere does. What leaves this host cannot be put into Junk: the next server would refuse it,
    /// and we would report that to whoever the sender was forged to be.
    fn refusal(&self) -> Option<Disposition> {
        let refuses = |one: &&Disposition| matches!(one, Disposition::Refuse(_));
        let all = self.targets.iter().all(|one| refuses(&one));
        self.targets.iter().find(refuses).filter(|_| all || self.refuses_elsewhere()).cloned()
    }

    fn refuses_elsewhere(&self) -> bool {
        self.targets.iter().zip(&self.leaves).any(|(one, leaves)| *leaves && matches!(one, Disposition::Refuse(_)))
    }
}

/// The scores of an account here.
fn own_scores(shard: &Shard, target: &Target) -> Option<Own> {
    match target {
        Target::Account { id, .. } => shard.with_directory(|directory| Some(directory.account(*id)?.scores)).flatten(),
        Target::Remote(_) => None,
    }
}
