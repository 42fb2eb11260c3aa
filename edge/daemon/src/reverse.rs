//! The client's name by DNS, asked for at connect. What is not there at the last dot is written as unknown.

use crate::found::Found;
use crate::shard::Shard;
use postring_transport::dns::{self, ReverseName as Answer};
use std::future::Future;
use std::net::IpAddr;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

/// A look-up that is done, or still under way. Owns 8 bytes, and what was found.
#[derive(Default)]
pub(crate) struct ReverseName {
    found: Option<Rc<Found<Answer>>>,
}

impl ReverseName {
    /// Begins the look-up. What the resolver has in memory is there at once; for the rest a task of its own waits, bounded as all flights of
    /// the resolver are.
    pub(crate) fn look_up(shard: &Shard, client: IpAddr) -> Self {
        // Boxed, so that the connection's own task does not carry the look-up's state while it is idle.
        let mut looking = Box::pin(dns::reverse_name(shard.resolver().clone(), client));
        let found = Rc::new(Found::default());
        match looking.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(answer) => found.set(answer),
            Poll::Pending => {
                let later = Rc::clone(&found);
                glommio::spawn_local(async move { later.set(looking.await) }).detach();
            }
        }
        Self { found: Some(found) }
    }

    /// The name, if it is known by now, and leads back to the client.
    pub(crate) fn get(&self) -> Option<&str> {
        match self.found.as_ref()?.get()? {
            Answer::Confirmed(name) => Some(name),
            Answer::Unconfirmed | Answer::Missing | Answer::Unknown => None,
        }
    }

    /// What the DNS says, once it has said it. Give it a deadline.
    pub(crate) async fn answer(&self) -> Answer {
        match &self.found {
            Some(found) => found.wait().await.cloned().unwrap_or(Answer::Unknown),
            None => Answer::Unknown,
        }
    }
}
