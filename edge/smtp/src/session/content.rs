//! The content, from DATA to the reply to its last dot (RFC 5321 section 4.1.1.4). BDAT shares all but the way the end is told.

use super::{Awaited, Protocol, Reading, Session, Step};
use crate::body::{BodyDecoder, BodyProgress, Flaw};
use crate::replies;
use postring_mail::{Now, Reply};

impl<R> Session<R> {
    pub(super) fn data(&mut self, now: Now) {
        self.awaited = Awaited::Slot;
        self.body_deadline_ms = now.monotonic_ms.saturating_add(self.config.data_total_wait_ms);
        self.steps.push(Step::OpenBody { size_declared: self.transaction.size_declared });
    }

    /// There is room in the slot: the content may come.
    pub fn body_opened(&mut self, now: Now, out: &mut Vec<u8>) {
        match self.awaited {
            Awaited::Slot => {
                self.awaited = Awaited::Nothing;
                self.reading = Reading::Body;
                self.decoder = BodyDecoder::default();
                self.deadline_ms = now.monotonic_ms.saturating_add(self.config.data_block_wait_ms);
                replies::SEND_DATA.write_to(out);
            }
            Awaited::Room(chunk) => self.chunk_opened(chunk, now, out),
            _ => {}
        }
    }

    /// No content now: DATA gets this reply instead of 354, BDAT when its octets have been thrown away.
    pub fn body_refused(&mut self, reply: &Reply, out: &mut Vec<u8>) {
        match self.awaited {
            Awaited::Slot => {
                self.awaited = Awaited::Nothing;
                self.reset();
                reply.write_to(out);
            }
            Awaited::Room(chunk) => {
                self.awaited = Awaited::Nothing;
                self.discard_chunk(chunk, reply, out);
            }
            _ => {}
        }
    }

    /// The content has outgrown what the daemon can hold: the rest is read and thrown away, then this is the reply.
    pub fn body_overflowed(&mut self, reply: Reply) {
        self.reading = match std::mem::replace(&mut self.reading, Reading::Commands) {
            Reading::Body => Reading::Discard(reply),
            Reading::Chunk(chunk) => Reading::DiscardChunk(chunk, reply),
            other => other,
        };
    }

    /// Most octets of content it would take now: more is not content. To be asked while [`receiving`](Self::receiving) is `Body`.
    #[must_use]
    pub fn content_left(&self) -> usize {
        match self.reading {
            Reading::Chunk(chunk) => usize::try_from(chunk.left).unwrap_or(usize::MAX),
            _ => usize::MAX,
        }
    }

    /// True while what the slot holds may still become a message: with BDAT also between chunks.
    #[must_use]
    pub fn holds_content(&self) -> bool {
        matches!(self.reading, Reading::Body | Reading::Chunk(_))
            || matches!(self.awaited, Awaited::Room(_) | Awaited::Receipt)
            || self.is_between_chunks()
    }

    /// Takes content while [`receiving`](Self::receiving) is `Body` or `Discard`: `fresh` bytes received behind the `decoded` bytes
    /// before them; see [`BodyDecoder::decode`]. While discarding, give every chunk with `decoded` 0.
    pub fn handle_body(&mut self, buffer: &mut [u8], decoded: usize, fresh: usize, now: Now, out: &mut Vec<u8>) -> BodyProgress {
        let progress = self.take_content(buffer, decoded, fresh, out);
        let wait_ms = match progress {
            BodyProgress::More { .. } => self.config.data_block_wait_ms,
            BodyProgress::End { .. } => self.config.command_wait_ms,
        };
        self.deadline_ms = now.monotonic_ms.saturating_add(wait_ms);
        progress
    }

    fn take_content(&mut self, buffer: &mut [u8], decoded: usize, fresh: usize, out: &mut Vec<u8>) -> BodyProgress {
        if let Reading::Chunk(chunk) | Reading::DiscardChunk(chunk, _) = self.reading {
            return self.take_chunk(chunk, buffer, decoded, fresh, out);
        }
        let progress = self.decoder.decode(buffer, decoded, fresh);
        let (BodyProgress::More { decoded } | BodyProgress::End { decoded, .. }) = progress;
        if self.reading == Reading::Body && decoded as u64 > self.config.message_bytes_max {
            self.reading = Reading::Discard(replies::TOO_LARGE.clone());
        }
        if let BodyProgress::End { .. } = progress {
            let reading = std::mem::replace(&mut self.reading, Reading::Commands);
            match reading {
                Reading::Discard(reply) => self.finish(&reply, out),
                _ => self.complete(self.decoder.flaw(), out),
            }
        }
        progress
    }

    /// The content is whole: it is to be judged, unless its very form is wrong.
    pub(super) fn complete(&mut self, flaw: Option<Flaw>, out: &mut Vec<u8>) {
        match flaw {
            Some(Flaw::BareLineEnd) if self.config.take_bare_line_ends => {
                self.transaction.bare_line_ends = true;
                self.awaited = Awaited::Receipt;
                self.steps.push(Step::Submit);
            }
            Some(Flaw::BareLineEnd) => self.finish(&replies::BARE_LINE_END, out),
            Some(Flaw::Nul) => self.finish(&replies::NUL_OCTET, out),
            None => {
                self.awaited = Awaited::Receipt;
                self.steps.push(Step::Submit);
            }
        }
    }

    /// True if the client hears of each recipient what became of the message for it: one may then refuse what others take.
    #[must_use]
    pub fn answers_each(&self) -> bool {
        let recipients = self.transaction.recipients.len();
        recipients > 1 && (self.transaction.prdr || self.config.protocol == Protocol::Lmtp)
    }

    /// The message is safe: the one place that says so to the client. `refused`: recipients that do not get it, by their place, which only a client
    /// that [is told](Self::answers_each) of each may have; at least one does get it.
    //= RFC 5321 section 6.1
    //# When the receiver-SMTP accepts a piece of mail [...], it is accepting responsibility for delivering or relaying the message
    pub fn handle_receipt(
        &mut self,
        _receipt: R,
        id: impl std::fmt::Display,
        refused: &[(usize, Reply)],
        now: Now,
        out: &mut Vec<u8>,
    ) {
        if self.awaited == Awaited::Receipt {
            self.awaited = Awaited::Nothing;
            self.deadline_ms = now.monotonic_ms.saturating_add(self.config.command_wait_ms);
            // A client that says RSET or EHLO before each of many messages does work.
            self.idle_commands = 0;
            self.finish_each(&Reply::with_text(250, 0, 0, format!("Ok: on disk as {id}")), refused, out);
        }
    }

    /// The message was not taken; nothing of it is kept.
    pub fn handle_refusal(&mut self, reply: &Reply, now: Now, out: &mut Vec<u8>) {
        if self.awaited == Awaited::Receipt {
            self.awaited = Awaited::Nothing;
            self.deadline_ms = now.monotonic_ms.saturating_add(self.config.command_wait_ms);
            self.finish(reply, out);
        }
    }

    /// The same reply for all.
    pub(super) fn finish(&mut self, reply: &Reply, out: &mut Vec<u8>) {
        self.finish_each(reply, &[], out);
    }

    /// The reply to the last dot, or to BDAT with LAST; in LMTP one for each recipient, with PRDR that and one for all. `others`: those of some
    /// recipients that differ.
    //= RFC 2033 section 4.2
    //# after the final ".", the server returns one reply for each previously successful RCPT command
    fn finish_each(&mut self, reply: &Reply, others: &[(usize, Reply)], out: &mut Vec<u8>) {
        let recipients = self.transaction.recipients.len();
        // draft-hall-prdr-00 section 4: 353, then a reply for each recipient in the order of RCPT, then the one that counts for all.
        // For one recipient they would say the same twice.
        let prdr = self.transaction.prdr && recipients > 1;
        if prdr {
            replies::RECIPIENTS_FOLLOW.write_to(out);
        }
        let replies = match self.config.protocol {
            Protocol::Lmtp => recipients,
            Protocol::Smtp | Protocol::Submission | Protocol::Submissions => 1 + if prdr { recipients } else { 0 },
        };
        for at in 0..replies {
            let other = others.iter().find(|(place, _)| *place == at && at < recipients);
            other.map_or(reply, |(_, other)| other).write_to(out);
        }
        self.reset();
        if self.draining {
            replies::SHUTDOWN.write_to(out);
            self.close();
        }
    }
}
