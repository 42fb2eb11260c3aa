//! Questions to a policy server (Postfix's SMTPD_POLICY_README).

use super::desk::{Desk, Settings};
use super::link::Link;
use super::pool::Turn;
use crate::shard::Shard;
use postring_mail::Reply;
use postring_milter::delegation::{self, Action};
use postring_policy::DelegateConfig;
use postring_policy::helpers::DelegateAt;
use std::io;
use std::time::Duration;

/// A policy server.
pub(super) struct Delegate {
    pub(super) desk: Desk<()>,
    pub(super) at: DelegateAt,
    timeout: Duration,
}

impl Delegate {
    pub(super) fn new(number: usize, config: &DelegateConfig) -> Option<Self> {
        let desk = Desk::new(
            number,
            &Settings {
                kind: "policy.delegate",
                address: &config.address,
                services: &config.services,
                on_failure: config.on_failure,
                dry_run: config.dry_run,
                connections_max: config.connections_max,
                failures_max: config.failures_max,
                pause_seconds: config.pause_seconds,
            },
        )?;
        Some(Self { desk, at: config.at, timeout: Duration::from_millis(config.timeout_ms) })
    }

    /// The action that answers the question, or what is done without an answer.
    pub(super) async fn ask(&self, shard: &Shard, question: &[u8]) -> Result<Action, Option<Reply>> {
        let answer = self.desk.ask(shard, self.timeout, async |turn| self.exchange(turn, question).await).await?;
        match &answer {
            Action::Unsupported(name) => self.desk.warn_once(&format!("the action {name} is not done here; taken as DUNNO")),
            Action::Note(text) => tracing::info!(target: "mail", "{}: {text}", self.desk.name),
            _ => {}
        }
        Ok(answer)
    }

    async fn exchange(&self, turn: &Turn<'_, ()>, question: &[u8]) -> io::Result<Action> {
        // One that was kept may have been closed since; that says nothing of the server.
        if let Some((mut link, ())) = turn.kept()
            && let Ok(action) = over(&mut link, question).await
        {
            turn.keep(link, ());
            return Ok(action);
        }
        let mut link = turn.connect(self.timeout).await?;
        let action = over(&mut link, question).await?;
        turn.keep(link, ());
        Ok(action)
    }
}

async fn over(link: &mut Link, question: &[u8]) -> io::Result<Action> {
    link.send(question).await?;
    loop {
        if let Some(end) = delegation::answer_end(link.received()).map_err(io::Error::other)? {
            let action = Action::parse(link.received().get(..end).unwrap_or_default()).map_err(io::Error::other)?;
            link.consume(end);
            return Ok(action);
        }
        link.receive().await?;
    }
}
