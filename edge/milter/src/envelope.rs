//! What is told of a message beside its content, and the macros that tell it.

use crate::packet::{self, command};
use std::io::Write;
use std::net::{IpAddr, SocketAddr};

/// What is known of a message at its last dot. Texts may be a stranger's: octets that would end one early are left out when it is written.
#[derive(Clone, Copy, Debug)]
pub struct Envelope<'a> {
    /// Our name.
    pub hostname: &'a str,
    /// The service it came to, like "smtp".
    pub service: &'a str,
    /// The client.
    pub client: SocketAddr,
    /// Its name by DNS, if it leads back.
    pub client_name: Option<&'a str>,
    /// Our end of the connection, if known.
    pub server: Option<SocketAddr>,
    /// What the client calls itself.
    pub helo: &'a str,
    /// Version and cipher of TLS, if used.
    pub tls: Option<(&'a str, &'a str)>,
    /// The account that has authenticated, if one has.
    pub account: Option<&'a str>,
    /// What it will be called.
    pub id: &'a str,
    /// The sender; empty for the null reverse-path.
    pub reverse_path: &'a str,
    /// SIZE= of MAIL.
    pub size_declared: Option<u64>,
    /// BODY=8BITMIME of MAIL.
    pub eight_bit: bool,
    /// The recipients that were accepted.
    pub recipients: &'a [&'a str],
    /// Each of them has a reply of its own (PRDR, LMTP): one may be refused while others take the message.
    pub answers_each: bool,
}

impl Envelope<'_> {
    /// Writes CONNECT and its macros.
    pub(crate) fn connect(&self, out: &mut Vec<u8>) {
        let address = self.client.ip().to_canonical();
        let (text, port) = (address.to_string(), self.client.port().to_string());
        let literal = format!("[{address}]");
        let name = self.client_name.unwrap_or(&literal);
        let unknown = self.client_name.unwrap_or("unknown");
        let server = self.server.map(|server| (server.ip().to_canonical().to_string(), server.port().to_string()));
        let (server_address, server_port) = server.as_ref().map_or(("", ""), |(address, port)| (address, port));
        let both = format!("{unknown} {literal}");
        macros(
            out,
            command::CONNECT,
            &[
                ("j", self.hostname),
                ("_", &both),
                ("{client_addr}", &text),
                ("{client_name}", unknown),
                ("{client_port}", &port),
                ("{client_ptr}", unknown),
                ("{client_resolve}", if self.client_name.is_some() { "OK" } else { "FAIL" }),
                ("{daemon_name}", self.service),
                ("{daemon_addr}", server_address),
                ("{daemon_port}", server_port),
                ("{if_name}", self.hostname),
                ("{if_addr}", server_address),
                ("v", "Postring"),
            ],
        );
        let family: &[u8] = if matches!(address, IpAddr::V4(_)) { b"4" } else { b"6" };
        let port = self.client.port().to_be_bytes();
        packet::write(out, command::CONNECT, &[&octets(name), b"\0", family, &port, text.as_bytes(), b"\0"]);
    }

    /// Writes HELO and its macros.
    pub(crate) fn helo(&self, out: &mut Vec<u8>) {
        let (version, cipher) = self.tls.unwrap_or_default();
        macros(out, command::HELO, &[("{tls_version}", version), ("{cipher}", cipher)]);
        packet::write(out, command::HELO, &[&octets(self.helo), b"\0"]);
    }

    /// Writes MAIL and its macros.
    pub(crate) fn mail(&self, out: &mut Vec<u8>) {
        let account = self.account.unwrap_or_default();
        macros(
            out,
            command::MAIL,
            &[
                ("i", self.id),
                // Both mechanisms we have (PLAIN, LOGIN) are a name and a password; which of them it was makes no difference.
                ("{auth_type}", if self.account.is_some() { "PLAIN" } else { "" }),
                ("{auth_authen}", account),
                ("{mail_addr}", self.reverse_path),
                ("{mail_host}", self.reverse_path.rsplit_once('@').map_or("", |(_, domain)| domain)),
                ("{mail_mailer}", "smtp"),
            ],
        );
        let mut arguments = Vec::new();
        // Writing to a Vec cannot fail.
        if let Some(size) = self.size_declared {
            let _ = write!(arguments, "SIZE={size}\0");
        }
        if self.eight_bit {
            arguments.extend_from_slice(b"BODY=8BITMIME\0");
        }
        packet::write(out, command::MAIL, &[b"<", &octets(self.reverse_path), b">\0", &arguments]);
    }

    /// Writes RCPT of the recipient with this number and its macros; false if there is none.
    pub(crate) fn recipient(&self, number: usize, out: &mut Vec<u8>) -> bool {
        let Some(address) = self.recipients.get(number) else { return false };
        macros(
            out,
            command::RECIPIENT,
            &[
                ("{rcpt_addr}", address),
                ("{rcpt_host}", address.rsplit_once('@').map_or("", |(_, domain)| domain)),
                ("{rcpt_mailer}", "local"),
            ],
        );
        packet::write(out, command::RECIPIENT, &[b"<", &octets(address), b">\0"]);
        true
    }

    /// Writes the macros of the commands behind RCPT.
    pub(crate) fn later(&self, command: u8, out: &mut Vec<u8>) {
        macros(out, command, &[("i", self.id)]);
    }
}

/// Writes the macros of a command; those that are empty are left out, as Postfix does.
fn macros(out: &mut Vec<u8>, command: u8, values: &[(&str, &str)]) {
    let mut data = Vec::with_capacity(256);
    data.push(command);
    for (name, value) in values.iter().filter(|(_, value)| !value.is_empty()) {
        data.extend_from_slice(name.as_bytes());
        data.push(0);
        data.extend_from_slice(&octets(value));
        data.push(0);
    }
    packet::write(out, command::MACRO, &[&data]);
}

/// A text without what would end it.
fn octets(text: &str) -> Vec<u8> {
    text.bytes().filter(|byte| !matches!(byte, 0 | b'\r' | b'\n')).take(1024).collect()
}
