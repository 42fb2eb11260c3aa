//! `postring tls`: what the certificates' files hold, and the TLSA records of this host (RFC 6698, RFC 7671, RFC 7672).

use super::certificate::WARN_DAYS;
use super::entry::Said;
use super::files::Certificates;
use crate::config::Config;
use crate::dns::ask;
use clap::Subcommand;
use std::fmt::Write as _;
use std::time::{SystemTime, UNIX_EPOCH};

#[derive(Debug, Subcommand)]
pub enum TlsAction {
    /// Show the certificates of the configuration, and when they expire
    List {
        /// For machines
        #[arg(long)]
        json: bool,
    },
    /// Get certificates from the authority of [tls.acme] now, not when they are due
    Renew {
        /// A name or a certificate's file. Without it: all
        name: Option<String>,
    },
    /// Print the TLSA records of this host, of its certificate and of `tls.next_key`, for the zone of its name
    Tlsa,
}

/// Seconds since 1970.
pub fn now() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).ok().and_then(|since| i64::try_from(since.as_secs()).ok()).unwrap_or(0)
}

pub fn run(config: &Config, action: &TlsAction) -> Result<(), String> {
    if let TlsAction::Renew { name } = action {
        let words: Vec<&str> = ["tls", "renew"].into_iter().chain(name.as_deref()).collect();
        ask(config, &words)?;
        println!("begun; the log and `postring tls list` say what comes of it");
        return Ok(());
    }
    let (certificates, said) = Certificates::open(&config.tls, &config.server.hostname, None, now())?;
    for Said::Info(line) | Said::Warning(line) in said {
        eprintln!("{line}");
    }
    let certificates = certificates.ok_or("tls.certificate and tls.key are not set: there is no certificate")?;
    match action {
        TlsAction::List { json } => {
            let mut status = certificates.status(now());
            // A system that does not run gets none.
            let acme = ask(config, &["status"]).map(|status| status["acme"].clone()).unwrap_or_default();
            for one in status.as_array_mut().into_iter().flatten() {
                one["acme"] = find(&acme, &one["certificate"]).cloned().unwrap_or_default();
            }
            if *json {
                println!("{}", serde_json::to_string_pretty(&status).map_err(|error| error.to_string())?);
            } else {
                print!("{}", list(&status));
            }
        }
        TlsAction::Renew { .. } => {}
        TlsAction::Tlsa => {
            let (records, _) = certificates.tlsa();
            if records.is_empty() {
                return Err("the certificate of this host's name is not good; `postring check` says why".to_owned());
            }
            print!("{}", tlsa(&config.server.hostname, &records));
        }
    }
    Ok(())
}

/// What is said of a certificate's file.
fn find<'a>(all: &'a serde_json::Value, certificate: &serde_json::Value) -> Option<&'a serde_json::Value> {
    all.as_array()?.iter().find(|one| one["certificate"] == *certificate)
}

/// Of a running system's status: those that need somebody soon, and what the others are.
pub fn summary(status: &serde_json::Value) -> String {
    let all = status.as_array().map(Vec::as_slice).unwrap_or_default();
    let is_urgent =
        |one: &&serde_json::Value| !one["problem"].is_null() || one["days_left"].as_i64().is_none_or(|days| days <= WARN_DAYS);
    let urgent: Vec<serde_json::Value> = all.iter().filter(is_urgent).cloned().collect();
    let mut text = list(&urgent.into());
    if let Some(days) = all.iter().filter_map(|one| one["days_left"].as_i64()).min() {
        let _ = writeln!(text, "certificates {}, the first expires in {days} days", all.len());
    }
    text
}

/// A line for each certificate.
pub fn list(status: &serde_json::Value) -> String {
    let mut text = String::new();
    for one in status.as_array().into_iter().flatten() {
        let words: Vec<&str> = one["names"].as_array().into_iter().flatten().filter_map(serde_json::Value::as_str).collect();
        let days = one["days_left"].as_i64().map_or_else(|| "not in force".to_owned(), |days| format!("{days} days left"));
        let _ = writeln!(text, "{}: {days}; {}", one["certificate"].as_str().unwrap_or_default(), words.join(", "));
        if let Some(problem) = one["problem"].as_str() {
            let _ = writeln!(text, "    its files are not in force: {problem}");
        }
        let acme = &one["acme"];
        if let Some(from) = acme["renewed_from"].as_u64() {
            let _ = writeln!(text, "    renewed from {} on", postring_mail::date::day(from));
        }
        if let Some(error) = acme["error"].as_str() {
            let _ = writeln!(text, "    the authority was asked in vain: {error}");
        }
    }
    text
}

/// The records, as lines of a master file.
fn tlsa(hostname: &str, records: &[String]) -> String {
    let hostname = hostname.trim_end_matches('.');
    let mut text = format!(
        "; For the zone of {hostname}; servers heed them if it is signed (DNSSEC). A certificate with the same key needs no other record.\n\
         ; Another key: publish its record (tls.next_key), wait twice the TTL, take the certificate, then take the old record away.\n"
    );
    for record in records {
        let _ = writeln!(text, "_25._tcp.{hostname}. IN TLSA {record}");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_shows_what_is_urgent() {
        let one = |file: &str, days: i64, problem: Option<&str>| serde_json::json!({ "certificate": file, "names": ["a.example"], "days_left": days, "problem": problem });
        let status =
            serde_json::json!([one("a", 80, None), one("b", 14, None), one("c", 60, Some("no key")), one("d", 15, None)]);
        assert_eq!(
            summary(&status),
            "b: 14 days left; a.example\nc: 60 days left; a.example\n    its files are not in force: no key\n\
             certificates 4, the first expires in 14 days\n"
        );
        assert_eq!(summary(&serde_json::Value::Null), "");
    }
}
