//! What is asked of other servers, each on a thread of its own with plain blocking sockets and a deadline for everything.

use postring_dns::message::ResponseView;
use postring_dns::notify::{Notifier, NotifierStep};
use postring_dns::query::write_query;
use postring_dns::record::Record;
use postring_dns::responder::Transport;
use postring_dns::transfer::{Incoming, Limits, Outcome, Progress, Soa, TransferError, Wanted};
use postring_dns::tsig::{Key, Verifier, sign_request};
use postring_dns::{Name, Rcode, Rtype};
use std::io::{Read, Write};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream, UdpSocket};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// For an answer of one datagram, each try.
const UDP_WAIT: Duration = Duration::from_secs(3);
const UDP_TRIES: usize = 3;
const CONNECT_WAIT: Duration = Duration::from_secs(10);
/// Between two octets of a transfer, and for all of it.
const TCP_IDLE_WAIT: Duration = Duration::from_secs(30);
const TRANSFER_WAIT: Duration = Duration::from_secs(1800);
/// Octets of a datagram: more than any server sends.
const DATAGRAM_BYTES: usize = 65_535;

/// Something to do.
#[derive(Clone, Debug)]
pub(crate) enum Job {
    /// Asks a primary for the SOA.
    Soa { origin: Name, primary: SocketAddr, key: Option<Arc<Key>> },
    /// Takes a zone, or what has changed since `have`.
    Transfer { origin: Name, primary: SocketAddr, have: Option<Record>, key: Option<Arc<Key>> },
    /// Tells a secondary of a version, once.
    Notify { origin: Name, notifier: Box<Notifier>, server: SocketAddr, key: Option<Arc<Key>> },
}

/// What came of it.
#[derive(Debug)]
pub(crate) enum Done {
    /// A primary's serial.
    Soa { origin: Name, primary: SocketAddr, result: Result<u32, String> },
    /// A transfer.
    Transfer { origin: Name, primary: SocketAddr, differences: bool, result: Result<Outcome, Failure> },
    /// What a secondary said; an error is the last word.
    Notify { origin: Name, server: SocketAddr, result: Result<Told, String> },
}

/// What came of telling a secondary once.
#[derive(Debug)]
pub(crate) enum Told {
    /// The code it answered with.
    Answered(Rcode),
    /// Nothing; to be told again from this second of 1970 on.
    Later(u64, Box<Job>),
}

/// Why a transfer failed.
#[derive(Debug)]
pub(crate) struct Failure {
    pub text: String,
    /// Taking the zone whole may work.
    pub try_whole: bool,
}

impl From<std::io::Error> for Failure {
    fn from(error: std::io::Error) -> Self {
        Self { text: error.to_string(), try_whole: false }
    }
}

impl From<TransferError> for Failure {
    fn from(error: TransferError) -> Self {
        Self { text: error.to_string(), try_whole: error.suggests_whole() }
    }
}

fn unix() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs()
}

fn random_id() -> u16 {
    let mut octets = [0; 2];
    // Without randomness the port is still the kernel's random one.
    let _ = getrandom::fill(&mut octets);
    u16::from_be_bytes(octets)
}

impl Job {
    /// Tells `server` of this version of the zone.
    pub(super) fn notify(origin: &Name, soa: Record, server: SocketAddr, key: Option<Arc<Key>>) -> Self {
        let notifier = Box::new(Notifier::new(soa, &[server], unix(), random_id));
        Self::Notify { origin: origin.clone(), notifier, server, key }
    }

    /// Zone and server of a NOTIFY.
    pub(super) fn told(&self) -> Option<(Name, SocketAddr)> {
        match self {
            Self::Notify { origin, server, .. } => Some((origin.clone(), *server)),
            Self::Soa { .. } | Self::Transfer { .. } => None,
        }
    }

    pub(super) fn run(self) -> Done {
        match self {
            Self::Soa { origin, primary, key } => {
                let result = ask_soa(&origin, primary, key.as_ref());
                Done::Soa { origin, primary, result }
            }
            Self::Transfer { origin, primary, have, key } => {
                let result = transfer(&origin, primary, have.as_ref(), key.as_ref());
                Done::Transfer { origin, primary, differences: have.is_some(), result }
            }
            Self::Notify { origin, notifier, server, key } => {
                let result = tell(&origin, notifier, server, key);
                Done::Notify { origin, server, result }
            }
        }
    }
}

fn socket_to(server: SocketAddr) -> Result<UdpSocket, String> {
    let any: SocketAddr = if server.is_ipv4() { (Ipv4Addr::UNSPECIFIED, 0).into() } else { (Ipv6Addr::UNSPECIFIED, 0).into() };
    let connected = UdpSocket::bind(any).and_then(|socket| socket.connect(server).map(|()| socket));
    connected.map_err(|error| error.to_string())
}

/// Sends a query and waits for what `accept` takes; others' packets do not make the wait longer.
fn exchange<T>(
    socket: &UdpSocket,
    query: &[u8],
    wait: Duration,
    mut accept: impl FnMut(&[u8]) -> Option<T>,
) -> Result<T, String> {
    let until = Instant::now() + wait;
    socket.send(query).map_err(|error| error.to_string())?;
    let mut packet = vec![0; DATAGRAM_BYTES];
    loop {
        let left = until.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err("it does not answer".to_owned());
        }
        socket.set_read_timeout(Some(left)).map_err(|error| error.to_string())?;
        match socket.recv(&mut packet) {
            Ok(length) => {
                if let Some(accepted) = packet.get(..length).and_then(&mut accept) {
                    return Ok(accepted);
                }
            }
            Err(error) if matches!(error.kind(), std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut) => {}
            Err(error) => return Err(error.to_string()),
        }
    }
}

fn verified(verifier: &Option<Verifier>, packet: &[u8]) -> bool {
    verifier.as_ref().is_none_or(|verifier| verifier.clone().verify(packet, unix()).is_ok())
}

fn ask_soa(origin: &Name, primary: SocketAddr, key: Option<&Arc<Key>>) -> Result<u32, String> {
    let mut last = String::new();
    for _ in 0..UDP_TRIES {
        let socket = socket_to(primary)?;
        let id = random_id();
        let mut query = Vec::new();
        write_query(id, origin.wire(), Rtype::SOA, false, &mut query);
        let verifier = key.map(|key| sign_request(key, &mut query, unix()));
        let accept = |packet: &[u8]| {
            let view = ResponseView::parse(packet).filter(|view| view.id == id && verified(&verifier, packet))?;
            let soa = view.answer.iter().find(|record| record.rtype == Rtype::SOA && record.name.to_key() == origin.to_key());
            Some(match soa.and_then(|soa| Soa::parse(&soa.rdata)) {
                Some(soa) => Ok(soa.serial),
                None => Err(format!("it answers {} and no SOA", view.rcode)),
            })
        };
        match exchange(&socket, &query, UDP_WAIT, accept) {
            Ok(result) => return result,
            Err(error) => last = error,
        }
    }
    Err(last)
}

fn transfer(origin: &Name, primary: SocketAddr, have: Option<&Record>, key: Option<&Arc<Key>>) -> Result<Outcome, Failure> {
    let until = Instant::now() + TRANSFER_WAIT;
    let mut stream = TcpStream::connect_timeout(&primary, CONNECT_WAIT)?;
    stream.set_nodelay(true)?;
    stream.set_write_timeout(Some(CONNECT_WAIT))?;
    stream.set_read_timeout(Some(TCP_IDLE_WAIT))?;
    let mut query = Vec::new();
    let wanted = Wanted { zone: origin, have, key, limits: Limits::default(), transport: Transport::Tcp };
    let mut incoming = Incoming::new(wanted, random_id(), unix(), &mut query);
    let length = u16::try_from(query.len()).map_err(std::io::Error::other)?;
    let mut framed = length.to_be_bytes().to_vec();
    framed.extend_from_slice(&query);
    stream.write_all(&framed)?;
    let mut message = Vec::new();
    loop {
        if Instant::now() >= until {
            return Err(Failure { text: "the transfer takes too long".to_owned(), try_whole: false });
        }
        let mut length = [0; 2];
        stream.read_exact(&mut length)?;
        message.resize(u16::from_be_bytes(length).into(), 0);
        stream.read_exact(&mut message)?;
        match incoming.handle_message(&message, unix())? {
            Progress::More => {}
            Progress::Over(outcome) => return Ok(outcome),
        }
    }
}

fn tell(origin: &Name, mut notifier: Box<Notifier>, server: SocketAddr, key: Option<Arc<Key>>) -> Result<Told, String> {
    let silent = || "it does not answer".to_owned();
    if notifier.poll(unix()) != NotifierStep::Send(server) {
        return Err(silent());
    }
    let socket = socket_to(server)?;
    let mut packet = Vec::new();
    notifier.write(server, key.as_ref(), unix(), &mut packet);
    let answered = exchange(&socket, &packet, UDP_WAIT, |answer| notifier.handle_response(server, answer, unix()));
    match answered {
        Ok(rcode) => Ok(Told::Answered(rcode)),
        Err(error) => {
            tracing::debug!("{origin}: {server} was told of the new version: {error}");
            match notifier.poll(unix()) {
                NotifierStep::Wait(due) => {
                    Ok(Told::Later(due, Box::new(Job::Notify { origin: origin.clone(), notifier, server, key })))
                }
                NotifierStep::Send(_) | NotifierStep::Done => Err(silent()),
            }
        }
    }
}
