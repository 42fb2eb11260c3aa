//! The PROXY protocol's header, versions 1 and 2 (haproxy.org, doc/proxy-protocol.txt): who is behind a proxy that passes on bytes.
//!
//! The header comes before all else, TLS too, so nothing behind it may be taken with it: [`next`] says how many bytes to read until it is
//! whole. A header that is none is an error and not a client that talks early: who is asked, is trusted to send one.
//!
//! ```text
//!   "PROXY TCP4 192.0.2.7 203.0.113.1 40000 25" CR LF         version 1: a line of at most 107 octets
//!   12 octets of signature   u8 version 2, command   u8 family, transport   u16 length   addresses   TLVs (not looked at)
//! ```

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// What every header has at least: `PROXY UNKNOWN` CR LF.
const BYTES_MIN: usize = 15;
/// Longest line of version 1 (section 2.1).
const LINE_BYTES_MAX: usize = 107;
const SIGNATURE: &[u8; 12] = b"\r\n\r\n\0\r\nQUIT\n";
/// Octets of version 2 before the addresses.
const FIXED_BYTES: usize = 16;
/// Octets of addresses and TLVs: certificates' names and the like are far shorter.
const VARIABLE_BYTES_MAX: usize = 2048;
/// No header is longer.
pub const HEADER_BYTES_MAX: usize = FIXED_BYTES + VARIABLE_BYTES_MAX;

/// What to do next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// Read exactly so many bytes more, then ask again.
    Read(usize),
    /// The header is whole; this is the client, if it tells.
    Whole(Option<(IpAddr, u16)>),
}

/// Not a PROXY header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NoProxyHeader;

/// Looks at the bytes read so far.
///
/// # Errors
/// [`NoProxyHeader`] as soon as they cannot be the beginning of a header.
pub fn next(header: &[u8]) -> Result<Next, NoProxyHeader> {
    if header.len() < BYTES_MIN {
        return Ok(Next::Read(BYTES_MIN - header.len()));
    }
    if header.starts_with(SIGNATURE) { next_binary(header) } else { next_line(header) }
}

/// Section 2.1: a line that is longer, or has another end than CR LF, is none.
fn next_line(header: &[u8]) -> Result<Next, NoProxyHeader> {
    if !header.starts_with(b"PROXY ") {
        return Err(NoProxyHeader);
    }
    let Some(line) = header.strip_suffix(b"\r\n") else {
        let is_open = header.len() < LINE_BYTES_MAX && !header.contains(&b'\n');
        return if is_open { Ok(Next::Read(1)) } else { Err(NoProxyHeader) };
    };
    let line = std::str::from_utf8(line).map_err(|_| NoProxyHeader)?;
    let mut words = line.split(' ').skip(1);
    let family = words.next().unwrap_or_default();
    if family == "UNKNOWN" {
        return Ok(Next::Whole(None));
    }
    let mut word = || words.next().ok_or(NoProxyHeader);
    let (source, destination, source_port, destination_port) = (word()?, word()?, word()?, word()?);
    let (client, port) = match family {
        "TCP4" => (IpAddr::V4(address::<Ipv4Addr>(source, destination)?), port(source_port)?),
        "TCP6" => (canonical(address::<Ipv6Addr>(source, destination)?), port(source_port)?),
        _ => return Err(NoProxyHeader),
    };
    self::port(destination_port)?;
    if words.next().is_some() { Err(NoProxyHeader) } else { Ok(Next::Whole(Some((client, port)))) }
}

/// The first of two addresses of the same family.
fn address<A: std::str::FromStr>(source: &str, destination: &str) -> Result<A, NoProxyHeader> {
    destination.parse::<A>().map_err(|_| NoProxyHeader)?;
    source.parse().map_err(|_| NoProxyHeader)
}

fn port(text: &str) -> Result<u16, NoProxyHeader> {
    let is_number = text.bytes().all(|byte| byte.is_ascii_digit()) && (text == "0" || !text.starts_with('0'));
    text.parse().ok().filter(|_| is_number).ok_or(NoProxyHeader)
}

/// An IPv4 client of a proxy that listens on IPv6 is one of IPv4.
fn canonical(address: Ipv6Addr) -> IpAddr {
    IpAddr::V6(address).to_canonical()
}

/// Section 2.2: other versions and commands are refused; the addresses of LOCAL are not looked at.
fn next_binary(header: &[u8]) -> Result<Next, NoProxyHeader> {
    let Some((fixed, variable)) = header.split_first_chunk::<FIXED_BYTES>() else {
        return Ok(Next::Read(FIXED_BYTES - header.len()));
    };
    let [.., command, family, high, low] = *fixed;
    let length = usize::from(u16::from_be_bytes([high, low]));
    if !matches!(command, 0x20 | 0x21) || length > VARIABLE_BYTES_MAX {
        return Err(NoProxyHeader);
    }
    if variable.len() < length {
        return Ok(Next::Read(length - variable.len()));
    }
    match (command, family) {
        // A check of the proxy's own; and what the proxy itself does not know.
        (0x20, _) | (0x21, 0x00) => Ok(Next::Whole(None)),
        (_, 0x11) => {
            let [a, b, c, d, _, _, _, _, high, low, _, _] = *variable.first_chunk::<12>().ok_or(NoProxyHeader)?;
            Ok(Next::Whole(Some((Ipv4Addr::new(a, b, c, d).into(), u16::from_be_bytes([high, low])))))
        }
        (_, 0x21) => {
            let (source, rest) = variable.split_first_chunk::<16>().ok_or(NoProxyHeader)?;
            let [high, low, _, _] = *rest.get(16..).and_then(|rest| rest.first_chunk::<4>()).ok_or(NoProxyHeader)?;
            Ok(Next::Whole(Some((canonical(Ipv6Addr::from(*source)), u16::from_be_bytes([high, low])))))
        }
        _ => Err(NoProxyHeader),
    }
}

/// For the fuzzer and the replay of its inputs: reads anything as a proxy's bytes, must not panic, and comes to an end.
#[doc(hidden)]
pub fn fuzz_proxy(data: &[u8]) {
    let mut taken = 0;
    while let Ok(Next::Read(more)) = next(data.get(..taken).unwrap_or_default()) {
        assert!(more > 0);
        taken += more;
        assert!(taken <= HEADER_BYTES_MAX);
        if taken > data.len() {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Reads as the daemon does; the client, and how many bytes were the header's.
    fn read(bytes: &[u8]) -> Result<(Option<(IpAddr, u16)>, usize), NoProxyHeader> {
        let mut taken = 0;
        loop {
            match next(&bytes[..taken])? {
                Next::Read(more) => taken += more,
                Next::Whole(client) => return Ok((client, taken)),
            }
            // What has not come yet never makes it whole.
            if taken > bytes.len() {
                return Err(NoProxyHeader);
            }
        }
    }

    fn binary(command: u8, family: u8, variable: &[u8]) -> Vec<u8> {
        let length = u16::try_from(variable.len()).unwrap().to_be_bytes();
        [&SIGNATURE[..], &[command, family], &length, variable].concat()
    }

    #[test]
    fn lines() {
        let v4 = b"PROXY TCP4 192.0.2.7 203.0.113.1 40000 25\r\nEHLO";
        assert_eq!(read(v4), Ok((Some(("192.0.2.7".parse().unwrap(), 40_000)), v4.len() - 4)));
        let v6 = b"PROXY TCP6 2001:db8::7 ::1 1 25\r\n";
        assert_eq!(read(v6), Ok((Some(("2001:db8::7".parse().unwrap(), 1)), v6.len())));
        let mapped = b"PROXY TCP6 ::ffff:192.0.2.7 ::1 1 25\r\n";
        assert_eq!(read(mapped).map(|(client, _)| client), Ok(Some(("192.0.2.7".parse().unwrap(), 1))));
        assert_eq!(read(b"PROXY UNKNOWN\r\n\r\n"), Ok((None, 15)));
        assert_eq!(read(b"PROXY UNKNOWN ffff::1 ::1 1 2\r\n").map(|(client, _)| client), Ok(None));
        for bad in [
            "EHLO client.example\r\n",
            "PROXY\r\n PROXY UNKNOWN",
            "PROXY TCP4 192.0.2.7 203.0.113.1 40000\r\n",
            "PROXY TCP4 192.0.2.7 203.0.113.1 40000 25 x\r\n",
            "PROXY TCP4 192.0.2.7 203.0.113.1 40000 25 \r\n",
            "PROXY TCP4 192.0.2.7 ::1 40000 25\r\n",
            "PROXY TCP4 192.0.2.007 203.0.113.1 40000 25\r\n",
            "PROXY TCP4 192.0.2.7 203.0.113.1 65536 25\r\n",
            "PROXY TCP4 192.0.2.7 203.0.113.1 +1 25\r\n",
            "PROXY TCP4 192.0.2.7 203.0.113.1 01 25\r\n",
            "PROXY TCP4  192.0.2.7 203.0.113.1 1 25\r\n",
            "PROXY TCP6 192.0.2.7 203.0.113.1 1 25\r\n",
            "PROXY UDP4 192.0.2.7 203.0.113.1 1 25\r\n",
            "PROXY TCP4 192.0.2.7 203.0.113.1 1 25\n\r\n",
            "proxy TCP4 192.0.2.7 203.0.113.1 1 25\r\n",
        ] {
            assert_eq!(read(bad.as_bytes()), Err(NoProxyHeader), "{bad}");
        }
        assert_eq!(read(format!("PROXY UNKNOWN {}\r\n", "x".repeat(100)).as_bytes()), Err(NoProxyHeader));
    }

    #[test]
    fn binaries() {
        let v4 = [192, 0, 2, 7, 203, 0, 113, 1, 0x9C, 0x40, 0, 25];
        assert_eq!(read(&binary(0x21, 0x11, &v4)), Ok((Some(("192.0.2.7".parse().unwrap(), 40_000)), 28)));
        // TLVs behind it belong to it; what comes then does not.
        let with_more = [binary(0x21, 0x11, &[&v4[..], &[3, 0, 1, 9]].concat()), b"EHLO".to_vec()].concat();
        assert_eq!(read(&with_more).map(|(_, taken)| taken), Ok(32));
        let v6 = [&Ipv6Addr::LOCALHOST.octets()[..], &[0; 16], &[0, 1, 0, 25]].concat();
        assert_eq!(read(&binary(0x21, 0x21, &v6)), Ok((Some((Ipv6Addr::LOCALHOST.into(), 1)), 52)));
        assert_eq!(read(&binary(0x20, 0x00, b"")), Ok((None, 16)));
        assert_eq!(read(&binary(0x20, 0x11, &v4)).map(|(client, _)| client), Ok(None));
        assert_eq!(read(&binary(0x21, 0x00, &[1; 9])).map(|(client, _)| client), Ok(None));
        for bad in [
            binary(0x21, 0x11, &v4[..11]),
            binary(0x21, 0x21, &v6[..35]),
            binary(0x21, 0x12, &v4),
            binary(0x21, 0x31, &[0; 216]),
            binary(0x11, 0x11, &v4),
            binary(0x22, 0x11, &v4),
            binary(0x21, 0x11, &[0; VARIABLE_BYTES_MAX + 1]),
        ] {
            assert_eq!(read(&bad), Err(NoProxyHeader), "{bad:x?}");
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_harmless(data in proptest::collection::vec(any::<u8>(), 0..200), text in "PROXY (TCP4|TCP6|UNKNOWN)?[ 0-9.:a-f\r\n]{0,110}") {
            fuzz_proxy(&data);
            fuzz_proxy(&[&SIGNATURE[..], &data].concat());
            fuzz_proxy(text.as_bytes());
        }
    }
}
