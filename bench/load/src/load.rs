//! The generator: one thread, one poll, connections that speak SMTP in lock step from many loopback addresses.

use hdrhistogram::Histogram;
use mio::net::TcpStream;
use mio::{Events, Interest, Poll, Token};
use socket2::{Domain, SockAddr, Socket, Type};
use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};
use std::path::PathBuf;
use std::time::{Duration, Instant};

/// A connection without an answer for this long has failed.
const STALL: Duration = Duration::from_secs(60);

#[derive(Clone, Debug, clap::Args)]
pub struct Options {
    /// host:port
    #[arg(long)]
    pub target: SocketAddr,
    /// Connections at once
    #[arg(long, default_value_t = 16)]
    pub connections: usize,
    /// Messages on one connection
    #[arg(long, default_value_t = 1)]
    pub messages_per_connection: usize,
    /// Messages in all
    #[arg(long, default_value_t = 1000)]
    pub count: usize,
    /// Bytes of a generated message
    #[arg(long, default_value_t = 10_240)]
    pub size: usize,
    /// Send the mails of this folder instead
    #[arg(long)]
    pub folder: Option<PathBuf>,
    /// Recipients u00 to uNN of this domain in turn
    #[arg(long, default_value = "bench.example")]
    pub domain: String,
    /// How many recipients there are, at most 100
    #[arg(long, default_value_t = 16)]
    pub boxes: usize,
    /// Numbers as JSON
    #[arg(long)]
    pub json: bool,
}

/// What came of it.
pub struct Report {
    pub accepted: u64,
    pub refused: u64,
    pub failed: u64,
    pub seconds: f64,
    /// From MAIL FROM to the reply to the last dot, microseconds.
    pub latency: Histogram<u64>,
}

impl Report {
    #[allow(clippy::cast_precision_loss)] // counts of a benchmark
    pub fn rate(&self) -> f64 {
        self.accepted as f64 / self.seconds.max(1e-9)
    }

    pub fn print(&self, json: bool) {
        let percentile = |quantile: f64| self.latency.value_at_quantile(quantile);
        if json {
            println!(
                "{}",
                serde_json::json!({ "accepted": self.accepted, "refused": self.refused, "failed": self.failed, "seconds": self.seconds,
                    "messages_per_second": self.rate(), "latency_us": { "p50": percentile(0.5), "p99": percentile(0.99), "max": self.latency.max() } })
            );
        } else {
            println!(
                "{} accepted, {} refused, {} failed in {:.2} s: {:.0} messages/s",
                self.accepted,
                self.refused,
                self.failed,
                self.seconds,
                self.rate()
            );
            println!("MAIL FROM to 250: p50 {} us, p99 {} us, max {} us", percentile(0.5), percentile(0.99), self.latency.max());
        }
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Stage {
    Greeting,
    Ehlo,
    Mail,
    Rcpt,
    Data,
    Body,
    Quit,
}

struct Connection {
    stream: TcpStream,
    stage: Stage,
    reply: Vec<u8>,
    out: Vec<u8>,
    left: usize,
    mail_at: Instant,
    heard: Instant,
    number: usize,
}

/// A message as it goes over the wire, with its terminator.
fn wire(message: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(message.len() * 21 / 20);
    for line in message.split_inclusive(|byte| *byte == b'\n') {
        let line = line.strip_suffix(b"\n").unwrap_or(line);
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        if line.starts_with(b".") {
            out.push(b'.');
        }
        out.extend_from_slice(line);
        out.extend_from_slice(b"\r\n");
    }
    out.extend_from_slice(b".\r\n");
    out
}

/// Words in lines of 60 to 70 characters, the same every time.
fn generated(bytes: usize) -> Vec<u8> {
    let mut text =
        b"From: Load <load@far.example>\nTo: Somebody <somebody@bench.example>\nSubject: a message of the load generator\n\n"
            .to_vec();
    let mut seed = 42_u64;
    let mut column = 0;
    while text.len() < bytes {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        let length = 2 + (seed >> 60) as usize % 8;
        for step in 0..length {
            text.push(b'a' + ((seed >> (step * 5)) % 26) as u8);
        }
        column += length + 1;
        text.push(if column > 62 { b'\n' } else { b' ' });
        column = if column > 62 { 0 } else { column };
    }
    text.truncate(bytes.saturating_sub(1));
    text.push(b'\n');
    text
}

fn connect(target: SocketAddr, number: usize) -> std::io::Result<TcpStream> {
    let socket = Socket::new(Domain::for_address(target), Type::STREAM, None)?;
    socket.set_nonblocking(true)?;
    socket.set_tcp_nodelay(true)?;
    if target.ip().is_loopback() && target.is_ipv4() {
        // 240 addresses: no run is short of ports because the last one's are still in TIME_WAIT.
        let host = u8::try_from(2 + number % 240).unwrap_or(2);
        socket.bind(&SockAddr::from(SocketAddrV4::new(Ipv4Addr::new(127, 0, 0, host), 0)))?;
    }
    match socket.connect(&target.into()) {
        Err(error) if error.raw_os_error() != Some(rustix::io::Errno::INPROGRESS.raw_os_error()) => return Err(error),
        _ => {}
    }
    Ok(TcpStream::from_std(socket.into()))
}

/// Sends all messages.
pub fn run(options: &Options) -> Result<Report, String> {
    let mails = crate::folder_of(options.folder.as_ref())?;
    let bodies: Vec<Vec<u8>> =
        if mails.is_empty() { vec![wire(&generated(options.size))] } else { mails.iter().map(|mail| wire(mail)).collect() };
    let latency = Histogram::new(3).map_err(|error| error.to_string())?;
    let mut report = Report { accepted: 0, refused: 0, failed: 0, seconds: 0.0, latency };
    let mut poll = Poll::new().map_err(|error| error.to_string())?;
    let mut events = Events::with_capacity(1024);
    let slots = options.connections.min(options.count.div_ceil(options.messages_per_connection.max(1))).max(1);
    let mut connections: Vec<Option<Connection>> = (0..slots).map(|_| None).collect();
    let mut given_out = 0;
    let mut opened = 0;
    let begun = Instant::now();
    let mut buffer = vec![0; 64 * 1024];
    loop {
        for (index, slot) in connections.iter_mut().enumerate() {
            if slot.is_none() && given_out < options.count {
                let left = options.messages_per_connection.max(1).min(options.count - given_out);
                let mut stream = connect(options.target, opened).map_err(|error| format!("{}: {error}", options.target))?;
                let interest = Interest::READABLE | Interest::WRITABLE;
                poll.registry().register(&mut stream, Token(index), interest).map_err(|error| error.to_string())?;
                let now = Instant::now();
                *slot = Some(Connection {
                    stream,
                    stage: Stage::Greeting,
                    reply: Vec::new(),
                    out: Vec::new(),
                    left,
                    mail_at: now,
                    heard: now,
                    number: given_out,
                });
                given_out += left;
                opened += 1;
            }
        }
        if connections.iter().all(Option::is_none) {
            break;
        }
        poll.poll(&mut events, Some(Duration::from_secs(1))).map_err(|error| error.to_string())?;
        for event in &events {
            let Some(slot) = connections.get_mut(event.token().0) else { continue };
            let Some(connection) = slot.as_mut() else { continue };
            match drive(connection, &mut buffer, options, &bodies, &mut report) {
                Ok(true) => {}
                Ok(false) => *slot = None,
                Err(_) => {
                    report.failed += connection.left as u64;
                    *slot = None;
                }
            }
        }
        for slot in &mut connections {
            if let Some(connection) = slot.as_ref().filter(|connection| connection.heard.elapsed() > STALL) {
                report.failed += connection.left as u64;
                *slot = None;
            }
        }
    }
    report.seconds = begun.elapsed().as_secs_f64();
    Ok(report)
}

/// Reads what is there, answers it. False: the connection is done.
fn drive(
    connection: &mut Connection,
    buffer: &mut [u8],
    options: &Options,
    bodies: &[Vec<u8>],
    report: &mut Report,
) -> std::io::Result<bool> {
    loop {
        if !connection.out.is_empty() {
            match connection.stream.write(&connection.out) {
                Ok(written) => {
                    connection.out.drain(..written);
                    continue;
                }
                Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::NotConnected) => return Ok(true),
                Err(error) => return Err(error),
            }
        }
        match connection.stream.read(buffer) {
            Ok(0) => return if connection.stage == Stage::Quit { Ok(false) } else { Err(ErrorKind::UnexpectedEof.into()) },
            Ok(received) => connection.reply.extend_from_slice(buffer.get(..received).unwrap_or_default()),
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::NotConnected) => return Ok(true),
            Err(error) => return Err(error),
        }
        connection.heard = Instant::now();
        if let Some(code) = complete(&connection.reply) {
            connection.reply.clear();
            if !answer(connection, code, options, bodies, report)? {
                return Ok(false);
            }
        }
    }
}

/// The code of a whole reply.
fn complete(reply: &[u8]) -> Option<u8> {
    let last = reply.strip_suffix(b"\r\n")?.rsplit(|byte| *byte == b'\n').next()?;
    if last.get(3) == Some(&b'-') { None } else { last.first().copied() }
}

fn answer(
    connection: &mut Connection,
    code: u8,
    options: &Options,
    bodies: &[Vec<u8>],
    report: &mut Report,
) -> std::io::Result<bool> {
    let good = code == b'2' || code == b'3';
    let mut refused = |connection: &mut Connection| {
        report.refused += connection.left as u64;
        connection.stage = Stage::Quit;
        connection.out.extend_from_slice(b"QUIT\r\n");
    };
    match connection.stage {
        Stage::Quit => return Ok(false),
        Stage::Body => {
            let micros = u64::try_from(connection.mail_at.elapsed().as_micros()).unwrap_or(u64::MAX);
            // Three digits of a value below the histogram's end.
            let _ = report.latency.record(micros);
            if good {
                report.accepted += 1;
            } else {
                report.refused += 1;
            }
            connection.left -= 1;
            connection.number += 1;
            if connection.left == 0 {
                connection.stage = Stage::Quit;
                connection.out.extend_from_slice(b"QUIT\r\n");
            } else {
                mail(connection);
            }
        }
        _ if !good => refused(connection),
        Stage::Greeting => {
            connection.stage = Stage::Ehlo;
            connection.out.extend_from_slice(b"EHLO load.example\r\n");
        }
        Stage::Ehlo => mail(connection),
        Stage::Mail => {
            connection.stage = Stage::Rcpt;
            let to = format!("RCPT TO:<u{:02}@{}>\r\n", connection.number % options.boxes.clamp(1, 100), options.domain);
            connection.out.extend_from_slice(to.as_bytes());
        }
        Stage::Rcpt => {
            connection.stage = Stage::Data;
            connection.out.extend_from_slice(b"DATA\r\n");
        }
        Stage::Data => {
            connection.stage = Stage::Body;
            connection.out.extend_from_slice(bodies.get(connection.number % bodies.len()).map(Vec::as_slice).unwrap_or_default());
        }
    }
    Ok(true)
}

fn mail(connection: &mut Connection) {
    connection.stage = Stage::Mail;
    connection.mail_at = Instant::now();
    connection.out.extend_from_slice(b"MAIL FROM:<load@far.example>\r\n");
}

/// Opens connections, holds them, prints what they cost.
pub fn idle(target: SocketAddr, count: usize, pids: &[u32], seconds: u64) -> Result<(), String> {
    let before = memory(pids);
    let bar = indicatif::ProgressBar::new(count as u64);
    let mut held = Vec::with_capacity(count);
    for number in 0..count {
        let socket = connect(target, number).map_err(|error| format!("connection {number}: {error}"))?;
        let mut stream = std::net::TcpStream::from(std::os::fd::OwnedFd::from(socket));
        let wrong = |error: std::io::Error| format!("connection {number}: {error}");
        stream.set_nonblocking(false).map_err(wrong)?;
        stream.set_read_timeout(Some(STALL)).map_err(wrong)?;
        let mut buffer = [0; 2048];
        for line in ["", "EHLO load.example\r\n"] {
            stream.write_all(line.as_bytes()).map_err(wrong)?;
            if stream.read(&mut buffer).map_err(wrong)? == 0 {
                return Err(format!("connection {number}: closed by the server"));
            }
        }
        held.push(stream);
        bar.inc(1);
    }
    bar.finish_and_clear();
    std::thread::sleep(Duration::from_secs(seconds));
    let after = memory(pids);
    println!("{} connections held", held.len());
    if !pids.is_empty() {
        let grown = after.saturating_sub(before);
        println!(
            "private memory of the processes: {before} KiB before, {after} KiB after: {} bytes a connection",
            grown * 1024 / count.max(1) as u64
        );
    }
    Ok(())
}

/// Private and anonymous memory (KiB): what is not shared with other processes.
fn memory(pids: &[u32]) -> u64 {
    let of = |pid: &u32| {
        let text = std::fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).unwrap_or_default();
        let field = |line: &str| line.split_whitespace().nth(1).and_then(|number| number.parse::<u64>().ok()).unwrap_or(0);
        text.lines()
            .filter(|line| line.starts_with("Private_Dirty:") || line.starts_with("Private_Clean:"))
            .map(field)
            .sum::<u64>()
    };
    pids.iter().map(of).sum()
}
