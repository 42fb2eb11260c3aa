//! A message from its last dot to its reply: trace fields, scan, policy, store.

use crate::content::Signatures;
use crate::dmarc;
use crate::helpers::{EnvelopeChanges, HelperCheck};
use crate::history::{History, Learned};
use crate::questions::is_postmaster;
use crate::recipients::{self, Judged};
use crate::shard::Shard;
use postring_auth::dmarc::Dmarc;
use postring_auth::results::{self, AuthenticationResults, received_spf};
use postring_auth::spf::{Session as SpfSession, Spf, SpfResult};
use postring_control::{Counter, Endpoint, Role};
use postring_handoff::{JobId, Receipt, Scanned};
use postring_mail::dsn::Returned;
use postring_mail::envelope::{EnvelopeFlags, EnvelopeWriter, Fate, MessageId, Origin, Recipient, add_flags, set_fates};
use postring_mail::limits::{RECEIVED_FIELDS_MAX, SLOT_HEAD_BYTES};
use postring_mail::verdict::{Outcome, Symbol, VerdictView, VerdictWriter};
use postring_mail::work::Kind;
use postring_mail::{Now, Reply, slot};
use postring_policy::dmarc::Action;
use postring_policy::{Disposition, Findings, PolicyConfig, Reputation, Rule};
use postring_ring::Slot;
use postring_smtp::trace::{self, Received};
use postring_smtp::{Protocol, Session, Target, forged, header, replies};
use smallvec::SmallVec;
use std::future::poll_fn;
use std::ops::Range;
use std::rc::Rc;

/// What was found of the client and the sender until the last dot.
#[derive(Clone, Copy)]
pub(crate) struct Checks<'a> {
    /// The client's name by DNS, if it is known by now.
    pub(crate) reverse_name: Option<&'a str>,
    /// What block lists of others say of the client.
    pub(crate) lists: Option<&'a Reputation>,
    /// The rules about client and sender that have hit.
    pub(crate) rules: &'a [Rule],
    /// What the sender's domain says of the client, if it was asked.
    pub(crate) spf: Option<&'a Spf>,
    /// What the name in EHLO says of it, if that was asked as well.
    pub(crate) spf_of_helo: Option<&'a Spf>,
    /// What the message's signatures are worth, if they were looked at.
    pub(crate) signatures: &'a Signatures,
    /// Whether it is from the domain it shows, if that was asked.
    pub(crate) dmarc: Option<&'a Dmarc>,
    /// What policy servers and milters are asked with.
    pub(crate) helpers: &'a HelperCheck,
}

/// A message that is on disk.
pub(crate) struct Stored {
    pub(crate) receipt: Receipt,
    pub(crate) id: MessageId,
    /// Recipients that do not get it, by their place, with what the client is told.
    pub(crate) refused: Vec<(usize, Reply)>,
    /// Who gets it, and from whom it is.
    pub(crate) envelope: EnvelopeChanges,
}

/// Judges and stores the message in the slot, or gives the reply that refuses it. The slot is taken care of.
pub(crate) async fn submit(
    shard: &Rc<Shard>,
    session: &Session<Receipt>,
    checks: Checks<'_>,
    mut taken: Slot,
    body_bytes: usize,
) -> Result<Stored, Reply> {
    let now = shard.now();
    let id = shard.next_message_id(now);
    shard.stats().add(Counter::BytesReceived, body_bytes as u64);
    let end = SLOT_HEAD_BYTES + body_bytes;
    // Nobody else is asked about what we refuse, nor shown what is forged.
    let asked = match own_refusal(shard, session, checks, &taken, body_bytes) {
        Some(reply) => Err(reply),
        None => {
            let begin = SLOT_HEAD_BYTES + take_out_forged(shard, session, &taken, body_bytes);
            checks.helpers.message(shard, session, checks.reverse_name, id, &mut taken, begin..end).await
        }
    };
    let prepared = asked.and_then(|asked| {
        let prepared = prepare(shard, (session, &asked.envelope), checks, &taken, asked.range.clone(), (id, now))?;
        Ok((prepared, asked))
    });
    let ((message_offset, head_length), asked) = match prepared {
        Ok(prepared) => prepared,
        Err(reply) => {
            shard.release(taken);
            return Err(reply);
        }
    };
    let length = asked.range.end.saturating_sub(message_offset);
    let job = shard.jobs().begin(taken, id, message_offset, length, head_length);
    let lies = message_offset..asked.range.end;
    let result = judge_and_store(shard, (session, &asked.envelope), checks, (job, id), (lies, asked.junk)).await;
    shard.end(job);
    result.map(|(receipt, mut refused)| {
        refused.extend_from_slice(asked.envelope.refused());
        Stored { receipt, id, refused, envelope: asked.envelope }
    })
}

/// Why we do not take the message, whatever others say of it.
fn own_refusal(shard: &Shard, session: &Session<Receipt>, checks: Checks<'_>, taken: &Slot, body_bytes: usize) -> Option<Reply> {
    let config = shard.config();
    let is_too_long = {
        let arena = shard.arena();
        header::is_too_long(arena.bytes(taken).get(SLOT_HEAD_BYTES..SLOT_HEAD_BYTES + body_bytes).unwrap_or_default())
    };
    let reply = if is_too_long {
        replies::HEADER_TOO_LONG.clone()
    } else {
        refusal(&config.policy, checks).filter(|_| !is_for_postmaster(session))?
    };
    tracing::info!(target: "mail", client = %session.client().address, from = session.transaction().reverse_path, "{reply}");
    Some(reply)
}

/// Takes out fields that only we may have written; how much later the message begins.
fn take_out_forged(shard: &Shard, session: &Session<Receipt>, taken: &Slot, body_bytes: usize) -> usize {
    let mut arena = shard.arena();
    let content = arena.bytes_mut(taken).get_mut(SLOT_HEAD_BYTES..SLOT_HEAD_BYTES + body_bytes).unwrap_or_default();
    forged::remove_fields(content, |name, value| is_forged(shard, session, name, value))
}

/// Writes envelope and trace fields; where the message begins, and the envelope's length.
fn prepare(
    shard: &Shard,
    (session, envelope): (&Session<Receipt>, &EnvelopeChanges),
    checks: Checks<'_>,
    taken: &Slot,
    range: Range<usize>,
    (id, now): (MessageId, Now),
) -> Result<(usize, usize), Reply> {
    let mut arena = shard.arena();
    let memory = arena.bytes_mut(taken);
    let message = memory.get(range.clone()).unwrap_or_default();
    let facts = header::look(message);
    // A milter may have put another body in the place of the sender's.
    let eight_bit = session.transaction().eight_bit || envelope.has_new_body() && !message.is_ascii();
    if facts.received >= RECEIVED_FIELDS_MAX {
        return Err(replies::LOOP.clone());
    }
    let transaction = session.transaction();
    let mut fields = Vec::with_capacity(1024);
    write_results(shard, session, checks, now, &mut fields);
    let only = match transaction.recipients.as_slice() {
        // What leaves this host must not need SMTPUTF8 for our sake (RFC 6531 section 3.7.3).
        [only] if only.address.is_ascii() || only.targets.iter().all(|target| matches!(target, Target::Account { .. })) => {
            Some(only.address.as_str())
        }
        _ => None,
    };
    trace::received(
        &Received {
            helo: session.helo(),
            address: session.client().address,
            reverse_name: checks.reverse_name,
            host: shard.hostname(),
            protocol: session.config().protocol,
            extended: session.is_extended(),
            smtputf8: transaction.smtputf8,
            tls: session.tls(),
            authenticated: session.account().is_some(),
            id,
            recipient: only,
            unix_seconds: now.unix_seconds(),
        },
        &mut fields,
    );
    if session.config().protocol.is_submission() {
        //= RFC 6409 section 8.2
        //# The MSA SHOULD add or replace the Message-ID field if it lacks a valid one
        if !facts.date {
            fields.extend_from_slice(b"Date: ");
            trace::date(now.unix_seconds(), &mut fields);
            fields.extend_from_slice(b"\r\n");
        }
        if !facts.message_id {
            fields.extend_from_slice(format!("Message-ID: <{id}@{}>\r\n", shard.hostname()).as_bytes());
        }
    }
    let message_offset = slot::prepend(memory, range.start, &fields).ok_or_else(|| replies::LOOKUP_FAILED.clone())?;

    let mut flags = 0;
    flags |= if eight_bit { EnvelopeFlags::EIGHT_BIT } else { 0 };
    flags |= if transaction.smtputf8 { EnvelopeFlags::SMTPUTF8 } else { 0 };
    flags |= if session.tls().is_some() { EnvelopeFlags::TLS } else { 0 };
    flags |= if session.account().is_some() { EnvelopeFlags::AUTHENTICATED } else { 0 };
    flags |= if transaction.require_tls { EnvelopeFlags::REQUIRE_TLS } else { 0 };
    flags |= match transaction.returned {
        Some(Returned::Full) => EnvelopeFlags::RETURN_FULL,
        Some(Returned::Headers) => EnvelopeFlags::RETURN_HEADERS,
        None => 0,
    };
    let client = session.client().address.to_string();
    let origin = Origin {
        id,
        received_us: now.unix_us,
        flags: EnvelopeFlags(flags),
        reverse_path: envelope.reverse_path(transaction),
        client: &client,
        helo: session.helo(),
        account: session.account().map_or("", |account| account.address.as_str()),
        envelope_id: &transaction.envelope_id,
    };
    let full = |_| replies::TOO_MANY_RECIPIENTS.clone();
    let mut writer = EnvelopeWriter::begin(memory, &origin).map_err(full)?;
    for (_, recipient) in envelope.recipients(transaction) {
        for target in &recipient.targets {
            let (account, shard, forward_path) = match target {
                Target::Account { id, shard } => (*id, *shard, recipient.address.as_str()),
                Target::Remote(address) => (0, 0, address.as_str()),
            };
            let original_recipient = &recipient.original_recipient;
            writer
                .push(&Recipient {
                    account,
                    shard,
                    notify: recipient.notify,
                    forward_path,
                    original_recipient,
                    fate: Fate::default(),
                })
                .map_err(full)?;
        }
    }
    Ok((message_offset, writer.finish()))
}

/// The refusal of a message by what its sender's domains say, if one is wanted.
fn refusal(policy: &PolicyConfig, checks: Checks<'_>) -> Option<Reply> {
    let spf = checks.spf.and_then(|spf| policy.spf_refusal(spf.result.name(), &spf.domain, spf.explanation.as_deref()));
    spf.or_else(|| policy.dmarc_refusal(dmarc::found(checks.dmarc?, checks.signatures)))
}

/// True for a field of a message that comes in which only we may have written: readers, filters and other servers of ours would believe it.
fn is_forged(shard: &Shard, session: &Session<Receipt>, name: &[u8], value: &[u8]) -> bool {
    //= RFC 5321 section 4.4
    //# SMTP servers making final delivery MAY remove Return-path header fields before adding their own.
    if name.eq_ignore_ascii_case(b"Return-Path") {
        return true;
    }
    // What comes by LMTP or from a network of our own has been checked there. A user of ours is no server of ours.
    let is_checked = match session.config().protocol {
        Protocol::Lmtp => true,
        Protocol::Smtp => shard.config().policy.is_trusted(session.client().address),
        Protocol::Submission | Protocol::Submissions => false,
    };
    !is_checked && (results::is_of(shard.hostname(), name, value) || postring_policy::is_mark_field(name))
}

/// Writes the fields that tell what was found of the sender.
fn write_results(shard: &Shard, session: &Session<Receipt>, checks: Checks<'_>, now: Now, out: &mut Vec<u8>) {
    if checks.spf.is_none() && checks.signatures.dkim.is_empty() {
        return;
    }
    let asked = SpfSession {
        client: session.client().address,
        helo: session.helo(),
        mail_from: &session.transaction().reverse_path,
        receiver: shard.hostname(),
        unix_seconds: now.unix_seconds(),
    };
    let mut field = AuthenticationResults::begin(shard.hostname(), out);
    if let Some(spf) = checks.spf {
        field.spf(spf, &asked);
    }
    // Most names say nothing.
    if let Some(spf) = checks.spf_of_helo.filter(|spf| spf.result != SpfResult::None) {
        field.spf(spf, &SpfSession { mail_from: "", ..asked });
    }
    checks.dmarc.iter().for_each(|dmarc| field.result(dmarc));
    // Last: there may be more than there is room for.
    checks.signatures.arc.iter().for_each(|chain| field.result(chain));
    checks.signatures.dkim.iter().for_each(|signature| field.result(signature));
    field.finish();
    if let Some(spf) = checks.spf {
        received_spf(shard.hostname(), spf, &asked, out);
    }
}

/// The rules that have hit.
fn rule_symbols<'a>(policy: &PolicyConfig, rules: &[Rule]) -> SmallVec<[Symbol<'a>; 4]> {
    rules.iter().filter_map(|rule| policy.rules.symbol(*rule)).collect()
}

fn points(symbol: Symbol<'_>) -> f64 {
    f64::from(symbol.weight_milli) / 1000.0
}

/// Whoever was refused by mistake can say so to the postmaster, who is never refused anything but malware.
pub(crate) fn is_for_postmaster(session: &Session<Receipt>) -> bool {
    session.transaction().recipients.iter().all(|recipient| is_postmaster(&recipient.address))
}

/// What was found of client and sender is worth.
fn symbols<'a>(policy: &PolicyConfig, checks: Checks<'a>) -> SmallVec<[Symbol<'a>; 4]> {
    let spf = checks.spf.and_then(|spf| policy.spf.symbol(spf.result.name(), &spf.domain));
    let of_helo = checks.spf_of_helo.and_then(|spf| policy.spf.symbol_of_helo(spf.result.name(), &spf.domain));
    let results = checks.signatures.dkim.iter();
    let dkim = policy.dkim.symbol(results.map(|result| (result.status().name(), result.domain.as_deref().unwrap_or_default())));
    let dmarc = checks.dmarc.and_then(|dmarc| policy.dmarc.symbol(dmarc::found(dmarc, checks.signatures)));
    rule_symbols(policy, checks.rules).into_iter().chain(spf).chain(of_helo).chain(dkim).chain(dmarc).collect()
}

async fn judge_and_store(
    shard: &Rc<Shard>,
    (session, envelope): (&Session<Receipt>, &EnvelopeChanges),
    checks: Checks<'_>,
    (job, id): (JobId, MessageId),
    (lies, junk): (Range<usize>, bool),
) -> Result<(Receipt, Vec<(usize, Reply)>), Reply> {
    let config = shard.config();
    let mut message_offset = lies.start;
    let nothing = Reputation::default();
    let mut sender = symbols(&config.policy, checks);
    let of_client: f64 = rule_symbols(&config.policy, checks.rules).into_iter().map(points).sum::<f64>()
        + checks.lists.map_or(0.0, Reputation::score);
    let history = History::look_up(shard, session, checks);
    let present = sender.len();
    sender.extend(history.iter().flat_map(|history| history.symbols(shard, &config.policy)));
    let junk = junk
        || checks.dmarc.is_some_and(|dmarc| config.policy.dmarc.action(dmarc::found(dmarc, checks.signatures)) == Action::Junk);
    let findings = Findings { lists: checks.lists.unwrap_or(&nothing), sender: &sender, junk };
    let scans = config.edge.scan && config.scan_workers > 0;
    let (mut fates, mut refused) = (Vec::new(), Vec::new());
    if scans || !findings.is_empty() {
        let bytes = if scans { scan(shard, job).await } else { VerdictWriter::default().finish().to_vec() };
        let verdict = VerdictView::parse(&bytes).ok();
        let mut disposition;
        Judged { disposition, fates, refused } =
            recipients::judge(shard, (session, envelope), &config.policy, verdict.as_ref(), &findings);
        if let (Some(history), Some(verdict)) = (&history, verdict.as_ref().filter(|verdict| verdict.outcome != Outcome::Failed))
        {
            // Malware is bad, whatever its points.
            let is_malware = verdict.outcome == Outcome::Malware;
            let score = if is_malware { f64::INFINITY } else { postring_policy::score(verdict, &findings) };
            if let Some(reply) = history.put_off(shard, session, checks, &config.policy, (&disposition, score)) {
                disposition = Disposition::Refuse(reply);
            } else {
                // What history says of itself is no news, and what is the client's alone not the domain's.
                let score = score - sender.iter().skip(present).copied().map(points).sum::<f64>();
                history.learn(shard, &config.policy, &Learned { score, of_domain: score - of_client, junk });
            }
        }
        match &disposition {
            Disposition::Accept => {}
            Disposition::Mark | Disposition::Junk => {
                let junk = disposition == Disposition::Junk;
                let mut fields = Vec::with_capacity(512);
                postring_policy::mark_fields(verdict.as_ref(), &findings, junk, &mut fields);
                message_offset = shard.prepend(job, message_offset, &fields).unwrap_or(message_offset);
                if junk && fates.is_empty() {
                    shard.with_slot(job, |memory| add_flags(memory, EnvelopeFlags::JUNK));
                }
            }
            Disposition::Refuse(reply) => {
                tracing::info!(target: "mail", client = %session.client().address, from = session.transaction().reverse_path, "{reply}");
                return Err(reply.clone());
            }
        }
    }
    if !fates.is_empty() {
        shard.with_slot(job, |memory| set_fates(memory, |at| fates.get(at).copied().unwrap_or_default()));
    }
    // What leaves this host has no Return-Path yet; what is delivered here begins with it.
    let mut return_path = Vec::with_capacity(320);
    trace::return_path(envelope.reverse_path(session.transaction()), &mut return_path);
    let local_offset = shard.prepend(job, message_offset, &return_path).unwrap_or(message_offset);
    let length_from = |offset: usize| lies.end.saturating_sub(offset);

    let mut to: Vec<(Endpoint, Kind, usize, usize)> = Vec::with_capacity(2);
    let targets = envelope.recipients(session.transaction()).flat_map(|(_, recipient)| &recipient.targets);
    for (_, target) in targets.enumerate().filter(|(at, _)| fates.get(*at) != Some(&Fate::Refused)) {
        let one = match target {
            Target::Account { shard, .. } => {
                (Endpoint { role: Role::Store, shard: *shard }, Kind::Deliver, local_offset, length_from(local_offset))
            }
            Target::Remote(_) => (shard.send_endpoint(id), Kind::Queue, message_offset, length_from(message_offset)),
        };
        if !to.iter().any(|(endpoint, ..)| *endpoint == one.0) {
            to.push(one);
        }
    }
    shard.jobs().store(job, &to, shard.now().monotonic_ms);
    let stored = poll_fn(|cx| shard.jobs().poll_stored(job, cx.waker())).await;
    stored.map(|receipt| (receipt, refused)).map_err(|refusal| refusal.reply())
}

/// What the scanner writes; what cannot be read is a scan that failed, and the message is kept for whoever has to find out why.
async fn scan(shard: &Rc<Shard>, job: JobId) -> Vec<u8> {
    shard.jobs().scan(job, shard.now().monotonic_ms);
    let scanned = poll_fn(|cx| shard.jobs().poll_scanned(job, cx.waker())).await;
    let bytes = shard.jobs().verdict(job);
    if scanned == Scanned::Verdict && VerdictView::parse(&bytes).is_ok() {
        return bytes;
    }
    shard.stats().add(Counter::ScansFailed, 1);
    shard.quarantine(job);
    Vec::new()
}
