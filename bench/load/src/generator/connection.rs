//! One connection: the client's half of the dialogue, in lock step.

use super::letter::{Client, Letter};
use super::schedule::Due;
use super::{Options, Report};
use mio::net::TcpStream;
use socket2::{Domain, SockAddr, Socket, Type};
use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};
use std::time::Instant;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    Greeting,
    Hello,
    /// Open, without a message.
    Idle,
    Mail,
    Recipient,
    Data,
    Body,
    Quit,
}

/// What a client without a name of its own calls itself.
const HELO: &str = "load.example";

pub struct Connection {
    pub stream: TcpStream,
    pub stage: Stage,
    /// Last time a reply came.
    pub heard: Instant,
    /// What it is sending, until that is accepted or refused.
    pub message: Option<Due>,
    reply: Vec<u8>,
    out: Vec<u8>,
    messages_left: usize,
    recipients_named: usize,
    mail_at: Instant,
}

/// A socket that connects: without waiting, from one of many loopback addresses.
pub fn connect(target: SocketAddr, number: usize) -> std::io::Result<TcpStream> {
    // 240 addresses: no run is short of ports because the last one's are still in TIME_WAIT.
    let host = u8::try_from(2 + number % 240).unwrap_or(2);
    // Not 127.0.0.x: 127.0.0.2 stands in every block list, for tests (RFC 5782 section 5).
    let from = Ipv4Addr::new(127, 0, 1, host);
    connect_from(target, Some(from).filter(|_| target.ip().is_loopback() && target.is_ipv4()))
}

/// A socket that connects: without waiting, from this address.
pub fn connect_from(target: SocketAddr, from: Option<Ipv4Addr>) -> std::io::Result<TcpStream> {
    let socket = Socket::new(Domain::for_address(target), Type::STREAM, None)?;
    socket.set_nonblocking(true)?;
    socket.set_tcp_nodelay(true)?;
    if let Some(from) = from {
        socket.bind(&SockAddr::from(SocketAddrV4::new(from, 0)))?;
    }
    match socket.connect(&target.into()) {
        Err(error) if error.raw_os_error() != Some(rustix::io::Errno::INPROGRESS.raw_os_error()) => return Err(error),
        _ => {}
    }
    Ok(TcpStream::from_std(socket.into()))
}

impl Connection {
    pub fn new(stream: TcpStream, messages: usize, message: Due) -> Self {
        let now = Instant::now();
        Self {
            stream,
            stage: Stage::Greeting,
            heard: now,
            message: Some(message),
            reply: Vec::new(),
            out: Vec::new(),
            messages_left: messages,
            recipients_named: 0,
            mail_at: now,
        }
    }

    /// Begins a message on an idle connection.
    pub fn begin(&mut self, message: Due, letters: &[Letter]) -> std::io::Result<()> {
        self.message = Some(message);
        self.heard = Instant::now();
        self.mail(Letter::of(letters, message.number));
        self.flush()
    }

    pub fn quit(&mut self) -> std::io::Result<()> {
        self.heard = Instant::now();
        self.say_quit();
        self.flush()
    }

    /// Reads what is there, answers it. False: the connection is done.
    pub fn drive(
        &mut self,
        buffer: &mut [u8],
        options: &Options,
        letters: &[Letter],
        report: &mut Report,
    ) -> std::io::Result<bool> {
        loop {
            self.flush()?;
            match self.stream.read(buffer) {
                Ok(0) if matches!(self.stage, Stage::Quit | Stage::Idle) => return Ok(false),
                Ok(0) => return Err(ErrorKind::UnexpectedEof.into()),
                Ok(received) => self.reply.extend_from_slice(buffer.get(..received).unwrap_or_default()),
                Err(error) if waits(&error) => return Ok(true),
                Err(error) => return Err(error),
            }
            self.heard = Instant::now();
            if let Some(code) = complete(&self.reply) {
                if matches!(code, b'4' | b'5') && report.first_refusal.is_none() {
                    report.first_refusal = Some(String::from_utf8_lossy(&self.reply).trim_end().to_owned());
                }
                self.reply.clear();
                if !self.answer(code, options, letters, report) {
                    return Ok(false);
                }
            }
        }
    }

    fn flush(&mut self) -> std::io::Result<()> {
        while !self.out.is_empty() {
            match self.stream.write(&self.out) {
                Ok(written) => drop(self.out.drain(..written)),
                Err(error) if waits(&error) => break,
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    fn answer(&mut self, code: u8, options: &Options, letters: &[Letter], report: &mut Report) -> bool {
        let good = code == b'2' || code == b'3';
        let number = self.message.map_or(0, |message| message.number);
        let letter = Letter::of(letters, number);
        match self.stage {
            // Idle: the server says something on its own, 421 for example.
            Stage::Quit | Stage::Idle => return false,
            Stage::Body => {
                if let Some(message) = self.message.take() {
                    report.answered(good, message.at, self.mail_at);
                }
                self.messages_left = self.messages_left.saturating_sub(1);
                if self.messages_left == 0 {
                    self.say_quit();
                } else {
                    self.stage = Stage::Idle;
                }
            }
            Stage::Greeting | Stage::Hello | Stage::Mail | Stage::Recipient | Stage::Data if !good => {
                self.message = None;
                report.refused += 1;
                self.say_quit();
            }
            Stage::Greeting => {
                self.stage = Stage::Hello;
                let name = letter.and_then(|letter| letter.client.as_ref()).map_or(HELO, |Client { name, .. }| name.as_str());
                // A vector takes all that is written to it, here and below.
                let _ = write!(self.out, "{} {name}\r\n", if options.helo { "HELO" } else { "EHLO" });
            }
            Stage::Hello => self.mail(letter),
            Stage::Mail => self.recipient(number, options),
            Stage::Recipient if self.recipients_named < options.recipients => self.recipient(number, options),
            Stage::Recipient => {
                self.stage = Stage::Data;
                self.out.extend_from_slice(b"DATA\r\n");
            }
            Stage::Data => {
                self.stage = Stage::Body;
                self.out.extend_from_slice(letter.map(|letter| letter.wire.as_slice()).unwrap_or_default());
            }
        }
        true
    }

    fn mail(&mut self, letter: Option<&Letter>) {
        self.stage = Stage::Mail;
        self.mail_at = Instant::now();
        self.recipients_named = 0;
        let _ = write!(self.out, "MAIL FROM:<{}>\r\n", letter.map(|letter| letter.reverse_path.as_str()).unwrap_or_default());
    }

    fn recipient(&mut self, number: usize, options: &Options) {
        self.stage = Stage::Recipient;
        let mailbox = (number + self.recipients_named) % options.boxes.clamp(1, 100);
        self.recipients_named += 1;
        let _ = write!(self.out, "RCPT TO:<u{mailbox:02}@{}>\r\n", options.domain);
    }

    fn say_quit(&mut self) {
        self.stage = Stage::Quit;
        self.out.extend_from_slice(b"QUIT\r\n");
    }
}

/// Not connected yet, or nothing to read, or no room to write.
fn waits(error: &std::io::Error) -> bool {
    matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::NotConnected)
}

/// The first digit of the code of a whole reply; `None` while more is to come.
pub fn complete(reply: &[u8]) -> Option<u8> {
    let last = reply.strip_suffix(b"\r\n")?.rsplit(|byte| *byte == b'\n').next()?;
    if last.get(3) == Some(&b'-') { None } else { last.first().copied() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reply_is_complete_with_its_last_line() {
        assert_eq!(complete(b"250-one\r\n250-two\r\n"), None);
        assert_eq!(complete(b"250-one\r\n250 tw"), None);
        assert_eq!(complete(b"250-one\r\n250 two\r\n"), Some(b'2'));
        assert_eq!(complete(b"550 5.1.1 no\r\n"), Some(b'5'));
    }
}
