//! Maildir++ names and delivery (<https://cr.yp.to/proto/maildir.html>, <https://www.courier-mta.org/imap/README.maildirquota.html>).
//!
//! A file is made in `tmp/`, written, and renamed into `new/`: a reader sees whole messages or none, and nobody takes a lock.
//! Dovecot (or any other reader) owns `cur/`, flags and UIDs.

mod aside;
mod name;
mod store;

pub use name::{BaseName, line_end_count};
pub use store::{Failure, Folder, MailStore, Place, Restored, Volume};
