//! A DNS client for tests: one question, one answer, and dynamic updates.

use super::WAIT;
use postring_dns::dnssec::digest::{DigestType, ds_rdata};
use postring_dns::message::ResponseView;
use postring_dns::record::{Record, rdata_text};
use postring_dns::tsig::{Key, sign_request};
use postring_dns::{Name, Rcode, Rtype};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream, UdpSocket};
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Octets of UDP payload our questions allow.
const PAYLOAD_BYTES: u16 = 1232;
/// After so long a question over UDP is sent again.
const TRY_WAIT: Duration = Duration::from_secs(3);

/// What came back.
#[derive(Debug)]
pub struct Answer {
    pub view: ResponseView,
    /// AD.
    pub authentic: bool,
    /// DO of the OPT record; `None`: there is no OPT record.
    pub dnssec_ok: Option<bool>,
}

impl Answer {
    fn parse(packet: &[u8]) -> Option<Self> {
        // We ask without options, so the OPT record is eleven octets, and the last.
        let opt = packet.len().checked_sub(11).and_then(|at| packet.get(at..)).filter(|opt| opt.starts_with(&[0, 0, 41]));
        Some(Self {
            view: ResponseView::parse(packet)?,
            authentic: packet.get(3)? & 0x20 != 0,
            dnssec_ok: opt.map(|opt| opt[7] & 0x80 != 0),
        })
    }

    pub fn rcode(&self) -> Rcode {
        self.view.rcode
    }

    /// Data of the answer's records of a type, as in a zone file, sorted.
    pub fn data(&self, rtype: Rtype) -> Vec<String> {
        data(&self.view.answer, rtype)
    }

    /// Data of the authority section's records of a type.
    pub fn authority(&self, rtype: Rtype) -> Vec<String> {
        data(&self.view.authority, rtype)
    }
}

fn data(records: &[Record], rtype: Rtype) -> Vec<String> {
    let of_type = records.iter().filter(|record| record.rtype == rtype);
    let mut data: Vec<String> = of_type.map(|record| rdata_text(rtype, &record.rdata)).collect();
    data.sort();
    data
}

/// A question: recursion desired, EDNS. `how`: words out of "do", "ad", "cd" (bits to be set), "noedns", "tcp".
pub fn ask(server: SocketAddr, name: &str, rtype: Rtype, how: &str) -> Answer {
    let has = |word: &str| how.split_ascii_whitespace().any(|other| other == word);
    let name = Name::absolute(name).unwrap();
    let mut packet = vec![0x12, 0x34, 1, 0, 0, 1, 0, 0, 0, 0, 0, u8::from(!has("noedns"))];
    packet[3] = u8::from(has("ad")) * 0x20 + u8::from(has("cd")) * 0x10;
    packet.extend_from_slice(name.wire());
    packet.extend_from_slice(&rtype.0.to_be_bytes());
    packet.extend_from_slice(&[0, 1]);
    if !has("noedns") {
        packet.extend_from_slice(&[0, 0, 41]);
        packet.extend_from_slice(&PAYLOAD_BYTES.to_be_bytes());
        packet.extend_from_slice(&[0, 0, u8::from(has("do")) * 0x80, 0, 0, 0]);
    }
    let answer = if has("tcp") { over_tcp(server, &packet) } else { over_udp(server, &packet) };
    Answer::parse(&answer).unwrap_or_else(|| panic!("{server} answers to {name} {rtype} what cannot be read: {answer:02x?}"))
}

fn over_udp(server: SocketAddr, packet: &[u8]) -> Vec<u8> {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.connect(server).unwrap();
    socket.set_read_timeout(Some(TRY_WAIT)).unwrap();
    let mut answer = vec![0; 65_535];
    for _ in 0..WAIT.as_secs() / TRY_WAIT.as_secs() {
        socket.send(packet).unwrap();
        // Refused while nobody listens yet.
        match socket.recv(&mut answer) {
            Ok(length) => return answer[..length].to_vec(),
            Err(error) if error.kind() == std::io::ErrorKind::ConnectionRefused => std::thread::sleep(TRY_WAIT / 10),
            Err(_) => {}
        }
    }
    panic!("{server} does not answer");
}

fn over_tcp(server: SocketAddr, packet: &[u8]) -> Vec<u8> {
    let mut stream = TcpStream::connect(server).unwrap();
    stream.set_read_timeout(Some(WAIT)).unwrap();
    stream.write_all(&[&(packet.len() as u16).to_be_bytes(), packet].concat()).unwrap();
    let mut length = [0; 2];
    stream.read_exact(&mut length).unwrap();
    let mut answer = vec![0; u16::from_be_bytes(length).into()];
    stream.read_exact(&mut answer).unwrap();
    answer
}

/// The serial a server says a zone has; `None`: it says none.
pub fn serial(server: SocketAddr, zone: &str) -> Option<u32> {
    let answer = ask(server, zone, Rtype::SOA, "");
    answer.data(Rtype::SOA).first()?.split_ascii_whitespace().nth(2)?.parse().ok()
}

/// Whether something is so at each of several tries. Each question comes from a port of its own, by which the kernel chooses the shard that answers: what a
/// test has changed has arrived when all of them say so.
pub fn everywhere(mut so: impl FnMut() -> bool) -> bool {
    (0..16).all(|_| so())
}

/// The DS records of a zone's keys, as they stand in a zone file: what a registrar would be given when the time has come.
pub fn ds_of(server: SocketAddr, zone: &str) -> Vec<String> {
    let zone = Name::absolute(zone).unwrap();
    let keys = ask(server, &zone.to_string(), Rtype::DNSKEY, "do").view.answer;
    let keys = keys.iter().filter(|key| key.rtype == Rtype::DNSKEY);
    let ds: Vec<String> = keys
        .map(|key| ds_rdata(zone.wire(), &key.rdata, DigestType::SHA256).unwrap())
        .map(|ds| format!("{zone} IN DS {}", rdata_text(Rtype::DS, &ds)))
        .collect();
    assert!(!ds.is_empty(), "{zone} has no keys");
    ds
}

/// Adds one TXT record to a zone, see [`add`].
pub fn add_text(server: SocketAddr, zone: &str, name: &str, text: &str, key: &str) -> Rcode {
    add(server, zone, name, Rtype::TXT, &[&[text.len() as u8], text.as_bytes()].concat(), key)
}

/// Adds one record to a zone by an update signed with `key` ("ALGORITHM:NAME:SECRET"); gives the code that came back.
pub fn add(server: SocketAddr, zone: &str, name: &str, rtype: Rtype, rdata: &[u8], key: &str) -> Rcode {
    let key = Arc::new(Key::parse(key).unwrap());
    let mut packet = vec![0x43, 0x21, 0x28, 0, 0, 1, 0, 0, 0, 1, 0, 0];
    packet.extend_from_slice(Name::absolute(zone).unwrap().wire());
    packet.extend_from_slice(&[0, 6, 0, 1]);
    packet.extend_from_slice(Name::absolute(name).unwrap().wire());
    packet.extend_from_slice(&rtype.0.to_be_bytes());
    packet.extend_from_slice(&[0, 1, 0, 0, 1, 44]);
    packet.extend_from_slice(&(rdata.len() as u16).to_be_bytes());
    packet.extend_from_slice(rdata);
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
    let mut verifier = sign_request(&key, &mut packet, now);
    let answer = over_tcp(server, &packet);
    verifier.verify(&answer, now).unwrap_or_else(|error| panic!("the answer to an update: {error:?}: {answer:02x?}"));
    ResponseView::parse(&answer).unwrap().rcode
}
