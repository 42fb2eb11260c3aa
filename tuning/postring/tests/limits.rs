//! How much clients, accounts and domains may do, and what a shard does that has too much.

#![allow(clippy::unwrap_used, clippy::cast_possible_truncation)] // a test that cannot go on fails

mod common;

use common::{Smtp, System};

#[test]
fn recipients_of_a_domain_have_a_rate() {
    let mut system = System::init();
    system.append_config("\n[policy.limits]\nrecipients_per_domain = \"3/day\"\n");
    system.up();
    let mut smtp = system.smtp();
    smtp.say("EHLO client.example").unwrap();
    smtp.say("MAIL FROM:<a@far.example>").unwrap();
    let mut rcpt = |to: &str| smtp.say(&format!("RCPT TO:<{to}>")).unwrap().trim_end().to_owned();
    let replies = ["alice@test.example", "bob@Test.example", "nobody@test.example", "alice@test.example", "bob@test.example"]
        .map(&mut rcpt);
    let codes: Vec<&str> = replies.iter().map(|reply| &reply[..9]).collect();
    // Whom nobody knows uses nothing up.
    assert_eq!(codes, ["250 2.1.5", "250 2.1.5", "550 5.1.1", "250 2.1.5", "450 4.2.1"], "{replies:?}");
    let counters = |name: &str| system.status().unwrap()["counters"][name].as_u64();
    system.wait("the count", || counters("rate_refusals_total") == Some(1));
}

#[test]
fn a_shard_with_many_clients_hurries_them() {
    let mut system = System::init();
    system.append_config("\n[edge]\nconnections_max = 10\n\n[policy.limits]\nstress_percent = 50\n");
    system.up();
    let greeted = |smtp: &mut Smtp| smtp.say("EHLO client.example").unwrap();
    let mut clients: Vec<Smtp> = (0..5).map(|_| system.smtp_from("127.0.0.1")).collect();
    clients.iter_mut().for_each(|client| assert!(greeted(client).starts_with("250")));
    system.wait("the stress", || system.status().unwrap()["counters"]["stressed"] == 1);
    // Three errors are enough now; before, twenty were taken.
    let mut late = system.smtp_from("127.0.0.1");
    let replies: Vec<String> = (0..4).map(|_| late.say("WHAT").unwrap()).collect();
    assert!(replies[2].starts_with("500") && replies[3].starts_with("421"), "{replies:?}");
    drop(late);
    clients.truncate(1);
    system.wait("the calm", || system.status().unwrap()["counters"]["stressed"] == 0);
    let replies: Vec<String> = (0..6).map(|_| clients[0].say("WHAT").unwrap()).collect();
    assert!(replies.iter().all(|reply| reply.starts_with("500")), "{replies:?}");
}

#[test]
fn clients_have_a_rate_and_errors_take_time() {
    let mut system = System::init();
    system.append_config(
        "\n[policy]\ntrusted_networks = [\"127.0.0.1/32\"]\ngreeting_wait_ms = 0\n\
         \n[policy.limits]\nconnections_per_address = \"2/day\"\nconnections_per_network = \"5/day\"\ntarpit_errors = 1\ntarpit_ms = 10\n",
    );
    system.up();
    let greeting = |client: &str| system.smtp_from(client).greeting;
    assert!(greeting("127.0.66.1").starts_with("220"));
    let mut second = system.smtp_from("127.0.66.1");
    assert_eq!(greeting("127.0.66.1").trim_end(), "421 4.7.0 You connect too often, try again later");
    // Others of the network may until it has had enough; one of our own always.
    for client in ["127.0.66.2", "127.0.66.3"] {
        assert!(greeting(client).starts_with("220"), "{client}");
    }
    let last = ["127.0.66.4", "127.0.66.5", "127.0.66.6"].map(greeting);
    assert!(last[2].starts_with("421"), "{last:?}");
    assert!((0..9).all(|_| greeting("127.0.0.1").starts_with("220")));
    // The first error is answered at once, the two after it are held back.
    assert!((0..3).all(|_| second.say("WHAT").unwrap().starts_with("500")));
    system.wait("the count", || system.status().unwrap()["counters"]["replies_held_back_total"] == 2);
}

#[test]
fn rates_that_are_none_are_refused_with_what_would_be_right() {
    let system = System::init();
    system.append_config("\n[policy.limits]\nconnections_per_address = \"60/min\"\n");
    let checked = common::postring(&["check", "--config", &system.config()]);
    assert!(!checked.status.success());
    let text = String::from_utf8_lossy(&checked.stderr).into_owned();
    assert!(text.contains("\"60/min\" is no rate: write \"60/minute\""), "{text}");
}
