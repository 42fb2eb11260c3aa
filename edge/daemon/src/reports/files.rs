//! The files of rows, and the thread that writes them.
//!
//! ```text
//!   current            "postring dmarc rows 1 BEGIN", then a line each: count, tab, the line of `postring_auth::dmarc::report`
//!   BEGIN-END.rows     the same, of a time that is over; seconds since 1970, the last one is in it
//!   BEGIN-END.sent     the domains that have been told of it
//! ```
//! None is synced: a machine that loses its power loses the last rows, and a line that was cut is read over.

use std::collections::BTreeSet;
use std::fs::{self, File, OpenOptions};
use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, SyncSender};
use std::thread::JoinHandle;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

const DAY_SECONDS: u64 = 86_400;
const HEAD: &str = "postring dmarc rows 1 ";
/// Octets of a day; rows beyond are lost, and the log says so.
const DAY_BYTES_MAX: u64 = 128 << 20;
/// Who waits in the writer's queue, each with some thousand lines at most.
const QUEUE: usize = 16;
/// How late a day may end when nothing comes.
const LOOK_INTERVAL: Duration = Duration::from_secs(30);
/// Days a report that could not be sent is kept: of older ones nobody wants to hear.
const KEEP_DAYS: u64 = 4;

/// What the writer is told.
pub(crate) enum Message {
    /// Lines with their counts.
    Rows(Vec<(Box<str>, u64)>),
    /// Ends the time of the current file if that is wanted, and says when all that came before is written.
    Written { end: bool, done: SyncSender<()> },
    /// Nothing more will come. (A shard that has ended may keep its sender.)
    End,
}

/// The writer's thread.
pub(crate) struct Writer {
    folder: PathBuf,
    messages: SyncSender<Message>,
    thread: JoinHandle<()>,
}

/// A time that is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Period {
    /// First second.
    pub begin: u64,
    /// Last second.
    pub end: u64,
}

impl Writer {
    pub(crate) fn begin(data: &Path) -> Result<Self, String> {
        let folder = data.join("senders/dmarc");
        let (messages, received) = mpsc::sync_channel(QUEUE);
        let place = folder.clone();
        let thread = std::thread::Builder::new()
            .name("dmarc rows".to_owned())
            .spawn(move || Current::new(place).run(&received))
            .map_err(|error| format!("edge: {error}"))?;
        Ok(Self { folder, messages, thread })
    }

    pub(crate) fn folder(&self) -> &Path {
        &self.folder
    }

    pub(crate) fn messages(&self) -> SyncSender<Message> {
        self.messages.clone()
    }

    /// Writes what has come; all who could send more have ended.
    pub(crate) fn end(self) {
        // A writer that is gone already is joined all the same.
        let _ = self.messages.send(Message::End);
        if self.thread.join().is_err() {
            tracing::error!("the thread that keeps the rows of DMARC's reports has panicked");
        }
    }
}

pub(super) fn unix() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs()
}

/// The file that is written.
struct Current {
    folder: PathBuf,
    file: Option<File>,
    begin: u64,
    bytes: u64,
    has_complained: bool,
}

impl Current {
    fn new(folder: PathBuf) -> Self {
        Self { folder, file: None, begin: 0, bytes: 0, has_complained: false }
    }

    fn run(mut self, messages: &Receiver<Message>) {
        self.take_up();
        loop {
            match messages.recv_timeout(LOOK_INTERVAL) {
                Ok(Message::Rows(lines)) => {
                    self.end_of_day();
                    let written = self.write(&lines);
                    self.complain(written);
                }
                Ok(Message::Written { end, done }) => {
                    if end {
                        self.finish(unix());
                    }
                    // Whoever asked may have given up.
                    let _ = done.try_send(());
                }
                Err(RecvTimeoutError::Timeout) => self.end_of_day(),
                Ok(Message::End) | Err(RecvTimeoutError::Disconnected) => return,
            }
        }
    }

    /// Goes on with the file of the last run.
    fn take_up(&mut self) {
        let path = self.folder.join("current");
        let Ok(file) = OpenOptions::new().append(true).open(&path) else { return };
        match begin_of(&path) {
            Some(begin) => {
                self.bytes = file.metadata().map_or(0, |metadata| metadata.len());
                (self.file, self.begin) = (Some(file), begin);
                // A line that was cut must not swallow the next.
                let ended = self.file.as_mut().map_or(Ok(()), |file| file.write_all(b"\n"));
                self.complain(ended);
                self.end_of_day();
            }
            None => tracing::warn!("{} is no file of rows, and is written anew", path.display()),
        }
    }

    fn write(&mut self, lines: &[(Box<str>, u64)]) -> io::Result<()> {
        let mut text = Vec::with_capacity(lines.len() * 256);
        if self.file.is_none() {
            fs::create_dir_all(&self.folder)?;
            self.begin = unix();
            self.bytes = 0;
            let mut options = OpenOptions::new();
            self.file = Some(options.write(true).create(true).truncate(true).mode(0o600).open(self.folder.join("current"))?);
            writeln!(text, "{HEAD}{}", self.begin)?;
        }
        for (line, count) in lines {
            writeln!(text, "{count}\t{line}")?;
        }
        self.bytes += text.len() as u64;
        if self.bytes > DAY_BYTES_MAX {
            return Err(io::Error::other(format!("{DAY_BYTES_MAX} octets of rows are enough for a day")));
        }
        self.file.as_mut().map_or(Ok(()), |file| file.write_all(&text))
    }

    fn end_of_day(&mut self) {
        let end = (self.begin / DAY_SECONDS + 1) * DAY_SECONDS - 1;
        if self.file.is_some() && unix() > end {
            self.finish(end);
        }
    }

    /// The time of the file ends with this second.
    fn finish(&mut self, end: u64) {
        if self.file.take().is_none() {
            return;
        }
        self.has_complained = false;
        let period = Period { begin: self.begin, end: end.max(self.begin) };
        let renamed = fs::rename(self.folder.join("current"), period.path(&self.folder, "rows"));
        self.complain(renamed);
    }

    fn complain(&mut self, result: io::Result<()>) {
        if let Err(error) = result
            && !std::mem::replace(&mut self.has_complained, true)
        {
            tracing::warn!("{}: {error}; rows of DMARC's reports are lost", self.folder.display());
        }
    }
}

/// When the file's time began.
fn begin_of(path: &Path) -> Option<u64> {
    let mut line = String::new();
    // A file of something else may have no lines.
    BufReader::new(File::open(path).ok()?.take(64)).read_line(&mut line).ok()?;
    line.strip_prefix(HEAD)?.trim_end().parse().ok()
}

impl Period {
    pub(super) fn path(self, folder: &Path, kind: &str) -> PathBuf {
        folder.join(format!("{}-{}.{kind}", self.begin, self.end))
    }

    /// All that are over and not sent, oldest first. What is too old goes.
    pub(super) fn all(folder: &Path, now: u64) -> Vec<Self> {
        let mut periods: Vec<Self> = fs::read_dir(folder)
            .into_iter()
            .flatten()
            .flatten()
            .filter_map(|entry| {
                let name = entry.file_name();
                let (begin, end) = name.to_str()?.strip_suffix(".rows")?.split_once('-')?;
                Some(Self { begin: begin.parse().ok()?, end: end.parse().ok()? })
            })
            .collect();
        periods.sort_unstable();
        periods.retain(|period| {
            let is_new = now.saturating_sub(period.end) < KEEP_DAYS * DAY_SECONDS;
            if !is_new {
                tracing::warn!(
                    "the reports of DMARC from {} on could not be sent for {KEEP_DAYS} days and are given up",
                    period.begin
                );
                period.remove(folder);
            }
            is_new
        });
        periods
    }

    /// The file of the rows that are written now.
    pub(super) fn current(folder: &Path) -> PathBuf {
        folder.join("current")
    }

    /// It has been told.
    pub(super) fn remove(self, folder: &Path) {
        for kind in ["rows", "sent"] {
            let path = self.path(folder, kind);
            match fs::remove_file(&path) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => tracing::warn!("{}: {error}", path.display()),
                _ => {}
            }
        }
    }

    /// The domains that have been told.
    pub(super) fn sent(self, folder: &Path) -> BTreeSet<String> {
        fs::read_to_string(self.path(folder, "sent")).unwrap_or_default().lines().map(str::to_owned).collect()
    }

    /// This domain has been told.
    pub(super) fn note_sent(self, folder: &Path, domain: &str) -> io::Result<()> {
        let mut file = OpenOptions::new().append(true).create(true).mode(0o600).open(self.path(folder, "sent"))?;
        writeln!(file, "{domain}")?;
        file.sync_data()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows(line: &str) -> Message {
        Message::Rows(vec![(line.into(), 2)])
    }

    fn written(writer: &Writer, end: bool) {
        let (done, is_done) = mpsc::sync_channel(1);
        writer.messages.send(Message::Written { end, done }).unwrap();
        is_done.recv().unwrap();
    }

    #[test]
    fn rows_outlive_the_process_and_are_given_away_by_periods() {
        let data = tempfile::tempdir().unwrap();
        let writer = Writer::begin(data.path()).unwrap();
        let folder = writer.folder().to_owned();
        writer.messages.send(rows("a")).unwrap();
        written(&writer, false);
        writer.end();
        // As a power failure may leave it.
        OpenOptions::new().append(true).open(Period::current(&folder)).unwrap().write_all(b"1\tcu").unwrap();
        let writer = Writer::begin(data.path()).unwrap();
        writer.messages.send(rows("b")).unwrap();
        written(&writer, true);
        let [period] = Period::all(&folder, unix())[..] else { panic!("one period") };
        let text = fs::read_to_string(period.path(&folder, "rows")).unwrap();
        assert_eq!(text.split_once('\n').unwrap().1, "2\ta\n1\tcu\n2\tb\n", "{text}");
        assert!(!Period::current(&folder).exists());
        // Nothing was noted since.
        written(&writer, true);
        assert_eq!(Period::all(&folder, unix()).len(), 1);
        period.note_sent(&folder, "a.example").unwrap();
        period.note_sent(&folder, "b.example").unwrap();
        assert_eq!(period.sent(&folder), ["a.example", "b.example"].map(str::to_owned).into());
        assert_eq!(Period::all(&folder, unix() + KEEP_DAYS * DAY_SECONDS), []);
        assert_eq!(fs::read_dir(&folder).unwrap().count(), 0);
        writer.end();
    }

    #[test]
    fn a_day_ends_when_its_rows_are_found_the_day_after() {
        let data = tempfile::tempdir().unwrap();
        let folder = data.path().join("senders/dmarc");
        fs::create_dir_all(&folder).unwrap();
        let begin = (unix() / DAY_SECONDS - 1) * DAY_SECONDS + 5;
        fs::write(Period::current(&folder), format!("{HEAD}{begin}\n1\ta\n")).unwrap();
        let writer = Writer::begin(data.path()).unwrap();
        written(&writer, false);
        assert_eq!(Period::all(&folder, unix()), [Period { begin, end: begin - 5 + DAY_SECONDS - 1 }]);
        fs::write(Period::current(&folder), "something else").unwrap();
        writer.end();
        let writer = Writer::begin(data.path()).unwrap();
        writer.messages.send(rows("b")).unwrap();
        written(&writer, false);
        assert!(begin_of(&Period::current(&folder)).is_some());
        writer.end();
    }
}
