//! Postring on port 53 and its rivals in turns, with the same data and the same questions: the server on one core, the load on another.
//!
//! ```text
//!   auth      zone of mail domains            NSD, Knot, Postring
//!   resolver  the same zone behind an NSD on the core of the load: hits of a warm cache, misses    Unbound, Postring
//!   list      addresses; names                rbldnsd, Postring
//!   dnsperf   our generator and dnsperf in turns against one Postring: do they agree?
//! ```

mod data;
mod generators;
mod lists;
mod result;
mod turn;

use crate::dns::Questions;
use crate::generator::positive;
use crate::machine::{Cores, Machine};
use crate::server::{Place, Server, Setup};
use result::Table;
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::time::Duration;
use turn::{Part, Summary};

/// As `Server::postring_dns` calls it.
const OURS: &str = "Postring";
/// Distinct questions that are in the cache for a hit.
const WARM: usize = 20_000;
/// Misses of a run as fast as it goes.
const MISSES: usize = 30_000;

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum What {
    Auth,
    Resolver,
    List,
    Dnsperf,
}

#[derive(Clone, Debug, clap::Args)]
pub struct Options {
    /// What is compared; all but dnsperf if nothing is given
    #[arg(value_enum)]
    what: Vec<What>,
    /// Turns; medians are printed with minimum and maximum
    #[arg(long, visible_alias = "runs", default_value_t = 5)]
    rounds: usize,
    /// Seconds of a turn
    #[arg(long, default_value = "3", value_parser = positive)]
    seconds: f64,
    /// Questions a second all must be able to answer, a table for each
    #[arg(long, value_delimiter = ',', default_values_t = [20_000.0, 100_000.0], value_parser = positive)]
    rate: Vec<f64>,
    /// The same for questions the cache does not know
    #[arg(long, default_value = "10000", value_parser = positive)]
    miss_rate: f64,
    /// Questions that wait for an answer at once
    #[arg(long, default_value_t = 200)]
    outstanding: usize,
    /// Sockets of the load; as fast as it goes, a socket for each outstanding question is tried as well
    #[arg(long, default_value_t = 8)]
    sockets: usize,
    /// dnsperf: how far the server's CPU an answer may differ, percent
    #[arg(long, default_value_t = 10.0)]
    margin: f64,
    #[command(flatten)]
    setup: Setup,
}

/// What all comparisons need.
struct Bench<'a> {
    options: &'a Options,
    cores: Option<Cores>,
    rounds: usize,
    time: Duration,
    sizes: Sizes,
    /// Zones and lists.
    folder: tempfile::TempDir,
}

/// How much is served.
#[derive(Clone, Copy)]
struct Sizes {
    domains: u64,
    addresses: usize,
    names: usize,
    questions: usize,
    warm: usize,
    misses: usize,
}

impl Bench<'_> {
    fn json(&self) -> bool {
        self.options.setup.json
    }

    /// A rival's port and core, the `number`th.
    fn place(&self, number: u16) -> Result<Place, String> {
        let port = self.options.setup.port_base.checked_add(100 + number).ok_or("the port base is too high")?;
        Ok(Place { port, cores: self.cores, makeshift: self.options.setup.smoke })
    }

    fn write(&self, name: &str, text: &str) -> Result<PathBuf, String> {
        let path = self.folder.path().join(name);
        std::fs::write(&path, text).map_err(|error| format!("{}: {error}", path.display()))?;
        Ok(path)
    }

    /// Until a server has done what it does after its first answer.
    fn settle(&self) {
        std::thread::sleep(if self.options.setup.smoke { Duration::ZERO } else { Duration::from_secs(1) });
    }

    /// Longer than any of the servers waits for another.
    fn timeout(&self) -> Duration {
        Duration::from_millis(if self.options.setup.smoke { 200 } else { 1000 })
    }

    fn postring(&self, dns: &str) -> Result<Server, String> {
        Server::postring_dns(&self.options.setup, self.cores, dns)
    }

    /// The usual loads of questions that are answered from memory.
    fn parts<'a>(&self, what: &str, questions: &'a Questions, warm: usize) -> Vec<Part<'a>> {
        let Options { sockets, outstanding, .. } = *self.options;
        let part = |name: String, rate: Option<f64>, sockets: usize| Part {
            name: format!("{what}, {name}"),
            questions,
            rate,
            sockets,
            outstanding,
            time: self.time,
            timeout: self.timeout(),
            warm,
            fresh: None,
        };
        let rates =
            self.options.rate.iter().map(|rate| part(format!("{rate} a second from {sockets} sockets"), Some(*rate), sockets));
        let mut parts: Vec<Part<'a>> = rates.collect();
        for sockets in [sockets, outstanding] {
            parts.push(part(format!("as fast as it goes from {sockets} sockets"), None, sockets));
        }
        parts
    }

    /// All parts, all servers, in turns; nobody is always the first.
    fn tables(&self, servers: &[Server], parts: &[Part<'_>]) -> Result<Vec<Table>, String> {
        let bar = crate::progress((self.rounds * servers.len() * parts.len()) as u64, self.json());
        let mut turns: Vec<Vec<Vec<turn::Turn>>> =
            parts.iter().map(|_| servers.iter().map(|_| Vec::with_capacity(self.rounds)).collect()).collect();
        for round in 0..self.rounds {
            for (part, turns) in parts.iter().zip(&mut turns) {
                let mut order: Vec<_> = servers.iter().zip(turns).collect();
                order.rotate_left(round % servers.len().max(1));
                for (server, turns) in order {
                    turns.push(part.turn(server, round)?);
                    bar.inc(1);
                }
            }
        }
        bar.finish_and_clear();
        let table = |(part, turns): (&Part<'_>, Vec<Vec<turn::Turn>>)| Table {
            name: part.name.clone(),
            rate: part.rate,
            sockets: part.sockets,
            servers: servers.iter().zip(&turns).map(|(server, turns)| Summary::of(server.name, turns)).collect(),
        };
        let tables: Vec<Table> = parts.iter().zip(turns).map(table).collect();
        if !self.json() {
            tables.iter().for_each(Table::print);
        }
        Ok(tables)
    }
}

/// Those that are there; of the others a line says how to get them.
fn present(servers: impl IntoIterator<Item = Result<Server, String>>) -> Result<Vec<Server>, String> {
    let mut present = Vec::new();
    for server in servers {
        match server {
            Ok(server) => present.push(server),
            Err(error) if error.contains("apt-get install") => eprintln!("without a rival: {error}"),
            Err(error) => return Err(error),
        }
    }
    Ok(present)
}

fn wait_all(servers: &mut [Server], questions: &Questions) -> Result<(), String> {
    servers.iter_mut().try_for_each(|server| server.wait_answer(questions.packet(0)))
}

fn auth(bench: &Bench<'_>) -> Result<Value, String> {
    let Sizes { domains, questions, .. } = bench.sizes;
    let file = bench.write("zone", &data::zone(domains))?;
    let questions = Questions::read(&data::zone_questions(domains, questions), None)?;
    let first = Questions::read(&format!("d00000.{} MX", data::ZONE), None)?;
    let ours = format!("[[dns.zone]]\nname = \"{}\"\nfile = \"{}\"\n", data::ZONE, file.display());
    let mut servers = present([
        Server::nsd(bench.place(0)?, data::ZONE, &file),
        Server::knot(bench.place(1)?, data::ZONE, &file),
        bench.postring(&ours),
    ])?;
    wait_all(&mut servers, &first)?;
    let what = format!("zone of {domains} mail domains, 80 % have an answer");
    let tables = bench.tables(&servers, &bench.parts(&what, &questions, bench.sizes.warm))?;
    Ok(json!({ "what": "auth", "domains": domains, "tables": tables.iter().map(Table::json).collect::<Vec<_>>() }))
}

#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // counts of a benchmark
fn resolver(bench: &Bench<'_>) -> Result<Value, String> {
    let Sizes { warm, misses, .. } = bench.sizes;
    let Options { sockets, outstanding, miss_rate, .. } = *bench.options;
    let paced = (miss_rate * bench.time.as_secs_f64()).ceil() as usize;
    // No miss is asked twice.
    let questions = warm + bench.rounds * (paced + misses);
    let domains = (questions / data::ANSWERS_A_DOMAIN + 1) as u64;
    let file = bench.write("zone", &data::zone(domains))?;
    let (hits, fresh) = data::all_questions(domains, warm);
    let (hits, fresh) = (Questions::read(&hits, None)?, Questions::read(&fresh, None)?);
    let beside_load = bench.cores.map(|cores| Cores { server: cores.load, ..cores });
    let upstream_place = Place { cores: beside_load, ..bench.place(2)? };
    let mut upstream = match Server::nsd(upstream_place, data::ZONE, &file) {
        // In a short run it is said, and no error.
        Err(error) if bench.options.setup.smoke && error.contains("apt-get install") => {
            println!("resolver: NOT RUN, the zone's own server {error}");
            return Ok(Value::Null);
        }
        upstream => upstream?,
    };
    upstream.wait_answer(hits.packet(0))?;
    let ours = format!(
        "[dns]\nresolver = \"iterate\"\nvalidate = false\ndo_not_query = []\ncache_mib = 256\n[[dns.stub]]\nname = \"{}\"\n\
         servers = [\"127.0.0.1:{}\"]\n",
        data::ZONE,
        upstream.port
    );
    let mut servers = present([Server::unbound(bench.place(3)?, data::ZONE, upstream.port), bench.postring(&ours)])?;
    wait_all(&mut servers, &hits)?;
    let miss = |name: String, rate: Option<f64>, first: usize, count: usize| Part {
        name: format!("not in the cache, {name}"),
        questions: &fresh,
        rate,
        sockets,
        outstanding: outstanding.min(100),
        time: bench.time,
        timeout: bench.timeout(),
        warm: 0,
        fresh: Some((first, count)),
    };
    let mut parts = vec![
        miss(format!("{miss_rate} a second from {sockets} sockets"), Some(miss_rate), 0, paced),
        miss(format!("as fast as it goes from {sockets} sockets"), None, bench.rounds * paced, misses),
    ];
    parts.extend(bench.parts(&format!("{} questions in the cache", hits.len()), &hits, warm));
    let tables = bench.tables(&servers, &parts)?;
    Ok(json!({ "what": "resolver", "domains": domains, "tables": tables.iter().map(Table::json).collect::<Vec<_>>() }))
}

pub fn run(options: &Options) -> Result<(), String> {
    let setup = &options.setup;
    let machine = Machine::read();
    let cores = Cores::choose();
    cores.map_or(Ok(()), |cores| cores.pin_load())?;
    let what = if options.what.is_empty() { &[What::Auth, What::Resolver, What::List][..] } else { &options.what };
    let (rounds, seconds) = if setup.smoke { (1, 0.1) } else { (options.rounds.max(1), options.seconds) };
    let sizes = if setup.smoke {
        Sizes { domains: 200, addresses: 2000, names: 1000, questions: 2000, warm: 500, misses: 500 }
    } else {
        Sizes { domains: 20_000, addresses: 1_000_000, names: 500_000, questions: 200_000, warm: WARM, misses: MISSES }
    };
    let smoke_options = Options { rate: vec![5000.0], miss_rate: 1000.0, ..options.clone() };
    let options = if setup.smoke { &smoke_options } else { options };
    let folder = tempfile::tempdir().map_err(|error| error.to_string())?;
    open_to_all(folder.path())?;
    let time = Duration::try_from_secs_f64(seconds).map_err(|error| error.to_string())?;
    let bench = Bench { options, cores, rounds, time, sizes, folder };
    if !setup.json {
        println!("{machine}\n{}", Cores::text(cores));
        println!("{} outstanding; {}", options.outstanding, crate::runs_text(rounds, setup.smoke));
        println!("busy: the server's CPU of a core, all its processes; load: the generator's, which is the limit near 100");
    }
    let mut results = Vec::new();
    for what in what {
        results.push(match what {
            What::Auth => auth(&bench)?,
            What::Resolver => resolver(&bench)?,
            What::List => lists::run(&bench)?,
            What::Dnsperf => generators::run(&bench)?,
        });
    }
    if setup.json {
        println!(
            "{}",
            json!({ "machine": machine.json(), "place": Cores::text(cores), "smoke": setup.smoke, "rounds": rounds, "seconds": seconds,
                "outstanding": options.outstanding, "comparisons": results })
        );
    }
    Ok(())
}

/// rbldnsd reads as another user.
fn open_to_all(path: &Path) -> Result<(), String> {
    use std::os::unix::fs::PermissionsExt;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o755)).map_err(|error| format!("{}: {error}", path.display()))
}
