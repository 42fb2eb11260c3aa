//! Takes a zone from a primary, message by message (RFC 5936 section 2.2, RFC 1995 section 4).
//!
//! ```text
//!   First ─ SOA ─> Second ─ SOA with our serial ─> Removing ─ SOA ─> Adding ─ SOA ─> Removing ... ─ newest SOA ─> Over (Differences)
//!     │               ├ other record ─> Whole ─ SOA ─> Over (Whole)
//!     │               └ nothing more (SOA not newer) ─> Over (Current)
//!     └ over UDP: one SOA that is newer ─> Over (AskTcp)
//! ```
//! Nothing is believed before the last message: a transfer that is cut, forged, too large or not of this zone leaves no trace.

use super::difference::Difference;
use super::outgoing::TransferRequest;
use super::read::{Header, Sections, TC};
use super::serial::is_newer;
use super::write::MessageWriter;
use super::{RecordRef, Soa};
use crate::message::Section;
use crate::name::{Name, is_within};
use crate::record::Record;
use crate::responder::Transport;
use crate::tsig::{Key, Verified, Verifier, VerifyError, sign_request};
use crate::types::{CLASS_IN, Rcode, Rtype};
use std::sync::Arc;

/// How much a primary may send.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Octets of all messages.
    pub bytes: u64,
    /// Records.
    pub records: u64,
}

impl Default for Limits {
    /// Ten million records: far more than a mail hoster's largest zone, and still held by one machine.
    fn default() -> Self {
        Self { bytes: 2 << 30, records: 10_000_000 }
    }
}

/// What is asked for.
#[derive(Clone, Copy, Debug)]
pub struct Wanted<'w> {
    /// The zone.
    pub zone: &'w Name,
    /// The SOA we hold: IXFR from there. Without one it is AXFR, which goes over TCP only.
    pub have: Option<&'w Record>,
    /// Signs the query, and must sign the answer.
    pub key: Option<&'w Arc<Key>>,
    /// How much may come.
    pub limits: Limits,
    /// How the query goes.
    pub transport: Transport,
}

/// Why a transfer failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TransferError {
    /// The primary said no.
    Refused(Rcode),
    /// No answer to what was asked.
    NotOurs,
    /// A message that cannot be read, or records that are no zone.
    Malformed(&'static str),
    /// The signature.
    Signature(VerifyError),
    /// A record that does not belong to the zone.
    Foreign(Name),
    /// More than the [`Limits`].
    TooMuch,
    /// The primary's zone is older than ours.
    Older,
}

impl TransferError {
    /// True if AXFR may work where IXFR did not (RFC 1995 section 4 and habit: old servers say NOTIMP or FORMERR).
    #[must_use]
    pub fn suggests_whole(&self) -> bool {
        matches!(self, Self::Refused(Rcode::FORMERR | Rcode::NOTIMP) | Self::Malformed(_))
    }
}

impl std::fmt::Display for TransferError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Refused(rcode) => write!(f, "the primary answers {rcode}"),
            Self::NotOurs => f.write_str("the message is no answer to what was asked"),
            Self::Malformed(what) => f.write_str(what),
            Self::Signature(error) => write!(f, "the signature: {error:?}"),
            Self::Foreign(name) => write!(f, "{name} is not within the zone"),
            Self::TooMuch => f.write_str("the zone is larger than the limit"),
            Self::Older => f.write_str("the primary's zone is older than ours"),
        }
    }
}

impl std::error::Error for TransferError {}

/// After a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Progress {
    /// More messages must come.
    More,
    /// That was the last.
    Over(Outcome),
}

/// What a transfer brought.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Ours is the newest.
    Current,
    /// All records of the zone, the SOA first and once.
    Whole(Vec<Record>),
    /// Steps for [`super::apply`].
    Differences(Vec<Difference>),
    /// It does not fit into a datagram: again over TCP.
    AskTcp,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    First,
    Second,
    Whole,
    Removing,
    Adding,
    Over,
}

/// One transfer.
#[derive(Debug)]
pub struct Incoming {
    id: u16,
    zone: Name,
    rtype: Rtype,
    transport: Transport,
    /// The version we have.
    serial: Option<u32>,
    limits: Limits,
    bytes: u64,
    records: u64,
    verifier: Option<Verifier>,
    state: State,
    /// The SOA the answer began with, and its serial.
    newest: Option<(Record, u32)>,
    /// The zone without its SOA, if it comes whole.
    whole: Vec<Record>,
    /// Steps that are complete, the one that is coming last.
    steps: Vec<Difference>,
}

impl Incoming {
    /// Begins a transfer and writes its query. `id` must be random; `now` in seconds since 1970.
    pub fn new(wanted: Wanted<'_>, id: u16, now: u64, query: &mut Vec<u8>) -> Self {
        let Wanted { zone, have, key, limits, transport } = wanted;
        let rtype = if have.is_some() { Rtype::IXFR } else { Rtype::AXFR };
        let mut writer = MessageWriter::begin(id, 0, query);
        writer.question(zone.wire(), rtype, CLASS_IN);
        if let Some(soa) = have {
            writer.record(Section::Authority, RecordRef { owner: zone.wire(), ..soa.into() }, CLASS_IN, usize::from(u16::MAX));
        }
        Self {
            id,
            zone: zone.to_key(),
            rtype,
            transport,
            serial: have.and_then(|soa| Soa::parse(&soa.rdata)).map(|soa| soa.serial),
            limits,
            bytes: 0,
            records: 0,
            verifier: key.map(|key| sign_request(key, query, now)),
            state: State::First,
            newest: None,
            whole: Vec::new(),
            steps: Vec::new(),
        }
    }

    /// The next message; `now` in seconds since 1970. Behind an error or [`Progress::Over`] there is nothing more to handle.
    ///
    /// # Errors
    /// See [`TransferError`]. Over UDP [`TransferError::NotOurs`] and [`TransferError::Signature`] may come from a stranger: go on waiting;
    /// every other error ends the transfer.
    pub fn handle_message(&mut self, message: &[u8], now: u64) -> Result<Progress, TransferError> {
        self.bytes += u64::try_from(message.len()).unwrap_or(u64::MAX);
        if self.bytes > self.limits.bytes {
            return Err(TransferError::TooMuch);
        }
        let header = Header::read(message).ok_or(TransferError::Malformed("the message is cut"))?;
        if header.id != self.id || !header.is_response() || header.opcode() != 0 || header.counts[0] > 1 {
            return Err(TransferError::NotOurs);
        }
        let mut sections = Sections::new(message);
        if header.counts[0] == 1 {
            let question = sections.question().ok_or(TransferError::Malformed("the question cannot be read"))?;
            if question.0.to_key() != self.zone || question.1 != self.rtype {
                return Err(TransferError::NotOurs);
            }
        }
        let signed = match &mut self.verifier {
            None => Verified::Signed,
            Some(verifier) => verifier.verify(message, now).map_err(TransferError::Signature)?,
        };
        if header.rcode() != Rcode::NOERROR {
            return Err(TransferError::Refused(header.rcode()));
        }
        if header.flags & TC != 0 {
            return match self.transport {
                Transport::Udp => Ok(Progress::Over(Outcome::AskTcp)),
                Transport::Tcp => Err(TransferError::Malformed("a truncated message over TCP")),
            };
        }
        let is_first = self.state == State::First;
        for _ in 0..header.counts[1] {
            let raw = sections.record().ok_or(TransferError::Malformed("a record cannot be read"))?;
            let rdata = sections.rdata(&raw).filter(|_| raw.class == CLASS_IN && !raw.rtype.is_question_only());
            let rdata = rdata.ok_or(TransferError::Malformed("a record is not as its type wants it"))?;
            if !is_within(raw.name.to_key().wire(), self.zone.wire()) {
                return Err(TransferError::Foreign(raw.name));
            }
            self.records += 1;
            if self.records > self.limits.records {
                return Err(TransferError::TooMuch);
            }
            self.handle_record(Record { name: raw.name, rtype: raw.rtype, ttl: raw.ttl, rdata })?;
        }
        match self.state {
            State::First => Err(TransferError::Malformed("the answer does not begin with the SOA")),
            State::Second if is_first && self.is_current() => Ok(Progress::Over(Outcome::Current)),
            State::Over if signed == Verified::NotYet => Err(TransferError::Signature(VerifyError::Unsigned)),
            State::Over => Ok(Progress::Over(self.outcome())),
            // One SOA that is newer: the rest does not fit.
            State::Second if self.transport == Transport::Udp => Ok(Progress::Over(Outcome::AskTcp)),
            _ if self.transport == Transport::Udp => Err(TransferError::Malformed("the datagram does not hold the whole answer")),
            // Some primaries put one record into a message.
            State::Second | State::Whole | State::Removing | State::Adding => Ok(Progress::More),
        }
    }

    fn is_current(&self) -> bool {
        self.newest.as_ref().map(|(_, newest)| *newest) == self.serial && self.rtype == Rtype::IXFR
    }

    fn outcome(&mut self) -> Outcome {
        match self.newest.take() {
            Some((soa, _)) if self.steps.is_empty() => {
                let mut records = vec![soa];
                records.append(&mut self.whole);
                Outcome::Whole(records)
            }
            _ => Outcome::Differences(std::mem::take(&mut self.steps)),
        }
    }

    fn handle_record(&mut self, record: Record) -> Result<(), TransferError> {
        let serial = match record.rtype {
            Rtype::SOA if record.name.to_key() != self.zone => {
                return Err(TransferError::Malformed("an SOA that is not the apex'"));
            }
            Rtype::SOA => Soa::parse(&record.rdata).map(|soa| soa.serial),
            _ => None,
        };
        let newest = self.newest.as_ref().map_or(0, |(_, serial)| *serial);
        let step = self.steps.last_mut();
        self.state = match (self.state, serial) {
            (State::First, None) => return Err(TransferError::Malformed("the answer does not begin with the SOA")),
            (State::First, Some(serial)) => {
                if self.serial.is_some_and(|ours| is_newer(ours, serial)) {
                    return Err(TransferError::Older);
                }
                self.newest = Some((record, serial));
                State::Second
            }
            (State::Second | State::Whole, None) => {
                self.whole.push(record);
                State::Whole
            }
            (State::Second, Some(serial)) if Some(serial) == self.serial && serial != newest => {
                self.steps.push(Difference { from: record.clone(), to: record, removed: Vec::new(), added: Vec::new() });
                State::Removing
            }
            (State::Second | State::Whole, Some(serial)) if serial == newest => State::Over,
            (State::Second | State::Whole, Some(_)) => return Err(TransferError::Malformed("another SOA than the first")),
            (State::Removing, None) => {
                step.into_iter().for_each(|step| step.removed.push(record.clone()));
                State::Removing
            }
            (State::Removing, Some(serial)) => {
                let Some(step) = step.filter(|step| is_newer(serial, step.from_serial())) else {
                    return Err(TransferError::Malformed("a difference that leads backwards"));
                };
                step.to = record;
                State::Adding
            }
            (State::Adding, None) => {
                step.into_iter().for_each(|step| step.added.push(record.clone()));
                State::Adding
            }
            (State::Adding, Some(serial)) => {
                if step.is_none_or(|step| step.to_serial() != serial) {
                    return Err(TransferError::Malformed("a difference that does not begin where the last ended"));
                }
                if serial == newest {
                    State::Over
                } else {
                    self.steps.push(Difference { from: record.clone(), to: record, removed: Vec::new(), added: Vec::new() });
                    State::Removing
                }
            }
            (State::Over, _) => return Err(TransferError::Malformed("records behind the end of the zone")),
        };
        Ok(())
    }
}

/// For the fuzzer and the replay of its inputs: messages, each behind its two octets of length, as a request and as the answer to an AXFR and
/// an IXFR; nothing may panic, and what is accepted must fit.
#[doc(hidden)]
pub fn fuzz_transfer(data: &[u8]) {
    let _ = TransferRequest::parse(data);
    if let Ok(zone) = Name::absolute("example") {
        let _ = super::SoaProbe::new(&zone, None, 7, 0, &mut Vec::new()).handle_response(data, 0);
    }
    let Ok(zone) = Name::absolute("example") else { return };
    let soa = Record { name: zone.clone(), rtype: Rtype::SOA, ttl: 1, rdata: Soa::with_serial(&[0; 22], 1) };
    let limits = Limits { bytes: 100_000, records: 1000 };
    for (have, transport) in [(None, Transport::Tcp), (Some(&soa), Transport::Tcp), (Some(&soa), Transport::Udp)] {
        let mut incoming = Incoming::new(Wanted { zone: &zone, have, key: None, limits, transport }, 7, 0, &mut Vec::new());
        let mut rest = data;
        while let Some((length, behind)) = rest.split_first_chunk() {
            let (message, behind) = behind.split_at_checked(u16::from_be_bytes(*length).into()).unwrap_or((behind, &[]));
            rest = behind;
            match incoming.handle_message(message, 0) {
                Ok(Progress::More) => {}
                Ok(Progress::Over(Outcome::Whole(records))) => {
                    assert!(records.iter().filter(|record| record.rtype == Rtype::SOA).count() == 1);
                    let _ = super::build_zone(&zone, records.iter().map(RecordRef::from));
                    break;
                }
                Ok(Progress::Over(Outcome::Differences(steps))) => {
                    assert!(steps.windows(2).all(|pair| matches!(pair, [a, b] if a.to_serial() == b.from_serial())));
                    let _ = super::apply(&super::RecordTable::new(&zone, [soa.clone()]), &steps);
                    break;
                }
                Ok(Progress::Over(Outcome::Current | Outcome::AskTcp)) | Err(_) => break,
            }
        }
    }
}
