//! A message as it is sent, and who sends it.

use super::message::wire;
use std::net::Ipv4Addr;

/// A message to send.
#[derive(Clone, Debug)]
pub struct Letter {
    /// As it goes over the wire, with its terminator.
    pub wire: Vec<u8>,
    pub reverse_path: String,
    /// Who brings it: for letters that go one a connection. None: one of the generator's many addresses.
    pub client: Option<Client>,
}

/// A host that sends mail.
#[derive(Clone, Debug)]
pub struct Client {
    pub address: Ipv4Addr,
    /// What it says with EHLO.
    pub name: String,
}

impl Letter {
    /// From nobody in particular.
    pub fn plain(mail: &[u8]) -> Self {
        Self { wire: wire(mail), reverse_path: "load@far.example".to_owned(), client: None }
    }

    /// The one that is the `number`th message.
    pub fn of(letters: &[Self], number: usize) -> Option<&Self> {
        letters.get(number % letters.len().max(1))
    }
}
