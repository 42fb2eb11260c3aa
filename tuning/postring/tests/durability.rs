//! kill -9 at any moment loses nothing that got its 250, leaves nothing half-written in `new/` and nothing in `tmp/`.

#![allow(clippy::unwrap_used, clippy::cast_possible_truncation)] // a test that cannot go on fails

mod common;

use common::{Smtp, System, behind_trace, files, signal};
use rustix::process::Signal;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

const ROUNDS: u64 = 50;

fn message(number: u64) -> Vec<u8> {
    let mut text = format!("Subject: {number}\nMessage-ID: <{number}@load>\n\n");
    for line in 0..(number * 7919 % 120) {
        text.push_str(&format!("line {line} of message {number}\n"));
    }
    text.into_bytes()
}

#[test]
fn no_acknowledged_message_is_lost() {
    let mut system = System::start();
    let (numbers, stop, port) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicBool::new(false)), system.base + 25);
    let clients: Vec<_> = (0..4)
        .map(|_| {
            let (numbers, stop) = (Arc::clone(&numbers), Arc::clone(&stop));
            std::thread::spawn(move || {
                let mut kept = Vec::new();
                while !stop.load(Ordering::Relaxed) {
                    // A new connection after each trouble; many messages on one.
                    let Ok(mut smtp) = Smtp::connect(port) else {
                        std::thread::sleep(Duration::from_millis(20));
                        continue;
                    };
                    while !stop.load(Ordering::Relaxed) {
                        let number = numbers.fetch_add(1, Ordering::Relaxed);
                        match try_send(&mut smtp, number) {
                            Ok(true) => kept.push(number),
                            Ok(false) => std::thread::sleep(Duration::from_millis(5)),
                            Err(_) => break,
                        }
                    }
                }
                kept
            })
        })
        .collect();
    // Not random to the last digit, but never the same moment twice: what is hit is where the system happens to be.
    let mut seed = u64::from(std::process::id());
    for round in 0..ROUNDS {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        std::thread::sleep(Duration::from_millis(30 + (seed >> 33) % 250));
        let pids = system.pids();
        // The supervisor alone once: its children end by themselves, but take up to 20 s for what they had begun.
        let supervisor = round == ROUNDS / 2 + 1;
        match round % 5 {
            _ if supervisor => system.kill_supervisor(),
            0 => system.kill_all(),
            1 => signal(pids["edge"], Signal::KILL),
            2 | 3 => signal(pids["store"], Signal::KILL),
            _ => signal(pids[if round % 10 < 5 { "scan.0" } else { "send" }], Signal::KILL),
        }
        if supervisor || round % 5 == 0 {
            system
                .wait("the children's ends", || pids.values().all(|pid| !std::path::Path::new(&format!("/proc/{pid}")).exists()));
            // The children notice by the end of their control sockets, those that were not hit too.
            system.wait("the ports", || std::net::TcpListener::bind(("127.0.0.1", port)).is_ok());
            system.up();
        } else {
            system.wait("the child that was killed", || {
                let now = system.pids();
                now.len() == pids.len() && now != pids && system.status().is_some_and(|status| status["ready"] == true)
            });
        }
    }
    std::thread::sleep(Duration::from_millis(300));
    stop.store(true, Ordering::Relaxed);
    let kept: BTreeSet<u64> = clients.into_iter().flat_map(|client| client.join().unwrap()).collect();
    system.down();
    system.up();
    system.down();

    let mut found = BTreeSet::new();
    for path in files(&system.maildir("alice").join("new")) {
        let file = std::fs::read(&path).unwrap();
        let content = behind_trace(&file);
        let text = String::from_utf8_lossy(content).into_owned();
        let number: u64 = text.lines().next().unwrap().strip_prefix("Subject: ").unwrap().parse().unwrap();
        assert_eq!(content, message(number), "{} is not as it was sent", path.display());
        found.insert(number);
    }
    let lost: Vec<&u64> = kept.difference(&found).collect();
    assert!(lost.is_empty(), "of {} acknowledged messages {} are lost: {lost:?}\n{}", kept.len(), lost.len(), system.log());
    assert!(files(&system.maildir("alice").join("tmp")).is_empty());
    assert!(kept.len() > 100, "only {} messages were acknowledged: the test has not tested much\n{}", kept.len(), system.log());
    println!("{} acknowledged, {} found, {} sent", kept.len(), found.len(), numbers.load(Ordering::Relaxed));
}

/// `Ok(true)`: it got its 250.
fn try_send(smtp: &mut Smtp, number: u64) -> std::io::Result<bool> {
    for line in ["EHLO c", "MAIL FROM:<s@far.example>", "RCPT TO:<alice@test.example>", "DATA"] {
        let reply = smtp.say(line)?;
        if !(reply.starts_with('2') || reply.starts_with('3')) {
            smtp.say("RSET")?;
            return Ok(false);
        }
    }
    smtp.write(&common::wire(&message(number)))?;
    Ok(smtp.reply()?.starts_with("250"))
}

#[test]
fn a_scanner_that_hangs_or_dies_loses_no_message() {
    let system = System::start();
    let pids = system.pids();
    signal(pids["scan.0"], Signal::STOP);
    let client = {
        let port = system.base + 25;
        std::thread::spawn(move || Smtp::connect(port).unwrap().send(&["alice@test.example"], b"Subject: waits\n\nx\n").unwrap())
    };
    // The edge says after its deadline that the worker hangs; the supervisor replaces it; the message is given to the new one.
    let reply = client.join().unwrap();
    assert!(reply.starts_with("250"), "{reply}");
    assert_ne!(system.pids()["scan.0"], pids["scan.0"]);
    system.wait("the file", || system.inbox("alice").len() == 1);
}
