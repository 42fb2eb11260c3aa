//! What protects port 53 from forged sources, over a restart: cookies, the rates of answers; and which server it says it is.

#![allow(clippy::unwrap_used, clippy::cast_possible_truncation)] // a test that cannot go on fails

mod common;

use common::{System, postring};
use std::net::UdpSocket;
use std::time::Duration;

const NSID: u16 = 3;
const COOKIE: u16 = 10;

/// `test.example. SOA` with these EDNS options.
fn query(options: &[(u16, &[u8])]) -> Vec<u8> {
    let mut packet = vec![0x12, 0x34, 0, 0, 0, 1, 0, 0, 0, 0, 0, 1];
    packet.extend_from_slice(b"\x04test\x07example\0\0\x06\0\x01");
    let options: Vec<u8> = options
        .iter()
        .flat_map(|(code, data)| [&code.to_be_bytes()[..], &(data.len() as u16).to_be_bytes(), data].concat())
        .collect();
    packet.extend_from_slice(&[0, 0, 41, 4, 0xd0, 0, 0, 0, 0]);
    packet.extend_from_slice(&(options.len() as u16).to_be_bytes());
    packet.extend_from_slice(&options);
    packet
}

/// The option's data in a response whose OPT record is the last one, as ours is.
fn option(response: &[u8], wanted: u16) -> Option<Vec<u8>> {
    let head = response.windows(5).rposition(|octets| octets == [0, 0, 41, 4, 0xd0])?;
    let mut rest = response.get(head + 11..)?;
    while let [code_high, code_low, length_high, length_low, data @ ..] = rest {
        let length = usize::from(u16::from_be_bytes([*length_high, *length_low]));
        if u16::from_be_bytes([*code_high, *code_low]) == wanted {
            return data.get(..length).map(<[u8]>::to_vec);
        }
        rest = data.get(length..)?;
    }
    None
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
