//! A server that takes all mail and keeps none: the far end of outgoing mail, and the ceiling of a load generator. One thread, one poll.

mod session;

pub use session::Counts;

use crate::machine::Machine;
use mio::net::{TcpListener, TcpStream};
use mio::{Events, Interest, Poll, Token};
use session::{Outcome, Session};
use std::collections::HashMap;
use std::io::{ErrorKind, Read, Write};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

#[derive(Clone, Debug, clap::Args)]
pub struct Options {
    /// host:port, repeated for several
    #[arg(long, default_values = ["127.0.0.1:2626"])]
    pub listen: Vec<SocketAddr>,
    /// End after so many messages
    #[arg(long)]
    pub count: Option<u64>,
    /// End after so many seconds
    #[arg(long, value_parser = crate::generator::positive)]
    pub seconds: Option<f64>,
    /// Milliseconds the whole sink waits before each 250: a slow far end
    #[arg(long, default_value_t = 0)]
    pub delay_ms: u64,
    /// Numbers as JSON
    #[arg(long)]
    pub json: bool,
}

pub fn command(options: &Options) -> Result<(), String> {
    let mut sink = Sink::bind(&options.listen, options.delay_ms)?;
    if !options.json {
        let addresses: Vec<String> = sink.addresses()?.iter().map(ToString::to_string).collect();
        println!("{}\nlistens on {}", Machine::read(), addresses.join(", "));
    }
    let bar = crate::progress(0, options.json);
    let seconds = sink.run(options.count, options.seconds.map(Duration::from_secs_f64), &bar)?;
    bar.finish_and_clear();
    let Counts { connections, messages, recipients, bytes } = sink.counts;
    if options.json {
        println!(
            "{}",
            serde_json::json!({ "machine": Machine::read().json(), "connections": connections, "messages": messages,
                "recipients": recipients, "bytes": bytes, "seconds": seconds })
        );
    } else {
        println!(
            "{messages} messages, {recipients} recipients, {bytes} bytes on {connections} connections in {seconds:.2} s (from the first message)"
        );
    }
    Ok(())
}

pub struct Sink {
    poll: Poll,
    listeners: Vec<TcpListener>,
    clients: HashMap<usize, Client>,
    opened: usize,
    delay: Duration,
    buffer: Vec<u8>,
    pub counts: Counts,
}

struct Client {
    stream: TcpStream,
    session: Session,
    out: Vec<u8>,
    closes: bool,
}

impl Sink {
    pub fn bind(addresses: &[SocketAddr], delay_ms: u64) -> Result<Self, String> {
        crate::machine::raise_descriptor_limit();
        let poll = Poll::new().map_err(|error| error.to_string())?;
        let mut listeners = Vec::new();
        for (number, address) in addresses.iter().enumerate() {
            let wrong = |error: std::io::Error| format!("{address}: {error}");
            let mut listener = TcpListener::bind(*address).map_err(wrong)?;
            poll.registry().register(&mut listener, Token(number), Interest::READABLE).map_err(wrong)?;
            listeners.push(listener);
        }
        let (clients, counts) = (HashMap::new(), Counts::default());
        let opened = listeners.len();
        Ok(Self { poll, listeners, clients, opened, delay: Duration::from_millis(delay_ms), buffer: vec![0; 64 * 1024], counts })
    }

    pub fn addresses(&self) -> Result<Vec<SocketAddr>, String> {
        self.listeners.iter().map(|listener| listener.local_addr().map_err(|error| error.to_string())).collect()
    }

    /// Serves until that many messages or that time; seconds from the first connection to the last message.
    pub fn run(&mut self, count: Option<u64>, time: Option<Duration>, bar: &indicatif::ProgressBar) -> Result<f64, String> {
        let mut events = Events::with_capacity(1024);
        let until = time.map(|time| Instant::now() + time);
        let (mut first, mut last) = (None, Instant::now());
        bar.set_length(count.unwrap_or(0));
        loop {
            let messages = self.counts.messages;
            // After the last message its client has a second to say QUIT.
            let quiet = self.clients.is_empty() || last.elapsed() > Duration::from_secs(1);
            if quiet && count.is_some_and(|count| messages >= count) {
                break;
            }
            let now = Instant::now();
            if until.is_some_and(|until| now >= until) {
                break;
            }
            let wait = until.map_or(Duration::from_secs(1), |until| (until - now).min(Duration::from_secs(1)));
            self.poll.poll(&mut events, Some(wait)).map_err(|error| error.to_string())?;
            for event in &events {
                let token = event.token().0;
                if token < self.listeners.len() {
                    self.accept(token)?;
                } else {
                    self.serve(token);
                }
            }
            if self.counts.messages > messages {
                last = Instant::now();
                first.get_or_insert(now);
                bar.set_position(self.counts.messages);
            }
        }
        Ok(first.map_or(0.0, |first| (last - first).as_secs_f64()))
    }

    fn accept(&mut self, listener: usize) -> Result<(), String> {
        loop {
            let Some(accepted) = self.listeners.get(listener).map(TcpListener::accept) else { return Ok(()) };
            let mut stream = match accepted {
                Ok((stream, _)) => stream,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error.to_string()),
            };
            let place = self.opened;
            self.opened += 1;
            self.counts.connections += 1;
            let registered = self.poll.registry().register(&mut stream, Token(place), Interest::READABLE | Interest::WRITABLE);
            if registered.is_ok() && stream.set_nodelay(true).is_ok() {
                let out = b"220 sink.example ESMTP\r\n".to_vec();
                self.clients.insert(place, Client { stream, session: Session::default(), out, closes: false });
            }
        }
    }

    fn serve(&mut self, place: usize) {
        let Some(client) = self.clients.get_mut(&place) else { return };
        if !client.serve(&mut self.buffer, self.delay, &mut self.counts).unwrap_or(false) {
            self.clients.remove(&place);
        }
    }
}

impl Client {
    /// False: the connection is done.
    fn serve(&mut self, buffer: &mut [u8], delay: Duration, counts: &mut Counts) -> std::io::Result<bool> {
        loop {
            while !self.out.is_empty() {
                match self.stream.write(&self.out) {
                    Ok(written) => drop(self.out.drain(..written)),
                    Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(true),
                    Err(error) => return Err(error),
                }
            }
            if self.closes {
                return Ok(false);
            }
            let received = match self.stream.read(buffer) {
                Ok(0) => return Ok(false),
                Ok(received) => received,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(true),
                Err(error) => return Err(error),
            };
            let mut rest = buffer.get(..received).unwrap_or_default();
            while !rest.is_empty() && !self.closes {
                let (taken, outcome) = self.session.handle_bytes(rest, &mut self.out, counts);
                rest = rest.get(taken..).unwrap_or_default();
                match outcome {
                    Outcome::Goes => {}
                    Outcome::Message if delay.is_zero() => {}
                    Outcome::Message => std::thread::sleep(delay),
                    Outcome::Closes => self.closes = true,
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::generator;

    /// Our two ends against each other.
    fn together(count: usize, delay_ms: u64, change: impl FnOnce(&mut generator::Options)) -> (Counts, generator::Report) {
        let mut sink = Sink::bind(&[([127, 0, 0, 1], 0).into()], delay_ms).unwrap();
        let mut options = generator::Options::plain(sink.addresses().unwrap()[0], 4, count, 3000);
        change(&mut options);
        let bar = indicatif::ProgressBar::hidden();
        let served = std::thread::spawn(move || {
            sink.run(Some(count as u64), Some(Duration::from_secs(20)), &indicatif::ProgressBar::hidden()).unwrap();
            sink.counts
        });
        let report = generator::run(&options, &bar).unwrap();
        (served.join().unwrap(), report)
    }

    #[test]
    fn both_ends_count_the_same() {
        let (counts, report) = together(101, 0, |options| options.recipients = 3);
        assert_eq!((report.accepted, report.refused, report.failed), (101, 0, 0));
        assert_eq!((counts.connections, counts.messages, counts.recipients), (101, 101, 303));
        let wire = generator::message::wire(&generator::message::generated(3000)).len() as u64 - 3;
        assert_eq!(counts.bytes, 101 * wire);
        assert_eq!(report.latency.len(), 101);
    }

    #[test]
    fn connections_are_kept_for_as_many_messages_as_asked() {
        let (counts, report) = together(100, 0, |options| options.messages_per_connection = 25);
        assert_eq!((report.accepted, counts.messages), (100, 100));
        // A fast one is done with its 25 while others are not, and a new one takes what is left: at most one for each place.
        assert!((4..=8).contains(&counts.connections), "{}", counts.connections);
        let (counts, report) = together(30, 0, |options| (options.messages_per_connection, options.rate) = (10, Some(500.0)));
        assert_eq!((report.accepted, counts.messages), (30, 30));
    }

    #[test]
    fn an_open_loop_charges_a_slow_server_for_what_waited() {
        // 5 ms a message, 400 due a second: the last of 100 is due after 250 ms and done after 500 at the earliest.
        let (_, report) = together(100, 5, |options| (options.rate, options.connections) = (Some(400.0), 1));
        assert_eq!(report.accepted, 100);
        let from_due = report.from_due.unwrap();
        assert!(from_due.max() > 240_000, "{}", from_due.max());
        // Lock step alone does not see it.
        assert!(report.latency.value_at_quantile(0.5) < 100_000 && report.waited.unwrap().max() > 200_000);
    }
}
