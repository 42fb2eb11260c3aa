//! What policy servers and milters say of one transaction.

use super::changes::{EnvelopeChanges, replace_body};
use super::delegate::Delegate;
use super::milter::{Milter, Place};
use crate::shard::Shard;
use postring_handoff::Receipt;
use postring_mail::Reply;
use postring_mail::envelope::MessageId;
use postring_mail::limits::{HELPER_FIELDS_BYTES_MAX, SLOT_HEAD_BYTES};
use postring_milter::delegation::{Action, Decision, Request, State as When};
use postring_milter::edits::{self, header_end};
use postring_milter::{Edit, Envelope, Judgement, Verdict, for_all};
use postring_policy::helpers::{DelegateAt, Service};
use postring_ring::Slot;
use postring_smtp::{Protocol, Session};
use std::net::SocketAddr;
use std::ops::Range;

/// Fields policy servers may put on top of one message.
const FIELDS_MAX: usize = 20;

/// One transaction as policy servers and milters see it. Owns 8 bytes if there are none.
#[derive(Default)]
pub(crate) struct HelperCheck {
    state: Option<Box<State>>,
}

struct State {
    /// Names this connection.
    connection: MessageId,
    /// Our end of it.
    server: Option<SocketAddr>,
    /// Which transaction is looked at.
    transaction: u32,
    /// The fields policy servers want on top of its message.
    fields: Vec<Edit>,
}

/// What they have said at the last dot of a message that is taken.
#[derive(Debug, Default)]
pub(crate) struct Taken {
    /// Where the message lies now.
    pub(crate) range: Range<usize>,
    /// Who gets it, and from whom it is, where that differs from what the client has said.
    pub(crate) envelope: EnvelopeChanges,
    /// It belongs into the Junk folder.
    pub(crate) junk: bool,
}

impl HelperCheck {
    /// Notes what is the same for all questions about this transaction. `server`, our end of the connection, costs a system call a connection.
    pub(crate) fn begin(&mut self, shard: &Shard, session: &Session<Receipt>, server: impl FnOnce() -> Option<SocketAddr>) {
        if shard.helpers().is_empty() {
            self.state = None;
            return;
        }
        let transaction = session.transactions();
        let state = self.state.get_or_insert_with(|| {
            let connection = shard.next_message_id(shard.now());
            Box::new(State { connection, server: server(), transaction, fields: Vec::new() })
        });
        if state.transaction != transaction {
            state.transaction = transaction;
            state.fields.clear();
        }
    }

    /// Asks the policy servers about a recipient we would take; the reply if it is refused.
    pub(crate) async fn recipient(
        &mut self,
        shard: &Shard,
        session: &Session<Receipt>,
        client_name: Option<&str>,
        address: &str,
    ) -> Option<Reply> {
        let helpers = shard.helpers();
        let state = self.state.as_deref_mut()?;
        let instance = state.instance();
        let request = Request {
            state: When::Recipient,
            queue_id: "",
            recipient: address,
            recipient_count: 0,
            size: session.transaction().size_declared.unwrap_or(0),
            ..request(session, client_name, (&instance, state.server))
        };
        let asked = helpers.delegates.iter().filter(|delegate| delegate.at == DelegateAt::Recipient);
        decide(shard, session, asked, &request, &mut state.fields).await
    }

    /// Asks about the message between the two places in the slot, and changes it as it is wanted, if need be in another slot; what has become of it,
    /// or the reply that refuses it.
    pub(crate) async fn message(
        &self,
        shard: &Shard,
        session: &Session<Receipt>,
        client_name: Option<&str>,
        id: MessageId,
        slot: &mut Slot,
        range: Range<usize>,
    ) -> Result<Taken, Reply> {
        let mut taken = Taken { range: range.clone(), ..Taken::default() };
        let Some(state) = self.state.as_deref() else { return Ok(taken) };
        let helpers = shard.helpers();
        let transaction = session.transaction();
        let recipients: Vec<&str> = transaction.recipients.iter().map(|recipient| recipient.address.as_str()).collect();
        let (id, instance) = (id.to_string(), state.instance());
        let mut fields = state.fields.clone();
        let request = Request {
            state: When::EndOfMessage,
            queue_id: &id,
            recipient: match recipients.as_slice() {
                [only] => only,
                _ => "",
            },
            recipient_count: recipients.len(),
            size: range.len() as u64,
            ..request(session, client_name, (&instance, state.server))
        };
        let asked = helpers.delegates.iter().filter(|delegate| delegate.at == DelegateAt::Message);
        if let Some(reply) = decide(shard, session, asked, &request, &mut fields).await {
            return Err(reply);
        }
        if !fields.is_empty() {
            match change(shard, slot, range.clone(), &fields) {
                Some(begin) => taken.range.start = begin,
                None => tracing::warn!("the message {id} has no room for the fields of policy servers"),
            }
        }
        let service = service(session);
        let mut milters = helpers.milters.iter().filter(|milter| milter.desk.serves(service)).peekable();
        if milters.peek().is_some() && !is_clear(shard, slot, taken.range.clone()) {
            //= RFC 5322 section 2.1
            //# The body is simply a sequence of characters that follows the header section and is separated from the header section by an
            //# empty line
            return Err(Reply::fixed(
                550,
                6,
                0,
                "Message refused: its header does not end at an empty line, or has too many fields",
            ));
        }
        for milter in milters {
            // Each sees what the one before it has left.
            let (places, recipients): (Vec<usize>, Vec<&str>) =
                taken.envelope.recipients(transaction).map(|(place, one)| (place, one.address.as_str())).unzip();
            let envelope = Envelope {
                hostname: shard.hostname(),
                service: service.name(),
                client: client(session),
                client_name,
                server: state.server,
                helo: session.helo(),
                tls: session.tls().map(|tls| (tls.version, tls.cipher)),
                account: session.account().map(|account| account.address.as_str()),
                id: &id,
                reverse_path: taken.envelope.reverse_path(transaction),
                size_declared: transaction.size_declared,
                eight_bit: transaction.eight_bit,
                recipients: &recipients,
                answers_each: session.answers_each(),
            };
            let place = Place { slot, range: taken.range.clone() };
            let judgement = match milter.ask(shard, &envelope, &place).await {
                Ok(judgement) => judgement,
                Err(None) => continue,
                Err(Some(reply)) => return Err(reply),
            };
            obey(shard, session, (milter, judgement), (&places, &id), slot, &mut taken)?;
        }
        Ok(taken)
    }
}

/// Does what a milter says of a message to the recipients at these places.
fn obey(
    shard: &Shard,
    session: &Session<Receipt>,
    (milter, judgement): (&Milter, Judgement),
    (places, id): (&[usize], &str),
    slot: &mut Slot,
    taken: &mut Taken,
) -> Result<(), Reply> {
    let (desk, transaction) = (&milter.desk, session.transaction());
    if let Verdict::Refuse(reply) = judgement.verdict {
        return desk.refusal(shard, reply, id).map_or(Ok(()), Err);
    }
    for (number, reply) in judgement.refused {
        let (Some(place), Some(reply)) = (places.get(number), desk.refusal(shard, reply, id)) else { continue };
        // Of one that another milter has added the client does not hear; it may be there instead of others.
        if *place >= transaction.recipients.len() {
            return Err(reply);
        }
        taken.envelope.refuse(*place, reply);
    }
    if desk.is_dry() {
        return Ok(());
    }
    let changes = judgement.changes;
    // All or nothing: one recipient less without the one more, or a body without the other sender, is not what it wants.
    let envelope = match taken.envelope.with(shard, session, &changes) {
        _ if judgement.lost_changes => Err("it wants more changes of recipients, or a longer body, than a message may get"),
        envelope => envelope,
    };
    let envelope = match envelope {
        Ok(envelope) => envelope,
        Err(why) => return desk.cannot(shard, why).map_or(Ok(()), Err),
    };
    if let Some(body) = &changes.body {
        // Not as if it had not been asked: whoever fills the slots would get mail past it.
        taken.range.end = replace_body(shard, slot, taken.range.clone(), body).map_err(Clone::clone)?;
    }
    taken.envelope = envelope;
    taken.junk |= judgement.quarantined;
    if judgement.lost_edits {
        desk.warn_once("it wants more changes than a message may get; none is made");
    }
    match change(shard, slot, taken.range.clone(), &changes.edits) {
        Some(begin) => taken.range.start = begin,
        None => desk.warn_once("its fields are too long for the room there is; a message stays as it was"),
    }
    for change in &changes.recipients {
        tracing::info!(target: "mail", id, "{} changes the recipients: {change:?}", desk.name);
    }
    if let Some(from) = &changes.reverse_path {
        tracing::info!(target: "mail", id, from, "{} changes the sender", desk.name);
    }
    if taken.envelope.recipients(transaction).next().is_some() {
        return Ok(());
    }
    // The sender is told: a message that vanishes is nobody's to find.
    let refused = taken.envelope.refused();
    Err(if refused.is_empty() {
        Reply::fixed(550, 7, 1, "Message refused by a filter, which does not want it")
    } else {
        for_all(refused)
    })
}

impl State {
    fn instance(&self) -> String {
        format!("{}.{}", self.connection, self.transaction)
    }
}

/// Asks policy servers one after the other until one decides.
async fn decide(
    shard: &Shard,
    session: &Session<Receipt>,
    asked: impl Iterator<Item = &Delegate>,
    request: &Request<'_>,
    fields: &mut Vec<Edit>,
) -> Option<Reply> {
    let service = service(session);
    if service == Service::Smtp && shard.config().policy.is_trusted(session.client().address) {
        return None;
    }
    let mut question = Vec::new();
    let mut decision = Decision::default();
    for delegate in asked.filter(|delegate| delegate.desk.serves(service)) {
        if question.is_empty() {
            request.write_to(&mut question);
        }
        let action = match delegate.ask(shard, &question).await {
            Ok(action) => action,
            Err(None) => continue,
            Err(reply) => return reply,
        };
        let desk = &delegate.desk;
        if let Action::Refuse(reply) | Action::DeferIfPermit(reply) = &action
            && desk.refusal(shard, reply.clone(), request.recipient).is_none()
        {
            continue;
        }
        if desk.is_dry() {
            continue;
        }
        if let Action::Prepend(line) = &action {
            match Edit::prepend(line) {
                Some(field) if fields.len() < FIELDS_MAX => fields.push(field),
                Some(_) => desk.warn_once("it wants more fields on top of a message than there may be"),
                None => desk.warn_once("what it wants on top of a message is no field"),
            }
        }
        if let Some(decided) = decision.take(&action) {
            return decided;
        }
    }
    decision.end()
}

/// What is the same at each question about a transaction.
fn request<'a>(
    session: &'a Session<Receipt>,
    client_name: Option<&'a str>,
    (instance, server): (&'a str, Option<SocketAddr>),
) -> Request<'a> {
    Request {
        state: When::Recipient,
        extended: session.is_extended(),
        helo: session.helo(),
        queue_id: "",
        sender: &session.transaction().reverse_path,
        recipient: "",
        recipient_count: 0,
        client: client(session),
        client_name,
        instance,
        account: session.account().map(|account| account.address.as_str()),
        size: 0,
        tls: session.tls().map(|tls| (tls.version, tls.cipher)),
        server,
        service: service(session).name(),
    }
}

fn client(session: &Session<Receipt>) -> SocketAddr {
    SocketAddr::new(session.client().address, session.client().port)
}

fn service(session: &Session<Receipt>) -> Service {
    match session.config().protocol {
        Protocol::Smtp => Service::Smtp,
        Protocol::Submission | Protocol::Submissions => Service::Submission,
        Protocol::Lmtp => Service::Lmtp,
    }
}

/// True if milters see the same header as everybody else.
fn is_clear(shard: &Shard, slot: &Slot, range: Range<usize>) -> bool {
    edits::has_clear_end(shard.arena().bytes(slot).get(range).unwrap_or_default())
}

/// Changes the header of the message where it lies; where it begins then. `None`, and nothing is changed, if it grows beyond the room.
fn change(shard: &Shard, slot: &Slot, range: Range<usize>, wanted: &[Edit]) -> Option<usize> {
    if wanted.is_empty() {
        return Some(range.start);
    }
    let mut arena = shard.arena();
    let memory = arena.bytes_mut(slot);
    let message = memory.get(range.clone())?;
    let (fields, _) = header_end(message);
    let changed = edits::apply(message.get(..fields)?, wanted);
    let end = range.start + fields;
    let begin = end.checked_sub(changed.len()).filter(|begin| *begin >= SLOT_HEAD_BYTES - HELPER_FIELDS_BYTES_MAX)?;
    memory.get_mut(begin..end)?.copy_from_slice(&changed);
    Some(begin)
}
