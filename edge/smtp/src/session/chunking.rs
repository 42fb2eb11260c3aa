//! BDAT (RFC 3030): content in chunks whose length is told before.
//!
//! Whatever is wrong with a BDAT, its octets follow and must not be read as commands: they are taken and thrown away, then comes the
//! reply. Where their number cannot be read, or nobody would wait for them, the connection is closed: whoever is out of step takes
//! content for commands. The content is received where that of DATA is, and nothing in it is moved. Without BINARYMIME the octets may be
//! what DATA's may be; with it they may be any.

use super::table::{Allowed, Phase, allowed};
use super::{Awaited, Reading, Session, Step};
use crate::body::BodyProgress;
use crate::command::Verb;
use crate::replies;
use postring_mail::limits::CHUNK_DISCARDED_BYTES_MAX;
use postring_mail::{Now, Reply};

/// A chunk under way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Chunk {
    /// Octets still to come.
    pub(super) left: u64,
    /// It ends the message.
    pub(super) last: bool,
}

impl Chunk {
    //= RFC 3030 section 2
    //# bdat-cmd   ::= "BDAT" SP chunk-size [ SP end-marker ] CR LF
    //# chunk-size ::= 1*DIGIT
    fn parse(argument: &str) -> Option<Self> {
        let (size, last) = match argument.split_once(' ') {
            None => (argument, false),
            Some((size, marker)) if marker.eq_ignore_ascii_case("LAST") => (size, true),
            Some(_) => return None,
        };
        if size.is_empty() || !size.bytes().all(|byte| byte.is_ascii_digit()) {
            return None;
        }
        // A number too large for us is a number, and too large.
        Some(Self { left: size.parse().unwrap_or(u64::MAX), last })
    }
}

impl<R> Session<R> {
    pub(super) fn bdat(&mut self, argument: &str, now: Now, out: &mut Vec<u8>) {
        let Some(chunk) = Chunk::parse(argument) else {
            replies::BAD_BDAT.write_to(out);
            return self.close();
        };
        if !matches!(self.phase, Phase::Chunks | Phase::Failed) {
            self.body_deadline_ms = now.monotonic_ms.saturating_add(self.config.data_total_wait_ms);
        }
        if chunk.left == 0 && !chunk.last {
            self.idle_commands += 1;
            if self.idle_commands > self.config.idle_commands_max {
                replies::TOO_MANY_ERRORS.write_to(out);
                return self.close();
            }
        }
        match allowed(self.phase, Verb::Bdat) {
            Allowed::No(reply) => self.discard_chunk(chunk, reply, out),
            Allowed::Yes | Allowed::Resets | Allowed::Idle => {
                let bytes = self.chunks_bytes.saturating_add(chunk.left);
                // RFC 1870 section 6.3 has the 552; here it is known before the octets come.
                if bytes > self.config.message_bytes_max {
                    return self.discard_chunk(chunk, &replies::TOO_LARGE, out);
                }
                if self.phase != Phase::Chunks {
                    let declared = self.transaction.size_declared.map_or(chunk.left, |size| size.max(chunk.left));
                    self.steps.push(Step::OpenBody { size_declared: Some(declared) });
                } else if chunk.left == 0 {
                    return self.chunk_opened(chunk, now, out);
                } else {
                    self.steps.push(Step::ContinueBody { bytes: chunk.left });
                }
                self.awaited = Awaited::Room(chunk);
            }
        }
    }

    /// There is room for the chunk.
    pub(super) fn chunk_opened(&mut self, chunk: Chunk, now: Now, out: &mut Vec<u8>) {
        self.awaited = Awaited::Nothing;
        self.deadline_ms = now.monotonic_ms.saturating_add(self.config.data_block_wait_ms);
        self.phase = Phase::Chunks;
        self.chunks_bytes = self.chunks_bytes.saturating_add(chunk.left);
        self.reading = Reading::Chunk(chunk);
        if chunk.left == 0 {
            self.chunk_ended(out);
        }
    }

    /// The chunk gets this reply when its octets have come.
    //= RFC 3030 section 2
    //# If a failure occurs after a BDAT command is received, the receiver-SMTP MUST accept and discard the associated message data
    //# before sending the appropriate 5XX or 4XX code.
    pub(super) fn discard_chunk(&mut self, chunk: Chunk, reply: &Reply, out: &mut Vec<u8>) {
        if chunk.left > CHUNK_DISCARDED_BYTES_MAX {
            reply.write_to(out);
            return self.close();
        }
        self.reading = Reading::DiscardChunk(chunk, reply.clone());
        if chunk.left == 0 {
            self.chunk_ended(out);
        }
    }

    /// Takes octets of a chunk; what is behind them in the buffer is left. Cost: each octet is searched thrice by vector code.
    pub(super) fn take_chunk(
        &mut self,
        chunk: Chunk,
        buffer: &[u8],
        decoded: usize,
        fresh: usize,
        out: &mut Vec<u8>,
    ) -> BodyProgress {
        let came = buffer.get(decoded..).unwrap_or_default();
        let length = came.len().min(fresh).min(usize::try_from(chunk.left).unwrap_or(usize::MAX));
        let left = chunk.left.saturating_sub(length as u64);
        let end = decoded + length;
        match &mut self.reading {
            Reading::Chunk(chunk) => {
                chunk.left = left;
                self.judge.take(came.get(..length).unwrap_or_default());
            }
            Reading::DiscardChunk(chunk, _) => chunk.left = left,
            _ => {}
        }
        if left > 0 {
            return BodyProgress::More { decoded: end };
        }
        self.chunk_ended(out);
        BodyProgress::End { decoded: end, rest: end }
    }

    /// All octets of the chunk have come.
    fn chunk_ended(&mut self, out: &mut Vec<u8>) {
        match std::mem::replace(&mut self.reading, Reading::Commands) {
            Reading::Chunk(chunk) if chunk.last => {
                // What was received is the daemon's to submit; nothing is between chunks any more.
                self.phase = Phase::Recipients;
                let flaw = self.judge.flaw().filter(|_| !self.transaction.binary);
                self.complete(flaw, out);
            }
            Reading::Chunk(_) => replies::CHUNK_OK.write_to(out),
            Reading::DiscardChunk(chunk, reply) => self.chunk_refused(chunk.last, &reply, out),
            other => self.reading = other,
        }
    }

    //= RFC 3030 section 2
    //# If a 5XX or 4XX code is received by the sender-SMTP in response to a BDAT chunk, the message should be considered failed [...]
    //# the receiver SMTP MUST be prepared to accept and discard additional BDAT chunks already in the pipeline after the failed BDAT.
    fn chunk_refused(&mut self, last: bool, reply: &Reply, out: &mut Vec<u8>) {
        match self.phase {
            Phase::Connected | Phase::Greeted => self.error(reply, out),
            // The rest of the pipeline is no new error.
            Phase::Failed => {
                reply.write_to(out);
                if last {
                    self.phase = Phase::Greeted;
                }
            }
            // In LMTP a reply for each recipient (RFC 2033 section 4.3).
            Phase::Recipients | Phase::Chunks if last => self.finish(reply, out),
            Phase::Sender | Phase::Recipients | Phase::Chunks => {
                self.error(reply, out);
                self.reset();
                if !last {
                    self.phase = Phase::Failed;
                }
                if self.draining {
                    replies::SHUTDOWN.write_to(out);
                    self.close();
                }
            }
        }
    }

    /// True if the slot holds chunks and the next is to come.
    pub(super) fn is_between_chunks(&self) -> bool {
        self.phase == Phase::Chunks && self.reading == Reading::Commands
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes() {
        let chunk = |left, last| Some(Chunk { left, last });
        assert_eq!(Chunk::parse("0"), chunk(0, false));
        assert_eq!(Chunk::parse("0086 last"), chunk(86, true));
        assert_eq!(Chunk::parse("99999999999999999999999"), chunk(u64::MAX, false));
        for bad in ["", "LAST", "-1", "+1", "1x", "0x10", "1 LAST ", "1 FIRST", "1  LAST", "1 LAST LAST", "\u{0661}"] {
            assert_eq!(Chunk::parse(bad), None, "{bad}");
        }
    }
}
