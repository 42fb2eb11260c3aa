//! Every benchmark once, short, as a check that it works: no time is judged. Each in a process of its own, because each pins itself to a core.

use crate::server::postfix_program;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

#[derive(Clone, Debug, clap::Args)]
pub struct Options {
    /// Postring's program
    #[arg(long, default_value = "target/release/postring")]
    postring: PathBuf,
    /// Without those that need Debian's package postfix (verify, compare), where it is missing
    #[arg(long)]
    without_postfix: bool,
}

pub fn run(options: &Options) -> Result<(), String> {
    let without_postfix = match postfix_program("smtp-source").and_then(|_| postfix_program("postfix")) {
        Err(error) if !options.without_postfix => return Err(format!("{error} (or --without-postfix)")),
        found => found.is_err(),
    };
    let root = rustix::process::geteuid().is_root();
    let program = std::env::current_exe().map_err(|error| error.to_string())?;
    println!("== smtp to sink");
    ends_meet(&program)?;
    println!("\n== dns to something that answers");
    questions_meet_answers(&program)?;
    println!("\n== dns-compare");
    let begun = Instant::now();
    let kinds = ["auth", "resolver", "list", "dnsperf"];
    let compared =
        Command::new(&program).arg("dns-compare").args(kinds).args(["--smoke", "--postring"]).arg(&options.postring).status();
    if !compared.map_err(|error| error.to_string())?.success() {
        return Err("dns-compare failed".to_owned());
    }
    println!("(dns-compare: {:.1} s)", begun.elapsed().as_secs_f64());
    for name in ["latency", "idle", "verify", "compare", "checks", "refuse", "tls"] {
        let hindered = match name {
            "verify" | "compare" if without_postfix => Some("Debian's package postfix is missing"),
            "compare" if !root => Some("Postfix starts as root only"),
            _ => None,
        };
        if let Some(reason) = hindered {
            println!("\n== {name}: NOT RUN, {reason}");
            continue;
        }
        println!("\n== {name}");
        let begun = Instant::now();
        let status = Command::new(&program).args([name, "--smoke", "--postring"]).arg(&options.postring).status();
        if !status.map_err(|error| error.to_string())?.success() {
            return Err(format!("{name} failed"));
        }
        println!("({name}: {:.1} s)", begun.elapsed().as_secs_f64());
    }
    Ok(())
}

/// The generator of questions at a rate, to what says NOERROR to everything.
fn questions_meet_answers(program: &Path) -> Result<(), String> {
    let wrong = |error: std::io::Error| error.to_string();
    let socket = std::net::UdpSocket::bind("127.0.0.1:0").map_err(wrong)?;
    let target = socket.local_addr().map_err(wrong)?.to_string();
    // Ends with the process.
    std::thread::spawn(move || {
        let mut packet = [0; 512];
        while let Ok((length, from)) = socket.recv_from(&mut packet) {
            let [_, _, flags, ..] = &mut packet;
            *flags |= 0x80;
            // One that was not sent is a question lost, which the generator counts.
            let _ = socket.send_to(packet.get(..length).unwrap_or_default(), from);
        }
    });
    let asked = Command::new(program)
        .args(["dns", "--target", &target, "--name", "d{}.example", "--count", "500", "--rate", "2000"])
        .status();
    if asked.map_err(wrong)?.success() { Ok(()) } else { Err("dns failed".to_owned()) }
}

/// The generator at a rate, into the sink.
fn ends_meet(program: &Path) -> Result<(), String> {
    let address = "127.0.0.1:22626";
    let mut sink = Command::new(program)
        .args(["sink", "--listen", address, "--count", "100", "--seconds", "20"])
        .spawn()
        .map_err(|error| error.to_string())?;
    let until = Instant::now() + std::time::Duration::from_secs(10);
    while std::net::TcpStream::connect(address).is_err() && Instant::now() < until {
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    let sent = Command::new(program).args(["smtp", "--target", address, "--count", "100", "--rate", "200"]).status();
    let served = sink.wait();
    let good = sent.map_err(|error| error.to_string())?.success() && served.map_err(|error| error.to_string())?.success();
    if good { Ok(()) } else { Err("smtp or sink failed".to_owned()) }
}
