//! `postring dns zone`: judging, listing, reading again, signing.

use super::{ask, print_json};
use crate::cli::ZoneAction;
use crate::config::Config;
use crate::supervisor;
use postring_dns::Name;
use serde_json::Value;

pub fn run(action: &ZoneAction, load: impl FnOnce() -> Result<Config, String>) -> Result<(), String> {
    match action {
        ZoneAction::Check { name: Some(name), file: Some(file) } => {
            let origin = Name::absolute(name).map_err(|error| format!("\"{name}\": {error}"))?;
            let zone = postring_zones::source::zone_file(&origin, file, &mut |_| {})?;
            println!("{origin} is good: serial {}, {} records.", zone.serial(), zone.record_count());
            Ok(())
        }
        ZoneAction::Check { file: Some(_), name: None } => {
            Err("give the zone's name before its file: postring dns zone check NAME --file FILE".to_owned())
        }
        ZoneAction::Check { name, file: None } => {
            let config = load()?;
            let zones = config.dns.zones(&config.server.hostname);
            let hosted = postring_zones::check(&zones, &postring_zones::State::new(&config.server.data))?;
            match name {
                None => println!("{} zones and lists are good.", hosted.len()),
                Some(name) => {
                    let origin = Name::absolute(name).map_err(|error| format!("\"{name}\": {error}"))?;
                    hosted.get(&origin).ok_or_else(|| format!("{origin} is not in the configuration"))?;
                    println!("{origin} is good.");
                }
            }
            Ok(())
        }
        ZoneAction::List { json } => {
            let answer = ask(&load()?, &["dns", "zone", "list"])?;
            if *json { print_json(&answer) } else { list(&answer) }
        }
        ZoneAction::Reload { name: None } => {
            supervisor::ask(&load()?.server.data, &["reload"])?.ok_or("nothing runs on this data folder")?;
            println!("reloaded");
            Ok(())
        }
        ZoneAction::Reload { name: Some(name) } => {
            let answer = ask(&load()?, &["dns", "zone", "reload", name])?;
            println!(
                "{} is {}: serial {}, {} entries.",
                text(&answer["name"]),
                text(&answer["state"]),
                answer["serial"],
                answer["entries"]
            );
            Ok(())
        }
        ZoneAction::Sign { name } => keys(&load()?, "sign", name),
        ZoneAction::Keys { name } => keys(&load()?, "keys", name),
        ZoneAction::Roll { name } => keys(&load()?, "roll", name),
        ZoneAction::DsSeen { name } => keys(&load()?, "ds-seen", name),
    }
}

fn keys(config: &Config, what: &str, name: &str) -> Result<(), String> {
    print!("{}", text(&ask(config, &["dns", "zone", what, name])?["status"]));
    Ok(())
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

fn list(answer: &Value) -> Result<(), String> {
    let services = answer["services"].as_array().map(Vec::as_slice).unwrap_or_default();
    for service in services {
        let serial = service["serial"].as_u64().map_or_else(String::new, |serial| format!("serial {serial}"));
        let signed = if service["signed"].as_bool() == Some(true) { "signed" } else { "" };
        let entries = service["entries"].as_u64().unwrap_or(0);
        println!(
            "{:<40} {:<10} {:<8} {:>9} entries  {serial:<18} {signed}",
            text(&service["name"]),
            text(&service["kind"]),
            text(&service["state"]),
            entries
        );
        if let Some(error) = service["error"].as_str() {
            println!("    {error}");
        }
    }
    println!("{} in all, {} shown.", answer["total"], services.len());
    Ok(())
}
