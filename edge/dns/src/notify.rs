//! Tells secondaries that a zone has a newer version, and hears it told (RFC 1996).
//!
//! ```text
//!   primary:    Notifier::new(secondaries) ─ poll ─> Send(server): write ── response ─> handle_response ─ poll ─> ... Done
//!   secondary:  Notify::parse(packet) ─> write_notify_response; transfer::Secondary::handle_notify
//! ```
//! A NOTIFY is only a hint: who gets one looks for itself. Whoever may send one is the access list's to say.

use crate::message::Section;
use crate::name::Name;
use crate::record::Record;
use crate::transfer::read::{AA, Header, NOTIFY, QR, Sections};
use crate::transfer::write::MessageWriter;
use crate::transfer::{RecordRef, Soa};
use crate::tsig::{Key, Signer, Verifier, sign_request};
use crate::types::{CLASS_IN, Rcode, Rtype};
use std::net::SocketAddr;
use std::sync::Arc;

/// Tries for each secondary (RFC 1996 section 3.6 suggests five).
const TRIES_MAX: u32 = 5;
/// Seconds until the second try, doubled each time: 5, 10, 20, 40, 80. RFC 1996 section 3.6 suggests 60 each; a packet that was lost should
/// not cost a minute.
const WAIT_SECONDS: u64 = 5;
/// Records of a NOTIFY that are looked at; one SOA is all it may tell.
const RECORDS_MAX: u16 = 8;

/// A NOTIFY that came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Notify {
    /// Repeated in the response.
    pub id: u16,
    /// The zone, as it was written.
    pub zone: Name,
    /// The version, if the message says it: a hint.
    pub serial: Option<u32>,
}

impl Notify {
    /// Reads a packet.
    ///
    /// # Errors
    /// The response code to refuse it with; `None`: it is no NOTIFY at all.
    pub fn parse(packet: &[u8]) -> Result<Self, Option<Rcode>> {
        let header = Header::read(packet).ok_or(None)?;
        if header.is_response() || header.opcode() != NOTIFY {
            return Err(None);
        }
        Self::read(&header, packet).ok_or(Some(Rcode::FORMERR))
    }

    fn read(header: &Header, packet: &[u8]) -> Option<Self> {
        let mut sections = Sections::new(packet);
        let (zone, rtype, class) = sections.question().filter(|_| header.counts[0] == 1)?;
        if rtype != Rtype::SOA || class != CLASS_IN || header.counts[1] > RECORDS_MAX {
            return None;
        }
        let mut serial = None;
        for _ in 0..header.counts[1] {
            let record = sections.record()?;
            if record.rtype == Rtype::SOA && record.name.to_key() == zone.to_key() {
                serial = Some(Soa::parse(&sections.rdata(&record)?)?.serial);
            }
        }
        Some(Self { id: header.id, zone, serial })
    }
}

/// Writes a NOTIFY for a zone; `soa`: its new SOA, with the zone as its owner.
fn write_notify(id: u16, soa: &Record, out: &mut Vec<u8>) {
    let mut writer = MessageWriter::begin(id, NOTIFY << 11 | AA, out);
    writer.question(soa.name.wire(), Rtype::SOA, CLASS_IN);
    writer.record(Section::Answer, RecordRef::from(soa), CLASS_IN, usize::from(u16::MAX));
}

/// Answers a NOTIFY.
pub fn write_notify_response(notify: &Notify, rcode: Rcode, signer: Option<Signer>, now: u64, out: &mut Vec<u8>) {
    let mut writer = MessageWriter::begin(notify.id, QR | NOTIFY << 11 | AA | (rcode.0 & 15), out);
    writer.question(notify.zone.wire(), Rtype::SOA, CLASS_IN);
    if let Some(mut signer) = signer {
        signer.sign(out, now);
    }
}

/// What to do now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NotifierStep {
    /// Send what [`Notifier::write`] writes to this server.
    Send(SocketAddr),
    /// Nothing before this time.
    Wait(u64),
    /// All have answered, or were told often enough.
    Done,
}

#[derive(Clone, Debug)]
struct Target {
    server: SocketAddr,
    /// Its answer may come for any try, so the id stays.
    id: u16,
    tries: u32,
    due: u64,
    is_done: bool,
    /// Of the last try, if it was signed.
    verifier: Option<Verifier>,
}

/// Tells one version of one zone to its secondaries; a newer version gets a new one.
#[derive(Clone, Debug)]
pub struct Notifier {
    soa: Record,
    targets: Vec<Target>,
}

impl Notifier {
    /// Begins to tell of this SOA. `random` gives an id for each, which nobody must be able to guess; `now` in seconds of any clock that does
    /// not go back.
    pub fn new(soa: Record, secondaries: &[SocketAddr], now: u64, mut random: impl FnMut() -> u16) -> Self {
        let target =
            |server: &SocketAddr| Target { server: *server, id: random(), tries: 0, due: now, is_done: false, verifier: None };
        Self { targets: secondaries.iter().map(target).collect(), soa }
    }

    /// Writes the message for a server, signed if there is a key for it; `now` in seconds since 1970.
    pub fn write(&mut self, server: SocketAddr, key: Option<&Arc<Key>>, now: u64, out: &mut Vec<u8>) {
        if let Some(target) = self.targets.iter_mut().find(|target| target.server == server) {
            write_notify(target.id, &self.soa, out);
            target.verifier = key.map(|key| sign_request(key, out, now));
        }
    }

    /// What to do now; a [`NotifierStep::Send`] is given once for each try.
    pub fn poll(&mut self, now: u64) -> NotifierStep {
        let mut next = None;
        for target in self.targets.iter_mut().filter(|target| !target.is_done) {
            if target.due > now {
                next = Some(next.unwrap_or(u64::MAX).min(target.due));
                continue;
            }
            if target.tries == TRIES_MAX {
                target.is_done = true;
                continue;
            }
            target.due = now.saturating_add(WAIT_SECONDS << target.tries);
            target.tries += 1;
            return NotifierStep::Send(target.server);
        }
        next.map_or(NotifierStep::Done, NotifierStep::Wait)
    }

    /// A packet from a server that was told; `now` in seconds since 1970. The code it answers with: any is the end, for one that refuses now
    /// will refuse again. `None`: it is no answer to what was sent, or not signed as that was.
    pub fn handle_response(&mut self, from: SocketAddr, packet: &[u8], now: u64) -> Option<Rcode> {
        let header = Header::read(packet).filter(|header| header.is_response() && header.opcode() == NOTIFY)?;
        let told = |target: &&mut Target| target.server == from && target.id == header.id && target.tries > 0 && !target.is_done;
        let target = self.targets.iter_mut().find(told)?;
        if let Some(verifier) = &mut target.verifier {
            verifier.verify(packet, now).ok()?;
        }
        target.is_done = true;
        Some(header.rcode())
    }
}

/// For the fuzzer and the replay of its inputs: reads anything, must not panic.
#[doc(hidden)]
pub fn fuzz_notify(data: &[u8]) {
    let server = SocketAddr::from(([192, 0, 2, 1], 53));
    let soa = Record { name: Name::root(), rtype: Rtype::SOA, ttl: 0, rdata: [0; 22].into() };
    let mut notifier = Notifier::new(soa, &[server], 0, || 7);
    let _ = notifier.poll(0);
    let is_answer = notifier.handle_response(server, data, 0).is_some();
    match Notify::parse(data) {
        Ok(notify) => {
            let mut out = Vec::new();
            write_notify_response(&notify, Rcode::NOERROR, None, 0, &mut out);
            assert!(!is_answer);
            assert_eq!(notifier.handle_response(server, &out, 0).is_some(), notify.id == 7);
        }
        Err(Some(rcode)) => assert_eq!(rcode, Rcode::FORMERR),
        Err(None) => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn soa() -> Record {
        let mut rdata = b"\x02ns\xc0\0".to_vec();
        rdata.truncate(3);
        rdata.extend_from_slice(b"\0\x04host\0");
        for number in [42_u32, 3600, 600, 86_400, 300] {
            rdata.extend_from_slice(&number.to_be_bytes());
        }
        Record { name: Name::absolute("Example.org").unwrap(), rtype: Rtype::SOA, ttl: 300, rdata: rdata.into() }
    }

    #[test]
    fn told_and_answered() {
        let mut packet = Vec::new();
        write_notify(9, &soa(), &mut packet);
        let theirs = hickory_proto::op::Message::from_vec(&packet).unwrap();
        assert_eq!(theirs.metadata.op_code, hickory_proto::op::OpCode::Notify);
        assert_eq!(theirs.answers[0].to_string(), "Example.org. 300 IN SOA ns. host. 42 3600 600 86400 300");
        let notify = Notify::parse(&packet).unwrap();
        assert_eq!((notify.id, notify.zone.to_string(), notify.serial), (9, "Example.org.".to_owned(), Some(42)));
        let server = SocketAddr::from(([192, 0, 2, 1], 53));
        let mut notifier = Notifier::new(soa(), &[server], 0, || 9);
        let mut out = Vec::new();
        write_notify_response(&notify, Rcode::REFUSED, None, 0, &mut out);
        assert_eq!(notifier.handle_response(server, &out, 0), None, "before anything was sent");
        assert_eq!(notifier.poll(0), NotifierStep::Send(server));
        assert_eq!(notifier.handle_response(SocketAddr::from(([192, 0, 2, 2], 53)), &out, 0), None);
        assert_eq!(notifier.handle_response(server, &packet, 0), None, "the query itself");
        assert_eq!(notifier.handle_response(server, &out, 0), Some(Rcode::REFUSED));
        assert_eq!(notifier.poll(0), NotifierStep::Done);
    }

    #[test]
    fn five_tries_each_later() {
        let servers = [SocketAddr::from(([192, 0, 2, 1], 53)), SocketAddr::from(([192, 0, 2, 2], 53))];
        let mut id = 0;
        let mut notifier = Notifier::new(soa(), &servers, 100, || {
            id += 1;
            id
        });
        let (mut now, mut sent) = (100, Vec::new());
        loop {
            match notifier.poll(now) {
                NotifierStep::Send(server) => sent.push((now - 100, server)),
                NotifierStep::Wait(until) => now = until,
                NotifierStep::Done => break,
            }
        }
        let at = |server| sent.iter().filter(|(_, to)| *to == server).map(|(at, _)| *at).collect::<Vec<_>>();
        assert_eq!(at(servers[0]), [0, 5, 15, 35, 75]);
        assert_eq!(at(servers[1]), [0, 5, 15, 35, 75]);
        assert_eq!(now, 100 + 155);
    }

    #[test]
    fn a_signed_one_wants_a_signed_answer() {
        let key = Arc::new(Key::new(&Name::absolute("key").unwrap(), crate::tsig::Algorithm::HmacSha256, &[7; 16]).unwrap());
        let server = SocketAddr::from(([192, 0, 2, 1], 53));
        let mut notifier = Notifier::new(soa(), &[server], 0, || 9);
        let (mut packet, mut out) = (Vec::new(), Vec::new());
        assert_eq!(notifier.poll(0), NotifierStep::Send(server));
        notifier.write(server, Some(&key), 1_000_000, &mut packet);
        let notify = Notify::parse(&packet).unwrap();
        write_notify_response(&notify, Rcode::NOERROR, None, 1_000_000, &mut out);
        assert_eq!(notifier.handle_response(server, &out, 1_000_000), None);
        let crate::tsig::Check::Signed(signer) = crate::tsig::KeyRing::new([key]).check(&packet, 1_000_000) else {
            panic!("{packet:?}")
        };
        write_notify_response(&notify, Rcode::NOERROR, Some(signer), 1_000_000, &mut out);
        assert_eq!(notifier.handle_response(server, &out, 1_000_000), Some(Rcode::NOERROR));
    }

    #[test]
    fn what_is_refused() {
        let mut packet = Vec::new();
        write_notify(9, &soa(), &mut packet);
        for (at, byte) in [(5, 2), (7, 9), (7, 2)] {
            let mut wrong = packet.clone();
            wrong[at] = byte;
            assert_eq!(Notify::parse(&wrong), Err(Some(Rcode::FORMERR)));
        }
        assert_eq!(Notify::parse(&packet[..20]), Err(Some(Rcode::FORMERR)));
        assert_eq!(Notify::parse(&packet[..10]), Err(None));
        packet[2] |= 0x80;
        assert_eq!(Notify::parse(&packet), Err(None));
    }

    proptest! {
        #[test]
        fn any_bytes_are_harmless(at in 0..60_usize, byte in any::<u8>(), length in 0..80_usize) {
            let mut packet = Vec::new();
            write_notify(7, &soa(), &mut packet);
            if let Some(place) = packet.get_mut(at) { *place = byte; }
            packet.truncate(length);
            fuzz_notify(&packet);
        }
    }
}
