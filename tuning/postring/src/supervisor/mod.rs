//! The supervisor: opens what needs rights, starts each role as a process, links them, watches them, drains them.
//!
//! One thread decides ([`Supervisor::run`]); readers of the children's sockets, the control socket and signals send it notes. It parses
//! neither mail nor anything else from the network.

mod access;
mod children;
mod folders;
mod http;
mod links;
mod operator;
mod sockets;
mod users;

pub use children::Note;
pub use operator::ask;

use crate::acme;
use crate::config::Config;
use crate::init;
use crate::plan::{self, Plan};
use crate::tls::entry::Said;
use crate::tls::{Certificates, command::now as unix_now, published};
use children::{Children, Key};
use postring_control::{FromChild, Role, ToChild};
use postring_directory::Directory;
use socket2::Protocol;
use std::collections::BTreeMap;
use std::fs::File;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender, SyncSender};
use std::time::{Duration, Instant};

/// What `postring check` says of the users: nothing of those that are only wished for.
pub fn check_users(config: &Config) -> Result<(), String> {
    users::resolve(&config.users).map(|_| ())
}

/// What `postring check` says of zones and lists.
pub fn check_zones(config: &Config) -> Result<(), String> {
    config.check_files()?;
    let zones = config.dns.zones(&config.server.hostname);
    let checked = postring_zones::check(&zones, &postring_zones::State::new(&config.server.data)).map(|_| ());
    // The supervisor keeps none of it.
    crate::memory::release();
    checked
}

/// What `postring check` says of the ports.
pub fn check_sockets(config: &Config) -> Vec<String> {
    let mut findings = Vec::new();
    for (key, addresses) in config.listen.tcp() {
        for address in addresses {
            let transports: &[Protocol] = if key == "dns" { &[Protocol::UDP, Protocol::TCP] } else { &[Protocol::TCP] };
            let wrong = transports.iter().find_map(|transport| sockets::probe(*transport, *address).err());
            findings.extend(wrong.map(|error| sockets::explain(&format!("listen.{key}"), *address, &error)));
        }
    }
    findings
}

/// True if the demo can have its ports above this base.
pub fn ports_are_free(base: u16) -> bool {
    let is_free = |transport: Protocol, port: u16| sockets::probe(transport, ([127, 0, 0, 1], base + port).into()).is_ok();
    [24, 25, 53, 80, 465, 587].into_iter().all(|port| is_free(Protocol::TCP, port)) && is_free(Protocol::UDP, 53)
}

/// How often the directory is looked at for changes made by other programs.
const LOOK_EVERY: Duration = Duration::from_millis(500);
/// How often the files of certificates are looked at.
const LOOK_AT_CERTIFICATES_EVERY: Duration = Duration::from_secs(2);
/// Time for all children to be ready at the first start; a long journal is replayed in it.
const START_WAIT: Duration = Duration::from_secs(120);
/// Time for one role to drain before it is ended.
const DRAIN_WAIT: Duration = Duration::from_secs(30);

/// Operators that wait at once.
const ASKED_MAX: usize = 64;

type OperatorAnswer = Result<serde_json::Value, String>;

/// Everything the deciding thread knows.
pub struct Supervisor {
    config_path: PathBuf,
    config: Config,
    /// What the children were confined by.
    started_with: Config,
    plan: Plan,
    children: Children,
    directory: Directory,
    snapshot: OwnedFd,
    sequence: u64,
    certificates: Option<Certificates>,
    /// What the edge gets of them.
    certificates_sealed: Option<OwnedFd>,
    /// Who gets certificates from an authority.
    acme: Option<acme::Worker>,
    notes: Receiver<Note>,
    sender: Sender<Note>,
    /// Operators that wait for a child's answer.
    asked: BTreeMap<u64, (Key, SyncSender<OperatorAnswer>)>,
    last_asked: u64,
    _lock: File,
}

impl Supervisor {
    /// Checks, locks, opens the sockets. Nothing runs yet.
    pub fn prepare(config_path: &Path) -> Result<Self, String> {
        let config = Config::load(config_path)?;
        init::check_version(&config.server.data)?;
        let lock = lock(&config.server.data)?;
        raise_limits();
        let plan = plan::plan(&config.cores, &plan::available(), config.edge.scan)?;
        plan::check_shards(&plan, &config.server.data)?;
        if config.scan.yara && !plan.scan.is_empty() {
            postring_engine::yara::compile(&config.server.data.join(&config.scan.rules))?;
        }
        check_zones(&config)?;
        let directory = Directory::open(&config.server.data.join("directory.sqlite")).map_err(|error| error.to_string())?;
        let (snapshot, sequence) = snapshot(&directory)?;
        let sockets = sockets::open(&config, plan.edge.len())?;
        let users = users::resolve(&config.users)?;
        folders::prepare(&config, &plan, users.as_ref())?;
        access::announce(&config);
        acme::Worker::prepare(&config)?;
        let (certificates, said) = Certificates::open(&config.tls, &config.server.hostname, None, unix_now())?;
        said.into_iter().for_each(log);
        compare_published(&config, certificates.as_ref());
        let certificates_sealed = certificates.as_ref().map(sealed).transpose()?;
        let (sender, notes) = mpsc::channel();
        let acme = acme::Worker::start(&config, sender.clone())?;
        let children = Children::new(&config, &plan, users.as_ref(), sockets, sender.clone())?;
        Ok(Self {
            config_path: config_path.to_owned(),
            started_with: config.clone(),
            config,
            plan,
            children,
            directory,
            snapshot,
            sequence,
            certificates,
            certificates_sealed,
            acme,
            notes,
            sender,
            asked: BTreeMap::new(),
            last_asked: 0,
            _lock: lock,
        })
    }

    /// The configuration in force.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// The plan in force.
    pub fn plan(&self) -> &Plan {
        &self.plan
    }

    /// Starts everything, calls `ready` once all roles are, and works until told to stop.
    pub fn run(mut self, ready: impl FnOnce(&Self)) -> Result<(), String> {
        let run_folder = self.config.server.data.join("run");
        operator::listen(&run_folder, self.sender.clone())?;
        http::serve(&self.config.listen.http, self.sender.clone())?;
        signals(self.sender.clone())?;
        self.children.start_all();
        self.write_pids(&run_folder);
        let mut ready = Some(ready);
        let start_until = Instant::now() + START_WAIT;
        let mut look_at = Instant::now() + LOOK_EVERY;
        let mut look_at_certificates_at = Instant::now() + LOOK_AT_CERTIFICATES_EVERY;
        let result = loop {
            if ready.is_some() {
                if self.children.all_ready() {
                    if let Some(ready) = ready.take() {
                        ready(&self);
                        // A challenge may have to be answered by the edge.
                        self.acme.iter().for_each(|acme| acme.configure(&self.config));
                    }
                } else if let Some(text) = self.children.fatal() {
                    break Err(text);
                } else if Instant::now() > start_until {
                    break Err("not every role was ready within two minutes; the lines above say why".to_owned());
                }
            }
            match self.notes.recv_timeout(Duration::from_millis(100)) {
                Ok(Note::Stop) => break Ok(()),
                Ok(Note::Reload) => {
                    let _ = self.reload();
                }
                Ok(note) => self.take(note, &run_folder),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => break Err("the supervisor lost its own channel".to_owned()),
            }
            if self.children.restart_due() {
                self.write_pids(&run_folder);
            }
            if Instant::now() >= look_at {
                look_at = Instant::now() + LOOK_EVERY;
                if let Err(error) = self.refresh_directory() {
                    tracing::warn!("{error}; the directory in use stays");
                }
            }
            if Instant::now() >= look_at_certificates_at {
                look_at_certificates_at = Instant::now() + LOOK_AT_CERTIFICATES_EVERY;
                self.look_at_certificates();
            }
        };
        self.drain();
        for name in ["control.sock", "postring.pid", "children.json"] {
            // A leftover is replaced at the next start.
            let _ = std::fs::remove_file(run_folder.join(name));
        }
        result
    }

    fn take(&mut self, note: Note, run_folder: &Path) {
        match note {
            Note::Child { key, generation, message, descriptors } => match message {
                FromChild::Ready => {
                    self.children.ready(key, generation, descriptors);
                    // Before the directory, for which clients wait.
                    self.tell_certificates(key);
                    if key.role != Role::Scan {
                        self.children.tell(key, &ToChild::Directory { sequence: self.sequence }, &[self.snapshot.as_fd()]);
                    }
                    self.children.link(key);
                    self.write_pids(run_folder);
                }
                FromChild::Answer { id, result } => match (self.asked.remove(&id), result) {
                    // Whoever asked may have gone.
                    (Some((_, answer)), result) => drop(answer.send(result)),
                    (None, Err(text)) => tracing::error!("{key}: {text}"),
                    (None, Ok(_)) => {}
                },
                FromChild::Drained => {}
                FromChild::Alarm { text } => tracing::error!("ALARM from {key}: {text}"),
                FromChild::PeerLied { peer, text } => {
                    self.children.replace(peer, &format!("{key} says it broke the ring's rules: {text}"))
                }
                FromChild::PeerHangs { peer, text } => self.children.replace(peer, &format!("{key} says it hangs: {text}")),
                FromChild::Fatal { text } => self.children.set_fatal(key, generation, text),
            },
            Note::Gone { key, generation } => {
                // Who waits for its answer hears at once that there will be none.
                self.asked.retain(|_, (asked, _)| *asked != key);
                self.children.gone(key, generation);
            }
            Note::Ask { words, answer } if words.first().is_some_and(|word| word == "queue") => {
                self.ask(Role::Send, words, answer)
            }
            Note::Ask { words, answer }
                if words.first().is_some_and(|word| ["dns", "block", "smtp", "dmarc"].contains(&word.as_str())) =>
            {
                self.ask(Role::Edge, words, answer)
            }
            Note::Ask { words, answer } if words == ["reload"] => match self.reload() {
                // Whoever is told that it is done sees what it has done.
                Ok(()) if self.children.ready_keys().iter().any(|key| key.role == Role::Edge) => {
                    self.ask(Role::Edge, vec!["edge".to_owned(), "settled".to_owned()], answer);
                }
                result => {
                    // Whoever asked may have gone.
                    let _ = answer.send(result.map(|()| "reloaded".into()));
                }
            },
            Note::Ask { words, answer } => {
                let result = self.answer(&words);
                // Whoever asked may have gone.
                let _ = answer.send(result);
            }
            Note::Stop | Note::Reload => {}
        }
    }

    /// Passes an operator's words on to a role; its answer comes as a note.
    fn ask(&mut self, role: Role, words: Vec<String>, answer: SyncSender<OperatorAnswer>) {
        let Some(key) = self.children.ready_keys().into_iter().find(|key| key.role == role) else {
            // Whoever asked may have gone.
            let _ = answer.send(Err(format!("role {role} does not run now; `postring status` shows why")));
            return;
        };
        // Those whose child died before it could answer.
        while self.asked.len() >= ASKED_MAX {
            self.asked.pop_first();
        }
        self.last_asked += 1;
        self.asked.insert(self.last_asked, (key, answer));
        self.children.tell(key, &ToChild::Ask { id: self.last_asked, words }, &[]);
    }

    fn answer(&mut self, words: &[String]) -> Result<serde_json::Value, String> {
        match words.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
            ["status"] => {
                let mut status = self.children.status(&self.plan);
                let tls = self.certificates.as_ref().map(|certificates| certificates.status(unix_now()));
                if let (Some(status), Some(tls)) = (status.as_object_mut(), tls) {
                    status.insert("tls".to_owned(), tls);
                    status.insert("acme".to_owned(), self.acme.as_ref().map(acme::Worker::status).into());
                }
                Ok(status)
            }
            ["metrics"] => {
                let tls = self.certificates.as_ref().map(Certificates::metrics).unwrap_or_default();
                Ok(serde_json::Value::String(self.children.metrics() + &tls))
            }
            ["directory"] => {
                self.refresh_directory()?;
                Ok(serde_json::json!({ "sequence": self.sequence }))
            }
            ["tls", "renew", which @ ..] => {
                let acme = self.acme.as_ref().ok_or("there is no [tls.acme]: no certificate comes from an authority")?;
                acme.renew(which.first().map(|which| (*which).to_owned()));
                Ok(serde_json::json!("begun"))
            }
            _ => Err(format!("unknown request \"{}\"", words.join(" "))),
        }
    }

    /// Hands a new snapshot to all children if the database has changed.
    fn refresh_directory(&mut self) -> Result<(), String> {
        if self.directory.change_sequence().map_err(|error| error.to_string())? == self.sequence {
            return Ok(());
        }
        let (snapshot, sequence) = snapshot(&self.directory)?;
        self.snapshot = snapshot;
        self.sequence = sequence;
        for key in self.children.ready_keys() {
            if key.role != Role::Scan {
                self.children.tell(key, &ToChild::Directory { sequence }, &[self.snapshot.as_fd()]);
            }
        }
        Ok(())
    }

    /// Takes certificates whose files have changed, and keeps those whose files are not good.
    fn look_at_certificates(&mut self) {
        let Some(certificates) = &mut self.certificates else { return };
        let (changed, said) = certificates.look(unix_now());
        said.into_iter().for_each(log);
        if changed {
            self.hand_out_certificates();
            compare_published(&self.config, self.certificates.as_ref());
        }
    }

    fn hand_out_certificates(&mut self) {
        match self.certificates.as_ref().map(sealed).transpose() {
            Ok(memory) => self.certificates_sealed = memory,
            Err(error) => tracing::error!("{error}; the certificates before stay in force"),
        }
        for key in self.children.ready_keys() {
            self.tell_certificates(key);
        }
    }

    fn tell_certificates(&self, key: Key) {
        if let Some(memory) = self.certificates_sealed.as_ref().filter(|_| key.role == Role::Edge) {
            self.children.tell(key, &ToChild::Tls, &[memory.as_fd()]);
        }
    }

    /// Reads the file again; a bad one changes nothing.
    fn reload(&mut self) -> Result<(), String> {
        let result = Config::load(&self.config_path).and_then(|newer| {
            let fixed =
                |config: &Config| (config.server.clone(), config.users.clone(), config.listen.clone(), config.cores.clone());
            if fixed(&newer) != fixed(&self.config) {
                return Err("[server], [users], [listen] and [cores] change with a restart only".to_owned());
            }
            if newer.tls.certificate.is_some() != self.config.tls.certificate.is_some() {
                return Err("tls.certificate: with or without TLS is decided at the start: restart".to_owned());
            }
            if acme_ports(&newer) != acme_ports(&self.config) {
                return Err("tls.acme is begun and ended, and its addresses change, with a restart only".to_owned());
            }
            access::check_reload(&self.started_with, &newer)?;
            check_zones(&newer)?;
            acme::Worker::prepare(&newer)?;
            let before = self.certificates.as_ref();
            let (certificates, said) = Certificates::open(&newer.tls, &newer.server.hostname, before, unix_now())?;
            self.children.reload(&newer, &self.plan)?;
            said.into_iter().for_each(log);
            self.certificates = certificates;
            self.hand_out_certificates();
            self.config = newer;
            self.acme.iter().for_each(|acme| acme.configure(&self.config));
            compare_published(&self.config, self.certificates.as_ref());
            Ok(())
        });
        match &result {
            Ok(()) => tracing::info!("configuration reloaded"),
            Err(error) => tracing::error!("{error}; the configuration before stays in force"),
        }
        result
    }

    /// Stops the roles in the order of the mail's way, so that what was accepted is kept.
    fn drain(&mut self) {
        for role in [Role::Edge, Role::Scan, Role::Send, Role::Store] {
            self.children.drain(role);
            let until = Instant::now() + DRAIN_WAIT;
            while self.children.any_running(role) && Instant::now() < until {
                match self.notes.recv_timeout(Duration::from_millis(100)) {
                    Ok(Note::Gone { key, generation }) => self.children.ended(key, generation),
                    // The second signal: hurry.
                    Ok(Note::Stop) => break,
                    _ => {}
                }
            }
            self.children.kill(role);
        }
    }

    fn write_pids(&self, run_folder: &Path) {
        let pids = serde_json::to_string_pretty(&self.children.pids()).unwrap_or_default();
        for (name, text) in [("postring.pid", std::process::id().to_string()), ("children.json", pids)] {
            if let Err(error) = std::fs::write(run_folder.join(name), text) {
                tracing::warn!("{}: {error}", run_folder.join(name).display());
            }
        }
    }
}

fn log(said: Said) {
    match said {
        Said::Info(text) => tracing::info!("{text}"),
        Said::Warning(text) => tracing::warn!("{text}"),
    }
}

/// Warns if a zone of ours says of this host's key what is not so.
fn compare_published(config: &Config, certificates: Option<&Certificates>) {
    if let Some(text) = certificates.and_then(|certificates| published::disagreement(config, &certificates.tlsa().0)) {
        tracing::warn!("{text}");
    }
    crate::memory::release();
}

/// Certificates and keys as the edge gets them.
fn sealed(certificates: &Certificates) -> Result<OwnedFd, String> {
    let launch = certificates.launch().ok_or("tls.certificate: this host has none that is good")?;
    let json = serde_json::to_vec(&launch).map_err(|error| error.to_string())?;
    postring_control::seal(&json).map_err(|error| format!("no memory for the certificates: {error}"))
}

fn snapshot(directory: &Directory) -> Result<(OwnedFd, u64), String> {
    let (bytes, warnings) = postring_directory::build(directory).map_err(|error| error.to_string())?;
    for warning in warnings {
        tracing::warn!("{warning}");
    }
    let sequence = postring_directory::Snapshot::from_bytes(bytes.clone()).map_err(|error| error.to_string())?.sequence();
    let fd = postring_directory::to_memfd(&bytes).map_err(|error| format!("no memory for the directory's snapshot: {error}"))?;
    Ok((fd, sequence))
}

/// One supervisor a data folder.
fn lock(data: &Path) -> Result<File, String> {
    let run = data.join("run");
    std::fs::create_dir_all(&run).map_err(|error| format!("{}: {error}", run.display()))?;
    let path = run.join("lock");
    let file = File::options()
        .create(true)
        .truncate(false)
        .write(true)
        .open(&path)
        .map_err(|error| format!("{}: {error}", path.display()))?;
    rustix::fs::flock(&file, rustix::fs::FlockOperation::NonBlockingLockExclusive)
        .map_err(|_| format!("another postring runs on {}; stop it first, or give another folder", data.display()))?;
    Ok(file)
}

/// Whether certificates come from an authority, and where it is answered.
fn acme_ports(config: &Config) -> Option<&[std::net::SocketAddr]> {
    config.tls.acme.as_ref().map(|acme| acme.http.as_slice())
}

/// As many descriptors as we may have; and locked memory for the rings where that is still counted.
fn raise_limits() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    // Root may have more than its limit says, and a user's shards share one count of locked memory.
    let _ = setrlimit(Resource::Memlock, Rlimit { current: None, maximum: None });
    for resource in [Resource::Nofile, Resource::Memlock] {
        let limit = getrlimit(resource);
        // What is not allowed stays as it is; who needs more says so when it runs out.
        let _ = setrlimit(resource, Rlimit { current: limit.maximum, maximum: limit.maximum });
    }
}

fn signals(sender: Sender<Note>) -> Result<(), String> {
    use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
    let mut signals = signal_hook::iterator::Signals::new([SIGHUP, SIGINT, SIGTERM]).map_err(|error| error.to_string())?;
    std::thread::spawn(move || {
        for signal in signals.forever() {
            if sender.send(if signal == SIGHUP { Note::Reload } else { Note::Stop }).is_err() {
                return;
            }
        }
    });
    Ok(())
}
