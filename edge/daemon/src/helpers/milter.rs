//! Messages told to a milter.

use super::desk::{Desk, Settings};
use super::link::{Link, within};
use super::pool::Turn;
use crate::shard::Shard;
use postring_mail::Reply;
use postring_milter::{Conversation, Envelope, Judgement, Next, Options, packet};
use postring_policy::MilterConfig;
use postring_ring::Slot;
use std::cell::Cell;
use std::io;
use std::ops::Range;
use std::time::Duration;

/// A milter.
pub(super) struct Milter {
    pub(super) desk: Desk<Options>,
    timeout: Duration,
    total: Duration,
    /// Connections are kept for the next message.
    keeps: Cell<bool>,
}

/// Where a message lies.
pub(super) struct Place<'a> {
    pub(super) slot: &'a Slot,
    pub(super) range: Range<usize>,
}

impl Milter {
    pub(super) fn new(number: usize, config: &MilterConfig) -> Option<Self> {
        let desk = Desk::new(
            number,
            &Settings {
                kind: "policy.milter",
                address: &config.address,
                services: &config.services,
                on_failure: config.on_failure,
                dry_run: config.dry_run,
                connections_max: config.connections_max,
                failures_max: config.failures_max,
                pause_seconds: config.pause_seconds,
            },
        )?;
        let (timeout, total) = (Duration::from_millis(config.timeout_ms), Duration::from_millis(config.total_ms));
        Some(Self { desk, timeout, total, keeps: Cell::new(true) })
    }

    /// What it says of a message, or what is done without that.
    ///
    /// Cost: the message is copied once, by the chunk, and sent; a header with so many fields takes so many round trips.
    pub(super) async fn ask(
        &self,
        shard: &Shard,
        envelope: &Envelope<'_>,
        place: &Place<'_>,
    ) -> Result<Judgement, Option<Reply>> {
        self.desk.ask(shard, self.total, async |turn| self.tell(shard, turn, envelope, place).await).await
    }

    async fn tell(
        &self,
        shard: &Shard,
        turn: &Turn<'_, Options>,
        envelope: &Envelope<'_>,
        place: &Place<'_>,
    ) -> io::Result<Judgement> {
        let mut kept = turn.kept();
        loop {
            let was_kept = kept.is_some();
            let (mut link, mut conversation) = match kept.take() {
                Some((link, options)) => (link, Conversation::over_kept(options)),
                None => (turn.connect(self.timeout).await?, Conversation::new()),
            };
            let mut answered = false;
            match self.converse(shard, envelope, place, (&mut link, &mut conversation), &mut answered).await {
                Ok(options) => {
                    if let Some(options) = options.filter(|_| self.keeps.get()) {
                        turn.keep(link, options);
                    }
                    return Ok(conversation.judgement());
                }
                // It may have been closed since it was kept; that says nothing of the milter. One that does not answer over it does not know
                // how to take a second message.
                Err(error) if was_kept && !answered => {
                    if error.kind() == io::ErrorKind::TimedOut {
                        self.keeps.set(false);
                        self.desk.warn_once("it takes one message a connection, whatever it says of its version");
                    }
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// Tells the message over a connection; what holds for it if it can be kept.
    async fn converse(
        &self,
        shard: &Shard,
        envelope: &Envelope<'_>,
        place: &Place<'_>,
        (link, conversation): (&mut Link, &mut Conversation),
        answered: &mut bool,
    ) -> io::Result<Option<Options>> {
        let mut out = Vec::new();
        loop {
            let next = {
                let arena = shard.arena();
                let message = arena.bytes(place.slot).get(place.range.clone()).unwrap_or_default();
                conversation.poll_next(envelope, message, &mut out)
            };
            if next == Next::End {
                break;
            }
            within(self.timeout, link.send(&out)).await?;
            out.clear();
            if next == Next::Answer {
                within(self.timeout, handle(link, conversation)).await?;
                *answered = true;
            }
        }
        let options = conversation.close(&mut out);
        // What it has said holds, whether it hears this or not.
        let sent = within(self.timeout, link.send(&out)).await;
        Ok(options.filter(|_| sent.is_ok()))
    }
}

/// Waits for one packet.
async fn handle(link: &mut Link, conversation: &mut Conversation) -> io::Result<()> {
    loop {
        if let Some((packet, taken)) = packet::split(link.received()).map_err(io::Error::other)? {
            conversation.handle_packet(packet).map_err(io::Error::other)?;
            link.consume(taken);
            // One that never stops talking must not keep the shard from its other clients, nor its own deadline from being noticed.
            glommio::yield_if_needed().await;
            return Ok(());
        }
        link.receive().await?;
    }
}
