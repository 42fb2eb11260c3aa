//! The generator: one thread, one poll, connections that speak SMTP in lock step from many loopback addresses.
//!
//! Closed loop: a connection sends its next message when the last one is answered. Open loop (`--rate`): messages are due at
//! fixed times; one that finds no free connection waits, and that wait counts.

mod connection;
mod letter;
pub mod message;
mod report;
mod schedule;

pub use connection::{complete, connect, connect_from};
pub use letter::{Client, Letter};
pub use report::Report;
pub use schedule::{Schedule, Spacing};

use connection::{Connection, Stage};
use indicatif::ProgressBar;
use mio::unix::SourceFd;
use mio::{Events, Interest, Poll, Token};
use rustix::time::{Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create, timerfd_settime};
use schedule::Due;
use std::net::SocketAddr;
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::PathBuf;
use std::time::{Duration, Instant};

/// A connection without an answer for this long has failed.
pub const STALL: Duration = Duration::from_secs(60);
const TIMER: Token = Token(usize::MAX);

#[derive(Clone, Debug, clap::Args)]
pub struct Options {
    /// host:port
    #[arg(long)]
    pub target: SocketAddr,
    /// Connections at once
    #[arg(long, default_value_t = 16)]
    pub connections: usize,
    /// Messages on one connection, at most
    #[arg(long, default_value_t = 1)]
    pub messages_per_connection: usize,
    /// Messages in all
    #[arg(long, default_value_t = 1000)]
    pub count: usize,
    /// Messages due a second, however slow the server is; without it each connection sends its next message when the last is answered
    #[arg(long, value_parser = positive)]
    pub rate: Option<f64>,
    /// How they follow each other
    #[arg(long, value_enum, default_value = "even", requires = "rate")]
    pub spacing: Spacing,
    /// Bytes of a generated message
    #[arg(long, default_value_t = 10_240)]
    pub size: usize,
    /// Send the mails of this folder instead
    #[arg(long)]
    pub folder: Option<PathBuf>,
    /// Recipients are u00 to uNN of this domain in turn
    #[arg(long, default_value = "bench.example")]
    pub domain: String,
    /// How many mailboxes there are, at most 100
    #[arg(long, default_value_t = 16)]
    pub boxes: usize,
    /// Recipients of each message
    #[arg(long, default_value_t = 1)]
    pub recipients: usize,
    /// HELO instead of EHLO
    #[arg(long)]
    pub helo: bool,
    /// Numbers as JSON
    #[arg(long)]
    pub json: bool,
}

impl Options {
    /// One generated message a connection, closed loop, to the benchmark's mailboxes.
    pub fn plain(target: SocketAddr, connections: usize, count: usize, size: usize) -> Self {
        Self {
            target,
            connections,
            messages_per_connection: 1,
            count,
            rate: None,
            spacing: Spacing::Even,
            size,
            folder: None,
            domain: crate::server::DOMAIN.to_owned(),
            boxes: crate::server::BOXES,
            recipients: 1,
            helo: false,
            json: false,
        }
    }
}

pub fn positive(text: &str) -> Result<f64, String> {
    text.parse().ok().filter(|rate: &f64| rate.is_finite() && *rate > 0.0).ok_or_else(|| "a number above 0 is needed".to_owned())
}

/// Sends all messages.
pub fn run(options: &Options, bar: &ProgressBar) -> Result<Report, String> {
    let mails = options.folder.as_deref().map(message::of_folder).transpose()?;
    let mails = mails.unwrap_or_else(|| vec![message::generated(options.size)]);
    let letters: Vec<Letter> = mails.iter().map(|mail| Letter::plain(mail)).collect();
    send(options, &letters, bar)
}

/// Sends as many of these as are asked for, again from the first after the last.
pub fn send(options: &Options, letters: &[Letter], bar: &ProgressBar) -> Result<Report, String> {
    crate::machine::raise_descriptor_limit();
    let report = Report::new(options.rate.is_some())?;
    let mut generator = Generator::new(options, letters, report).map_err(|error| error.to_string())?;
    bar.set_length(options.count as u64);
    let begun = Instant::now();
    let mut looked = begun;
    let mut events = Events::with_capacity(1024);
    while generator.hand_out()? {
        generator.poll.poll(&mut events, Some(Duration::from_secs(1))).map_err(|error| error.to_string())?;
        for event in events.iter().filter(|event| event.token() != TIMER) {
            generator.drive(event.token().0);
        }
        if looked.elapsed() > Duration::from_millis(200) {
            looked = Instant::now();
            generator.end_stalled();
            let report = &generator.report;
            bar.set_position(report.accepted + report.refused + report.failed);
        }
    }
    generator.report.seconds = begun.elapsed().as_secs_f64();
    Ok(generator.report)
}

struct Generator<'a> {
    options: &'a Options,
    letters: &'a [Letter],
    schedule: Schedule,
    report: Report,
    poll: Poll,
    timer: OwnedFd,
    connections: Vec<Option<Connection>>,
    /// Places without a connection.
    free: Vec<usize>,
    /// Places whose connection waits for a message; one that was closed since is passed over.
    idle: Vec<usize>,
    opened: usize,
    buffer: Vec<u8>,
}

impl<'a> Generator<'a> {
    fn new(options: &'a Options, letters: &'a [Letter], report: Report) -> std::io::Result<Self> {
        let poll = Poll::new()?;
        let timer = timerfd_create(TimerfdClockId::Monotonic, TimerfdFlags::NONBLOCK | TimerfdFlags::CLOEXEC)?;
        poll.registry().register(&mut SourceFd(&timer.as_raw_fd()), TIMER, Interest::READABLE)?;
        let places = options.connections.max(1);
        Ok(Self {
            options,
            letters,
            schedule: Schedule::new(Instant::now(), options.rate, options.spacing, options.count),
            report,
            poll,
            timer,
            connections: (0..places).map(|_| None).collect(),
            free: (0..places).rev().collect(),
            idle: Vec::new(),
            opened: 0,
            buffer: vec![0; 64 * 1024],
        })
    }

    /// Gives messages that are due to connections that are free. False: all is done.
    fn hand_out(&mut self) -> Result<bool, String> {
        let connections = &self.connections;
        while self.idle.last().is_some_and(|place| !is_idle(connections, *place)) {
            self.idle.pop();
        }
        while !(self.idle.is_empty() && self.free.is_empty()) {
            let now = Instant::now();
            let Some(due) = self.schedule.take(now) else { break };
            self.report.taken(due.at);
            self.place(due)?;
            let connections = &self.connections;
            while self.idle.last().is_some_and(|place| !is_idle(connections, *place)) {
                self.idle.pop();
            }
        }
        let now = Instant::now();
        match self.schedule.next_at(now) {
            None => {
                for place in std::mem::take(&mut self.idle) {
                    if is_idle(&self.connections, place) {
                        let result = self.connections.get_mut(place).and_then(Option::as_mut).map_or(Ok(()), Connection::quit);
                        self.keep(place, result.map(|()| true));
                    }
                }
                Ok(self.free.len() < self.connections.len())
            }
            Some(at) => {
                // Where no connection is free, the next reply is what is waited for.
                if at > now && !(self.idle.is_empty() && self.free.is_empty()) {
                    self.wake_in(at - now)?;
                }
                Ok(true)
            }
        }
    }

    /// An idle connection takes it, or a new one.
    fn place(&mut self, due: Due) -> Result<(), String> {
        if let Some(place) = self.idle.pop() {
            let connection = self.connections.get_mut(place).and_then(Option::as_mut);
            let result = connection.map_or(Ok(()), |connection| connection.begin(due, self.letters));
            self.keep(place, result.map(|()| true));
            return Ok(());
        }
        let Some(place) = self.free.pop() else { return Ok(()) };
        let wrong = |error: std::io::Error| format!("{}: {error}", self.options.target);
        let client = Letter::of(self.letters, due.number).and_then(|letter| letter.client.as_ref());
        let mut stream = match client {
            Some(client) => connect_from(self.options.target, Some(client.address)),
            None => connect(self.options.target, self.opened),
        }
        .map_err(wrong)?;
        self.poll.registry().register(&mut stream, Token(place), Interest::READABLE | Interest::WRITABLE).map_err(wrong)?;
        self.opened += 1;
        if let Some(slot) = self.connections.get_mut(place) {
            *slot = Some(Connection::new(stream, self.options.messages_per_connection.max(1), due));
        }
        Ok(())
    }

    fn drive(&mut self, place: usize) {
        let Some(connection) = self.connections.get_mut(place).and_then(Option::as_mut) else { return };
        let before = connection.stage;
        let result = connection.drive(&mut self.buffer, self.options, self.letters, &mut self.report);
        if before != Stage::Idle && connection.stage == Stage::Idle && matches!(result, Ok(true)) {
            self.idle.push(place);
        }
        self.keep(place, result);
    }

    /// Frees the place of a connection that is done or broken.
    fn keep(&mut self, place: usize, result: std::io::Result<bool>) {
        if matches!(result, Ok(true)) {
            return;
        }
        let Some(connection) = self.connections.get_mut(place).and_then(Option::take) else { return };
        self.report.failed += u64::from(connection.message.is_some());
        self.free.push(place);
    }

    fn end_stalled(&mut self) {
        for place in 0..self.connections.len() {
            let stalled = |connection: &Connection| connection.stage != Stage::Idle && connection.heard.elapsed() > STALL;
            if self.connections.get(place).and_then(Option::as_ref).is_some_and(stalled) {
                self.keep(place, Ok(false));
            }
        }
    }

    /// A poll's own timeout counts whole milliseconds; a message is due to the microsecond.
    fn wake_in(&self, wait: Duration) -> Result<(), String> {
        let it_value = Timespec::try_from(wait).map_err(|error| error.to_string())?;
        let once = Itimerspec { it_interval: Timespec { tv_sec: 0, tv_nsec: 0 }, it_value };
        timerfd_settime(&self.timer, TimerfdTimerFlags::empty(), &once).map(drop).map_err(|error| error.to_string())
    }
}

fn is_idle(connections: &[Option<Connection>], place: usize) -> bool {
    connections.get(place).and_then(Option::as_ref).is_some_and(|connection| connection.stage == Stage::Idle)
}
