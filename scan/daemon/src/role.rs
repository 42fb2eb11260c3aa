//! The process of role `scan`.

use crate::config::ScanConfig;
use crate::watch;
use crate::worker::{Event, Worker};
use postring_control::{Child, FromChild, StatsPage, ToChild};
use postring_engine::bayes::TokenStore;
use postring_engine::yara;
use postring_mail::verdict::VerdictWriter;
use postring_ring::{Doorbell, DoorbellButton};
use std::os::fd::AsFd;
use std::sync::mpsc;
use std::time::Duration;

/// Runs the role until it is drained.
///
/// # Errors
/// One line that says why the role cannot work.
pub fn run_scan(mut child: Child) -> Result<(), String> {
    let mut config: ScanConfig = serde_json::from_value(child.launch.config.clone())
        .map_err(|error| format!("scan: the launch's configuration: {error}"))?;
    config.rules = child.launch.data.join(&config.rules);
    config.tokens = child.launch.data.join(&config.tokens);
    // Whatever a mail makes of us, it gains no privilege by running another program.
    rustix::thread::set_no_new_privs(true).map_err(|error| format!("no_new_privs: {error}"))?;

    let Some(resources) = child.shards.pop() else { return Err("scan: the launch names no core".to_owned()) };
    let rules = if config.yara { Some(Box::new(yara::compile(&config.rules)?)) } else { None };
    let tokens = if config.bayes { Some(TokenStore::open(&config.tokens).map_err(|error| error.to_string())?) } else { None };
    let (events, event_receiver) = mpsc::channel();
    let (fresh, fresh_receiver) = mpsc::channel();
    let button = || resources.doorbell_button.as_fd().try_clone_to_owned().map(DoorbellButton::from_descriptor);
    let (button, watch_button) = (button().map_err(|error| error.to_string())?, button().map_err(|error| error.to_string())?);
    let worker = Worker {
        links: Vec::new(),
        doorbell: Doorbell::from_descriptor(resources.doorbell),
        events: event_receiver,
        fresh: fresh_receiver,
        stats: StatsPage::map(&resources.stats).map_err(|error| error.to_string())?,
        control: child.sender(),
        yara_timeout: Duration::from_millis(config.yara_timeout_ms),
        verdict: VerdictWriter::default(),
    };
    let core = resources.core;
    let spawned = std::thread::Builder::new().name("scan-worker".to_owned()).stack_size(8 << 20).spawn(move || {
        let mut set = rustix::thread::CpuSet::new();
        set.set(core);
        // Where pinning is not allowed the worker still works.
        let _ = rustix::thread::sched_setaffinity(None, &set);
        worker.run(rules, tokens);
    });
    let thread = spawned.map_err(|error| format!("no thread for the worker: {error}"))?;
    let watched = std::thread::Builder::new()
        .name("scan-watch".to_owned())
        .spawn(move || watch::watch(&config, &fresh, || watch_button.ring()));
    watched.map_err(|error| format!("no thread to watch the rules: {error}"))?;
    child.sender().send(&FromChild::Ready, &[]).map_err(|error| error.to_string())?;

    loop {
        let (message, descriptors) =
            child.receive().map_err(|error| format!("the supervisor says what cannot be read: {error}"))?;
        match message {
            ToChild::Attach(attach) => match attach.open_consumer(descriptors) {
                Ok(link) => {
                    // A worker that has ended needs no links: the process ends below.
                    let _ = events.send(Event::Attach(Box::new(link)));
                    button.ring();
                }
                Err(error) => tracing::error!("a link from {} could not be opened: {error}", attach.producer),
            },
            ToChild::Reload { .. } => {
                answer(&child, 0, Ok(serde_json::json!("[scan] changes with a restart; rules and tokens by themselves")))
            }
            ToChild::Ask { id, words } => answer(&child, id, Err(format!("scan does not know \"{}\"", words.join(" ")))),
            ToChild::Directory { .. } | ToChild::Tls | ToChild::Launch(_) => {}
            ToChild::Drain => break,
        }
    }
    let _ = events.send(Event::Drain);
    button.ring();
    if thread.join().is_err() {
        tracing::error!("the scan worker ended by a panic");
    }
    // Nobody may be left to hear it.
    let _ = child.sender().send(&FromChild::Drained, &[]);
    Ok(())
}

fn answer(child: &Child, id: u64, result: Result<serde_json::Value, String>) {
    if let Err(error) = child.sender().send(&FromChild::Answer { id, result }, &[]) {
        tracing::warn!("an answer could not be given to the supervisor: {error}");
    }
}
