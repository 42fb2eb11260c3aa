//! Clients that a local block list names, refused at connect: Postring, and a loop that accepts, sends a line and closes, in turns. What the kernel takes
//! for a connection is most of both.

use crate::core_rate::{EXPLAINED, Run, Summary};
use crate::generator::{STALL, complete, connect_from, positive};
use crate::machine::{Cores, Machine, own_cpu_seconds};
use crate::server::{Flavour, Place, Server, Setup};
use mio::net::TcpStream;
use mio::{Events, Interest, Poll, Token};
use serde_json::json;
use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::time::{Duration, Instant};

/// What the project has promised: refusals of a core beside those of the bare loop.
const AIM: f64 = 0.8;
/// The clients, and what the list names.
const LISTED: &str = "127.77.0.0/16";

#[derive(Clone, Debug, clap::Args)]
#[command(after_help = "Examples:\n  postring-bench refuse\n  postring-bench refuse --connections 8 --seconds 10")]
pub struct Options {
    /// Connections at once
    #[arg(long, default_value_t = 64)]
    connections: usize,
    /// Seconds of a turn
    #[arg(long, default_value = "3", value_parser = positive)]
    seconds: f64,
    /// Turns; medians are printed with minimum and maximum
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    #[command(flatten)]
    setup: Setup,
}

#[derive(Clone, Debug, clap::Args)]
pub struct BareOptions {
    /// host:port
    #[arg(long)]
    listen: SocketAddr,
}

/// Accepts, sends a refusal as long as Postring's, closes; until it is ended.
pub fn bare(options: &BareOptions) -> Result<(), String> {
    let listener = TcpListener::bind(options.listen).map_err(|error| format!("{}: {error}", options.listen))?;
    loop {
        // A client that went away before it was accepted is nobody's mistake.
        let Ok((mut stream, client)) = listener.accept() else { continue };
        let line = format!("554 5.7.1 Client [{}] is blocked by list.bench.example: listed for a benchmark\r\n", client.ip());
        let _ = stream.write_all(line.as_bytes());
    }
}

/// A place of the load: a connection that waits for its refusal.
struct Waiting {
    stream: TcpStream,
    reply: Vec<u8>,
    since: Instant,
}

struct Load {
    target: SocketAddr,
    poll: Poll,
    places: Vec<Option<Waiting>>,
    opened: u32,
    refused: u64,
}

impl Load {
    fn new(target: SocketAddr, connections: usize) -> std::io::Result<Self> {
        let places = (0..connections.max(1)).map(|_| None).collect();
        Ok(Self { target, poll: Poll::new()?, places, opened: 0, refused: 0 })
    }

    /// Opens a connection from the next address: 62,500 of them, so that none is short of ports.
    fn open(&mut self, place: usize) -> std::io::Result<()> {
        let octet = |number: u32| u8::try_from(number % 250).unwrap_or(0);
        let from = Ipv4Addr::new(127, 77, octet(self.opened / 250), octet(self.opened) + 1);
        self.opened = self.opened.wrapping_add(1);
        let mut stream = connect_from(self.target, Some(from))?;
        self.poll.registry().register(&mut stream, Token(place), Interest::READABLE)?;
        if let Some(slot) = self.places.get_mut(place) {
            *slot = Some(Waiting { stream, reply: Vec::with_capacity(128), since: Instant::now() });
        }
        Ok(())
    }

    /// Reads what is there. True: it was refused, and the server has closed.
    fn drive(&mut self, place: usize) -> Result<bool, String> {
        let Some(waiting) = self.places.get_mut(place).and_then(Option::as_mut) else { return Ok(false) };
        let mut buffer = [0; 512];
        loop {
            match waiting.stream.read(&mut buffer) {
                Ok(0) if waiting.reply.starts_with(b"554 ") && complete(&waiting.reply).is_some() => return Ok(true),
                Ok(0) => return Err(format!("not a refusal: {:?}", String::from_utf8_lossy(&waiting.reply))),
                Ok(received) => waiting.reply.extend_from_slice(buffer.get(..received).unwrap_or_default()),
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) => return Err(format!("{}: {error}", self.target)),
            }
        }
        if waiting.reply.first().is_some_and(|digit| *digit != b'5') {
            return Err(format!("not a refusal: {:?}", String::from_utf8_lossy(&waiting.reply)));
        }
        Ok(false)
    }

    /// As many refusals as there are in that time; gives the seconds it took, to the end of the last.
    fn run(&mut self, time: Duration) -> Result<f64, String> {
        let wrong = |error: std::io::Error| error.to_string();
        let begun = Instant::now();
        let mut events = Events::with_capacity(1024);
        let mut open = 0_usize;
        for place in 0..self.places.len() {
            self.open(place).map_err(wrong)?;
            open += 1;
        }
        while open > 0 {
            self.poll.poll(&mut events, Some(Duration::from_secs(1))).map_err(wrong)?;
            for event in &events {
                let place = event.token().0;
                if !self.drive(place)? {
                    continue;
                }
                self.refused += 1;
                if let Some(slot) = self.places.get_mut(place) {
                    *slot = None;
                }
                open -= 1;
                if begun.elapsed() < time {
                    self.open(place).map_err(wrong)?;
                    open += 1;
                }
            }
            let stalled = |waiting: &Waiting| waiting.since.elapsed() > STALL;
            if events.is_empty() && self.places.iter().flatten().any(stalled) {
                return Err(format!("{}: a connection was not answered for {} s", self.target, STALL.as_secs()));
            }
        }
        Ok(begun.elapsed().as_secs_f64())
    }
}

fn turn(server: &Server, connections: usize, time: Duration) -> Result<Run, String> {
    let wrong = |error: String| format!("{}: {error}", server.name);
    let target = ([127, 0, 0, 1], server.port).into();
    let load = || Load::new(target, connections).map_err(|error| error.to_string());
    load()?.run(time / 10).map_err(wrong)?;
    let mut load = load()?;
    let (cpu, own) = (server.cpu_seconds(), own_cpu_seconds());
    let seconds = load.run(time).map_err(wrong)?;
    let (cpu, own) = (server.cpu_seconds() - cpu, own_cpu_seconds() - own);
    Ok(Run::of(load.refused, seconds, cpu, own))
}

pub fn run(options: &Options) -> Result<(), String> {
    let setup = &options.setup;
    let machine = Machine::read();
    crate::machine::raise_descriptor_limit();
    let cores = Cores::choose();
    cores.map_or(Ok(()), |cores| cores.pin_load())?;
    let (rounds, seconds) = if setup.smoke { (1, 0.3) } else { (options.rounds.max(1), options.seconds) };
    let time = Duration::try_from_secs_f64(seconds).map_err(|error| error.to_string())?;

    let folder = tempfile::tempdir().map_err(|error| error.to_string())?;
    let list = folder.path().join("list");
    std::fs::write(&list, format!(":127.0.0.2:listed for a benchmark\n{LISTED}\n")).map_err(|error| error.to_string())?;
    let config = format!(
        "\n[[dns.block_list]]\nname = \"list.bench.example\"\nfile = \"{}\"\nkind = \"ip4set\"\n\n[policy]\ntrusted_networks = []\n\n\
         [policy.limits]\nconnections_per_address = \"off\"\nconnections_per_network = \"off\"\n",
        list.display()
    );
    let bare_port = setup.port_base.checked_add(500).ok_or("the port base is too high")?;
    let servers = [
        Server::bare_refusal(Place { port: bare_port, cores, makeshift: setup.smoke })?,
        Server::postring_as(setup, cores, Flavour { config: &config, ..Flavour::default() }, true)?,
    ];
    let mut turns: [Vec<Run>; 2] = Default::default();
    let bar = crate::progress((rounds * servers.len()) as u64, setup.json);
    for round in 0..rounds {
        let mut order: Vec<_> = servers.iter().zip(&mut turns).collect();
        order.rotate_left(round % 2);
        for (server, turns) in order {
            turns.push(turn(server, options.connections, time)?);
            bar.inc(1);
        }
    }
    bar.finish_and_clear();
    let [bare, postring] = [0, 1].map(|place| {
        let name = servers.get(place).map_or("", |server| server.name);
        Summary::of(name, turns.get(place).map(Vec::as_slice).unwrap_or_default())
    });
    let (of_core, of_rate) = (bare.cpu_us.median / postring.cpu_us.median, postring.rate.median / bare.rate.median);
    if setup.json {
        println!(
            "{}",
            json!({ "machine": machine.json(), "place": Cores::text(cores), "smoke": setup.smoke, "connections": options.connections,
                "seconds": seconds, "servers": [bare.json(), postring.json()], "postring_by_bare_of_a_core": of_core,
                "postring_by_bare_rate": of_rate, "aim": AIM })
        );
        return Ok(());
    }
    println!("{machine}\n{}", Cores::text(cores));
    println!(
        "clients of {LISTED}, which a local list names, answered 554 and closed; {} at once; {}",
        options.connections,
        crate::runs_text(rounds, setup.smoke)
    );
    println!("{EXPLAINED}");
    Summary::print_head("refused");
    [&bare, &postring].into_iter().for_each(Summary::print);
    println!("Postring's refusals/s, as fast as it went here, are {of_rate:.2} of the bare loop's");
    if !of_core.is_nan() {
        println!("Postring's refusals of a core (by CPU) are {of_core:.2} of the bare loop's; the aim is at least {AIM}");
    }
    Ok(())
}
