//! `postring dns query`: what our resolver finds, and how.

use super::print_json;
use crate::cli::DnsQuestion;
use crate::config::Config;
use postring_dns::record::{Record, rdata_text};
use postring_dns::responder::Transport;
use postring_dns::{Name, Rtype};
use postring_transport::dns::{DnsConfig, ResolverMode, Trace, ask_once};
use serde_json::{Value, json};
use std::net::SocketAddr;
use std::time::Instant;

pub fn run(question: &DnsQuestion, load: impl FnOnce() -> Result<Config, String>) -> Result<(), String> {
    let name = Name::absolute(&question.name).map_err(|error| format!("\"{}\": {error}", question.name))?;
    let rtype = Rtype::parse(&question.rtype)
        .ok_or_else(|| format!("\"{}\" is no record type; give one like MX or TYPE65280", question.rtype))?;
    let config = servers(question.resolver, load);
    let begun = Instant::now();
    let trace = ask_once(&config, &name, rtype)?;
    let ms = begun.elapsed().as_millis();
    if question.json {
        return print_json(&as_json(&name, rtype, &trace, ms));
    }
    if question.trace {
        for entry in &trace.entries {
            let way = if entry.transport == Transport::Tcp { " (TCP)" } else { "" };
            println!(
                "; {} of {}{way}: {} {}: {} ({} ms)",
                entry.server, entry.zone, entry.name, entry.rtype, entry.outcome, entry.ms
            );
        }
    }
    let verdict = trace.verdict.as_ref().map(|verdict| format!(", {verdict:?}").to_lowercase()).unwrap_or_default();
    println!("; {}{verdict}, {} queries, {ms} ms", trace.answer.rcode, trace.entries.len());
    for record in trace.answer.records.iter().chain(&trace.answer.authority) {
        println!("{}", line(record));
    }
    if trace.answer.is_failure() {
        Err(format!("{name} {rtype} could not be resolved; --trace shows who was asked"))
    } else {
        Ok(())
    }
}

/// Whom an operator's questions go to: a server that is given, else those of the configuration, else the system's.
pub fn servers(resolver: Option<SocketAddr>, load: impl FnOnce() -> Result<Config, String>) -> DnsConfig {
    match resolver {
        // That one alone, and what it says as it says it.
        Some(server) => DnsConfig {
            resolver: ResolverMode::Forward,
            forwarders: Some(vec![server]),
            validate: Some(false),
            do_not_query: Vec::new(),
            local_zones: false,
            ..DnsConfig::default()
        },
        None => load().map_or_else(|_| DnsConfig::default(), |config| config.dns),
    }
}

fn line(record: &Record) -> String {
    format!("{}\t{}\tIN\t{}\t{}", record.name, record.ttl, record.rtype, rdata_text(record.rtype, &record.rdata))
}

fn as_json(name: &Name, rtype: Rtype, trace: &Trace, ms: u128) -> Value {
    let records = |records: &[Record]| -> Vec<Value> {
        let record = |record: &Record| {
            json!({
                "name": record.name.to_string(),
                "ttl": record.ttl,
                "type": record.rtype.to_string(),
                "data": rdata_text(record.rtype, &record.rdata),
            })
        };
        records.iter().map(record).collect()
    };
    let steps: Vec<Value> = trace
        .entries
        .iter()
        .map(|entry| {
            json!({
                "zone": entry.zone.to_string(),
                "server": entry.server.to_string(),
                "tcp": entry.transport == Transport::Tcp,
                "name": entry.name.to_string(),
                "type": entry.rtype.to_string(),
                "outcome": entry.outcome,
                "ms": entry.ms,
            })
        })
        .collect();
    json!({
        "name": name.to_string(),
        "type": rtype.to_string(),
        "rcode": trace.answer.rcode.to_string(),
        "security": format!("{:?}", trace.answer.security).to_lowercase(),
        "answer": records(&trace.answer.records),
        "authority": records(&trace.answer.authority),
        "steps": steps,
        "ms": u64::try_from(ms).unwrap_or(u64::MAX),
    })
}
