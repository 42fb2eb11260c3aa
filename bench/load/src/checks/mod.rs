//! What all checks of a sender cost: Postring with them and without, and Postfix with rspamd, in turns under the same signed mail.
//!
//! ```text
//!   generator ── mail of many domains, from a host of each ──> Postring, checks on ────────┐
//!      (load's core)                                           Postring, checks off ───────┼──> NSD, all there is in the DNS
//!                                                              Postfix, rspamd, Unbound ───┘       (load's core, not counted)
//! ```

mod found;
mod senders;
mod sign;

use crate::generator::{self, Letter, Spacing};
use crate::machine::{Cores, Machine};
use crate::server::{Flavour, Place, Server, Setup};
use crate::statistics::Spread;
use crate::turn::{Summary, Turn};
use indicatif::ProgressBar;
use senders::{BLOCK_LIST, DOMAINS_MAX, Senders};
use serde_json::json;
use sign::Signed;

const ON: &str = "Postring, checks on";
const OFF: &str = "Postring, checks off";
/// What the project has promised of the DNS answers a verdict needs; 99 of 100 messages wait for the others at most 5 ms.
const AIM_READY_PERCENT: f64 = 95.0;

#[derive(Clone, Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  postring-bench checks                      (root: Postfix, rspamd, Unbound, NSD)\n  postring-bench checks --rsa 100 --rate 200  (all sign with RSA; no server at its limit)"
)]
pub struct Options {
    /// Domains that send, each with a host, an address and a DKIM key record of its own
    #[arg(long, default_value_t = 200, value_parser = clap::value_parser!(u16).range(1..=i64::from(DOMAINS_MAX)))]
    domains: u16,
    /// Of a hundred domains so many sign with RSA (2,048 bits), the others with Ed25519
    #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u16).range(0..=100))]
    rsa: u16,
    /// Connections at once
    #[arg(long, default_value_t = 32)]
    connections: usize,
    /// Bytes of a message, without its signature
    #[arg(long, default_value_t = 10_240)]
    size: usize,
    /// Turns; medians are printed with minimum and maximum
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    /// Messages of a turn for Postfix with rspamd; Postring gets five times as many
    #[arg(long, default_value_t = 1000)]
    count: usize,
    /// All at this many messages a second, at random times, which Postfix must be able to do; without it each as fast as it can
    #[arg(long, value_parser = generator::positive)]
    rate: Option<f64>,
    /// Postring scans as well (YARA-X and Bayes), with checks and without
    #[arg(long)]
    scan: bool,
    /// Without Postfix and rspamd
    #[arg(long)]
    without_rival: bool,
    #[command(flatten)]
    setup: Setup,
}

/// Postring's resolver begins at our NSD, as if that were the root server.
fn dns(upstream: u16) -> String {
    format!(
        "\n[dns]\nresolver = \"iterate\"\nvalidate = false\ndo_not_query = []\nroot_hints = [\"127.0.0.1:{upstream}\"]\n\
         upstream_port = {upstream}\nipv6 = false\nlocal_zones = false\nnot_minimised = [\"{BLOCK_LIST}\"]\n"
    )
}

/// All checks, of everybody, as shipped; but nobody waits, and nobody is too fast. The list refuses by itself, as Postfix has it.
fn checks_on(upstream: u16) -> String {
    format!(
        "{}\n[policy]\ntrusted_networks = []\ngreeting_wait_ms = 0\n\n[[policy.dnsbl]]\nzone = \"{BLOCK_LIST}\"\nweight = 5.0\n\n\
         [policy.limits]\nconnections_per_address = \"off\"\nconnections_per_network = \"off\"\n",
        dns(upstream)
    )
}

/// Clients of our own network, and nothing checked besides.
fn checks_off(upstream: u16) -> String {
    let off = ["spf", "dkim", "dmarc", "greylist", "reputation"].map(|check| format!("\n[policy.{check}]\ncheck = false\n"));
    format!("{}\n[policy]\ntrusted_networks = [\"127.0.0.0/8\"]\n{}", dns(upstream), off.concat())
}

/// A server with what it has had so far.
struct Contender {
    server: Server,
    is_checked: bool,
    /// Messages of a turn.
    count: usize,
    delivered: usize,
    turns: Vec<Turn>,
}

impl Contender {
    fn new(server: Server, is_checked: bool, count: usize) -> Self {
        Self { server, is_checked, count, delivered: 0, turns: Vec::new() }
    }

    /// Every sender's message once, which fills the caches and is looked at; the first time, a turn follows from then on.
    fn turn(&mut self, options: &Options, senders: &Senders) -> Result<(), String> {
        let target = ([127, 0, 0, 1], self.server.port).into();
        let (warm, count) = (senders.letters.len(), self.count);
        let send = |count: usize| {
            let plain = generator::Options::plain(target, options.connections, count, options.size);
            let load = generator::Options { rate: options.rate, spacing: Spacing::Random, ..plain };
            generator::send(&load, &senders.letters, &ProgressBar::hidden())
        };
        let is_first = self.turns.is_empty();
        self.turns.push(Turn::run(&self.server, warm, count, &mut self.delivered, send)?);
        if !is_first {
            return Ok(());
        }
        found::check(&self.server, self.is_checked)?;
        if self.is_checked { self.refuses_listed(&senders.listed) } else { Ok(()) }
    }

    /// The list must have been asked: only a refusal that names it shows that.
    fn refuses_listed(&self, letter: &Letter) -> Result<(), String> {
        let target = ([127, 0, 0, 1], self.server.port).into();
        let load = generator::Options::plain(target, 1, 1, 0);
        let report = generator::send(&load, std::slice::from_ref(letter), &ProgressBar::hidden())?;
        match report.first_refusal {
            Some(reply) if reply.contains(BLOCK_LIST) && report.accepted == 0 => Ok(()),
            reply => Err(format!("{}: a client that {BLOCK_LIST} names was not refused for it: {reply:?}", self.server.name)),
        }
    }

    fn summary(&self) -> Summary {
        Summary::of(self.server.name, &self.turns)
    }
}

/// The rival; `None`, with a line that says why, where a package is missing or it cannot be started without root.
fn rival(options: &Options, cores: Option<Cores>, upstream: u16) -> Result<Option<Server>, String> {
    let setup = &options.setup;
    if options.without_rival {
        return Ok(None);
    }
    if !rustix::process::geteuid().is_root() {
        eprintln!("without a rival: Postfix starts as root only");
        return Ok(None);
    }
    let port = port(setup, 600)?;
    match Server::postfix_with_rspamd(port, cores, setup.smoke, BLOCK_LIST, upstream) {
        Ok(server) => Ok(Some(server)),
        Err(error) if error.contains("apt-get install") => {
            eprintln!("without a rival: {error}");
            Ok(None)
        }
        Err(error) => Err(error),
    }
}

fn port(setup: &Setup, more: u16) -> Result<u16, String> {
    setup.port_base.checked_add(more).ok_or_else(|| "the port base is too high".to_owned())
}

fn now() -> u64 {
    std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

/// Microseconds a message of the cryptography alone, by algorithm, medians of rounds.
struct Cryptography {
    verify: Spread,
    rsa: Spread,
    ed25519: Spread,
    body: Spread,
}

impl Cryptography {
    fn measure(senders: &Senders, rounds: usize, times: usize) -> Result<Self, String> {
        let of = |wanted: fn(&Signed) -> bool| sign::cost(senders.signed.iter().filter(|signed| wanted(signed)), times);
        let (mut all, mut rsa, mut ed25519) = (Vec::new(), Vec::new(), Vec::new());
        // In turns: what else the machine does comes and goes.
        for _ in 0..rounds {
            all.push(of(|_| true)?);
            rsa.push(of(|signed| signed.is_rsa)?);
            ed25519.push(of(|signed| !signed.is_rsa)?);
        }
        let verify = |costs: &[sign::Cost]| Spread::of(costs.iter().map(|cost| cost.verify_us).filter(|cost| *cost > 0.01));
        Ok(Self {
            verify: verify(&all),
            rsa: verify(&rsa),
            ed25519: verify(&ed25519),
            body: Spread::of(all.iter().map(|cost| cost.body_us)),
        })
    }
}

pub fn run(options: &Options) -> Result<(), String> {
    let setup = &options.setup;
    let machine = Machine::read();
    let cores = Cores::choose();
    cores.map_or(Ok(()), |cores| cores.pin_load())?;
    let (rounds, count) = if setup.smoke { (1, options.count.min(40)) } else { (options.rounds.max(1), options.count.max(1)) };
    let domains = if setup.smoke { options.domains.min(20) } else { options.domains };
    // As fast as it can, Postring has a longer turn; at a rate all have the same.
    let times = if options.rate.is_some() || setup.smoke { 1 } else { 5 };
    let senders = Senders::new(domains, options.rsa, options.size, now())?;

    let folder = tempfile::tempdir().map_err(|error| error.to_string())?;
    let file = folder.path().join("zone");
    std::fs::write(&file, &senders.zone).map_err(|error| format!("{}: {error}", file.display()))?;
    let beside_load = cores.map(|cores| Cores { server: cores.load, ..cores });
    let place = Place { port: port(setup, 700)?, cores: beside_load, makeshift: setup.smoke };
    let mut upstream = match Server::nsd(place, ".", &file) {
        // In a short run it is said, and no error.
        Err(error) if setup.smoke && error.contains("apt-get install") => {
            println!("NOT RUN, the server of all zones {error}");
            return Ok(());
        }
        upstream => upstream?,
    };
    upstream.wait_answer(&first_question()?)?;

    let postring = |name, port_base, config: &str| {
        let flavour = Flavour { name, scan: options.scan, config };
        Server::postring_as(&Setup { port_base, ..setup.clone() }, cores, flavour, setup.smoke)
    };
    let mut contenders = vec![
        Contender::new(postring(ON, setup.port_base, &checks_on(upstream.port))?, true, times * count),
        Contender::new(postring(OFF, port(setup, 800)?, &checks_off(upstream.port))?, false, times * count),
    ];
    contenders.extend(rival(options, cores, upstream.port)?.map(|server| Contender::new(server, true, count)));

    let bar = crate::progress((rounds * contenders.len()) as u64, setup.json);
    for round in 0..rounds {
        // Nobody is always the first.
        let first = round % contenders.len();
        let (later, sooner) = contenders.split_at_mut(first);
        for contender in sooner.iter_mut().chain(later) {
            contender.turn(options, &senders)?;
            bar.inc(1);
        }
    }
    bar.finish_and_clear();
    let cryptography = Cryptography::measure(&senders, rounds, if setup.smoke { 1 } else { 20 })?;
    let summaries: Vec<Summary> = contenders.iter().map(Contender::summary).collect();
    let cpu_ms = |place: usize| summaries.get(place).map_or(f64::NAN, |summary| summary.cpu_ms.median);
    let added_us = (cpu_ms(0) - cpu_ms(1)) * 1000.0;
    let crypto_us = cryptography.verify.median + cryptography.body.median;
    let ratio = cpu_ms(2) / cpu_ms(0);
    let dots = summaries.first().map(|summary| summary.last_dots).unwrap_or_default();
    if setup.json {
        println!(
            "{}",
            json!({ "machine": machine.json(), "place": Cores::text(cores), "smoke": setup.smoke, "size": options.size,
                "count": count, "domains": domains, "rsa_percent": options.rsa, "connections": options.connections,
                "rate": options.rate, "scan": options.scan, "servers": summaries.iter().map(Summary::json).collect::<Vec<_>>(),
                "checks_cpu_us_a_message": added_us,
                "signatures_us_a_message": { "verify": cryptography.verify.json(), "verify_rsa": cryptography.rsa.json(),
                    "verify_ed25519": cryptography.ed25519.json(), "hash_body": cryptography.body.json() },
                "last_dot": { "messages": dots.messages, "answers_ready": dots.ready, "answers_late": dots.late,
                    "wait_us": dots.wait_us, "waits_over_5_ms": dots.over_5_ms, "answers_ready_percent": dots.ready_percent(),
                    "aim_ready_percent": AIM_READY_PERCENT },
                "checks_without_cryptography_us": added_us - crypto_us, "rival_cpu_by_postring_cpu": ratio })
        );
        return Ok(());
    }
    println!(
        "{machine}\n{}; each on {}",
        Cores::text(cores),
        contenders.first().map_or(String::new(), |first| first.server.text())
    );
    println!(
        "messages of {} bytes, one a connection, {} connections, from {domains} domains, {} % signed with RSA-2048, the rest with Ed25519; {}",
        options.size,
        options.connections,
        options.rsa,
        crate::runs_text(rounds, setup.smoke)
    );
    match options.rate {
        Some(rate) => {
            println!("open loop, {rate} messages a second at random times; latency from when a message was due to its 250")
        }
        None => println!("closed loop, as fast as it goes; latency from MAIL FROM to 250"),
    }
    println!(
        "SPF, DKIM, DMARC, a block list by DNS, names of client and EHLO, sender's domain; caches warm; every message of the first turn said\n\
         dkim=pass, spf=pass and dmarc=pass, or nothing of it with checks off{}",
        if options.scan { "; Postring with YARA-X and Bayes" } else { "; no scan" }
    );
    Summary::print_head();
    summaries.iter().for_each(Summary::print);
    println!(
        "signatures alone, us a message: verified {} (RSA {}, Ed25519 {}), the body's SHA-256 {}",
        cryptography.verify.text(1),
        cryptography.rsa.text(1),
        cryptography.ed25519.text(1),
        cryptography.body.text(1)
    );
    if !added_us.is_nan() {
        println!(
            "all checks take {added_us:.0} us of CPU a message, {:.0} without the cryptography of signatures",
            added_us - crypto_us
        );
    }
    if dots.messages > 0 {
        println!(
            "at the last dot {:.2} % of the answers a verdict needed were there ({} late), the aim is {AIM_READY_PERCENT} %; {:.3} % of {} messages waited \
             longer than 5 ms for one, the aim is at most 1 %",
            dots.ready_percent(),
            dots.late,
            dots.over_5_ms_percent(),
            dots.messages
        );
    }
    if !ratio.is_nan() {
        println!("Postring's CPU a message with all checks is 1/{ratio:.1} of Postfix' with rspamd");
    }
    Ok(())
}

/// For the block list's test entry, which is there whatever else is.
fn first_question() -> Result<Vec<u8>, String> {
    let questions = crate::dns::Questions::read(&format!("2.0.0.127.{BLOCK_LIST} A"), None)?;
    Ok(questions.packet(0).to_vec())
}
