//! Memory of idle connections: after EHLO, nothing more said. Each run has a fresh server, because memory freed is not always given back.

use crate::generator::{STALL, connect};
use crate::machine::{Cores, Machine};
use crate::memory::{self, Memory};
use crate::server::{Server, Setup};
use crate::statistics::Spread;
use indicatif::ProgressBar;
use serde_json::json;
use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

/// What the project has promised, bytes a connection.
const AIM_BYTES: f64 = 4096.0;
const METHOD: &str = "Private_Clean + Private_Dirty of /proc/PID/smaps_rollup, summed over all processes of the server, with the \
    connections open less before them, divided by their number: user space only, the kernel's sockets and rings are not in it";

#[derive(Clone, Debug, clap::Args)]
pub struct Options {
    /// Connections held
    #[arg(long, default_value_t = 5000)]
    connections: usize,
    /// Seconds to hold them before memory is read
    #[arg(long, default_value_t = 2)]
    seconds: u64,
    /// Runs; the median is printed
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    /// A server that runs already, instead of starting Postring: one run
    #[arg(long, requires = "pids")]
    target: Option<SocketAddr>,
    /// Its processes
    #[arg(long = "pid")]
    pids: Vec<u32>,
    /// Postring scans; its scanner hears of a message only, not of a connection
    #[arg(long)]
    scan: bool,
    #[command(flatten)]
    setup: Setup,
}

struct Run {
    bytes_a_connection: f64,
    processes: Vec<Process>,
}

struct Process {
    name: String,
    before: Memory,
    after: Memory,
}

fn read(pids: &[u32]) -> BTreeMap<u32, Memory> {
    pids.iter().map(|pid| (*pid, memory::of(*pid))).collect()
}

#[allow(clippy::cast_precision_loss)] // kibibytes
fn measure(target: SocketAddr, pids: &[u32], options: &Options, count: usize, bar: &ProgressBar) -> Result<Run, String> {
    let before = read(pids);
    let held = hold(target, count, bar)?;
    std::thread::sleep(Duration::from_secs(options.seconds));
    let after = read(pids);
    drop(held);
    let process = |(pid, after): (&u32, &Memory)| Process {
        name: memory::name(*pid),
        before: before.get(pid).copied().unwrap_or_default(),
        after: *after,
    };
    let processes: Vec<Process> = after.iter().map(process).collect();
    let grown: f64 = processes.iter().map(|process| process.after.private as f64 - process.before.private as f64).sum();
    Ok(Run { bytes_a_connection: grown * 1024.0 / count as f64, processes })
}

/// Opens connections, each past EHLO.
fn hold(target: SocketAddr, count: usize, bar: &ProgressBar) -> Result<Vec<TcpStream>, String> {
    let mut held = Vec::with_capacity(count);
    let mut buffer = [0; 2048];
    for number in 0..count {
        let wrong = |error: std::io::Error| format!("connection {number}: {error}");
        let mut stream = TcpStream::from(std::os::fd::OwnedFd::from(connect(target, number).map_err(wrong)?));
        stream.set_nonblocking(false).map_err(wrong)?;
        stream.set_read_timeout(Some(STALL)).map_err(wrong)?;
        for line in ["", "EHLO load.example\r\n"] {
            stream.write_all(line.as_bytes()).map_err(wrong)?;
            if stream.read(&mut buffer).map_err(wrong)? == 0 {
                return Err(format!("connection {number}: closed by the server"));
            }
        }
        held.push(stream);
        bar.inc(1);
    }
    Ok(held)
}

pub fn run(options: &Options) -> Result<(), String> {
    let setup = &options.setup;
    let machine = Machine::read();
    crate::machine::raise_descriptor_limit();
    let (rounds, count) = match (setup.smoke, options.target) {
        (true, _) => (1, options.connections.min(200)),
        (false, Some(_)) => (1, options.connections),
        (false, None) => (options.rounds, options.connections),
    };
    let count = count.max(1);
    let bar = crate::progress((rounds * count) as u64, setup.json);
    let mut runs = Vec::new();
    let mut place = String::from("a server that ran already");
    if let Some(target) = options.target {
        runs.push(measure(target, &options.pids, options, count, &bar)?);
    } else {
        let cores = Cores::choose();
        cores.map_or(Ok(()), |cores| cores.pin_load())?;
        for _ in 0..rounds {
            let server = Server::postring(setup, cores, options.scan, true)?;
            place = format!("Postring, {}; {}", Cores::text(cores), server.text());
            let target = ([127, 0, 0, 1], server.port).into();
            runs.push(measure(target, &server.pids(), options, count, &bar)?);
        }
    }
    bar.finish_and_clear();
    let spread = Spread::of(runs.iter().map(|run| run.bytes_a_connection));
    let processes = runs.last().map(|run| run.processes.as_slice()).unwrap_or_default();
    let last: Vec<_> = processes
        .iter()
        .map(|Process { name, before, after }| {
            json!({ "name": name, "before_kib": before.private, "after_kib": after.private,
                "huge_before_kib": before.huge, "huge_after_kib": after.huge })
        })
        .collect();
    if setup.json {
        println!(
            "{}",
            json!({ "machine": machine.json(), "place": place, "smoke": setup.smoke, "connections": count, "method": METHOD,
                "bytes_a_connection": spread.json(), "aim_bytes": AIM_BYTES, "processes_of_the_last_run": last })
        );
        return Ok(());
    }
    println!("{machine}\n{place}");
    println!("{count} idle connections after EHLO, {}", crate::runs_text(rounds, setup.smoke));
    println!("bytes a connection: {}; the aim is at most {AIM_BYTES:.0}", spread.text(0));
    println!("runs: {}", runs.iter().map(|run| format!("{:.0}", run.bytes_a_connection)).collect::<Vec<_>>().join(", "));
    for Process { name, before, after } in processes {
        println!(
            "last run, {name}: {} KiB before, {} KiB after (in huge pages {} and {})",
            before.private, after.private, before.huge, after.huge
        );
    }
    if processes.iter().any(|process| process.after.huge > 0) {
        println!("resolution: memory grows by huge pages of 2 MiB, each {} bytes a connection here", (2 << 20) / count);
    }
    println!("measured as: {METHOD}");
    Ok(())
}
