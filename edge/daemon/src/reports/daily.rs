//! When reports are sent, and for whom: a thread that looks every minute whether a day is over and due.

use super::files::{Message, Period, Writer, unix};
use super::outgoing::{Outgoing, OutgoingAnswer};
use crate::shard::{Event, OperatorAnswer};
use flate2::Compression;
use flate2::write::GzEncoder;
use postring_auth::dmarc::Domain;
use postring_auth::dmarc::report::{Collected, DomainReport, Metadata, write_xml};
use postring_control::ShardSpeaker;
use postring_policy::dmarc_reports::DmarcReportsConfig;
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::fs::File;
use std::io::{BufRead, BufReader, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender, SyncSender};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

const LOOK_INTERVAL: Duration = Duration::from_secs(60);
/// Reports of a day begin so many seconds after its end, and so many later at most: not all receivers send at midnight.
const DUE_SECONDS: (u64, u64) = (600, 3 * 3600);
/// Time until what could not be sent is tried again.
const AGAIN: Duration = Duration::from_secs(3600);
/// Time a shard has for a report: its questions of the DNS and the queue's receipt.
const SHARD_WAIT: Duration = Duration::from_secs(60);
/// How often it is looked whether the process ends.
const ANSWER_LOOK: Duration = Duration::from_millis(200);
/// Time for the shards to give their rows away.
const ROWS_WAIT: Duration = Duration::from_secs(2);
/// Time between two reports: mail comes first.
const PACE: Duration = Duration::from_millis(20);
/// Octets of a line that is read.
const LINE_BYTES_MAX: usize = 64 * 1024;

/// An operator's command: its words, and who waits.
pub(crate) type Command = (Vec<String>, SyncSender<OperatorAnswer>);

/// The thread, and how it is told.
pub(crate) struct Daily {
    commands: Sender<Command>,
    config: Arc<Mutex<DmarcReportsConfig>>,
    ending: Arc<AtomicBool>,
    thread: JoinHandle<()>,
}

impl Daily {
    pub(crate) fn begin(
        writer: &Writer,
        hostname: &str,
        config: DmarcReportsConfig,
        shards: Vec<ShardSpeaker<Event>>,
    ) -> Result<Self, String> {
        let (commands, received) = mpsc::channel();
        let (config, ending) = (Arc::new(Mutex::new(config)), Arc::new(AtomicBool::new(false)));
        let sender = Reporter {
            folder: writer.folder().to_owned(),
            hostname: hostname.to_owned(),
            config: Arc::clone(&config),
            writer: writer.messages(),
            shards,
            next_shard: 0,
            ending: Arc::clone(&ending),
        };
        let thread = std::thread::Builder::new()
            .name("dmarc reports".to_owned())
            .spawn(move || sender.run(&received))
            .map_err(|error| format!("edge: {error}"))?;
        Ok(Self { commands, config, ending, thread })
    }

    /// What holds from now on.
    pub(crate) fn configure(&self, config: &DmarcReportsConfig) {
        self.config.lock().unwrap_or_else(PoisonError::into_inner).clone_from(config);
    }

    /// `postring dmarc ...`.
    pub(crate) fn ask(&self, words: &[String], wait: Duration) -> OperatorAnswer {
        let (answer, answers) = mpsc::sync_channel(1);
        let late = || "the reports are being sent; ask again when that is done".to_owned();
        self.commands.send((words.to_vec(), answer)).map_err(|_| late())?;
        answers.recv_timeout(wait).map_err(|_| late())?
    }

    /// Ends between two reports; while the shards are still there.
    pub(crate) fn end(self) {
        self.ending.store(true, Ordering::Relaxed);
        drop(self.commands);
        if self.thread.join().is_err() {
            tracing::error!("the thread that sends DMARC's reports has panicked");
        }
    }
}

struct Reporter {
    folder: PathBuf,
    hostname: String,
    config: Arc<Mutex<DmarcReportsConfig>>,
    writer: SyncSender<Message>,
    shards: Vec<ShardSpeaker<Event>>,
    next_shard: usize,
    ending: Arc<AtomicBool>,
}

/// What came of sending.
#[derive(Default)]
struct Outcome {
    sent: Vec<Value>,
    failed: Vec<Value>,
}

impl Reporter {
    fn run(mut self, commands: &Receiver<Command>) {
        let mut not_before = Instant::now();
        loop {
            match commands.recv_timeout(LOOK_INTERVAL) {
                Ok((words, answer)) => {
                    let result = self.command(&words);
                    // Whoever asked may have given up.
                    let _ = answer.try_send(result);
                }
                Err(RecvTimeoutError::Timeout) if Instant::now() >= not_before => {
                    let due = |period: &Period| unix() >= period.end + self.delay(*period);
                    let periods: Vec<Period> = Period::all(&self.folder, unix()).into_iter().filter(due).collect();
                    if !self.send(&periods).failed.is_empty() {
                        not_before = Instant::now() + AGAIN;
                    }
                }
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return,
            }
        }
    }

    fn config(&self) -> DmarcReportsConfig {
        self.config.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The same for a period after a restart, another for each host.
    fn delay(&self, period: Period) -> u64 {
        let seed = self.hostname.bytes().fold(period.begin, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3));
        DUE_SECONDS.0 + (seed >> 16) % (DUE_SECONDS.1 - DUE_SECONDS.0)
    }

    fn command(&mut self, words: &[String]) -> OperatorAnswer {
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        match words[..] {
            ["dmarc", "list"] => {
                self.written(false);
                Ok(self.list())
            }
            ["dmarc", "show", domain] => {
                self.written(false);
                self.show(domain)
            }
            ["dmarc", "send"] => {
                if !self.config().is_on() {
                    return Err("no reports are sent; give policy.dmarc.reports.from an address".to_owned());
                }
                self.written(true);
                let outcome = self.send(&Period::all(&self.folder, unix()));
                Ok(json!({ "sent": outcome.sent, "failed": outcome.failed }))
            }
            _ => Err("dmarc: list, show DOMAIN or send".to_owned()),
        }
    }

    /// Waits until all rows are in files; `end`: of a period that is over.
    fn written(&self, end: bool) {
        let (given, all_given) = mpsc::channel();
        self.shards.iter().for_each(|shard| shard.tell(Event::Rows(given.clone())));
        drop(given);
        let until = Instant::now() + ROWS_WAIT;
        for _ in &self.shards {
            let _ = all_given.recv_timeout(until.saturating_duration_since(Instant::now()));
        }
        let (done, is_done) = mpsc::sync_channel(1);
        if self.writer.send(Message::Written { end, done }).is_ok() {
            let _ = is_done.recv_timeout(ROWS_WAIT);
        }
    }

    /// What is there, of times that are over and of now.
    fn list(&self) -> Value {
        let periods = Period::all(&self.folder, unix()).into_iter().map(|period| {
            let sent = period.sent(&self.folder);
            let mut value = overview(&read(&period.path(&self.folder, "rows")), &sent);
            value["begin"] = period.begin.into();
            value["end"] = period.end.into();
            value
        });
        let mut periods: Vec<Value> = periods.collect();
        periods.push(overview(&read(&Period::current(&self.folder)), &BTreeSet::new()));
        json!({ "periods": periods, "on": self.config().is_on() })
    }

    /// The report of a domain as it would be sent now.
    fn show(&self, domain: &str) -> OperatorAnswer {
        let domain = Domain::new(domain).ok_or_else(|| format!("\"{domain}\" is no domain"))?;
        let now = unix();
        let current = (Period { begin: now, end: now }, Period::current(&self.folder));
        let periods = Period::all(&self.folder, now).into_iter().map(|period| (period, period.path(&self.folder, "rows")));
        let mut reports = Vec::new();
        for (period, path) in periods.chain([current]) {
            let collected = read(&path);
            if let Some((_, report)) = collected.domains().find(|(name, _)| **name == domain) {
                reports.push(Value::from(self.xml(&self.config(), period, &domain, report)));
            }
        }
        if reports.is_empty() { Err(format!("nothing is noted for {domain}")) } else { Ok(reports.into()) }
    }

    fn report_id(&self, period: Period, domain: &Domain) -> String {
        format!("{}.{domain}@{}", period.begin, self.hostname)
    }

    fn xml(&self, config: &DmarcReportsConfig, period: Period, domain: &Domain, report: &DomainReport) -> String {
        let report_id = self.report_id(period, domain);
        let organization = if config.organization.is_empty() { &self.hostname } else { &config.organization };
        let metadata =
            Metadata { organization, email: &config.from, report_id: &report_id, begin: period.begin, end: period.end };
        write_xml(&metadata, domain, report)
    }

    /// Sends the reports of these periods to all who have not had them.
    fn send(&mut self, periods: &[Period]) -> Outcome {
        let mut outcome = Outcome::default();
        let config = self.config();
        if !config.is_on() {
            return outcome;
        }
        for period in periods {
            let before = outcome.failed.len();
            let collected = read(&period.path(&self.folder, "rows"));
            let sent = period.sent(&self.folder);
            for (domain, report) in collected.domains().filter(|(domain, _)| !sent.contains(domain.as_str())) {
                if self.ending.load(Ordering::Relaxed) {
                    return outcome;
                }
                if config.is_never(domain.as_str()) {
                    continue;
                }
                match self.send_one(&config, *period, domain, report) {
                    Ok((to, skipped)) => {
                        if let Err(error) = period.note_sent(&self.folder, domain.as_str()) {
                            tracing::warn!("{}: {error}; {domain} may be told twice", self.folder.display());
                        }
                        outcome.sent.push(json!({ "domain": domain.as_str(), "to": to, "skipped": skipped }));
                        std::thread::sleep(PACE);
                    }
                    Err(error) => {
                        tracing::warn!("the DMARC report for {domain} is tried again later: {error}");
                        outcome.failed.push(json!({ "domain": domain.as_str(), "error": error }));
                    }
                }
            }
            if outcome.failed.len() == before {
                period.remove(&self.folder);
            }
        }
        outcome
    }

    fn send_one(
        &mut self,
        config: &DmarcReportsConfig,
        period: Period,
        domain: &Domain,
        report: &DomainReport,
    ) -> OutgoingAnswer {
        let mut gzip = GzEncoder::new(Vec::new(), Compression::default());
        let compressed = gzip
            .write_all(self.xml(config, period, domain, report).as_bytes())
            .and_then(|()| gzip.finish())
            .map_err(|error| error.to_string())?;
        let outgoing = Outgoing {
            domain: domain.clone(),
            addresses: report.record.aggregate_addresses.clone(),
            from: config.from.clone(),
            report_id: self.report_id(period, domain),
            begin: period.begin,
            end: period.end,
            compressed,
        };
        let (answer, answers) = mpsc::sync_channel(1);
        let shard = self.shards.get(self.next_shard % self.shards.len().max(1)).ok_or("there is no shard")?;
        self.next_shard = self.next_shard.wrapping_add(1);
        shard.tell(Event::Report { report: Box::new(outgoing), answer });
        let until = Instant::now() + SHARD_WAIT;
        loop {
            match answers.recv_timeout(ANSWER_LOOK) {
                Ok(answer) => return answer,
                // The process ends: whether it was sent is known then to the queue alone, and it may be sent again, with the same id.
                Err(RecvTimeoutError::Timeout) if !self.ending.load(Ordering::Relaxed) && Instant::now() < until => {}
                Err(_) => return Err("the edge shard did not answer".to_owned()),
            }
        }
    }
}

/// The rows of a file; what cannot be read is left out.
fn read(path: &Path) -> Collected {
    let mut collected = Collected::default();
    let Ok(file) = File::open(path) else { return collected };
    let mut file = BufReader::new(file);
    let mut line = Vec::new();
    loop {
        line.clear();
        let length = (&mut file).take(LINE_BYTES_MAX as u64).read_until(b'\n', &mut line).unwrap_or(0);
        if length == 0 {
            return collected;
        }
        if let Ok(text) = std::str::from_utf8(&line) {
            collected.add(text.trim_end_matches('\n'));
        }
    }
}

/// What an operator sees of a period.
fn overview(collected: &Collected, sent: &BTreeSet<String>) -> Value {
    let domains: Vec<Value> = collected
        .domains()
        .map(|(domain, report)| {
            let to: Vec<&str> = report.record.aggregate_addresses.iter().map(|address| address.uri.as_str()).collect();
            json!({ "domain": domain.as_str(), "messages": report.messages(), "to": to,
                "sent": sent.contains(domain.as_str()) })
        })
        .collect();
    json!({ "domains": domains, "messages_left_out": collected.left_out() })
}
