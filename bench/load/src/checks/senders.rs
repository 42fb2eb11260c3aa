//! Who sends, and what the DNS says of them, the same every time but for the keys.

use super::sign::{Signed, Signer};
use crate::generator::message::{generated, wire};
use crate::generator::{Client, Letter};
use postring_directory::DkimAlgorithm;
use std::fmt::Write as _;
use std::net::Ipv4Addr;

/// The block list all clients are asked about.
pub const BLOCK_LIST: &str = "bl.lists.example";
/// More would not fit 127.66.0.0/16 as it is used here.
pub const DOMAINS_MAX: u16 = 50_000;

const FIRST: [&str; 10] = ["maple", "harbour", "copper", "silver", "north", "summit", "willow", "granite", "amber", "river"];
const SECOND: [&str; 8] = ["freight", "books", "dental", "software", "travel", "energy", "garden", "insurance"];

/// Domains that send, each with a host of its own.
pub struct Senders {
    /// A message of each, signed, brought by its host.
    pub letters: Vec<Letter>,
    /// The same message as the first from a host that the list names; else there is nothing wrong with it.
    pub listed: Letter,
    pub signed: Vec<Signed>,
    /// All there is in the DNS, as the root zone.
    pub zone: String,
}

fn domain(number: u16) -> String {
    let word = |of: &[&'static str], number: usize| of.get(number % of.len().max(1)).copied().unwrap_or_default();
    let place = usize::from(number);
    format!("{}{}{number:03}.example", word(&FIRST, place), word(&SECOND, place / FIRST.len()))
}

fn address(number: u16) -> Ipv4Addr {
    let last = u8::try_from(number % 250).unwrap_or(0) + 1;
    Ipv4Addr::new(127, 66, u8::try_from(number / 250).unwrap_or(0), last)
}

/// A character-string of a TXT record has at most 255 octets (RFC 1035 section 3.3).
fn strings(text: &str) -> String {
    let parts: Vec<String> = text.as_bytes().chunks(200).map(|part| format!("\"{}\"", String::from_utf8_lossy(part))).collect();
    parts.join(" ")
}

impl Senders {
    /// Of a hundred domains `rsa_percent` sign with RSA, the others with Ed25519; messages are of so many bytes, before the signature.
    pub fn new(domains: u16, rsa_percent: u16, size: usize, unix_seconds: u64) -> Result<Self, String> {
        let (rsa, ed25519) = (Signer::new(DkimAlgorithm::Rsa)?, Signer::new(DkimAlgorithm::Ed25519)?);
        let mut zone = format!(
            "$ORIGIN .\n$TTL 86400\n. SOA ns.servers.example. hostmaster.servers.example. 1 7200 3600 1209600 3600\n. NS ns.servers.example.\n\
             ns.servers.example. A 127.0.0.1\n2.0.0.127.{BLOCK_LIST}. A 127.0.0.2\n2.0.0.127.{BLOCK_LIST}. TXT \"test\"\n"
        );
        for last in 1..=100 {
            let _ = writeln!(zone, "{last}.0.67.127.{BLOCK_LIST}. A 127.0.0.2");
        }
        // One of them sends, to see that the list is asked.
        let listed = Client { address: Ipv4Addr::new(127, 67, 0, 1), name: "mail.listed.example".to_owned() };
        let _ = write!(zone, "{0}. A {1}\n1.0.67.127.in-addr.arpa. PTR {0}.\n", listed.name, listed.address);
        let (mut letters, mut signed) = (Vec::new(), Vec::new());
        for number in 0..domains {
            let (name, address) = (domain(number), address(number));
            // Mixed evenly, whatever the percentage.
            let is_rsa =
                (u32::from(number) + 1) * u32::from(rsa_percent) / 100 > u32::from(number) * u32::from(rsa_percent) / 100;
            let (signer, selector) = if is_rsa { (&rsa, "s2048") } else { (&ed25519, "ed1") };
            let [a, b, c, d] = address.octets();
            let _ = write!(
                zone,
                "{name}. MX 10 mail.{name}.\n{name}. A {address}\n{name}. TXT \"v=spf1 mx -all\"\nmail.{name}. A {address}\n\
                 _dmarc.{name}. TXT \"v=DMARC1; p=reject; rua=mailto:dmarc@{name}\"\n\
                 {selector}._domainkey.{name}. TXT {}\n{d}.{c}.{b}.{a}.in-addr.arpa. PTR mail.{name}.\n",
                strings(&signer.record)
            );
            let (text, signature) = signer.sign(&mail(&name, number, size), &name, selector, unix_seconds)?;
            signed.push(signature);
            letters.push(Letter {
                wire: wire(text.as_bytes()),
                reverse_path: format!("orders@{name}"),
                client: Some(Client { address, name: format!("mail.{name}") }),
            });
        }
        let first = letters.first().cloned().ok_or("no domain sends")?;
        Ok(Self { letters, listed: Letter { client: Some(listed), ..first }, signed, zone })
    }
}

/// A message of a domain, its lines ending with LF.
fn mail(domain: &str, number: u16, size: usize) -> String {
    let mut text = format!(
        "Received: from [10.0.0.7] (unknown [10.0.0.7])\n\tby mail.{domain} (Postfix) with ESMTPSA id 4Q{number:05}zT\n\
         \tfor <orders@bench.example>; Sat, 28 Nov 2026 10:00:00 +0000 (UTC)\n\
         Date: Sat, 28 Nov 2026 10:00:00 +0000\nFrom: \"Orders at {domain}\" <orders@{domain}>\nTo: Somebody <orders@bench.example>\n\
         Subject: Your order {number:06} is on its way\nMessage-ID: <{number:06}.4711@mail.{domain}>\nMIME-Version: 1.0\n\
         Content-Type: text/plain; charset=utf-8\nContent-Transfer-Encoding: 7bit\n\n"
    );
    let filler = generated(size);
    let filler = String::from_utf8_lossy(&filler);
    let body = filler.split_once("\n\n").map_or("", |(_, body)| body);
    let _ = writeln!(text, "{}", body.get(..size.saturating_sub(text.len() + 1)).unwrap_or(body).trim_end());
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_domain_has_its_records_and_its_host() {
        let senders = Senders::new(20, 50, 2048, 1).unwrap();
        assert_eq!((senders.letters.len(), senders.signed.iter().filter(|signed| signed.is_rsa).count()), (20, 10));
        assert!(senders.signed.iter().all(Signed::verify));
        let hosts: std::collections::HashSet<Ipv4Addr> =
            senders.letters.iter().map(|letter| letter.client.as_ref().unwrap().address).collect();
        assert_eq!(hosts.len(), 20);
        assert!(senders.zone.contains("\n4.0.66.127.in-addr.arpa. PTR mail.silverfreight003.example.\n"), "{}", senders.zone);
        for letter in &senders.letters {
            assert!((2000..2900).contains(&letter.wire.len()), "{}", letter.wire.len());
        }
    }

    #[test]
    fn no_two_domains_share_a_name_or_an_address() {
        let names: std::collections::HashSet<(String, Ipv4Addr)> =
            (0..DOMAINS_MAX).map(|number| (domain(number), address(number))).collect();
        let (domains, addresses): (std::collections::HashSet<_>, std::collections::HashSet<_>) = names.into_iter().unzip();
        assert_eq!((domains.len(), addresses.len()), (DOMAINS_MAX.into(), DOMAINS_MAX.into()));
    }
}
