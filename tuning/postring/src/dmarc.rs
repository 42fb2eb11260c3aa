//! `postring dmarc`: aggregate reports, as the running system has them.

use crate::config::Config;
use crate::dns::{ask, print_json};
use serde_json::Value;

#[derive(Debug, clap::Subcommand)]
pub enum DmarcAction {
    /// Domains and messages that are noted, and who will be told
    List {
        /// For machines
        #[arg(long)]
        json: bool,
    },
    /// The report of a domain, as it would be sent now
    Show { domain: String },
    /// Sends all that is noted, of this day too
    Send {
        /// For machines
        #[arg(long)]
        json: bool,
    },
}

pub fn run(config: &Config, action: &DmarcAction) -> Result<(), String> {
    match action {
        DmarcAction::List { json } => {
            let list = ask(config, &["dmarc", "list"])?;
            if *json {
                return print_json(&list);
            }
            print_list(&list);
            Ok(())
        }
        DmarcAction::Show { domain } => {
            for report in ask(config, &["dmarc", "show", domain])?.as_array().into_iter().flatten() {
                print!("{}", text(report));
            }
            Ok(())
        }
        DmarcAction::Send { json } => {
            let outcome = ask(config, &["dmarc", "send"])?;
            if *json {
                return print_json(&outcome);
            }
            print_outcome(&outcome);
            match outcome["failed"].as_array().map_or(0, Vec::len) {
                0 => Ok(()),
                failed => Err(format!("{failed} domains could not be told now; they are told within the hour")),
            }
        }
    }
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

fn joined(values: &Value) -> String {
    values.as_array().into_iter().flatten().map(text).collect::<Vec<_>>().join(" ")
}

fn each(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}

fn print_list(list: &Value) {
    for period in each(&list["periods"]) {
        let day = period["begin"].as_u64().map_or_else(|| "now".to_owned(), postring_mail::date::day);
        for domain in each(&period["domains"]) {
            let sent = if domain["sent"].as_bool() == Some(true) { "sent" } else { "" };
            println!("{day:<10} {:>9} {:<32} {} {sent}", domain["messages"], text(&domain["domain"]), joined(&domain["to"]));
        }
    }
    if list["on"].as_bool() != Some(true) {
        println!("nothing is noted and nobody is told: policy.dmarc.reports.from is not set");
    }
}

fn print_outcome(outcome: &Value) {
    for sent in each(&outcome["sent"]) {
        println!("{:<32} {}", text(&sent["domain"]), joined(&sent["to"]));
        each(&sent["skipped"]).for_each(|skipped| println!("  not to {}", text(skipped)));
    }
    for failed in each(&outcome["failed"]) {
        println!("{:<32} later: {}", text(&failed["domain"]), text(&failed["error"]));
    }
}
