//! One message told to one milter, from CONNECT to its judgement. Bytes and packets go in and out; connections are somebody else's.
//!
//! ```text
//!   loop {
//!       match conversation.poll_next(&envelope, message, &mut out) {
//!           Next::Send => send(out),                     // and call again
//!           Next::Answer => { send(out); conversation.handle_packet(received)? }
//!           Next::End => break,
//!       }
//!   }
//!   conversation.close(&mut out);                        // and keep the connection, if it says so
//! ```
//!
//! ```text
//!   NEGOTIATE ─> CONNECT ─> HELO ─> MAIL ─> RCPT ... ─> DATA ─> HEADER ... ─> HEADER_END ─> BODY ... ─> BODY_END ─> edits ... ─> judgement
//!       ^            ^                                                                                                             │
//!   a new connection └── one that is kept: QUIT_NEW_CONNECTION <───────────────────────────────────────────────────────────────────┘
//! ```
//! The message is lent at every call, so that nobody has to keep it still while we wait. Cost: each octet of the message is copied once, by the chunk.

use crate::changes::{Changes, Collector};
use crate::edits::{field_end, header_end, name_and_value};
use crate::envelope::Envelope;
use crate::options::{ACTIONS, Options, VERSION, bits};
use crate::packet::{self, CHUNK_BYTES, Packet, command};
use crate::problem::Problem;
use crate::response::Response;
use postring_mail::Reply;

/// Octets of commands without an answer before they are sent.
const BATCH_BYTES: usize = 64 * 1024;
/// Octets of a field's value that are shown.
const VALUE_BYTES_MAX: usize = 60_000;

/// What to do next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// Send what was written, and ask again.
    Send,
    /// Send what was written, then wait for a packet.
    Answer,
    /// It has judged.
    End,
}

/// What it says of the message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It has nothing against it.
    Accept,
    /// It is refused, for good or for now. A message it wants taken and thrown away is refused too: nothing is lost without a word.
    Refuse(Reply),
}

/// What has come of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Judgement {
    /// Whether it is taken.
    pub verdict: Verdict,
    /// Recipients it refuses, by their number, where each has a reply of its own and another is left.
    pub refused: Vec<(usize, Reply)>,
    /// What is to be changed; nothing of a message that is refused.
    pub changes: Changes,
    /// It wanted more changes of the header than a message may get, and none of them is there.
    pub lost_edits: bool,
    /// It wanted more other changes than a message may get, and none at all is there.
    pub lost_changes: bool,
    /// It is to be put aside.
    pub quarantined: bool,
}

/// Packets without an answer for one message: a filter that works for a minute says so some times a second at most.
const PROGRESS_MAX: u32 = 1000;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    Negotiate,
    Connect,
    Helo,
    Mail,
    /// The number of the next one.
    Recipient(usize),
    Data,
    /// Where the next field begins.
    Header(usize),
    HeaderEnd,
    /// Where the next chunk begins.
    Body(usize),
    BodyEnd,
    End,
}

/// The telling of one message. See the module.
#[derive(Debug)]
pub struct Conversation {
    options: Options,
    step: Step,
    /// An answer to this step is waited for.
    awaited: Option<Step>,
    /// MAIL was told, and the end of the message was not.
    in_message: bool,
    /// The end of the message was told, and answered with "go on".
    is_whole: bool,
    /// Where the fields end, and where the content begins.
    header: (usize, usize),
    changes: Collector,
    /// Recipients it has refused.
    refused: Vec<(usize, Reply)>,
    /// They may be: each has a reply of its own.
    answers_each: bool,
    /// Packets without an answer.
    progress: u32,
    quarantined: bool,
    verdict: Verdict,
}

impl Conversation {
    /// Over a new connection.
    #[must_use]
    pub fn new() -> Self {
        Self::begin(Options { version: VERSION, steps: 0 }, Step::Negotiate)
    }

    /// Over a connection that was kept.
    #[must_use]
    pub fn over_kept(options: Options) -> Self {
        Self::begin(options, Step::Connect)
    }

    fn begin(options: Options, step: Step) -> Self {
        Self {
            options,
            step,
            awaited: None,
            in_message: false,
            is_whole: false,
            header: (0, 0),
            changes: Collector::default(),
            refused: Vec::new(),
            answers_each: false,
            progress: 0,
            quarantined: false,
            verdict: Verdict::Accept,
        }
    }

    /// Writes what is to be said next. The same envelope and message at every call.
    pub fn poll_next(&mut self, envelope: &Envelope<'_>, message: &[u8], out: &mut Vec<u8>) -> Next {
        loop {
            if self.awaited.is_some() {
                return Next::Answer;
            }
            if self.step == Step::End {
                return Next::End;
            }
            if out.len() >= BATCH_BYTES {
                return Next::Send;
            }
            self.tell(envelope, message, out);
        }
    }

    /// Tells one step, or passes it by.
    fn tell(&mut self, envelope: &Envelope<'_>, message: &[u8], out: &mut Vec<u8>) {
        use bits::{
            NO_BODY, NO_CONNECT, NO_DATA, NO_HEADER, NO_HEADER_END, NO_HELO, NO_MAIL, NO_RECIPIENT, NO_REPLY_BODY,
            NO_REPLY_CONNECT, NO_REPLY_DATA, NO_REPLY_HEADER, NO_REPLY_HEADER_END, NO_REPLY_HELO, NO_REPLY_MAIL,
            NO_REPLY_RECIPIENT, OFFERED,
        };
        let told = self.step;
        self.in_message |= told == Step::Mail;
        self.answers_each = envelope.answers_each;
        let has = |bit: u32| self.options.has(bit);
        // Which step follows, and with which bits this one is not told, or not answered.
        let (next, untold, unanswered) = match told {
            Step::Negotiate => {
                let numbers = [VERSION, ACTIONS, OFFERED].map(u32::to_be_bytes);
                packet::write(out, command::NEGOTIATE, &[numbers.as_flattened()]);
                (Step::Connect, false, false)
            }
            Step::Connect => {
                if !has(NO_CONNECT) {
                    envelope.connect(out);
                }
                (Step::Helo, has(NO_CONNECT), has(NO_REPLY_CONNECT))
            }
            Step::Helo => {
                if !has(NO_HELO) {
                    envelope.helo(out);
                }
                (Step::Mail, has(NO_HELO), has(NO_REPLY_HELO))
            }
            Step::Mail => {
                if !has(NO_MAIL) {
                    envelope.mail(out);
                }
                (Step::Recipient(0), has(NO_MAIL), has(NO_REPLY_MAIL))
            }
            Step::Recipient(number) => {
                let is_told = !has(NO_RECIPIENT) && envelope.recipient(number, out);
                (if is_told { Step::Recipient(number + 1) } else { Step::Data }, !is_told, has(NO_REPLY_RECIPIENT))
            }
            Step::Data if !self.refused.is_empty() && self.refused.len() >= envelope.recipients.len() => {
                self.refuse(for_all(&self.refused));
                (Step::End, true, true)
            }
            Step::Data => {
                self.header = header_end(message);
                // Before version 4 there was no such command.
                let is_told = !has(NO_DATA) && self.options.version >= 4;
                if is_told {
                    envelope.later(command::DATA, out);
                    packet::write(out, command::DATA, &[]);
                }
                (Step::Header(0), !is_told, has(NO_REPLY_DATA))
            }
            Step::Header(at) => {
                let field = message.get(at..field_end(message, at)).filter(|_| at < self.header.0 && !has(NO_HEADER));
                match field {
                    Some(field) => {
                        self.tell_field(field, out);
                        (Step::Header(at + field.len()), false, has(NO_REPLY_HEADER))
                    }
                    None => (Step::HeaderEnd, true, true),
                }
            }
            Step::HeaderEnd => {
                if !has(NO_HEADER_END) {
                    envelope.later(command::HEADER_END, out);
                    packet::write(out, command::HEADER_END, &[]);
                }
                (Step::Body(self.header.1), has(NO_HEADER_END), has(NO_REPLY_HEADER_END))
            }
            Step::Body(at) => {
                let rest = message.get(at..).unwrap_or_default();
                let chunk = rest.get(..rest.len().min(CHUNK_BYTES)).unwrap_or_default();
                if chunk.is_empty() || has(NO_BODY) {
                    (Step::BodyEnd, true, true)
                } else {
                    packet::write(out, command::BODY, &[chunk]);
                    (Step::Body(at + chunk.len()), false, has(NO_REPLY_BODY))
                }
            }
            Step::BodyEnd => {
                envelope.later(command::BODY_END, out);
                packet::write(out, command::BODY_END, &[]);
                self.in_message = false;
                self.changes.begin(message.len());
                (Step::End, false, false)
            }
            Step::End => (Step::End, true, true),
        };
        self.step = next;
        self.awaited = (!untold && !unanswered).then_some(told);
    }

    /// Writes one field: line ends within it are LF, as libmilter has them.
    fn tell_field(&self, field: &[u8], out: &mut Vec<u8>) {
        let Some((name, value)) = name_and_value(field) else { return };
        let leading = value.strip_prefix(b" ").or(value.strip_prefix(b"\t")).unwrap_or(value);
        let value = if self.options.has(bits::LEADING_SPACE) { value } else { leading };
        let value: Vec<u8> = value.iter().copied().filter(|byte| !matches!(byte, b'\r' | 0)).take(VALUE_BYTES_MAX).collect();
        packet::write(out, command::HEADER, &[name, b"\0", &value, b"\0"]);
    }

    /// Takes a packet of the milter.
    ///
    /// # Errors
    /// It breaks the protocol: the connection is of no more use.
    pub fn handle_packet(&mut self, packet: Packet<'_>) -> Result<(), Problem> {
        let Some(awaited) = self.awaited else { return Err(Problem::Unexpected(packet.command)) };
        if awaited == Step::Negotiate {
            if packet.command != command::NEGOTIATE {
                return Err(Problem::Unexpected(packet.command));
            }
            self.options = Options::parse(packet.data)?;
            self.awaited = None;
            return Ok(());
        }
        match Response::parse(packet, self.options.has(bits::LEADING_SPACE))? {
            // The answer is still to come.
            Response::Progress => return self.count_progress(),
            change @ (Response::Edit(_)
            | Response::Recipient(_)
            | Response::ReversePath(_)
            | Response::Body(_)
            | Response::Quarantine) => {
                return if awaited == Step::BodyEnd { self.take(change) } else { Err(Problem::Unexpected(packet.command)) };
            }
            Response::Continue => self.is_whole = awaited == Step::BodyEnd,
            Response::Skip => match self.step {
                Step::Header(_) => self.step = Step::HeaderEnd,
                Step::Body(_) => self.step = Step::BodyEnd,
                Step::Recipient(_) => self.step = Step::Data,
                _ => {}
            },
            Response::Accept => self.step = Step::End,
            Response::Reject => self.refuse_at(awaited, Reply::fixed(550, 7, 1, "Message refused by a filter")),
            Response::TempFail => {
                self.refuse_at(awaited, Reply::fixed(451, 7, 1, "A filter cannot take the message now, try again later"));
            }
            // The sender is told: a message that vanishes is nobody's to find.
            Response::Discard => self.refuse(Reply::fixed(550, 7, 1, "Message refused by a filter, which does not want it")),
            Response::Refuse(reply) => self.refuse_at(awaited, reply),
        }
        self.awaited = None;
        Ok(())
    }

    /// Refuses a recipient if it was asked about one and that can be told; else the message.
    fn refuse_at(&mut self, awaited: Step, reply: Reply) {
        match awaited {
            Step::Recipient(number) if self.answers_each => self.refused.push((number, reply)),
            _ => self.refuse(reply),
        }
    }

    fn refuse(&mut self, reply: Reply) {
        self.step = Step::End;
        self.verdict = Verdict::Refuse(reply);
        self.refused.clear();
        self.changes.clear();
        self.quarantined = false;
    }

    /// Takes down a change. What is none, or one too many, counts as progress: there may be any number by the protocol.
    fn take(&mut self, change: Response) -> Result<(), Problem> {
        let is_taken = match change {
            Response::Edit(edit) => self.changes.edit(edit),
            Response::Recipient(change) => self.changes.recipient(change),
            Response::Body(piece) => self.changes.body(&piece),
            Response::ReversePath(address) => {
                self.changes.reverse_path(address);
                false
            }
            _ => {
                self.quarantined = true;
                false
            }
        };
        if is_taken { Ok(()) } else { self.count_progress() }
    }

    /// Packets that are no answer, and of which there may be any number by the protocol.
    fn count_progress(&mut self) -> Result<(), Problem> {
        self.progress += 1;
        if self.progress > PROGRESS_MAX { Err(Problem::TooMuchProgress) } else { Ok(()) }
    }

    /// Ends the conversation. If the milter can take another message over this connection, that is agreed, and what holds for it is given;
    /// otherwise the connection has to be closed.
    ///
    /// libmilter takes QUIT_NC only where the end of a message was answered with "go on": everywhere else it ignores it, and the CONNECT behind it.
    /// Before version 6 a connection was for one client. One that does not want to be told CONNECT does not notice that another has begun
    /// (found with pymilter, which makes what it works with at the negotiation then).
    pub fn close(&self, out: &mut Vec<u8>) -> Option<Options> {
        if self.is_whole && self.options.version == VERSION && !self.options.has(bits::NO_CONNECT) {
            packet::write(out, command::QUIT_NEW_CONNECTION, &[]);
            return Some(self.options);
        }
        if self.in_message {
            packet::write(out, command::ABORT, &[]);
        }
        packet::write(out, command::QUIT, &[]);
        None
    }

    /// What has come of it, once it has ended.
    #[must_use]
    pub fn judgement(self) -> Judgement {
        let (changes, lost_edits, lost_changes) = self.changes.end();
        Judgement {
            verdict: self.verdict,
            refused: self.refused,
            changes,
            lost_edits,
            lost_changes,
            quarantined: self.quarantined,
        }
    }
}

/// The reply to all whose recipients were refused one by one: to be tried again if that would help one of them.
#[must_use]
pub fn for_all(refused: &[(usize, Reply)]) -> Reply {
    let one = refused.iter().find(|(_, reply)| reply.is_transient()).or(refused.first());
    one.map_or_else(|| Reply::fixed(550, 7, 1, "Message refused by a filter"), |(_, reply)| reply.clone())
}

impl Default for Conversation {
    fn default() -> Self {
        Self::new()
    }
}
