//! The thread: looks once a minute whether a certificate is due, and gets it.

use super::challenge::{self, Records, Tokens};
use super::config::Acme;
use super::kept::{Attempts, Kept, pause_seconds};
use super::order;
use super::wanted::Wanted;
use crate::config::Config;
use crate::supervisor::Note;
use crate::tls::command::now;
use instant_acme::Account;
use serde_json::json;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::mpsc::Sender;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::mpsc::{self, UnboundedReceiver, UnboundedSender};

const LOOK_INTERVAL: Duration = Duration::from_secs(60);
/// Orders for one certificate, where a request of one was refused for no fault of ours.
const ORDERS_MAX: usize = 3;
/// Of one certificate as a whole.
const ORDER_WAIT: Duration = Duration::from_secs(300);

/// What the thread is told.
enum Order {
    Configure(Option<Box<Acme>>, Vec<Wanted>),
    /// Now, and not when it is due; of this name or file, or all.
    Renew(Option<String>),
}

/// The thread, and what it says of itself.
pub struct Worker {
    orders: UnboundedSender<Order>,
    shown: Arc<Mutex<serde_json::Value>>,
}

impl Worker {
    /// Makes what certificates and keys are not there yet; before they are read.
    ///
    /// # Errors
    /// One line.
    pub fn prepare(config: &Config) -> Result<(), String> {
        Wanted::all(&config.tls, &config.server.hostname).iter().try_for_each(Wanted::prepare)
    }

    /// Opens the ports of http-01, if the configuration has `[tls.acme]`, and waits to be [configured](Self::configure).
    ///
    /// # Errors
    /// One line.
    pub fn start(config: &Config, notes: Sender<Note>) -> Result<Option<Self>, String> {
        let Some(acme) = &config.tls.acme else { return Ok(None) };
        let kept = Kept::new(&config.server.data)?;
        let listeners = acme.http.iter().map(|address| challenge::listen(*address)).collect::<Result<Vec<_>, _>>()?;
        let (orders, received) = mpsc::unbounded_channel();
        let shown = Arc::new(Mutex::new(serde_json::Value::Null));
        let work = Work {
            // Until all roles are ready and it is told so.
            acme: None,
            wanted: Vec::new(),
            attempts: kept.attempts(),
            kept,
            account: None,
            tokens: Tokens::default(),
            notes,
            shown: Arc::clone(&shown),
        };
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(|error| error.to_string())?;
        let run = move || {
            runtime.block_on(async move {
                for listener in listeners {
                    tokio::spawn(challenge::serve(listener, work.tokens.clone()));
                }
                work.run(received).await;
            });
        };
        std::thread::Builder::new().name("acme".to_owned()).spawn(run).map_err(|error| error.to_string())?;
        Ok(Some(Self { orders, shown }))
    }

    /// What holds from now on; the ports stay those of the start.
    pub fn configure(&self, config: &Config) {
        let wanted = Wanted::all(&config.tls, &config.server.hostname);
        // A thread that has ended has said why.
        let _ = self.orders.send(Order::Configure(config.tls.acme.clone().map(Box::new), wanted));
    }

    /// Gets certificates now, those with this name or file, or all.
    pub fn renew(&self, which: Option<String>) {
        let _ = self.orders.send(Order::Renew(which));
    }

    /// For `postring status` and `tls list`.
    pub fn status(&self) -> serde_json::Value {
        self.shown.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

struct Work {
    acme: Option<Acme>,
    wanted: Vec<Wanted>,
    attempts: BTreeMap<PathBuf, Attempts>,
    kept: Kept,
    account: Option<Account>,
    tokens: Tokens,
    notes: Sender<Note>,
    shown: Arc<Mutex<serde_json::Value>>,
}

impl Work {
    async fn run(mut self, mut orders: UnboundedReceiver<Order>) {
        let mut forced: Vec<PathBuf> = Vec::new();
        loop {
            for wanted in self.wanted.clone() {
                let is_forced = forced.contains(&wanted.certificate);
                if is_forced || self.is_due(&wanted) {
                    self.get(&wanted).await;
                }
            }
            forced.clear();
            self.show();
            match tokio::time::timeout(LOOK_INTERVAL, orders.recv()).await {
                Ok(Some(Order::Configure(acme, wanted))) => {
                    if self.acme.as_ref() != acme.as_deref() {
                        self.account = None;
                    }
                    (self.acme, self.wanted) = (acme.map(|acme| *acme), wanted);
                }
                Ok(Some(Order::Renew(which))) => {
                    let is_meant = |wanted: &&Wanted| {
                        which.as_ref().is_none_or(|which| {
                            wanted.names.contains(&which.to_ascii_lowercase()) || wanted.certificate == Path::new(which)
                        })
                    };
                    forced = self.wanted.iter().filter(is_meant).map(|wanted| wanted.certificate.clone()).collect();
                }
                Ok(None) => return,
                Err(_) => {}
            }
        }
    }

    fn is_due(&self, wanted: &Wanted) -> bool {
        let next_try = self.attempts.get(&wanted.certificate).map_or(0, |attempts| attempts.next_try);
        now() >= wanted.due().max(next_try)
    }

    async fn get(&mut self, wanted: &Wanted) {
        let names = wanted.names.join(", ");
        let mut records = Records::new(self.notes.clone());
        let got = tokio::time::timeout(ORDER_WAIT, self.order(wanted, &mut records)).await;
        // Whatever came of it; this blocks the thread, which has nothing else to do.
        records.clear();
        self.tokens.clear();
        match got.unwrap_or_else(|_| Err("it took too long".to_owned())) {
            Ok(()) => {
                self.attempts.remove(&wanted.certificate);
                tracing::info!("tls: {}: a certificate for {names} has come", wanted.certificate.display());
            }
            Err(error) => {
                // An account that is gone is made again the next time.
                self.account = None;
                let attempts = self.attempts.entry(wanted.certificate.clone()).or_default();
                attempts.failures = attempts.failures.saturating_add(1);
                attempts.next_try = now() + pause_seconds(attempts.failures);
                tracing::warn!(
                    "tls: {}: no certificate for {names}: {error}; tried again in {} minutes, or by `postring tls renew`",
                    wanted.certificate.display(),
                    pause_seconds(attempts.failures) / 60
                );
                attempts.error = Some(error);
            }
        }
        if let Err(error) = self.kept.keep_attempts(&self.attempts) {
            tracing::warn!("tls: {error}; a restart will ask the authority again at once");
        }
    }

    async fn order(&mut self, wanted: &Wanted, records: &mut Records) -> Result<(), String> {
        let acme = self.acme.clone().ok_or("tls.acme is not set any more")?;
        let account = match &self.account {
            Some(account) => account.clone(),
            None => order::account(&acme, &self.kept).await?,
        };
        let mut got = Ok(());
        for _ in 0..ORDERS_MAX {
            got = order::get(&account, wanted, acme.challenge, &self.tokens, records).await;
            // An authority may refuse any request because its number is too old (RFC 8555 section 6.5); the library asks thrice.
            if !got.as_ref().is_err_and(|error| error.contains(":badNonce")) {
                break;
            }
        }
        self.account = Some(account);
        got
    }

    fn show(&self) {
        let one = |wanted: &Wanted| {
            let attempts = self.attempts.get(&wanted.certificate);
            json!({
                "certificate": wanted.certificate,
                "names": wanted.names,
                "renewed_from": wanted.due().max(attempts.map_or(0, |attempts| attempts.next_try)),
                "error": attempts.and_then(|attempts| attempts.error.clone()),
            })
        };
        let value = self.wanted.iter().map(one).collect::<Vec<_>>().into();
        *self.shown.lock().unwrap_or_else(PoisonError::into_inner) = value;
    }
}
