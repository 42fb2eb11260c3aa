//! Block lists: rbldnsd and Postring with the same file, first addresses, then names.

use super::data::{self, List};
use super::result::{Entries, Table};
use super::{Bench, Sizes, present};
use crate::dns::Questions;
use crate::server::Server;
use crate::statistics::Spread;
use serde_json::{Value, json};
use std::path::Path;
use std::time::Instant;

/// A list as it is served.
struct Kind {
    zone: &'static str,
    /// rbldnsd's type of it.
    kind: &'static str,
    what: &'static str,
    /// The one entry of the list that shows what a server needs without.
    one: &'static str,
    /// A question for it.
    asked: &'static str,
}

const ADDRESSES: Kind = Kind { zone: data::ADDRESSES, kind: "ip4set", what: "addresses", one: "192.0.2.1", asked: "1.2.0.192" };
const NAMES: Kind =
    Kind { zone: data::NAMES, kind: "dnset", what: "names with all below", one: "one.example", asked: "one.example" };

impl Kind {
    /// Whoever is there, each with the time it took to answer.
    fn start(&self, bench: &Bench<'_>, file: &Path) -> Result<Vec<(Server, f64)>, String> {
        let ours = format!(
            "[[dns.block_list]]\nname = \"{}\"\nfile = \"{}\"\nkind = \"{}\"\nrefuse = false\n",
            self.zone,
            file.display(),
            self.kind
        );
        let asked = Questions::read(&format!("{}.{} A", self.asked, self.zone), None)?;
        let rival = || Server::rbldnsd(bench.place(4)?, self.zone, self.kind, file);
        let mut started = Vec::new();
        for start in [&rival as &dyn Fn() -> Result<Server, String>, &|| bench.postring(&ours)] {
            let begun = Instant::now();
            for mut server in present([start()])? {
                server.wait_answer(asked.packet(0))?;
                started.push((server, begun.elapsed().as_secs_f64()));
            }
        }
        Ok(started)
    }
}

/// Of one server; a single start may be off by a huge page or two.
#[derive(Default)]
struct Starts {
    name: &'static str,
    base_mib: Vec<f64>,
    full_mib: Vec<f64>,
    seconds: Vec<f64>,
}

impl Starts {
    fn entries(&self, entries: usize) -> Entries {
        let spread = |values: &[f64]| Spread::of(values.iter().copied());
        Entries {
            name: self.name,
            entries,
            base_mib: spread(&self.base_mib),
            full_mib: spread(&self.full_mib),
            start_seconds: spread(&self.seconds),
        }
    }
}

pub fn run(bench: &Bench<'_>) -> Result<Value, String> {
    let Sizes { addresses, names, questions, .. } = bench.sizes;
    let addresses = list(bench, &ADDRESSES, addresses, &data::addresses(addresses, questions))?;
    let names = list(bench, &NAMES, names, &data::names(names, questions))?;
    Ok(json!({ "what": "list", "lists": [addresses, names] }))
}

fn list(bench: &Bench<'_>, kind: &Kind, entries: usize, list: &List) -> Result<Value, String> {
    let one = bench.write("one", &format!(":127.0.0.2:Listed $\n{}\n", kind.one))?;
    // The entry that is asked for at the start stands last.
    let file = bench.write("list", &format!("{}{}\n", list.file, kind.one))?;
    let mut starts: Vec<Starts> = Vec::new();
    let mut started = Vec::new();
    for _ in 0..bench.rounds {
        for (file, full) in [(&one, false), (&file, true)] {
            // Ports are free when those before have ended.
            started.clear();
            started = kind.start(bench, file)?;
            bench.settle();
            starts.resize_with(started.len(), Starts::default);
            for ((server, seconds), starts) in started.iter().zip(&mut starts) {
                starts.name = server.name;
                if full {
                    starts.full_mib.push(server.memory_mib());
                    starts.seconds.push(*seconds);
                } else {
                    starts.base_mib.push(server.memory_mib());
                }
            }
        }
    }
    let memory: Vec<Entries> = starts.iter().map(|starts| starts.entries(entries)).collect();
    if !bench.json() {
        println!("\nlist of {entries} {}", kind.what);
        Entries::print_head();
        memory.iter().for_each(Entries::print);
    }
    let questions = Questions::read(&list.questions, None)?;
    let servers: Vec<Server> = started.into_iter().map(|(server, _)| server).collect();
    let what = format!("list of {entries} {}, 30 % listed", kind.what);
    let tables = bench.tables(&servers, &bench.parts(&what, &questions, bench.sizes.warm))?;
    Ok(json!({ "kind": kind.kind, "memory": memory.iter().map(Entries::json).collect::<Vec<_>>(),
        "tables": tables.iter().map(Table::json).collect::<Vec<_>>() }))
}
