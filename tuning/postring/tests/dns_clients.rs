//! What port 53 says about itself and its answers in EDNS options: cookies and rates over a restart, which server it is, why there is no answer, how
//! long a connection may be idle.

#![allow(clippy::unwrap_used, clippy::cast_possible_truncation)] // a test that cannot go on fails

mod common;

use common::{System, postring};
use std::io::{Read, Write};
use std::net::{TcpStream, UdpSocket};
use std::time::Duration;

const NSID: u16 = 3;
const COOKIE: u16 = 10;
const KEEPALIVE: u16 = 11;
const EXTENDED_ERROR: u16 = 15;

/// `test.example. SOA` with these EDNS options.
fn query(options: &[(u16, &[u8])]) -> Vec<u8> {
    query_for(b"\x04test\x07example\0", options)
}

/// The SOA of a name, with recursion.
fn query_for(name: &[u8], options: &[(u16, &[u8])]) -> Vec<u8> {
    let mut packet = vec![0x12, 0x34, 1, 0, 0, 1, 0, 0, 0, 0, 0, 1];
    packet.extend_from_slice(name);
    packet.extend_from_slice(b"\0\x06\0\x01");
    let options: Vec<u8> = options
        .iter()
        .flat_map(|(code, data)| [&code.to_be_bytes()[..], &(data.len() as u16).to_be_bytes(), data].concat())
        .collect();
    packet.extend_from_slice(&[0, 0, 41, 4, 0xd0, 0, 0, 0, 0]);
    packet.extend_from_slice(&(options.len() as u16).to_be_bytes());
    packet.extend_from_slice(&options);
    packet
}

/// The first such option's data in a response whose OPT record is the last one, as ours is.
fn option(response: &[u8], wanted: u16) -> Option<Vec<u8>> {
    options(response, wanted).into_iter().next()
}

fn options(response: &[u8], wanted: u16) -> Vec<Vec<u8>> {
    let mut found = Vec::new();
    let Some(head) = response.windows(5).rposition(|octets| octets == [0, 0, 41, 4, 0xd0]) else { return found };
    let mut rest = response.get(head + 11..).unwrap();
    while let [code_high, code_low, length_high, length_low, data @ ..] = rest {
        let (data, behind) = data.split_at(usize::from(u16::from_be_bytes([*length_high, *length_low])));
        if u16::from_be_bytes([*code_high, *code_low]) == wanted {
            found.push(data.to_vec());
        }
        rest = behind;
    }
    found
}

struct Client(UdpSocket);

impl Client {
    fn of(system: &System) -> Self {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        socket.connect(("127.0.0.1", system.base + 53)).unwrap();
        Self(socket)
    }

    fn ask(&self, packet: &[u8], wait: Duration) -> Option<Vec<u8>> {
        self.0.set_read_timeout(Some(wait)).unwrap();
        self.0.send(packet).unwrap();
        let mut response = vec![0; 1500];
        let length = self.0.recv(&mut response).ok()?;
        response.truncate(length);
        Some(response)
    }

    /// The cookie a query with this one is given.
    fn cookie(&self, cookie: &[u8]) -> Vec<u8> {
        option(&self.ask(&query(&[(COOKIE, cookie)]), common::WAIT).unwrap(), COOKIE).unwrap()
    }
}

#[test]
fn cookies_outlive_a_restart_and_a_roll_and_lift_the_limit_of_rates() {
    let mut system = System::init();
    system.append_config("\n[dns.rate_limit]\nresponses_per_second = 1\nslip = 0\nexempt = []\n");
    system.up();
    let client = Client::of(&system);
    let cookie = client.cookie(&[7; 8]);
    assert_eq!((cookie.len(), client.cookie(&cookie)), (24, cookie.clone()));

    system.down();
    system.up();
    assert_eq!(Client::of(&system).cookie(&cookie), cookie, "the secret is another after a restart");

    let rolled = postring(&["dns", "cookie", "roll", "--config", &system.config()]);
    assert!(rolled.status.success(), "{}", String::from_utf8_lossy(&rolled.stderr));
    let client = Client::of(&system);
    system.wait("a cookie of the new secret", || client.cookie(&cookie) != cookie);
    // The old one still proves the client's address; without, a network gets one answer a second.
    for _ in 0..30 {
        assert!(client.ask(&query(&[(COOKIE, &cookie)]), common::WAIT).is_some());
    }
    let client = Client::of(&system);
    let answered = (0..30).filter(|_| client.ask(&query(&[]), Duration::from_millis(10)).is_some()).count();
    assert!(answered < 30, "no limit");
}

#[test]
fn the_server_says_which_it_is() {
    let mut system = System::init();
    system.up();
    let told = |system: &System| option(&Client::of(system).ask(&query(&[(NSID, b"")]), common::WAIT).unwrap(), NSID);
    assert_eq!(told(&system).unwrap(), b"mx.test.example");
    for (text, expected) in [("ns-7", Some(b"ns-7".to_vec())), ("", None)] {
        let before = std::fs::read_to_string(system.config()).unwrap();
        let before = before.split("\n[dns]\n").next().unwrap();
        std::fs::write(system.config(), format!("{before}\n[dns]\nnsid = \"{text}\"\n")).unwrap();
        assert!(postring(&["reload", "--config", &system.config()]).status.success());
        system.wait("the name", || told(&system) == expected);
    }
}

#[test]
fn the_resolver_says_why_there_is_no_answer_and_how_long_a_connection_may_be_idle() {
    let mut system = System::init();
    // Nobody is there.
    system.append_config(&format!("\n[dns]\nforwarders = [\"127.0.0.1:{}\"]\n", system.base + 54));
    system.up();
    let elsewhere = b"\x04host\x09elsewhere\0";
    let client = Client::of(&system);
    let first = client.ask(&query_for(elsewhere, &[(COOKIE, &[7; 8]), (NSID, b"")]), common::WAIT).unwrap();
    assert_eq!(first[3] & 15, 2);
    let cookie = option(&first, COOKIE).unwrap();
    assert_eq!((cookie.len(), &cookie[..8], option(&first, NSID).unwrap()), (24, &[7; 8][..], b"mx.test.example".to_vec()));
    // RFC 8914: no reachable authority, or what the system says of it: network error.
    let why = options(&first, EXTENDED_ERROR);
    assert!(why == [[0, 22]] || why == [[0, 23]], "{why:?}");
    system.wait("a cached error", || {
        let again = client.ask(&query_for(elsewhere, &[]), common::WAIT).unwrap();
        options(&again, EXTENDED_ERROR).contains(&vec![0, 13])
    });

    let mut stream = TcpStream::connect(("127.0.0.1", system.base + 53)).unwrap();
    stream.set_read_timeout(Some(common::WAIT)).unwrap();
    for name in [&b"\x04test\x07example\0"[..], elsewhere] {
        let packet = query_for(name, &[(KEEPALIVE, b"")]);
        stream.write_all(&[&(packet.len() as u16).to_be_bytes(), &packet[..]].concat()).unwrap();
        let mut length = [0; 2];
        stream.read_exact(&mut length).unwrap();
        let mut response = vec![0; u16::from_be_bytes(length).into()];
        stream.read_exact(&mut response).unwrap();
        // In units of 100 ms.
        assert_eq!(option(&response, KEEPALIVE), Some(vec![0, 100]));
    }
    assert_eq!(option(&client.ask(&query(&[(KEEPALIVE, b"")]), common::WAIT).unwrap(), KEEPALIVE), None);

    let config = std::fs::read_to_string(system.config()).unwrap();
    std::fs::write(system.config(), config.replace("[dns]\n", "[dns]\nrecursion = [\"192.0.2.0/24\"]\n")).unwrap();
    assert!(postring(&["reload", "--config", &system.config()]).status.success());
    // Prohibited.
    system.wait("the refusal", || {
        let refused = client.ask(&query_for(elsewhere, &[]), common::WAIT).unwrap();
        (refused[3] & 15, option(&refused, EXTENDED_ERROR)) == (5, Some(vec![0, 18]))
    });
}
