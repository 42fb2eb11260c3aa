//! Zones out and in again, differences applied, journals torn, and the secondary's timers.

use super::*;
use crate::message::ResponseView;
use crate::query::write_query;
use crate::responder::Transport;
use crate::tsig::{Algorithm, Check, Key, KeyRing};
use crate::types::Rcode;
use crate::zone::{Zone, parse_zone};
use hickory_proto::op::Message;
use proptest::prelude::*;
use std::path::Path;
use std::sync::Arc;

const NOW: u64 = 1_790_000_000;

fn name(text: &str) -> Name {
    Name::absolute(text).unwrap()
}

fn zone(serial: u32, lines: &str) -> Zone {
    let text = format!("$TTL 300\n@ SOA ns host {serial} 3600 600 86400 60\n@ NS ns\nns A 192.0.2.1\n{lines}");
    parse_zone(&name("example"), Path::new("zone"), &mut |_: &Path| Ok(text.clone())).unwrap()
}

fn key() -> Arc<Key> {
    Arc::new(Key::new(&name("key"), Algorithm::HmacSha256, b"0123456789abcdef").unwrap())
}

fn soa(zone: &Zone) -> Record {
    soa_of(zone).unwrap()
}

fn wanted<'w>(zone: &'w Name, have: Option<&'w Record>, key: Option<&'w Arc<Key>>, transport: Transport) -> Wanted<'w> {
    Wanted { zone, have, key, limits: Limits::default(), transport }
}

/// All records in order, letters of owners kept.
fn sorted(zone: &Zone) -> Vec<Record> {
    let mut records: Vec<RecordRef<'_>> = zone.records().collect();
    records.sort_unstable();
    records.into_iter().filter_map(RecordRef::to_record).collect()
}

/// One transfer between two of us, message for message; gives the outcome and the number of messages.
fn transfer(
    primary: &Zone,
    history: Option<&ZoneHistory>,
    have: Option<&Record>,
    key: Option<&Arc<Key>>,
    transport: Transport,
) -> (Result<Outcome, TransferError>, usize) {
    let mut query = Vec::new();
    let mut incoming = Incoming::new(wanted(&name("example"), have, key, transport), 77, NOW, &mut query);
    assert!(Message::from_vec(&query).is_ok());
    let signer = match KeyRing::new(key.cloned()).check(&query, NOW) {
        Check::Signed(signer) => Some(signer),
        Check::Unsigned => None,
        Check::Refused(refusal) => panic!("{refusal:?}"),
    };
    let request = TransferRequest::parse(&query).unwrap();
    let soa = primary.soa();
    let mut outgoing = outgoing(&request, soa, primary.records(), usize::MAX, history, signer);
    let mut message = Vec::new();
    if transport == Transport::Udp {
        outgoing.write_datagram(NOW, &mut message);
        assert!(message.len() <= usize::from(crate::message::PAYLOAD_BYTES));
        return match incoming.handle_message(&message, NOW).unwrap() {
            Progress::Over(outcome) => (Ok(outcome), 1),
            Progress::More => panic!("a datagram is all there is"),
        };
    }
    let mut messages = 0;
    while outgoing.poll_message(NOW, &mut message).unwrap() {
        messages += 1;
        assert!(message.len() <= 17_000 && Message::from_vec(&message).is_ok());
        match incoming.handle_message(&message, NOW) {
            Ok(Progress::More) => {}
            Ok(Progress::Over(outcome)) => {
                assert!(!outgoing.poll_message(NOW, &mut message).unwrap(), "all was sent");
                return (Ok(outcome), messages);
            }
            Err(error) => return (Err(error), messages),
        }
    }
    panic!("the secondary waits for more");
}

#[test]
fn a_zone_goes_out_and_comes_in() {
    let many: String = (0..3000).map(|host| format!("Host{host} A 192.0.2.7\nhost{host} MX 10 mx.Host{host}\n")).collect();
    let primary = zone(7, &many);
    for key in [None, Some(key())] {
        let (outcome, messages) = transfer(&primary, None, None, key.as_ref(), Transport::Tcp);
        let Ok(Outcome::Whole(records)) = outcome else { panic!("{outcome:?}") };
        assert!((5..30).contains(&messages), "{messages}");
        assert_eq!(records.iter().filter(|record| record.rtype == Rtype::SOA).count(), 1);
        let secondary = build_zone(&name("example"), records.iter().map(RecordRef::from)).unwrap();
        assert_eq!(sorted(&secondary), sorted(&primary));
    }
}

#[test]
fn the_first_message_as_hickory_reads_it() {
    let primary = zone(7, "w TXT \"x\"\n");
    let mut query = Vec::new();
    write_query(9, name("Example").wire(), Rtype::AXFR, false, &mut query);
    let request = TransferRequest::parse(&query).unwrap();
    let mut out = Vec::new();
    let soa = primary.soa();
    let mut outgoing = outgoing(&request, soa, primary.records(), usize::MAX, None, None);
    assert_eq!(outgoing.poll_message(NOW, &mut out), Ok(true));
    let theirs = Message::from_vec(&out).unwrap();
    let records: Vec<String> = theirs.answers.iter().map(ToString::to_string).collect();
    let soa = "example. 300 IN SOA ns.example. host.example. 7 3600 600 86400 60";
    assert_eq!(
        records,
        [soa, "example. 300 IN NS ns.example.", "ns.example. 300 IN A 192.0.2.1", "w.example. 300 IN TXT x", soa]
    );
    assert!(theirs.edns.is_some() && theirs.metadata.authoritative);
    assert_eq!(theirs.queries[0].to_string(), "Example. IN AXFR");
    assert_eq!(outgoing.poll_message(NOW, &mut out), Ok(false));
    // The same octets every time: 12 header, 13 question, the apex once in the zone's own letters, then pointers; OPT.
    assert_eq!(
        out.len(),
        12 + 13 + (9 + 10 + 5 + 7 + 20) + (2 + 10 + 2) + (2 + 10 + 4) + (4 + 10 + 2) + (2 + 10 + 2 + 2 + 20) + 11
    );
}

#[test]
fn differences_go_out_and_come_in() {
    let versions = [
        zone(7, "a A 192.0.2.1\nb A 192.0.2.2\n"),
        zone(8, "b A 192.0.2.2\nb A 192.0.2.3\n"),
        zone(10, "b 60 A 192.0.2.2\nB TXT x\n"),
    ];
    let mut history = ZoneHistory::new(1 << 20);
    for pair in versions.windows(2) {
        history.push(Arc::new(Difference::between(pair[0].records(), pair[1].records()).unwrap()));
    }
    let newest = &versions[2];
    for transport in [Transport::Tcp, Transport::Udp] {
        for (have, steps) in [(&versions[0], 2), (&versions[1], 1)] {
            let (outcome, _) = transfer(newest, Some(&history), Some(&soa(have)), Some(&key()), transport);
            let Ok(Outcome::Differences(differences)) = outcome else { panic!("{outcome:?}") };
            assert_eq!(differences.len(), steps);
            let all = apply(have, &differences).unwrap();
            let now = build_zone(&name("example"), changed_records(have.records(), &all)).unwrap();
            assert_eq!(sorted(&now), sorted(newest));
        }
        // Up to date, and ahead of the primary.
        assert_eq!(transfer(newest, Some(&history), Some(&soa(newest)), None, transport).0, Ok(Outcome::Current));
    }
    // A version nobody remembers: the zone, or over UDP the SOA alone.
    let old = soa(&zone(3, ""));
    let (outcome, _) = transfer(newest, Some(&history), Some(&old), None, Transport::Tcp);
    assert!(matches!(outcome, Ok(Outcome::Whole(_))), "{outcome:?}");
    let lines: String = (0..100).map(|host| format!("h{host} A 192.0.2.1\n")).collect();
    let large = zone(10, &lines);
    assert_eq!(transfer(&large, None, Some(&old), None, Transport::Udp).0, Ok(Outcome::AskTcp));
    assert_eq!(transfer(&versions[0], None, Some(&soa(newest)), None, Transport::Tcp).0, Err(TransferError::Older));
    // As many octets as the zone, or more: the zone.
    let mut query = Vec::new();
    Incoming::new(wanted(&name("example"), Some(&soa(&versions[0])), None, Transport::Tcp), 1, NOW, &mut query);
    let request = TransferRequest::parse(&query).unwrap();
    let mut out = Vec::new();
    let mut whole = outgoing(&request, newest.soa(), newest.records(), 1, Some(&history), None);
    whole.poll_message(NOW, &mut out).unwrap();
    assert_eq!(Message::from_vec(&out).unwrap().answers.len(), newest.record_count() + 1);
}

#[test]
fn differences_that_do_not_fit() {
    let (old, new) = (zone(7, "a A 192.0.2.1\n"), zone(8, "b A 192.0.2.2\n"));
    let right = Difference::between(old.records(), new.records()).unwrap();
    assert!(apply(&old, std::slice::from_ref(&right)).is_ok());
    assert_eq!(apply(&new, std::slice::from_ref(&right)), Err(ApplyError::Serial));
    let mut wrong = right.clone();
    wrong.removed[0].rdata = [192, 0, 2, 9].into();
    assert_eq!(apply(&old, &[wrong]), Err(ApplyError::NotThere(name("a.example"), Rtype::A)));
    let mut wrong = right.clone();
    wrong.added.push(wrong.added[0].clone());
    assert_eq!(apply(&old, &[wrong]), Err(ApplyError::AlreadyThere(name("b.example"), Rtype::A)));
    let mut wrong = right.clone();
    wrong.added[0].name = name("b.example.org");
    assert_eq!(apply(&old, &[wrong]), Err(ApplyError::ForeignName(name("b.example.org"))));
    let mut wrong = right.clone();
    wrong.from.rdata = Soa::with_serial(b"\x01x\0\0_________", 7);
    assert!(apply(&old, &[wrong]).is_err());
    // Letters do not matter, nor does the TTL of what goes.
    let mut other = right;
    (other.removed[0].name, other.removed[0].ttl) = (name("A.Example"), 1);
    assert!(apply(&old, &[other]).is_ok());
    assert_eq!(Difference::between(new.records(), old.records()), None);
}

#[test]
fn a_history_is_bounded_and_never_has_gaps() {
    let step = |from: u32, to: u32| {
        Arc::new(Difference::between(zone(from, "").records(), zone(to, &format!("h{to} A 192.0.2.1\n")).records()).unwrap())
    };
    let one = step(1, 2).bytes();
    let mut history = ZoneHistory::new(3 * one);
    (1..=5).for_each(|serial| history.push(step(serial, serial + 1)));
    assert_eq!((history.size(), history.serial()), ((3, 3 * one), Some(6)));
    assert!(history.since(2).is_none() && history.since(6).is_none());
    assert_eq!(history.since(4).unwrap().count(), 2);
    history.push(step(9, 10));
    assert_eq!(history.size().0, 1);
    let mut none = ZoneHistory::new(0);
    none.push(step(1, 2));
    assert_eq!((none.size(), none.serial()), ((0, 0), None));
}

/// A message with these records in its answer.
fn message(id: u16, records: &[&Record]) -> Vec<u8> {
    let mut out = Vec::new();
    let mut writer = write::MessageWriter::begin(id, read::QR | read::AA, &mut out);
    records.iter().for_each(|record| assert!(writer.record(crate::message::Section::Answer, (*record).into(), 1, 60_000)));
    out
}

fn host(text: &str) -> Record {
    Record { name: name(text), rtype: Rtype::A, ttl: 1, rdata: [192, 0, 2, 1].into() }
}

#[test]
fn transfers_that_are_not_taken() {
    let (one, two, three) = (soa(&zone(1, "")), soa(&zone(2, "")), soa(&zone(3, "")));
    let (host, foreign) = (host("h.example"), host("h.example.org"));
    let take = |have: Option<&Record>, limits: Limits, messages: &[Vec<u8>]| {
        let mut incoming =
            Incoming::new(Wanted { limits, ..wanted(&name("example"), have, None, Transport::Tcp) }, 7, NOW, &mut Vec::new());
        let mut last = Ok(Progress::More);
        for message in messages {
            last = incoming.handle_message(message, NOW);
            if last != Ok(Progress::More) {
                break;
            }
        }
        last
    };
    let limits = Limits::default();
    let wrong = |have: Option<&Record>, messages: &[Vec<u8>]| match take(have, limits, messages) {
        Err(error) => error.to_string(),
        other => panic!("{other:?}"),
    };
    let ours = Some(&one);
    assert_eq!(wrong(None, &[message(8, &[&one])]), "the message is no answer to what was asked");
    assert_eq!(wrong(None, &[message(7, &[])]), "the answer does not begin with the SOA");
    assert_eq!(wrong(None, &[message(7, &[&host])]), "the answer does not begin with the SOA");
    assert_eq!(wrong(None, &[message(7, &[&one, &foreign])]), "h.example.org. is not within the zone");
    assert_eq!(wrong(None, &[message(7, &[&one, &host, &two])]), "another SOA than the first");
    assert_eq!(wrong(None, &[message(7, &[&one, &host, &one, &host])]), "records behind the end of the zone");
    let elsewhere = Record { name: name("sub.example"), ..one.clone() };
    assert_eq!(wrong(None, &[message(7, &[&one, &elsewhere])]), "an SOA that is not the apex'");
    assert_eq!(wrong(ours, &[message(7, &[&three, &one, &one])]), "a difference that leads backwards");
    assert_eq!(
        wrong(ours, &[message(7, &[&three, &one, &two, &host, &one])]),
        "a difference that does not begin where the last ended"
    );
    let mut refused = message(7, &[]);
    refused[3] = 5;
    assert_eq!(take(None, limits, &[refused]), Err(TransferError::Refused(Rcode::REFUSED)));
    let mut cut = message(7, &[&one, &host]);
    cut.truncate(cut.len() - 1);
    assert_eq!(wrong(None, &[cut]), "a record cannot be read");
    let few = Limits { records: 2, ..limits };
    assert_eq!(take(None, few, &[message(7, &[&one, &host, &one])]), Err(TransferError::TooMuch));
    let few = Limits { bytes: 50, ..limits };
    assert_eq!(take(None, few, &[message(7, &[&one, &host, &one])]), Err(TransferError::TooMuch));

    // And some that are: one record a message, and a primary that answers IXFR with the zone.
    let single = [message(7, &[&two]), message(7, &[&host]), message(7, &[&two])];
    let whole = Ok(Progress::Over(Outcome::Whole(vec![two.clone(), host.clone()])));
    assert_eq!(take(None, limits, &single), whole);
    assert_eq!(take(ours, limits, &single), whole);
    let steps = message(7, &[&three, &one, &two, &host, &two, &host, &three, &three]);
    let step = |from: &Record, to: &Record, removed: &[Record], added: &[Record]| Difference {
        from: from.clone(),
        to: to.clone(),
        removed: removed.to_vec(),
        added: added.to_vec(),
    };
    let (came, went) = (step(&one, &two, &[], std::slice::from_ref(&host)), step(&two, &three, std::slice::from_ref(&host), &[]));
    assert_eq!(take(ours, limits, &[steps]), Ok(Progress::Over(Outcome::Differences(vec![came, went]))));
    assert_eq!(take(ours, limits, &[message(7, &[&one])]), Ok(Progress::Over(Outcome::Current)));
}

#[test]
fn a_signed_transfer_must_be_signed_to_its_end() {
    let primary = zone(7, &(0..3000).map(|host| format!("h{host} A 192.0.2.7\n")).collect::<String>());
    let (key, mut query, mut message) = (key(), Vec::new(), Vec::new());
    let mut incoming = Incoming::new(wanted(&name("example"), None, Some(&key), Transport::Tcp), 77, NOW, &mut query);
    let Check::Signed(signer) = KeyRing::new([key.clone()]).check(&query, NOW) else { panic!("{query:?}") };
    let request = TransferRequest::parse(&query).unwrap();
    let mut signed = outgoing(&request, primary.soa(), primary.records(), usize::MAX, None, Some(signer));
    let mut unsigned = outgoing(&request, primary.soa(), primary.records(), usize::MAX, None, None);
    assert_eq!(signed.poll_message(NOW, &mut message), Ok(true));
    assert_eq!(incoming.handle_message(&message, NOW), Ok(Progress::More));
    // From here on somebody else goes on, who has no key.
    unsigned.poll_message(NOW, &mut message).unwrap();
    let error = loop {
        assert_eq!(unsigned.poll_message(NOW, &mut message), Ok(true));
        match incoming.handle_message(&message, NOW) {
            Ok(Progress::More) => {}
            Ok(Progress::Over(_)) => panic!("a forged zone was taken"),
            Err(error) => break error,
        }
    };
    assert_eq!(error, TransferError::Signature(crate::tsig::VerifyError::Unsigned));
}

#[test]
fn requests() {
    let mut query = Vec::new();
    Incoming::new(wanted(&name("Example"), Some(&soa(&zone(9, ""))), None, Transport::Udp), 5, NOW, &mut query);
    let request = TransferRequest::parse(&query).unwrap();
    assert_eq!((request.id, request.rtype, request.serial, request.edns), (5, Rtype::IXFR, Some(9), None));
    let theirs = Message::from_vec(&query).unwrap();
    assert_eq!(theirs.authorities[0].to_string(), "Example. 300 IN SOA ns.example. host.example. 9 3600 600 86400 60");
    // An IXFR without an SOA.
    let mut bare = query.clone();
    bare[9] = 0;
    assert_eq!(TransferRequest::parse(&bare), Err(Some(Rcode::FORMERR)));
    let mut out = Vec::new();
    write_transfer_refusal(&query, Rcode::REFUSED, None, NOW, &mut out);
    let view = ResponseView::parse(&out).unwrap();
    assert_eq!((view.id, view.rcode, view.question.unwrap().1), (5, Rcode::REFUSED, Rtype::IXFR));
    write_query(9, name("example").wire(), Rtype::A, false, &mut query);
    assert_eq!(TransferRequest::parse(&query), Err(None));
}

#[test]
fn how_new_the_primary_is() {
    let (zone, key) = (name("example"), key());
    let (mut query, mut out) = (Vec::new(), Vec::new());
    let mut probe = SoaProbe::new(&zone, Some(&key), 5, NOW, &mut query);
    let Check::Signed(mut signer) = KeyRing::new([key.clone()]).check(&query, NOW) else { panic!("{query:?}") };
    let record = soa(&self::zone(9, ""));
    let write = |id: u16, flags: u16, out: &mut Vec<u8>| {
        let mut writer = write::MessageWriter::begin(id, flags, out);
        writer.question(zone.wire(), Rtype::SOA, 1);
        writer.record(crate::message::Section::Answer, (&record).into(), 1, 512);
    };
    write(6, read::QR, &mut out);
    assert_eq!(probe.handle_response(&out, NOW), Err(TransferError::NotOurs));
    write(5, read::QR, &mut out);
    assert_eq!(probe.handle_response(&out, NOW), Err(TransferError::Signature(crate::tsig::VerifyError::Unsigned)));
    signer.clone().sign(&mut out, NOW);
    assert_eq!(probe.handle_response(&out, NOW).map(|soa| soa.serial), Ok(9));
    let mut unsigned = SoaProbe::new(&zone, None, 5, NOW, &mut query);
    write(5, read::QR | 5, &mut out);
    assert_eq!(unsigned.handle_response(&out, NOW), Err(TransferError::Refused(Rcode::REFUSED)));
    write(5, read::QR | read::TC, &mut out);
    assert!(unsigned.handle_response(&out, NOW).is_err());
    signer.sign(&mut query, NOW);
    assert_eq!(unsigned.handle_response(&query, NOW), Err(TransferError::NotOurs));
}

#[test]
fn a_journal_survives_a_torn_end() {
    let versions: Vec<Zone> = (1..=4).map(|serial| zone(serial, &format!("h{serial} A 192.0.2.1\n"))).collect();
    let steps: Vec<Difference> =
        versions.windows(2).map(|pair| Difference::between(pair[0].records(), pair[1].records()).unwrap()).collect();
    let (mut file, mut ends) = (Vec::new(), vec![0]);
    for step in &steps {
        journal::write(step, &mut file).unwrap();
        ends.push(file.len());
    }
    assert_eq!(journal::read(&file), (steps.clone(), file.len()));
    for length in 0..file.len() {
        let whole = ends.iter().rposition(|end| *end <= length).unwrap();
        assert_eq!(journal::read(&file[..length]), (steps[..whole].to_vec(), ends[whole]));
        // An octet that is not what was written ends the journal before its entry.
        let mut wrong = file.clone();
        wrong[length] ^= 0x10;
        assert_eq!(journal::read(&wrong), (steps[..whole].to_vec(), ends[whole]));
    }
    // After a restart: the zone's file is old, or has been edited since.
    let mut history = ZoneHistory::new(1 << 20);
    journal::read(&file).0.into_iter().for_each(|step| history.push(Arc::new(step)));
    for old in &versions[..3] {
        let all = apply(old, history.since(old.serial()).unwrap()).unwrap();
        let now = build_zone(&name("example"), changed_records(old.records(), &all)).unwrap();
        assert_eq!(sorted(&now), sorted(&versions[3]));
    }
    assert!(history.since(zone(9, "").serial()).is_none());
    // An entry that does not follow the one before is not taken.
    let mut gap = file[..ends[1]].to_vec();
    gap.extend_from_slice(&file[ends[2]..]);
    assert_eq!(journal::read(&gap), (steps[..1].to_vec(), ends[1]));
}

#[test]
fn a_secondary_from_its_first_copy_to_its_end() {
    let primaries: Vec<std::net::SocketAddr> = vec!["192.0.2.1:53".parse().unwrap(), "192.0.2.2:53".parse().unwrap()];
    let take = |primary: usize, differences: bool| SecondaryStep::Transfer { primary: primaries[primary], differences };
    let ask = |primary: usize| SecondaryStep::AskSoa(primaries[primary]);
    let soa = Soa { serial: 7, refresh_seconds: 3600, retry_seconds: 600, expire_seconds: 10_000 };
    let mut zone = Secondary::new(primaries.clone(), None, 0);
    assert!(!zone.is_served());
    assert_eq!(zone.poll(0), take(0, false));
    assert_eq!(zone.poll(0), SecondaryStep::Wait(u64::MAX));
    zone.handle_failure(1, 0);
    assert_eq!(zone.poll(1), take(1, false));
    zone.handle_failure(2, 0);
    assert_eq!(zone.poll(2), SecondaryStep::Wait(17));
    assert_eq!(zone.poll(17), take(0, false));
    zone.handle_transferred(soa, 20, 0);
    assert!(zone.is_served());
    assert_eq!(zone.poll(20), SecondaryStep::Wait(3620));
    // Refresh: nothing new; a tenth sooner at most.
    assert_eq!(zone.poll(3620), ask(0));
    zone.handle_soa(7, 3621, 360);
    assert_eq!(zone.poll(3621), SecondaryStep::Wait(3621 + 3240));
    // NOTIFY from the second one, with what we have and with something newer.
    assert!(!zone.handle_notify(primaries[1].ip(), Some(7), 4000));
    assert!(zone.handle_notify(primaries[1].ip(), Some(8), 4000));
    assert_eq!(zone.poll(4000), ask(1));
    // One that comes while we ask is not lost.
    assert!(zone.handle_notify(primaries[0].ip(), None, 4000));
    zone.handle_soa(8, 4000, 0);
    assert_eq!(zone.poll(4000), take(1, true));
    zone.handle_misfit();
    assert_eq!(zone.poll(4000), take(1, false));
    zone.handle_transferred(Soa { serial: 8, ..soa }, 4001, 0);
    assert_eq!(zone.poll(4001), ask(1));
    // An older primary does not count.
    zone.handle_soa(5, 4002, 0);
    assert_eq!(zone.poll(4002), ask(0));
    zone.handle_failure(4003, 0);
    assert_eq!(zone.poll(4003), SecondaryStep::Wait(4603));
    // Until it expires, which is said once.
    let mut now = 4603;
    let expired = loop {
        match zone.poll(now) {
            SecondaryStep::Wait(until) => now = until,
            SecondaryStep::Expired => break now,
            _ => zone.handle_failure(now, 0),
        }
    };
    assert_eq!(expired, 14_001);
    assert!(!zone.is_served());
    assert_ne!(zone.poll(now), SecondaryStep::Expired);
    zone.handle_notify(primaries[0].ip(), Some(9), now);
    let step = zone.poll(now);
    assert!(matches!(step, SecondaryStep::AskSoa(_) | SecondaryStep::Wait(_)), "{step:?}");
    zone.handle_soa(9, now, 0);
    assert!(matches!(zone.poll(now), SecondaryStep::Transfer { differences: true, .. }));
    zone.handle_transferred(Soa { serial: 9, ..soa }, now, 0);
    assert!(zone.is_served());
    // A copy from disk that nobody has confirmed for longer than it may.
    let mut old = Secondary::new(primaries, Some((soa, 0)), 20_000);
    assert_eq!(old.poll(20_000), SecondaryStep::Expired);
}

fn any_lines() -> impl Strategy<Value = String> {
    let line = (
        "[a-c](\\.[A-Ca-c])?",
        prop_oneof![Just("A 192.0.2.1"), Just("A 192.0.2.2"), Just("60 TXT x"), Just("MX 1 B.a"), Just("MX 1 b.A")],
    );
    proptest::collection::vec(line, 0..12)
        .prop_map(|lines| lines.iter().map(|(owner, rest)| format!("{owner} {rest}\n")).collect())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    /// What lies between two zones, sent and applied to the one, is the other; the whole zone sent is the zone.
    #[test]
    fn differences_lead_from_zone_to_zone(all in proptest::collection::vec(any_lines(), 2..5), from in 0..4_usize, start in any::<u32>()) {
        let serial = |index: usize| start.wrapping_add(u32::try_from(index).unwrap() * 0x1000_0000);
        let versions: Vec<Zone> = all.iter().enumerate().map(|(index, lines)| zone(serial(index), lines)).collect();
        let mut history = ZoneHistory::new(1 << 20);
        for pair in versions.windows(2) {
            history.push(Arc::new(Difference::between(pair[0].records(), pair[1].records()).unwrap()));
        }
        let (have, newest) = (&versions[from % (versions.len() - 1)], versions.last().unwrap());
        let (outcome, _) = transfer(newest, Some(&history), Some(&soa(have)), Some(&key()), Transport::Tcp);
        let Ok(Outcome::Differences(differences)) = outcome else { panic!("{outcome:?}") };
        let all = apply(have, &differences).unwrap();
        let now = build_zone(&name("example"), changed_records(have.records(), &all)).unwrap();
        prop_assert_eq!(sorted(&now), sorted(newest));
        let mut file = Vec::new();
        journal::write(&all, &mut file).unwrap();
        prop_assert_eq!(journal::read(&file), (vec![all], file.len()));
        let (outcome, _) = transfer(newest, None, None, Some(&key()), Transport::Tcp);
        let Ok(Outcome::Whole(records)) = outcome else { panic!("{outcome:?}") };
        prop_assert_eq!(sorted(&build_zone(&name("example"), records.iter().map(RecordRef::from)).unwrap()), sorted(newest));
    }

    #[test]
    fn any_bytes_are_harmless(data in proptest::collection::vec(any::<u8>(), 0..200)) {
        fuzz_transfer(&data);
        fuzz_journal(&data);
    }

    /// Transfers with a wrong octet.
    #[test]
    fn mutated_transfers_are_harmless(at in 0..400_usize, byte in any::<u8>(), cut in 0..400_usize) {
        let (one, two, host) = (soa(&zone(1, "")), soa(&zone(2, "")), host("h.example"));
        let mut data = Vec::new();
        for records in [vec![&two, &one, &host], vec![&two, &host], vec![&two]] {
            let message = message(7, &records);
            data.extend_from_slice(&u16::try_from(message.len()).unwrap().to_be_bytes());
            data.extend(message);
        }
        if let Some(place) = data.get_mut(at) { *place = byte; }
        data.truncate(cut.max(20));
        fuzz_transfer(&data);
    }
}
