//! What each command does.

use crate::cli::{AccountAction, AliasAction, Arguments, Command, ConfigPath, DomainAction};
use crate::config::Config;
use crate::init::{self, Init};
use crate::supervisor::{self, Supervisor};
use crate::{auth, demo, dmarc, dns, queue, reference, smtp, tls, try_it};
use indicatif::{ProgressBar, ProgressStyle};
use postring_directory::{Directory, Scores, hash_password};
use postring_engine::bayes::{Class, learn};
use std::io::BufRead;
use std::path::{Path, PathBuf};
use std::time::Duration;

pub fn run(arguments: Arguments) -> Result<(), String> {
    match arguments.command.unwrap_or(Command::Demo { dir: "demo".into() }) {
        Command::Demo { dir } => demo::run(&dir),
        Command::Init { dir, domain, accounts, port_base } => {
            make(&Init { folder: &dir, domain: &domain, accounts: &accounts, port_base })
        }
        Command::Up(path) => {
            let supervisor = Supervisor::prepare(&find(&path)?)?;
            supervisor.run(|supervisor| {
                tracing::info!("ready: {}", supervisor.config().server.hostname);
            })
        }
        Command::Check(path) => check(&find(&path)?),
        Command::Reload(path) => match supervisor::ask(&load(&path)?.server.data, &["reload"])? {
            Some(_) => {
                println!("reloaded");
                Ok(())
            }
            None => Err("nothing runs on this data folder".to_owned()),
        },
        Command::Reference => {
            print!("{}", reference::text());
            Ok(())
        }
        Command::Domain { action, config } => domain(&config, action),
        Command::Account { action, config } => account(&config, action),
        Command::Alias { action, config } => alias(&config, action),
        Command::Status { json, watch, config } => status(&config, json, watch),
        Command::Queue { action, config } => queue::run(&load(&config)?, &action),
        Command::Dns { action, config } => dns::run(action, || load(&config)),
        Command::Auth { action, config } => auth::run(&action, || load(&config)),
        Command::Dmarc { action, config } => dmarc::run(&load(&config)?, &action),
        Command::Smtp { action, config } => smtp::run(&load(&config)?, &action),
        Command::Tls { action, config } => tls::command::run(&load(&config)?, &action),
        Command::Block { action, config } => dns::block(&load(&config)?, &action),
        Command::Learn { spam, ham: _, paths, json, config } => {
            learn_paths(&config, if spam { Class::Spam } else { Class::Ham }, &paths, json)
        }
        Command::Try { action, config } => try_it::run(&load(&config)?, action),
        Command::Child { role } => child(&role),
    }
}

/// The configuration's path: given, or the first that exists.
fn find(path: &ConfigPath) -> Result<PathBuf, String> {
    if let Some(path) = &path.config {
        return Ok(path.clone());
    }
    ["postring.toml", "demo/postring.toml", "/etc/postring/postring.toml"]
        .iter()
        .map(PathBuf::from)
        .find(|path| path.exists())
        .ok_or_else(|| "no configuration: give --config FILE, or make one with `postring init`".to_owned())
}

fn load(path: &ConfigPath) -> Result<Config, String> {
    Config::load(&find(path)?)
}

fn make(request: &Init<'_>) -> Result<(), String> {
    let made = init::init(request)?;
    println!("{} is written.", made.config.display());
    for (account, password) in &made.passwords {
        println!("{account} has the password {password}");
    }
    println!("Start it with: postring up --config {}", made.config.display());
    Ok(())
}

/// Everything that can be judged without starting.
fn check(path: &Path) -> Result<(), String> {
    let config = Config::load(path)?;
    init::check_version(&config.server.data)?;
    let mut findings = Vec::new();
    if config.edge.scan && config.scan.yara {
        findings.extend(postring_engine::yara::compile(&config.server.data.join(&config.scan.rules)).err());
    }
    findings.extend(
        postring_engine::bayes::TokenStore::open(&config.server.data.join(&config.scan.tokens))
            .err()
            .map(|error| error.to_string()),
    );
    findings.extend(Directory::open(&config.server.data.join("directory.sqlite")).err().map(|error| error.to_string()));
    let plan = crate::plan::plan(&config.cores, &crate::plan::available(), config.edge.scan);
    findings.extend(plan.and_then(|plan| crate::plan::check_shards(&plan, &config.server.data)).err());
    findings.extend(supervisor::check_users(&config).err());
    let (wrong, notes) = tls::check::check(&config.tls, &config.server.hostname, tls::command::now());
    findings.extend(wrong);
    if let Ok((Some(certificates), _)) = tls::Certificates::open(&config.tls, &config.server.hostname, None, tls::command::now())
    {
        findings.extend(tls::published::disagreement(&config, &certificates.tlsa().0));
    }
    findings.extend(supervisor::check_zones(&config).err());
    if supervisor::ask(&config.server.data, &["status"])?.is_none() {
        findings.extend(supervisor::check_sockets(&config));
    }
    notes.iter().for_each(|note| println!("note: {note}"));
    if findings.is_empty() {
        println!("{} is good.", path.display());
        return Ok(());
    }
    for finding in &findings {
        eprintln!("{finding}");
    }
    Err(format!(
        "{} of {}",
        if findings.len() == 1 { "one thing is wrong".to_owned() } else { format!("{} things are wrong", findings.len()) },
        path.display()
    ))
}

fn open(config: &Config) -> Result<Directory, String> {
    init::check_version(&config.server.data)?;
    Directory::open(&config.server.data.join("directory.sqlite")).map_err(|error| error.to_string())
}

/// Time for the shards to take what was handed to them; they need milliseconds.
const TAKEN_WAIT: Duration = Duration::from_millis(200);

/// Waits until the running system works with what was changed.
fn apply(config: &Config) -> Result<(), String> {
    if supervisor::ask(&config.server.data, &["directory"])?.is_none() {
        println!("(nothing runs on this data folder; it takes effect at the next start)");
        return Ok(());
    }
    // It is handed out; every shard takes it at its next turn. What the operator does next shall find it there.
    std::thread::sleep(TAKEN_WAIT);
    Ok(())
}

fn domain(path: &ConfigPath, action: DomainAction) -> Result<(), String> {
    let config = load(path)?;
    let directory = open(&config)?;
    match action {
        DomainAction::Add { name } => {
            directory.domain_add(&name).map_err(|error| error.to_string())?;
            init::make_dkim_keys(&directory, &name)?;
            println!("{name} is hosted now. `postring domain records {name}` prints what its zone holds.");
            apply(&config)
        }
        DomainAction::Records { name } => {
            print!("{}", records(&config, &directory, &name)?);
            Ok(())
        }
        DomainAction::Scores { name, scores } => {
            let scores = scores.into();
            directory.set_domain_scores(&name, scores).map_err(|error| error.to_string())?;
            println!("{name}: {}.", in_words(scores));
            apply(&config)
        }
        DomainAction::Template => {
            print!("{}", postring_zones::template::DEFAULT);
            Ok(())
        }
        DomainAction::List => {
            for name in directory.domains().map_err(|error| error.to_string())? {
                let scores = directory.domain_scores(&name).map_err(|error| error.to_string())?;
                println!("{name}{}", if scores.are_default() { String::new() } else { format!(" ({})", in_words(scores)) });
            }
            Ok(())
        }
    }
}

/// The zone of a domain as it is made from the directory.
fn records(config: &Config, directory: &Directory, name: &str) -> Result<String, String> {
    let rows = directory.domain_records().map_err(|error| error.to_string())?;
    let row = rows.into_iter().find(|row| row.name.eq_ignore_ascii_case(name));
    let row = row.ok_or_else(|| format!("the domain {name} is not hosted here; `postring domain add {name}` first"))?;
    let zones = config.dns.zones(&config.server.hostname);
    let template = match &zones.domain_template {
        None => postring_zones::template::DEFAULT.to_owned(),
        Some(path) => std::fs::read_to_string(path).map_err(|error| format!("{}: {error}", path.display()))?,
    };
    // Whoever may not read the keys gets the records without them.
    let certificates = tls::Certificates::open(&config.tls, &config.server.hostname, None, tls::command::now());
    let tlsa = certificates.ok().and_then(|(certificates, _)| Some(certificates?.tlsa().0)).unwrap_or_default();
    let words = postring_zones::template::Words {
        domain: &row.name,
        hostname: &zones.hostname,
        serial: u32::try_from(row.changed & 0xffff_ffff).unwrap_or(1).max(1),
        name_servers: &zones.name_servers(),
        dkim: &row.dkim,
        tlsa: &tlsa,
        challenges: &[],
    };
    postring_zones::template::fill(&template, &words)
}

fn read_password(from_stdin: bool) -> Result<(String, bool), String> {
    if !from_stdin {
        return Ok((init::random_password()?, true));
    }
    let mut line = String::new();
    std::io::stdin().lock().read_line(&mut line).map_err(|error| format!("standard input: {error}"))?;
    let password = line.trim_end_matches(['\r', '\n']).to_owned();
    if password.is_empty() { Err("the password on standard input is empty".to_owned()) } else { Ok((password, false)) }
}

fn account(path: &ConfigPath, action: AccountAction) -> Result<(), String> {
    let config = load(path)?;
    let directory = open(&config)?;
    let (address, password_stdin, add) = match action {
        AccountAction::Add { address, password_stdin } => (address, password_stdin, true),
        AccountAction::Password { address, password_stdin } => (address, password_stdin, false),
        AccountAction::Scores { address, scores } => {
            let scores = scores.into();
            directory.set_account_scores(&address, scores).map_err(|error| error.to_string())?;
            println!("{address}: {}.", in_words(scores));
            return apply(&config);
        }
        AccountAction::List => {
            for account in directory.accounts().map_err(|error| error.to_string())? {
                let disabled = if account.enabled { "" } else { " (disabled)" };
                let scores =
                    if account.scores.are_default() { String::new() } else { format!(" ({})", in_words(account.scores)) };
                println!("{}@{}{disabled}{scores}", account.local_part, account.domain);
            }
            return Ok(());
        }
    };
    let (password, generated) = read_password(password_stdin)?;
    let hash = hash_password(password.as_bytes())?;
    if add {
        directory.account_add(&address, &hash, 0).map_err(|error| error.to_string())?;
    } else {
        directory.set_password(&address, &hash).map_err(|error| error.to_string())?;
    }
    if generated {
        println!("{address} has the password {password}");
    } else {
        println!("{address} has the password from standard input.");
    }
    apply(&config)
}

fn in_words(scores: Scores) -> String {
    let score = |score: Option<f64>| score.map_or_else(|| "as for all".to_owned(), |score| format!("from {score} points on"));
    format!("Junk {}, refused {}", score(scores.junk), score(scores.reject))
}

fn alias(path: &ConfigPath, action: AliasAction) -> Result<(), String> {
    let config = load(path)?;
    let directory = open(&config)?;
    match action {
        AliasAction::Add { address, targets } => {
            directory.alias_add(&address, &targets).map_err(|error| error.to_string())?;
            println!("{address} leads to {}.", targets.join(", "));
            apply(&config)
        }
        AliasAction::List => {
            for alias in directory.aliases().map_err(|error| error.to_string())? {
                println!("{}@{} -> {}", alias.local_part, alias.domain, alias.target);
            }
            Ok(())
        }
    }
}

fn status(path: &ConfigPath, json: bool, watch: bool) -> Result<(), String> {
    let config = load(path)?;
    loop {
        let Some(status) = supervisor::ask(&config.server.data, &["status"])? else {
            return Err(format!("nothing runs on {}; start it with `postring up`", config.server.data.display()));
        };
        if json {
            println!("{}", serde_json::to_string_pretty(&status).map_err(|error| error.to_string())?);
            return Ok(());
        }
        if watch {
            // Clear the screen, go to its corner.
            print!("\u{1b}[2J\u{1b}[H");
        }
        print_status(&status);
        if !watch {
            return Ok(());
        }
        std::thread::sleep(Duration::from_secs(1));
    }
}

fn print_status(status: &serde_json::Value) {
    let text = |value: &serde_json::Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    for role in status["roles"].as_array().into_iter().flatten() {
        let state = if role["ready"].as_bool() == Some(true) { "ready" } else { "down" };
        println!(
            "{:<10} {:<6} pid {:<8} cores {:<10} restarts {}",
            text(&role["role"]),
            state,
            text(&role["pid"]),
            text(&role["cores"]),
            text(&role["restarts"])
        );
    }
    println!();
    for (name, value) in status["counters"].as_object().into_iter().flatten() {
        if value.as_u64() != Some(0) {
            println!("{:<36} {:>14}", name.replace('_', " "), value);
        }
    }
    for list in status["dnsbl"].as_array().into_iter().flatten() {
        let counts = list.as_object().into_iter().flatten().filter(|(_, value)| value.is_u64());
        let counts: Vec<String> = counts
            .map(|(name, value)| format!("{} {value}", name.trim_start_matches("dnsbl_").trim_end_matches("_total")))
            .collect();
        println!("{:<36} {}", text(&list["zone"]), counts.join(", "));
    }
    print!("{}", tls::command::summary(&status["tls"]));
    for helper in status["helpers"].as_array().into_iter().flatten() {
        let counts = helper.as_object().into_iter().flatten().filter(|(_, value)| value.is_u64());
        let counts: Vec<String> = counts
            .map(|(name, value)| format!("{} {value}", name.trim_start_matches("helper_").trim_end_matches("_total")))
            .collect();
        println!("{:<36} {}", text(&helper["helper"]), counts.join(", "));
    }
}

fn learn_paths(path: &ConfigPath, class: Class, paths: &[PathBuf], json: bool) -> Result<(), String> {
    let config = load(path)?;
    let bar = if json { ProgressBar::hidden() } else { ProgressBar::new(0) };
    if let Ok(style) = ProgressStyle::with_template("{bar:40} {pos}/{len} files, {msg} messages, {eta} left") {
        bar.set_style(style);
    }
    let tokens = config.server.data.join(&config.scan.tokens);
    // The scanners work as a user of their own and must be able to read it; it holds hashes of words.
    rustix::process::umask(rustix::fs::Mode::WGRP | rustix::fs::Mode::WOTH);
    let report = learn(paths, class, &tokens, |progress| {
        bar.set_length(progress.files);
        bar.set_position(progress.files_done);
        bar.set_message(progress.messages.to_string());
    })?;
    bar.finish_and_clear();
    let (spam, ham) = report.messages;
    if json {
        let skipped = report.skipped.len();
        println!(
            "{}",
            serde_json::json!({ "learned": report.learned, "moved": report.moved, "known": report.known, "skipped": skipped, "spam": spam, "ham": ham })
        );
        return Ok(());
    }
    println!("{} messages learned, {} moved from the other class, {} known already.", report.learned, report.moved, report.known);
    println!("In all {spam} spam and {ham} ham.");
    for skipped in report.skipped.iter().take(10) {
        println!("skipped: {skipped}");
    }
    Ok(())
}

/// A role's process.
fn child(role: &str) -> Result<(), String> {
    std::panic::set_hook(Box::new(|panic| {
        tracing::error!("panic: {}", panic.to_string().replace('\n', " "));
        // A process that goes on without one of its shards would be worse than one that is started anew.
        std::process::abort();
    }));
    let mut child = postring_control::Child::take_over()
        .map_err(|error| format!("`postring child` is started by `postring up` only ({error})"))?;
    if child.launch.role.name() != role {
        return Err(format!("started as {role} and launched as {}", child.launch.role));
    }
    let sender = child.sender();
    let confined = child.confine().map_err(|error| format!("this process could not give up its rights: {error}"));
    let result = confined.and_then(|()| match child.launch.role {
        postring_control::Role::Edge => postring_edge::run(child),
        postring_control::Role::Scan => postring_scan::run_scan(child),
        postring_control::Role::Store => postring_store::run_store(child),
        postring_control::Role::Send => postring_store::run_send(child),
    });
    if let Err(text) = &result {
        // The supervisor says it; one that is gone cannot.
        let _ = sender.send(&postring_control::FromChild::Fatal { text: text.clone() }, &[]);
        std::process::exit(1);
    }
    result
}
