//! The zones the couriers find names in without asking: as the keeper of zones (role `edge`) has them on disk, followed while they change.

use super::Couriers;
use super::courier::Order;
use postring_dns::Hosted;
use postring_zones::{Reader, ZonesConfig};
use std::path::Path;
use std::sync::mpsc::{self, RecvTimeoutError, Sender};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// Between two looks at whether something has changed: one look at one file.
const LOOK: Duration = Duration::from_secs(1);

/// What was read last.
pub(super) struct Zones {
    reader: Mutex<Reader>,
}

impl Zones {
    pub(super) fn new(data: &Path) -> Arc<Self> {
        Arc::new(Self { reader: Mutex::new(Reader::new(data)) })
    }

    fn reader(&self) -> MutexGuard<'_, Reader> {
        self.reader.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Reads the zones of a configuration; gives what is wrong with some beside the others.
    pub(super) fn configure(&self, config: &ZonesConfig) -> (Arc<Hosted>, Vec<String>) {
        let (hosted, wrong) = self.reader().configure(config);
        (Arc::new(hosted), wrong)
    }

    /// Gives the couriers every change from now on, until what is returned is dropped.
    ///
    /// # Errors
    /// No thread can be started.
    pub(super) fn follow(self: &Arc<Self>, couriers: &Arc<Couriers>) -> Result<Sender<()>, String> {
        let (end, ended) = mpsc::channel();
        let (zones, couriers) = (Arc::clone(self), Arc::clone(couriers));
        let run = move || {
            while ended.recv_timeout(LOOK) == Err(RecvTimeoutError::Timeout) {
                let Some((hosted, wrong)) = zones.reader().poll() else { continue };
                wrong.iter().for_each(|text| tracing::error!("{text}"));
                let hosted = Arc::new(hosted);
                for (orders, button) in couriers.iter() {
                    // A courier that has ended takes its process with it.
                    let _ = orders.send(Order::Host(Arc::clone(&hosted)));
                    button.ring();
                }
            }
        };
        std::thread::Builder::new().name("zones".to_owned()).spawn(run).map_err(|error| format!("send: {error}"))?;
        Ok(end)
    }
}
