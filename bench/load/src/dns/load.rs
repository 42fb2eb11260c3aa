//! One run: one thread, some sockets, batches. Closed loop: a question takes the place of each that was answered or given up. Open loop: they
//! are due at fixed times; one that finds no place waits, and that wait counts.

use super::flight::{Flight, Question};
use super::mmsg::Batch;
use super::question::Questions;
use super::report::Report;
use crate::generator::{Schedule, Spacing};
use indicatif::ProgressBar;
use rustix::event::{PollFd, PollFlags, Timespec, epoll, poll};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::os::fd::{AsFd, OwnedFd};
use std::time::{Duration, Instant};

/// Questions in a call.
const BATCH: usize = 64;
/// Sockets looked at after one wait.
const EVENTS: usize = 256;
/// Between looks at what is lost, and at the bar.
const LOOK: Duration = Duration::from_millis(20);
/// Calls in a row that send nothing: the kernel's buffers have been full for that long.
const STUCK: usize = 10_000;

/// What is asked, how fast, how long.
#[derive(Clone, Copy, Debug)]
pub struct Load {
    pub target: SocketAddr,
    /// Sockets, each with a port of its own.
    pub sockets: usize,
    /// Questions that wait for an answer, all sockets together.
    pub outstanding: usize,
    /// Due a second; without it as fast as answers come.
    pub rate: Option<f64>,
    pub spacing: Spacing,
    /// Ends after this many questions,
    pub count: Option<u64>,
    /// or this long, whichever is first.
    pub time: Duration,
    /// Without an answer for this long a question is lost.
    pub timeout: Duration,
}

struct Line {
    socket: UdpSocket,
    flight: Flight,
}

struct Run<'a> {
    load: &'a Load,
    questions: &'a Questions,
    /// The next question.
    next: usize,
    schedule: Schedule,
    lines: Vec<Line>,
    /// The one that sends next.
    first_line: usize,
    ready: OwnedFd,
    outgoing: Batch,
    incoming: Batch,
    begun: Instant,
    report: Report,
}

fn nanoseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

/// Asks `questions` from the `first` on, again and again. The bar counts questions, or milliseconds where only the time is given.
pub fn run(load: &Load, questions: &Questions, first: usize, bar: &ProgressBar) -> Result<Report, String> {
    if questions.len() == 0 {
        return Err("no questions".to_owned());
    }
    let mut run = Run::new(load, questions, first).map_err(|error| format!("{}: {error}", load.target))?;
    bar.set_length(load.count.unwrap_or_else(|| nanoseconds(load.time) / 1_000_000));
    let end = run.begun + load.time;
    let mut looked = run.begun;
    let mut last = run.begun;
    let mut sending = true;
    loop {
        let answered = run.receive()?;
        let now = Instant::now();
        if answered > 0 {
            last = now;
        }
        if sending && (now >= end || run.schedule.next_at(now).is_none()) {
            sending = false;
            last = last.max(now);
        }
        let sent = if sending { run.send(now)? } else { 0 };
        if now - looked > LOOK {
            looked = now;
            run.give_up(now);
            bar.set_position(if load.count.is_some() { run.report.sent } else { nanoseconds(now - run.begun) / 1_000_000 });
        }
        if !sending && run.is_idle() {
            break;
        }
        if answered == 0 && sent == 0 {
            let until = if sending { run.wake_at(now).min(end) } else { now + LOOK };
            run.wait(until.saturating_duration_since(now))?;
        }
    }
    run.report.seconds = (last - run.begun).as_secs_f64();
    Ok(run.report)
}

impl<'a> Run<'a> {
    fn new(load: &'a Load, questions: &'a Questions, first: usize) -> std::io::Result<Self> {
        crate::machine::raise_descriptor_limit();
        let outstanding = load.outstanding.max(1);
        let sockets = load.sockets.clamp(1, outstanding);
        let any = if load.target.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
        let ready = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        let mut lines = Vec::new();
        for number in 0..sockets {
            let socket = UdpSocket::bind(SocketAddr::new(any, 0))?;
            socket.connect(load.target)?;
            // The kernel may give less, which is enough for what is outstanding.
            let _ = socket2::SockRef::from(&socket).set_recv_buffer_size(1 << 22);
            epoll::add(&ready, &socket, epoll::EventData::new_u64(number as u64), epoll::EventFlags::IN)?;
            // What does not divide evenly goes to the first.
            let share = outstanding / sockets + usize::from(number < outstanding % sockets);
            lines.push(Line { socket, flight: Flight::new(share) });
        }
        let count = load.count.and_then(|count| usize::try_from(count).ok()).unwrap_or(usize::MAX);
        let report = Report::new(load.rate.is_some()).map_err(std::io::Error::other)?;
        let begun = Instant::now();
        Ok(Self {
            load,
            questions,
            next: first,
            schedule: Schedule::new(begun, load.rate, load.spacing, count),
            lines,
            first_line: 0,
            ready,
            outgoing: Batch::outgoing(BATCH),
            incoming: Batch::incoming(BATCH),
            begun,
            report,
        })
    }

    /// Takes all answers that have come.
    fn receive(&mut self) -> Result<u64, String> {
        let mut events = [epoll::Event { flags: epoll::EventFlags::empty(), data: epoll::EventData::new_u64(0) }; EVENTS];
        let at_once = Timespec { tv_sec: 0, tv_nsec: 0 };
        let count = match epoll::wait(&self.ready, &mut events[..], Some(&at_once)) {
            Ok(count) => count,
            Err(rustix::io::Errno::INTR) => 0,
            Err(error) => return Err(error.to_string()),
        };
        let before = self.report.answered + self.report.stray;
        for event in events.iter().take(count) {
            let number = usize::try_from(event.data.u64()).unwrap_or(usize::MAX);
            let Some(line) = self.lines.get_mut(number) else { continue };
            loop {
                let received = match self.incoming.receive(line.socket.as_fd()) {
                    Ok(received) => received,
                    Err(error) => {
                        refused(&error, &mut self.report)?;
                        continue;
                    }
                };
                if received == 0 {
                    break;
                }
                self.report.receive_calls += 1;
                let now_ns = nanoseconds(self.begun.elapsed());
                for slot in 0..received {
                    let Some((head, bytes)) = self.incoming.answer(slot) else { continue };
                    let [high, low, flags, ..] = *head;
                    let question = line.flight.arrive(u16::from_be_bytes([high, low])).filter(|_| flags & 0x80 != 0);
                    match question {
                        Some(question) => self.report.answer(head, bytes, question, now_ns),
                        None => self.report.stray += 1,
                    }
                }
                if received < self.incoming.slots() {
                    break;
                }
            }
        }
        Ok(self.report.answered + self.report.stray - before)
    }

    /// Sends what is due, as far as there is room.
    fn send(&mut self, now: Instant) -> Result<u64, String> {
        let before = self.report.sent;
        let sent_ns = nanoseconds(now - self.begun);
        // Each burst leaves by another socket.
        let first = self.first_line;
        self.first_line = (first + 1) % self.lines.len().max(1);
        for number in 0..self.lines.len() {
            let index = (first + number) % self.lines.len();
            let Some(line) = self.lines.get_mut(index) else { break };
            while line.flight.room() > 0 && self.outgoing.filled() < self.outgoing.slots() {
                let Some(due) = self.schedule.take(now) else { break };
                let due_ns = nanoseconds(due.at.saturating_duration_since(self.begun));
                let Some(id) = line.flight.depart(Question { due_ns, sent_ns }) else { break };
                // There is room: `filled` was asked.
                let _ = self.outgoing.push(self.questions.packet(self.next), id);
                self.next = self.next.wrapping_add(1);
            }
            let mut sent = 0;
            for attempt in 0.. {
                if sent == self.outgoing.filled() {
                    break;
                }
                if attempt == STUCK {
                    return Err(format!("{}: the kernel takes no more questions", self.load.target));
                }
                match self.outgoing.send(line.socket.as_fd(), sent) {
                    Ok(count) => {
                        self.report.send_calls += 1;
                        sent += count;
                    }
                    Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => std::thread::yield_now(),
                    Err(error) => refused(&error, &mut self.report)?,
                }
            }
            self.report.sent += sent as u64;
            self.outgoing.clear();
            if self.schedule.next_at(now).is_none_or(|at| at > now) {
                break;
            }
        }
        Ok(self.report.sent - before)
    }

    fn give_up(&mut self, now: Instant) {
        let before_ns = nanoseconds(now - self.begun).saturating_sub(nanoseconds(self.load.timeout));
        self.report.lost += self.lines.iter_mut().map(|line| line.flight.give_up(before_ns)).sum::<u64>();
    }

    fn is_idle(&self) -> bool {
        self.report.sent == self.report.answered + self.report.lost
    }

    /// When something may be to do without an answer.
    fn wake_at(&self, now: Instant) -> Instant {
        let look = now + LOOK;
        // Where there is no room, the next answer is what is waited for.
        let room = self.lines.iter().any(|line| line.flight.room() > 0);
        self.schedule.next_at(now).filter(|_| room).map_or(look, |at| at.min(look))
    }

    /// Sleeps until an answer comes, or that long. The kernel may be 50 us late, so at a high rate several questions leave together.
    fn wait(&self, time: Duration) -> Result<(), String> {
        let timeout = Timespec::try_from(time).map_err(|error| error.to_string())?;
        match poll(&mut [PollFd::new(&self.ready, PollFlags::IN)], Some(&timeout)) {
            Ok(_) | Err(rustix::io::Errno::INTR) => Ok(()),
            Err(error) => Err(error.to_string()),
        }
    }
}

/// What a socket says of an earlier question that nobody took is counted; the question is lost in time.
fn refused(error: &std::io::Error, report: &mut Report) -> Result<(), String> {
    if error.kind() != std::io::ErrorKind::ConnectionRefused {
        return Err(error.to_string());
    }
    report.unreachable += 1;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicBool, Ordering};

    /// Answers all but every tenth question, every fourth of them NXDOMAIN.
    fn with_server<T>(work: impl FnOnce(SocketAddr) -> T) -> T {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        socket.set_read_timeout(Some(Duration::from_millis(20))).unwrap();
        let address = socket.local_addr().unwrap();
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = stop.clone();
        let server = std::thread::spawn(move || {
            let mut number = 0;
            let mut packet = [0; 512];
            while !stopped.load(Ordering::Relaxed) {
                let Ok((length, from)) = socket.recv_from(&mut packet) else { continue };
                number += 1;
                if number % 10 == 0 {
                    continue;
                }
                packet[2] |= 0x80;
                packet[3] = if number % 4 == 0 { 3 } else { 0 };
                packet[7] = u8::from(packet[3] == 0);
                socket.send_to(&packet[..length], from).unwrap();
            }
        });
        let result = work(address);
        stop.store(true, Ordering::Relaxed);
        server.join().unwrap();
        result
    }

    fn load(target: SocketAddr) -> Load {
        Load {
            target,
            sockets: 3,
            outstanding: 20,
            rate: None,
            spacing: Spacing::Even,
            count: Some(1000),
            time: Duration::from_secs(30),
            timeout: Duration::from_millis(500),
        }
    }

    #[test]
    fn every_question_is_answered_or_lost() {
        let questions = Questions::generated("d{}.example", "A", 7, None).unwrap();
        let report = with_server(|target| run(&load(target), &questions, 0, &ProgressBar::hidden())).unwrap();
        // A machine that stops for longer than the timeout makes late answers of some.
        assert_eq!((report.sent, report.answered + report.stray, report.lost - report.stray), (1000, 900, 100));
        assert_eq!(report.latency.len(), report.answered);
        assert_eq!(report.rcodes[0] + report.rcodes[3], report.answered);
        assert_eq!(report.with_records, report.rcodes[0]);
        assert!(report.from_due.is_none() && report.bytes > report.answered * 12);
    }

    #[test]
    fn at_a_rate_it_ends_with_the_time() {
        let questions = Questions::generated("example", "A", 1, None).unwrap();
        let load = |target| Load { rate: Some(500.0), count: None, time: Duration::from_millis(400), ..load(target) };
        let report = with_server(|target| run(&load(target), &questions, 0, &ProgressBar::hidden())).unwrap();
        // Never more than are due; how many fewer depends on the machine.
        assert!(report.sent <= 200 && report.sent > 0 && report.sent == report.answered + report.lost);
        assert_eq!(report.from_due.map(|histogram| histogram.len()), Some(report.answered));
    }

    #[test]
    fn nobody_there_is_no_error_but_a_loss() {
        let target = UdpSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let questions = Questions::generated("example", "A", 1, None).unwrap();
        let load = Load { count: Some(5), timeout: Duration::from_millis(50), ..load(target) };
        let report = run(&load, &questions, 0, &ProgressBar::hidden()).unwrap();
        assert_eq!((report.sent, report.answered, report.lost), (5, 0, 5));
        assert!(report.unreachable > 0);
    }
}
