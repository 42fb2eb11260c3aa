//! The client's name by DNS, asked for at connect and never waited for: what is not there at the last dot is written as unknown.

use crate::shard::Shard;
use postring_transport::dns::confirmed_name;
use std::cell::OnceCell;
use std::future::Future;
use std::net::IpAddr;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

/// A look-up that is done, or still under way. Owns 8 bytes, and the name if there is one.
#[derive(Default)]
pub(crate) struct ReverseName {
    name: Option<Rc<OnceCell<Box<str>>>>,
}

impl ReverseName {
    /// Begins the look-up. What the resolver has in memory is there at once; for the rest a task of its own waits, bounded as all flights of
    /// the resolver are.
    pub(crate) fn look_up(shard: &Shard, client: IpAddr) -> Self {
        // Boxed, so that the connection's own task does not carry the look-up's state while it is idle.
        let mut looking = Box::pin(confirmed_name(shard.resolver().clone(), client));
        match looking.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(None) => Self::default(),
            Poll::Ready(Some(name)) => Self { name: Some(Rc::new(OnceCell::from(name.into_boxed_str()))) },
            Poll::Pending => {
                let cell = Rc::new(OnceCell::new());
                let later = Rc::clone(&cell);
                glommio::spawn_local(async move {
                    if let Some(name) = looking.await {
                        // Set once only, here.
                        let _ = later.set(name.into_boxed_str());
                    }
                })
                .detach();
                Self { name: Some(cell) }
            }
        }
    }

    /// The name, if it is known by now.
    pub(crate) fn get(&self) -> Option<&str> {
        self.name.as_ref()?.get().map(|name| &**name)
    }
}
