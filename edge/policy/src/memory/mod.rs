//! What is remembered of senders, by all shards together: who came before, and what they brought.
//!
//! - [`Table`]: 8 octets an entry, shared without a lock, kept over a restart
//! - [`Greylist`]: who has tried again as a mail server does
//! - [`Rates`]: how often somebody may
//! - [`Reputation`](SenderReputation): good and bad messages of an address and of a domain, fading away

mod greylist;
mod rates;
mod reputation;
mod table;

pub use greylist::{Greylist, GreylistConfig, Visit};
pub use rates::{Rate, Rates};
pub use reputation::{Record, ReputationConfig, SenderReputation};
pub use table::{Entry, Table, TableError};

use std::net::IpAddr;

/// What stands for a client: the address, or of IPv6 the /64, which is one customer's (RFC 6177).
#[must_use]
pub fn network(client: IpAddr, prefix_v4: u8) -> [u8; 17] {
    let mut out = [0; 17];
    match client.to_canonical() {
        IpAddr::V4(address) => {
            let kept = u32::MAX.checked_shl(32_u32.saturating_sub(prefix_v4.into())).unwrap_or(0);
            out[..4].copy_from_slice(&(u32::from(address) & kept).to_be_bytes());
        }
        IpAddr::V6(address) => {
            out[0] = 6;
            out[1..9].copy_from_slice(&address.octets()[..8]);
            out[16] = 64;
        }
    }
    out
}
