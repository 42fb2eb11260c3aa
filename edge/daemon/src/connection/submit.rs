//! A message that is whole: judged, stored, and what is noted of it.

use super::{Connection, lookups};
use crate::binary;
use crate::delivered;
use crate::dmarc;
use crate::last_dot::LastDot;
use crate::message::{self, Stored};
use crate::reports;
use crate::sender::SenderCheck;
use postring_control::Counter;
use postring_mail::Reply;
use postring_mail::envelope::MessageId;

impl Connection {
    pub(super) async fn submit(&mut self) {
        let Some(slot) = self.slot.take() else { return };
        let (dot, lookups) = (LastDot::new(&self.shard), lookups(&mut self.lookups, &self.shard));
        let signatures = self.content.judge(&self.shard, &dot, &lookups, &slot, self.decoded).await;
        let spf = self.sender.spf(&dot).await;
        let dmarc = dmarc::check(&self.shard, &dot, &lookups, &signatures, spf).await;
        dot.end();
        let checks = message::Checks {
            reverse_name: self.reverse.get(),
            lists: self.check.known(),
            rules: self.rules.hits(),
            spf,
            spf_of_helo: self.sender.spf_of_helo(),
            signatures: &signatures,
            dmarc: dmarc.as_ref(),
            helpers: &self.helpers,
        };
        let transaction = self.session.transaction();
        let lines = if transaction.binary || transaction.bare_line_ends {
            binary::to_lines(&self.shard, slot, self.decoded, transaction).await
        } else {
            Ok((slot, self.decoded))
        };
        let (wanted, result) = match lines {
            Ok((slot, bytes)) => {
                let wanted = delivered::wanted(&self.shard, &self.session, spf, &slot, bytes);
                (wanted, message::submit(&self.shard, &self.session, checks, slot, bytes).await)
            }
            Err(reply) => (None, Err(reply)),
        };
        let policy = &self.shard.config().policy;
        if let (true, Some(dmarc), Some(spf)) = (policy.dmarc.reports.is_on(), &dmarc, spf) {
            let from = (self.session.client().address, &*self.session.transaction().reverse_path);
            self.shard.rows().note(self.shard.stats(), &reports::noted(policy, dmarc, spf, &signatures, from));
        }
        self.sender = SenderCheck::default();
        self.lookups = None;
        let (now, stats) = (self.shard.now(), self.shard.stats());
        match result {
            Ok(Stored { receipt, id, refused, envelope }) => {
                stats.add(Counter::MessagesAccepted, 1);
                self.log_accepted(id, &refused);
                if let Some(wanted) = wanted {
                    delivered::report(&self.shard, wanted.without(&refused, &envelope));
                }
                self.session.handle_receipt(receipt, id, &refused, now, &mut self.out);
            }
            Err(reply) => {
                stats.add(if reply.is_transient() { Counter::MessagesDeferred } else { Counter::MessagesRejected }, 1);
                self.session.handle_refusal(&reply, now, &mut self.out);
            }
        }
    }

    /// The line an administrator looks for when somebody asks where a mail is. Costs a format and one write to the log.
    pub(super) fn log_accepted(&self, id: MessageId, refused: &[(usize, Reply)]) {
        let transaction = self.session.transaction();
        let to = transaction.recipients.first().map_or("", |recipient| recipient.address.as_str());
        let (client, from, more) =
            (self.session.client().address, &transaction.reverse_path, transaction.recipients.len().saturating_sub(1));
        tracing::info!(target: "mail", %id, %client, from, to, more, bytes = self.decoded, "accepted");
        for (at, reply) in refused {
            let to = transaction.recipients.get(*at).map_or("", |recipient| recipient.address.as_str());
            tracing::info!(target: "mail", %id, %client, from, to, "{reply}");
        }
    }
}
