//! `postring block`: entries of block lists, set by command.

use super::{ask, print_json};
use crate::cli::BlockAction;
use crate::config::Config;
use indicatif::{ProgressBar, ProgressStyle};
use postring_dns::Name;
use postring_dns::list::{Change, Entry, Import, Key, Overlay, Verdict, encode_change, read_changes};
use serde_json::Value;
use std::fs::File;
use std::io::BufReader;
use std::net::Ipv4Addr;
use std::time::{SystemTime, UNIX_EPOCH};

/// Octets of changes in one request.
const REQUEST_BYTES: usize = 24 * 1024;
/// What an A query gets.
const VALUE: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 2);

fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs()
}

fn who() -> String {
    std::env::var("SUDO_USER").or_else(|_| std::env::var("USER")).unwrap_or_else(|_| "an operator".to_owned())
}

pub fn run(config: &Config, action: &BlockAction) -> Result<(), String> {
    match action {
        BlockAction::Add { what, list, text, seconds, why } => {
            let entry = |key: Key| Entry {
                key,
                verdict: Verdict::Listed(VALUE),
                text: text.as_str().into(),
                expires: seconds.map_or(0, |seconds| now() + u64::from(seconds)),
                made: now(),
                by: who().into(),
                why: why.as_str().into(),
            };
            let changes = keys(what)?.into_iter().map(|key| Change::Put(entry(key))).collect();
            let list = change(config, list.as_deref(), what, changes, &ProgressBar::hidden())?;
            println!("{what} is listed in {list}.");
            Ok(())
        }
        BlockAction::Del { what, list, why } => {
            // Whether the list's file names it, too, is not asked: hidden it is in both cases.
            let changes = keys(what)?.into_iter().map(|key| Overlay::deletion(key, true, now(), &who(), why)).collect();
            let list = change(config, list.as_deref(), what, changes, &ProgressBar::hidden())?;
            println!("{what} is not listed in {list} any more.");
            Ok(())
        }
        BlockAction::List { list, json } => {
            for name in list.as_deref().map_or(vec!["addresses", "names"], |list| vec![list]) {
                match ask(config, &["block", "list", name]) {
                    Ok(answer) if *json => print_json(&answer)?,
                    Ok(answer) => show(&answer),
                    // Without a list of this kind there is nothing to show.
                    Err(_) if list.is_none() => {}
                    Err(error) => return Err(error),
                }
            }
            Ok(())
        }
        BlockAction::Import { file, list, text, seconds, why } => {
            let expires = seconds.map_or(0, |seconds| now() + u64::from(seconds));
            let import = Import { address: VALUE, text: text.clone(), expires, made: now(), by: who(), why: why.clone() };
            let input = File::open(file).map_err(|error| format!("{}: {error}", file.display()))?;
            let changes = read_changes(&import, file, &mut BufReader::new(input)).map_err(|error| error.to_string())?;
            let bar = ProgressBar::new(changes.len() as u64);
            if let Ok(style) = ProgressStyle::with_template("{bar:40} {pos}/{len} entries, {eta} left") {
                bar.set_style(style);
            }
            let count = changes.len();
            let is_name = matches!(changes.first(), Some(Change::Put(Entry { key: Key::Name(..), .. })));
            let kind = if is_name { "names" } else { "192.0.2.1" };
            let list = change(config, list.as_deref(), kind, changes, &bar)?;
            bar.finish_and_clear();
            println!("{count} entries are in {list}.");
            Ok(())
        }
    }
}

fn keys(what: &str) -> Result<Vec<Key>, String> {
    Key::parse(what)
}

/// Hands changes to the running system; gives the list's name.
fn change(config: &Config, list: Option<&str>, what: &str, changes: Vec<Change>, bar: &ProgressBar) -> Result<String, String> {
    let is_address = what.parse::<std::net::IpAddr>().is_ok()
        || what.contains(['/', ':'])
        || what.bytes().all(|byte| byte.is_ascii_digit() || b".-".contains(&byte));
    let target = list.unwrap_or(if is_address { "addresses" } else { "names" });
    // The list's name in the lines is not looked at; the keeper knows which it is.
    let placeholder = Name::absolute("list").map_err(|error| error.to_string())?;
    let (mut lines, mut pending, mut name) = (Vec::new(), 0, String::new());
    let mut changes = changes.iter().peekable();
    while let Some(one) = changes.next() {
        encode_change(&placeholder, one, &mut lines);
        pending += 1;
        if lines.len() >= REQUEST_BYTES || changes.peek().is_none() {
            let text = String::from_utf8(std::mem::take(&mut lines)).map_err(|error| error.to_string())?;
            let answer = ask(config, &["block", "change", target, &text])?;
            name = answer["list"].as_str().unwrap_or_default().to_owned();
            bar.inc(std::mem::take(&mut pending));
        }
    }
    Ok(name)
}

fn show(answer: &Value) {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    for entry in answer["entries"].as_array().into_iter().flatten() {
        let left = match entry["expires"].as_u64().unwrap_or(0) {
            0 => "for good".to_owned(),
            expires => format!("{} s more", expires.saturating_sub(now())),
        };
        let value = entry["value"].as_str().map_or_else(|| "not listed".to_owned(), str::to_owned);
        println!(
            "{:<40} {value:<12} {left:<16} by {} {} {}",
            text(&entry["what"]),
            text(&entry["by"]),
            text(&entry["why"]),
            text(&entry["text"])
        );
    }
    println!("{}: {} entries set by command.", text(&answer["list"]), answer["total"]);
}
