//! XCLIENT (postfix.org, XCLIENT_README): a proxy of ours that speaks SMTP says for whom it speaks.
//!
//! Only sessions the daemon has allowed it to ([`Session::allow_xclient`]) offer and take it. Of the attributes the address and the port
//! count. NAME is found out anew and HELO comes with the next EHLO: neither is believed. LOGIN is not offered: it would be an
//! authentication without a password.

use super::table::Phase;
use super::{Awaited, Client, Question, Session, Step};
use crate::replies;
use postring_mail::dsn::decode_xtext;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// For EHLO.
pub(super) const KEYWORDS: &str = "XCLIENT NAME ADDR PORT PROTO HELO";

impl<R> Session<R> {
    /// The peer may say for whom it speaks; to be called before the first step is taken.
    pub fn allow_xclient(&mut self) {
        self.xclient = true;
    }

    pub(super) fn xclient(&mut self, argument: &str, out: &mut Vec<u8>) {
        if !self.xclient {
            return self.error(&replies::NOT_IMPLEMENTED, out);
        }
        let Some(client) = attributes(argument, self.client) else { return self.error(&replies::BAD_XCLIENT, out) };
        // "the server [...] resets the session": what was said and proved before was the proxy's.
        self.client = client;
        self.phase = Phase::Connected;
        self.account = None;
        self.helo.clear();
        self.extended = false;
        self.reset();
        // Answered with a greeting, or a refusal: this client's.
        self.awaited = Awaited::Connect;
        self.steps.push(Step::Ask(Question::Connect));
    }
}

/// The client after `attribute=value` pairs, each once; `None` if one is not of the grammar.
fn attributes(argument: &str, before: Client) -> Option<Client> {
    let mut client = before;
    let mut seen: Vec<&str> = Vec::new();
    for pair in argument.split(' ').filter(|pair| !pair.is_empty()) {
        let (name, value) = pair.split_once('=')?;
        let known = ["NAME", "ADDR", "PORT", "PROTO", "HELO"].into_iter().find(|known| name.eq_ignore_ascii_case(known))?;
        if seen.contains(&known) {
            return None;
        }
        seen.push(known);
        let value = decode_xtext(value)?;
        let is_known = !matches!(value.to_ascii_uppercase().as_str(), "[UNAVAILABLE]" | "[TEMPUNAVAIL]");
        match known {
            // Nobody knows who it is: then it is nobody whom we trust, and surely not the proxy.
            "ADDR" => client.address = if is_known { address(&value)? } else { Ipv4Addr::UNSPECIFIED.into() },
            "PORT" if is_known => client.port = value.parse().ok()?,
            "PROTO" if !matches!(value.to_ascii_uppercase().as_str(), "SMTP" | "ESMTP") => return None,
            _ => {}
        }
    }
    // Who says nothing says it for nothing.
    (!seen.is_empty()).then_some(client)
}

fn address(value: &str) -> Option<IpAddr> {
    match value.split_at_checked(5) {
        Some((tag, rest)) if tag.eq_ignore_ascii_case("IPV6:") => {
            rest.parse::<Ipv6Addr>().ok().map(|address| IpAddr::V6(address).to_canonical())
        }
        _ => value.parse::<Ipv4Addr>().ok().map(IpAddr::V4),
    }
}
