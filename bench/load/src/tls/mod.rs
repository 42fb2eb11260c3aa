//! STARTTLS: Postring and Postfix in turns, with the same certificate; whole handshakes and resumed ones, sessions that say EHLO and QUIT and such with a
//! message. Sessions without TLS stand beside them: the difference is what TLS costs.

mod client;

use crate::core_rate::{EXPLAINED, Run, Summary};
use crate::generator::{message, positive};
use crate::machine::{Cores, Machine};
use crate::server::{MAIN_AS_COMPARED, Server, Setup};
use crate::statistics::Spread;
use client::{Done, Protection, Work};
use serde_json::{Value, json};
use std::time::{Duration, Instant};

#[derive(Clone, Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  postring-bench tls                        (root: Postfix)\n  postring-bench tls --without-rival --seconds 5"
)]
pub struct Options {
    /// Connections at once, each a thread of the load
    #[arg(long, default_value_t = 16)]
    connections: usize,
    /// Bytes of a message
    #[arg(long, default_value_t = 10_240)]
    size: usize,
    /// Seconds of a turn; there are six kinds of load for each server
    #[arg(long, default_value = "2", value_parser = positive)]
    seconds: f64,
    /// Turns; medians are printed with minimum and maximum
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    /// Version of TLS
    #[arg(long, value_enum, default_value = "1.3")]
    version: Version,
    /// Without Postfix
    #[arg(long)]
    without_rival: bool,
    #[command(flatten)]
    setup: Setup,
}

#[derive(Clone, Copy, Debug, clap::ValueEnum)]
enum Version {
    #[value(name = "1.2")]
    Tls12,
    #[value(name = "1.3")]
    Tls13,
}

/// A kind of load.
struct Part {
    name: &'static str,
    protection: Protection,
    with_message: bool,
}

const PARTS: [Part; 6] = {
    use Protection::{Full, Plain, Resumed};
    const fn part(name: &'static str, protection: Protection, with_message: bool) -> Part {
        Part { name, protection, with_message }
    }
    [
        part("sessions without TLS, EHLO and QUIT", Plain, false),
        part("STARTTLS, full handshake, EHLO and QUIT", Full, false),
        part("STARTTLS, resumed, EHLO and QUIT", Resumed, false),
        part("a message without TLS", Plain, true),
        part("a message over TLS, full handshake", Full, true),
        part("a message over TLS, resumed", Resumed, true),
    ]
};

/// A server, how many messages it has delivered, and its runs of each part.
struct Contender {
    server: Server,
    delivered: usize,
    runs: [Vec<Run>; PARTS.len()],
    /// Of each part's runs, the shares of resumed handshakes.
    resumed: [Vec<f64>; PARTS.len()],
    negotiated: String,
}

impl Contender {
    fn new(server: Server) -> Self {
        Self { server, delivered: 0, runs: Default::default(), resumed: Default::default(), negotiated: String::new() }
    }

    /// A short run uncounted, then one that counts, until its messages stand in Maildirs.
    #[allow(clippy::cast_precision_loss)] // counts of a benchmark
    fn turn(&mut self, number: usize, options: &Options, message: &[u8], time: Duration) -> Result<(), String> {
        let Some(part) = PARTS.get(number) else { return Ok(()) };
        let target = ([127, 0, 0, 1], self.server.port).into();
        let mut work = |time: Duration| -> Result<(Done, f64), String> {
            let message = Some(message).filter(|_| part.with_message);
            let begun = Instant::now();
            let (protection, threads, until) = (part.protection, options.connections, begun + time);
            let version = match options.version {
                Version::Tls12 => &rustls::version::TLS12,
                Version::Tls13 => &rustls::version::TLS13,
            };
            let done = Work { target, protection, message, threads, until, version }.run();
            let done = done.map_err(|error| format!("{}, {}: {error}", self.server.name, part.name))?;
            let seconds = begun.elapsed().as_secs_f64();
            if part.with_message {
                self.delivered += usize::try_from(done.sessions).map_err(|error| error.to_string())?;
                self.server.wait_delivered(self.delivered)?;
            }
            Ok((done, seconds))
        };
        work(time / 10)?;
        let (cpu, own) = (self.server.cpu_seconds(), own_cpu_seconds());
        let (done, seconds) = work(time)?;
        let (cpu, own) = (self.server.cpu_seconds() - cpu, own_cpu_seconds() - own);
        if part.protection != Protection::Plain {
            self.negotiated = done.negotiated;
        }
        if part.protection == Protection::Resumed && done.resumed == 0 {
            return Err(format!("{}, {}: no handshake was resumed", self.server.name, part.name));
        }
        if let Some(shares) = self.resumed.get_mut(number) {
            shares.push(done.resumed as f64 / done.sessions.max(1) as f64);
        }
        if let Some(runs) = self.runs.get_mut(number) {
            runs.push(Run::of(done.sessions, seconds, cpu, own));
        }
        Ok(())
    }

    fn summary(&self, number: usize) -> Summary {
        Summary::of(self.server.name, self.runs.get(number).map(Vec::as_slice).unwrap_or_default())
    }

    /// By the medians. Where some handshakes of a resumed part were full, what these take is taken off.
    fn cost(&self, number: usize) -> Cost {
        // Parts come in threes: without TLS, full, resumed.
        let plain = number - number % 3;
        let cpu_us = |number: usize| self.summary(number).cpu_us.median;
        let resumed = Spread::of(self.resumed.get(number).into_iter().flatten().copied()).median;
        let of_kind = match PARTS.get(number).map(|part| part.protection) {
            Some(Protection::Resumed) => (cpu_us(number) - (1.0 - resumed) * cpu_us(plain + 1)) / resumed,
            _ => cpu_us(number),
        };
        Cost { name: self.server.name, resumed, cpu_us: of_kind, tls_us: of_kind - cpu_us(plain) }
    }
}

/// What a session of a part takes.
struct Cost {
    name: &'static str,
    /// The share of resumed handshakes.
    resumed: f64,
    /// CPU of one whose handshake was of the part's kind.
    cpu_us: f64,
    /// How much of that a session without TLS does not take.
    tls_us: f64,
}

impl Cost {
    fn json(&self) -> Value {
        json!({ "name": self.name, "resumed": self.resumed, "cpu_us": self.cpu_us, "per_second_of_a_core": 1e6 / self.cpu_us,
            "tls_cpu_us": self.tls_us })
    }
}

/// Time all threads of this process have worked, seconds.
#[allow(clippy::cast_precision_loss)] // seconds and nanoseconds
fn own_cpu_seconds() -> f64 {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    time.tv_sec as f64 + time.tv_nsec as f64 / 1e9
}

/// Postfix with Postring's certificate and key; `None`, with a line that says why, where it cannot be had.
fn rival(options: &Options, cores: Option<Cores>, postring: &Server) -> Result<Option<Server>, String> {
    if options.without_rival {
        return Ok(None);
    }
    if !rustix::process::geteuid().is_root() {
        eprintln!("without a rival: Postfix starts as root only");
        return Ok(None);
    }
    let tls = postring.folder().join("p/tls");
    let tls = tls.display();
    let main = format!(
        "{MAIN_AS_COMPARED}smtpd_tls_security_level = may\nsmtpd_tls_chain_files = {tls}/key.pem, {tls}/certificate.pem\nsmtpd_tls_loglevel = 0\n"
    );
    let port = options.setup.port_base.checked_add(600).ok_or("the port base is too high")?;
    match Server::postfix(port, cores, options.setup.smoke, &main) {
        Ok(server) => Ok(Some(server)),
        Err(error) if error.contains("apt-get install") => {
            eprintln!("without a rival: {error}");
            Ok(None)
        }
        Err(error) => Err(error),
    }
}

pub fn run(options: &Options) -> Result<(), String> {
    let setup = &options.setup;
    let machine = Machine::read();
    let cores = Cores::choose();
    cores.map_or(Ok(()), |cores| cores.pin_load())?;
    let (rounds, seconds) = if setup.smoke { (1, 0.1) } else { (options.rounds.max(1), options.seconds) };
    let time = Duration::try_from_secs_f64(seconds).map_err(|error| error.to_string())?;
    let letter = message::wire(&message::generated(options.size));

    let postring = Server::postring(setup, cores, false, setup.smoke)?;
    let place = format!("{}; each on {}", Cores::text(cores), postring.text());
    let rival = rival(options, cores, &postring)?;
    let mut contenders = vec![Contender::new(postring)];
    contenders.extend(rival.map(Contender::new));

    let bar = crate::progress((rounds * contenders.len() * PARTS.len()) as u64, setup.json);
    for round in 0..rounds {
        for number in 0..PARTS.len() {
            let first = round % contenders.len();
            let (later, sooner) = contenders.split_at_mut(first);
            for contender in sooner.iter_mut().chain(later) {
                contender.turn(number, options, &letter, time)?;
                bar.inc(1);
            }
        }
    }
    bar.finish_and_clear();

    let negotiated: Vec<String> =
        contenders.iter().map(|contender| format!("{} {}", contender.server.name, contender.negotiated)).collect();
    if !setup.json {
        println!("{machine}\n{place}");
        println!(
            "{} connections at once, a session after the other, messages of {} bytes until they stand in Maildirs; {}",
            options.connections,
            options.size,
            crate::runs_text(rounds, setup.smoke)
        );
        let version = match options.version {
            Version::Tls12 => "1.2",
            Version::Tls13 => "1.3",
        };
        println!(
            "TLS {version}; the load uses a ticket once, and where a resumed session is given no new one the next is not resumed"
        );
        println!("the same certificate (ECDSA P-256), which the load does not verify; {}", negotiated.join(", "));
        println!("{EXPLAINED}");
    }
    let mut results = Vec::new();
    for (number, part) in PARTS.iter().enumerate() {
        let summaries: Vec<Summary> = contenders.iter().map(|contender| contender.summary(number)).collect();
        let costs: Vec<Cost> = contenders.iter().map(|contender| contender.cost(number)).collect();
        let ratio = match costs.as_slice() {
            [ours, theirs] => theirs.cpu_us / ours.cpu_us,
            _ => f64::NAN,
        };
        results.push(json!({ "name": part.name, "servers": summaries.iter().map(Summary::json).collect::<Vec<Value>>(),
            "costs": costs.iter().map(Cost::json).collect::<Vec<Value>>(), "rival_cpu_by_postring_cpu": ratio }));
        if !setup.json {
            print(part, &summaries, &costs, ratio);
        }
    }
    if setup.json {
        println!(
            "{}",
            json!({ "machine": machine.json(), "place": place, "smoke": setup.smoke, "connections": options.connections,
                "size": options.size, "seconds": seconds, "negotiated": negotiated, "parts": results })
        );
    }
    Ok(())
}

fn print(part: &Part, summaries: &[Summary], costs: &[Cost], ratio: f64) {
    println!("\n{}", part.name);
    Summary::print_head(if part.with_message { "messages" } else { "sessions" });
    summaries.iter().for_each(Summary::print);
    for Cost { name, resumed, cpu_us, tls_us } in costs.iter().filter(|cost| !cost.cpu_us.is_nan()) {
        match part.protection {
            Protection::Plain => {}
            Protection::Full => println!("{name}: {tls_us:.0} us of CPU more than without TLS"),
            Protection::Resumed => println!(
                "{name}: {:.0} % resumed; a resumed one takes {cpu_us:.0} us of CPU ({:.0}/s a core), {tls_us:.0} more than without TLS",
                100.0 * resumed,
                1e6 / cpu_us
            ),
        }
    }
    if !ratio.is_nan() {
        println!("Postring's CPU is 1/{ratio:.1} of Postfix'");
    }
}
