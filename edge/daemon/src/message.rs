//! A message from its last dot to its reply: trace fields, scan, policy, store.

use crate::shard::Shard;
use postring_auth::results;
use postring_auth::spf::{Session as SpfSession, Spf};
use postring_control::{Counter, Endpoint, Role};
use postring_handoff::{JobId, Receipt, Scanned};
use postring_mail::dsn::Returned;
use postring_mail::envelope::{EnvelopeFlags, EnvelopeWriter, MessageId, Origin, Recipient, add_flags};
use postring_mail::limits::{RECEIVED_FIELDS_MAX, SLOT_HEAD_BYTES};
use postring_mail::verdict::{VerdictView, VerdictWriter};
use postring_mail::work::Kind;
use postring_mail::{Now, Reply, slot};
use postring_policy::{Disposition, Findings, Reputation};
use postring_ring::Slot;
use postring_smtp::trace::{self, Received};
use postring_smtp::{Session, Target, header, replies};
use std::future::poll_fn;
use std::rc::Rc;

/// What was found of the client and the sender until the last dot.
#[derive(Clone, Copy)]
pub(crate) struct Checks<'a> {
    /// The client's name by DNS, if it is known by now.
    pub(crate) reverse_name: Option<&'a str>,
    /// What block lists of others say of the client.
    pub(crate) lists: Option<&'a Reputation>,
    /// What the sender's domain says of the client, if it was asked.
    pub(crate) spf: Option<&'a Spf>,
}

/// Judges and stores the message in the slot; the receipt with its id, or the reply that refuses it. The slot is taken care of.
pub(crate) async fn submit(
    shard: &Rc<Shard>,
    session: &Session<Receipt>,
    checks: Checks<'_>,
    taken: Slot,
    body_bytes: usize,
) -> Result<(Receipt, MessageId), Reply> {
    let now = shard.now();
    let id = shard.next_message_id(now);
    shard.stats().add(Counter::BytesReceived, body_bytes as u64);
    let (message_offset, head_length) = match prepare(shard, session, checks, &taken, body_bytes, (id, now)) {
        Ok(prepared) => prepared,
        Err(reply) => {
            shard.release(taken);
            return Err(reply);
        }
    };
    let length = SLOT_HEAD_BYTES - message_offset + body_bytes;
    let job = shard.jobs().begin(taken, id, message_offset, length, head_length);
    let result = judge_and_store(shard, session, checks, (job, id), message_offset, body_bytes).await;
    shard.end(job);
    result.map(|receipt| (receipt, id))
}

/// Writes envelope and trace fields; where the message begins, and the envelope's length.
fn prepare(
    shard: &Shard,
    session: &Session<Receipt>,
    checks: Checks<'_>,
    taken: &Slot,
    body_bytes: usize,
    (id, now): (MessageId, Now),
) -> Result<(usize, usize), Reply> {
    let mut arena = shard.arena();
    let memory = arena.bytes_mut(taken);
    let body = memory.get(SLOT_HEAD_BYTES..SLOT_HEAD_BYTES + body_bytes).unwrap_or_default();
    let facts = header::look(body);
    if facts.received >= RECEIVED_FIELDS_MAX {
        return Err(replies::LOOP.clone());
    }
    let refusal =
        checks.spf.and_then(|spf| shard.config().policy.spf_refusal(spf.result.name(), &spf.domain, spf.explanation.as_deref()));
    if let Some(reply) = refusal {
        tracing::info!(target: "mail", client = %session.client().address, from = session.transaction().reverse_path, "{reply}");
        return Err(reply);
    }
    let transaction = session.transaction();
    let mut fields = Vec::with_capacity(1024);
    if let Some(spf) = checks.spf {
        let asked = SpfSession {
            client: session.client().address,
            helo: session.helo(),
            mail_from: &transaction.reverse_path,
            receiver: shard.hostname(),
            unix_seconds: now.unix_seconds(),
        };
        results::authentication_results(shard.hostname(), spf, &asked, &mut fields);
        results::received_spf(shard.hostname(), spf, &asked, &mut fields);
    }
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
    let message_offset = slot::prepend(memory, SLOT_HEAD_BYTES, &fields).ok_or_else(|| replies::LOOKUP_FAILED.clone())?;

    let mut flags = 0;
    flags |= if transaction.eight_bit { EnvelopeFlags::EIGHT_BIT } else { 0 };
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
        reverse_path: &transaction.reverse_path,
        client: &client,
        helo: session.helo(),
        account: session.account().map_or("", |account| account.address.as_str()),
        envelope_id: &transaction.envelope_id,
    };
    let full = |_| replies::TOO_MANY_RECIPIENTS.clone();
    let mut writer = EnvelopeWriter::begin(memory, &origin).map_err(full)?;
    for recipient in &transaction.recipients {
        for target in &recipient.targets {
            let (account, shard, forward_path) = match target {
                Target::Account { id, shard } => (*id, *shard, recipient.address.as_str()),
                Target::Remote(address) => (0, 0, address.as_str()),
            };
            let original_recipient = &recipient.original_recipient;
            writer
                .push(&Recipient { account, shard, notify: recipient.notify, forward_path, original_recipient })
                .map_err(full)?;
        }
    }
    Ok((message_offset, writer.finish()))
}

async fn judge_and_store(
    shard: &Rc<Shard>,
    session: &Session<Receipt>,
    checks: Checks<'_>,
    (job, id): (JobId, MessageId),
    message_offset: usize,
    body_bytes: usize,
) -> Result<Receipt, Reply> {
    let config = shard.config();
    let mut message_offset = message_offset;
    let nothing = Reputation::default();
    let findings = Findings {
        lists: checks.lists.unwrap_or(&nothing),
        spf: checks.spf.and_then(|spf| config.policy.spf.symbol(spf.result.name(), &spf.domain)),
    };
    let scans = config.edge.scan && config.scan_workers > 0;
    if scans || !findings.is_empty() {
        let bytes = if scans { scan(shard, job).await } else { VerdictWriter::default().finish().to_vec() };
        let verdict = VerdictView::parse(&bytes).ok();
        let disposition = postring_policy::judge(&config.policy, verdict.as_ref(), &findings);
        match &disposition {
            Disposition::Accept => {}
            Disposition::Mark | Disposition::Junk => {
                let junk = disposition == Disposition::Junk;
                let mut fields = Vec::with_capacity(512);
                postring_policy::mark_fields(verdict.as_ref(), &findings, junk, &mut fields);
                message_offset = shard.prepend(job, message_offset, &fields).unwrap_or(message_offset);
                if junk {
                    shard.with_slot(job, |memory| add_flags(memory, EnvelopeFlags::JUNK));
                }
            }
            Disposition::Refuse(reply) => {
                tracing::info!(target: "mail", client = %session.client().address, from = session.transaction().reverse_path, "{reply}");
                return Err(reply.clone());
            }
        }
    }
    // What leaves this host has no Return-Path yet; what is delivered here begins with it.
    let mut return_path = Vec::with_capacity(320);
    trace::return_path(&session.transaction().reverse_path, &mut return_path);
    let local_offset = shard.prepend(job, message_offset, &return_path).unwrap_or(message_offset);
    let length_from = |offset: usize| SLOT_HEAD_BYTES - offset + body_bytes;

    let mut to: Vec<(Endpoint, Kind, usize, usize)> = Vec::with_capacity(2);
    for target in session.transaction().recipients.iter().flat_map(|recipient| &recipient.targets) {
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
    poll_fn(|cx| shard.jobs().poll_stored(job, cx.waker())).await.map_err(|refusal| refusal.reply())
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
