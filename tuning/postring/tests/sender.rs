//! What a message says of its sender once it is in the mailbox: signatures verified while it came, and nothing that a stranger wrote in our name.

#![allow(clippy::unwrap_used, clippy::cast_possible_truncation)] // a test that cannot go on fails

mod common;

use common::{Smtp, System};
use std::net::UdpSocket;

const SIGNED: &str = include_str!("../../../edge/auth/tests/dkim/rfc8463-a.eml");

/// RFC 8463 appendix A, and a name whose server is silent.
const ZONE: &str = "$TTL 60\n@ SOA ns h 1 60 60 60 60\n NS ns\n TXT \"v=spf1 ip4:127.0.66.0/24 -all\"\nns A 127.0.0.1\n\
    brisbane._domainkey TXT \"v=DKIM1; k=ed25519; p=\" \"11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo=\"\n\
    test._domainkey TXT \"v=DKIM1; k=rsa; p=MIGfMA0GCSqGSIb3DQEBAQUAA4GNADCBiQKBgQDkHlOQoBTzWRiGs5V6NpP3idY6Wk08a5qhdR6wy5bdOKb2jLQiY/J16JYi0Qvx/byYzCNb3W91y3FutACDfzwQ/BC/e/8uBsCR+yz1Lxj+PL6lHvqMKrM3rG4hstT5QjvHO9PzoxZyVYLzBfO2EeC3Ip3G+2kryOTIKT+l/K4w3QIDAQAB\"\n\
    slow._domainkey CNAME key.slow.example.\n";

/// Sends a message in pieces of so many octets from a client with this address; the reply to the last dot.
fn send(system: &System, client: &str, message: &str, piece: usize) -> String {
    send_as(system, client, "joe@football.example.com", message, piece)
}

fn send_as(system: &System, client: &str, from: &str, message: &str, piece: usize) -> String {
    let mut smtp = system.smtp_from(client);
    smtp.say("EHLO mail.football.example.com").unwrap();
    smtp.say(&format!("MAIL FROM:<{from}>")).unwrap();
    assert!(smtp.say("RCPT TO:<alice@test.example>").unwrap().starts_with("250"));
    assert!(smtp.say("DATA").unwrap().starts_with("354"));
    common::wire(message.as_bytes()).chunks(piece).for_each(|piece| smtp.write(piece).unwrap());
    smtp.reply().unwrap().trim_end().to_owned()
}

/// Without the folding.
fn unfolded(text: &str) -> String {
    text.replace("\n\t", " ")
}

#[test]
fn signatures_are_verified_and_forged_results_are_gone() {
    let mut system = System::init();
    std::fs::write(system.folder.path().join("p/dns/football.zone"), ZONE).unwrap();
    // Nobody reads what comes here.
    let silent = UdpSocket::bind("127.0.0.1:0").unwrap();
    system.append_config(&format!(
        "\n[[dns.zone]]\nname = \"football.example.com\"\nfile = \"dns/football.zone\"\n\
         \n[[dns.stub]]\nname = \"slow.example\"\nservers = [\"{}\"]\n\
         \n[policy]\ntrusted_networks = [\"127.0.0.9/32\"]\ngreeting_wait_ms = 0\n\n[policy.dkim]\nwait_ms = 300\n",
        silent.local_addr().unwrap()
    ));
    system.append_config(common::RULES_DRY);
    system.up();
    let host = "mx.test.example";

    // Good, in one piece and octet by octet.
    for (piece, word) in [(usize::MAX, "hungry"), (1, "hungry yet?")] {
        assert!(send(&system, "127.0.66.1", SIGNED, piece).starts_with("250"), "{word}");
        let text = system.delivered("new", word);
        let field = text.split_once("Authentication-Results: ").unwrap().1.split_once("\nReceived-SPF: pass").unwrap().0;
        let lines: Vec<&str> = field.lines().map(str::trim).collect();
        assert_eq!(lines[0], format!("{host};"));
        assert_eq!(lines.iter().filter(|line| line.starts_with("dkim=pass header.d=football.example.com")).count(), 2, "{text}");
        assert!(field.contains("spf=pass"), "{text}");
        std::fs::remove_file(system.inbox("alice").pop().unwrap()).unwrap();
    }

    let changed = SIGNED.replace("hungry", "angry");
    assert!(send(&system, "127.0.66.1", &changed, 100).starts_with("250"));
    let text = unfolded(&system.delivered("new", "angry"));
    assert_eq!(text.matches("dkim=fail reason=\"the body was changed\"").count(), 2, "{text}");

    // A key that does not come in time, and one that is not there.
    let slow = SIGNED.replace("s=test;", "s=slow;").replace("s=brisbane;", "s=none;").replace("hungry", "sleepy");
    assert!(send(&system, "127.0.66.1", &slow, 4000).starts_with("250"));
    let text = unfolded(&system.delivered("new", "sleepy"));
    assert!(
        text.contains("dkim=temperror") && text.contains("dkim=permerror reason=\"there is no key at the selector\""),
        "{text}"
    );

    // What a stranger wrote in our name is taken out, and of what it is not; nothing else changes.
    let forged = format!(
        "Return-Path: <forged@a.example>\nAuthentication-Results: {host}; dmarc=pass\nX-One: 1\nauthentication-results:\n (a) {host} 1; spf=pass\n\
         Authentication-Results: other.example; dkim=pass\nX-Spam-Flag: NO\nReceived-SPF: pass receiver={host}\nSubject: kept\n\nplain\n"
    );
    let reply = send(&system, "127.0.77.1", &forged, 10);
    assert!(reply.starts_with("250"), "{reply}");
    let text = system.delivered("new", "plain");
    let (ours, theirs) = text.split_once("X-One: 1\n").unwrap();
    assert!(ours.contains(&format!("Authentication-Results: {host};\n\tspf=fail")) && ours.contains("\n\tdkim=none"), "{text}");
    assert_eq!(ours.matches("Return-Path: ").count(), 1);
    assert_eq!(theirs, "Authentication-Results: other.example; dkim=pass\nSubject: kept\n\nplain\n");

    // A network of our own is believed.
    assert!(send(&system, "127.0.0.9", &forged.replace("plain", "inside"), 1000).starts_with("250"));
    let text = system.delivered("new", "inside");
    assert!(text.contains("dmarc=pass") && text.contains("X-Spam-Flag: NO") && !text.contains("forged@a.example"), "{text}");

    system.wait("the counts", || {
        let counters = &system.status().unwrap()["counters"];
        ["pass", "fail", "none", "temperror"].map(|result| counters[format!("dkim_{result}_total")].as_u64())
            == [Some(2), Some(1), Some(2), Some(1)]
    });
}

#[test]
fn rules_about_client_and_sender() {
    let mut system = System::init();
    let folder = system.folder.path().join("p/dns");
    let head = "$TTL 60\n@ SOA ns.far.example. h 1 60 60 60 60\n NS ns.far.example.\n";
    std::fs::write(folder.join("reverse.zone"), format!("{head}1 PTR mail.far.example.\n2 PTR other.far.example.\n")).unwrap();
    let names = "ns A 127.0.0.1\nmail A 127.0.66.1\nother A 127.0.66.9\nboth MX 10 mail\nnull MX 0 .\n";
    std::fs::write(folder.join("far.zone"), format!("{head}{names}")).unwrap();
    let silent = UdpSocket::bind("127.0.0.1:0").unwrap();
    system.append_config(&format!(
        "\n[[dns.zone]]\nname = \"far.example\"\nfile = \"dns/far.zone\"\n\
         \n[[dns.zone]]\nname = \"66.0.127.in-addr.arpa\"\nfile = \"dns/reverse.zone\"\n\
         \n[[dns.stub]]\nname = \"slow.example\"\nservers = [\"{}\"]\n\
         \n[policy]\ntrusted_networks = []\ngreeting_wait_ms = 100\nrules_wait_ms = 300\ninformation_link = \"https://why.example\"\n\
         \n[policy.spf]\ncheck = false\n\n[policy.greylist]\ncheck = false\n\
         \n[policy.rules]\nhelo_unknown = {{ refuse = true }}\nsender_null_mx = {{ refuse = true }}\n\
         reverse_name_missing = {{ dry_run = true, refuse = true }}\nreverse_name_unconfirmed = {{ points = 5.5 }}\n",
        silent.local_addr().unwrap()
    ));
    system.up();

    // The replies to RCPT of a mailbox and of the postmaster.
    let asked = |client: &str, helo: &str, from: &str| {
        let mut smtp = system.smtp_from(client);
        smtp.say(&format!("EHLO {helo}")).unwrap();
        smtp.say(&format!("MAIL FROM:<{from}>")).unwrap();
        let replies = ["alice", "postmaster"].map(|to| smtp.say(&format!("RCPT TO:<{to}@test.example>")).unwrap());
        replies.map(|reply| reply.trim_end().to_owned())
    };
    const OK: &str = "250 2.1.5 Recipient ok";
    for (client, helo, from, reply) in [
        ("127.0.66.1", "mail.far.example", "a@both.far.example", OK),
        ("127.0.66.1", "mail.far.example", "", OK),
        ("127.0.66.3", "[127.0.66.3]", "a@mail.far.example", OK),
        ("127.0.66.1", "mx.Test.example", "", "550 5.7.1 You said EHLO with our name; say your own; see https://why.example"),
        ("127.0.66.1", "[127.0.0.1]", "", "550 5.7.1 You said EHLO with our name; say your own; see https://why.example"),
        ("127.0.66.1", "no.far.example", "", "550 5.7.1 The name you gave with EHLO is not in the DNS; see https://why.example"),
        (
            "127.0.66.1",
            "mail.far.example",
            "a@null.far.example",
            "550 5.7.27 The domain of the sender address says that it takes no mail (null MX); see https://why.example",
        ),
        // Nobody is refused because others do not answer.
        ("127.0.66.1", "mail.slow.example", "a@slow.example", OK),
    ] {
        assert_eq!(asked(client, helo, from), [reply, OK], "{client} {helo} {from}");
    }

    // The same by command, for clients that are not there.
    let told = |ip: &str, helo: &str, from: &str, to: &str| {
        let text = system.run(&["smtp", "explain", "--ip", ip, "--helo", helo, "--mail-from", from, "--rcpt", to, "--json"]);
        serde_json::from_str::<serde_json::Value>(&text).unwrap()
    };
    let good = told("127.0.66.1", "mail.far.example", "a@both.far.example", "alice@test.example");
    assert_eq!((good["reply"].as_str(), good["points"].as_f64()), (Some(OK), Some(0.0)));
    let told = told("127.0.66.2", "no.far.example", "a@null.far.example", "nobody@test.example");
    assert_eq!(told["reply"], "550 5.7.1 The name you gave with EHLO is not in the DNS; see https://why.example");
    let steps: Vec<String> = told["steps"].as_array().unwrap().iter().map(ToString::to_string).collect();
    for (check, what) in [
        ("rule sender_null_mx", "550 5.7.27"),
        ("rule reverse_name_unconfirmed", "5.5"),
        ("recipient", "550 5.1.1"),
        ("history", "0 good and 0 bad"),
    ] {
        assert!(steps.iter().any(|step| step.contains(check) && step.contains(what)), "{check}: {told}");
    }
    let text = system.run(&["smtp", "explain", "--ip", "127.0.66.1", "--helo", "mail.far.example", "--rcpt", "a@else.example"]);
    assert!(text.contains("RCPT is answered: 550 5.7.1, the domain is not hosted here\n"), "{text}");

    // Whoever speaks first is heard, and refused.
    let mut hasty = system.stream_from("127.0.66.1");
    std::io::Write::write_all(&mut hasty, b"EHLO mail.far.example\r\n").unwrap();
    let mut hasty = Smtp::over(hasty).unwrap();
    assert!(hasty.reply().unwrap().starts_with("250-"));
    hasty.say("MAIL FROM:<>").unwrap();
    assert_eq!(
        hasty.say("RCPT TO:<alice@test.example>").unwrap().trim_end(),
        "554 5.5.1 You spoke before the greeting (RFC 5321 section 4.3.1); see https://why.example"
    );

    // Points of a rule are points of the message.
    let mut smtp = system.smtp_from("127.0.66.2");
    for command in ["EHLO mail.far.example", "MAIL FROM:<a@both.far.example>", "RCPT TO:<alice@test.example>", "DATA"] {
        smtp.say(command).unwrap();
    }
    smtp.write(b"Subject: x\r\n\r\nmarked\r\n.\r\n").unwrap();
    assert!(smtp.reply().unwrap().starts_with("250"));
    let text = system.delivered("new", "marked");
    assert!(text.contains("REVERSE_NAME_UNCONFIRMED(5.50)"), "{text}");

    let status = system.status().unwrap();
    let counts = |rule: &str| {
        let rules = status["rules"].as_array().unwrap();
        let counts = rules.iter().find(|counts| counts["rule"] == rule).unwrap();
        ["checked", "hit", "late", "refused"].map(|count| counts[format!("rule_{count}_total")].as_u64().unwrap())
    };
    assert_eq!(counts("helo_unknown"), [9, 2, 1, 1]);
    assert_eq!(counts("reverse_name_missing"), [10, 1, 0, 0]);
    assert_eq!(counts("sender_null_mx"), [7, 2, 1, 1]);
    assert!(common::http(&system, "/metrics").contains("postring_rule_hit_total{rule=\"early_talk\",shard=\"0\"} 1\n"));
}

/// Messages that are not from the domain they show: what the domain asks for, what the administrator makes of it, and whom he believes.
#[test]
fn domains_say_what_is_done_in_their_name() {
    let mut system = System::init();
    let folder = system.folder.path().join("p/dns");
    // Keys of the sealers, in strings that fit.
    let mut zone = "$TTL 60\n@ SOA ns.far.example. h 1 60 60 60 60\n NS ns.far.example.\n".to_owned();
    for line in include_str!("../../../edge/auth/tests/arc/keys.txt")
        .lines()
        .filter(|line| line.contains(" = ") && !line.starts_with('#'))
    {
        let (name, text) = line.split_once(" = ").unwrap();
        zone += &format!("{name}. TXT");
        text.as_bytes().chunks(200).for_each(|string| zone += &format!(" \"{}\"", std::str::from_utf8(string).unwrap()));
        zone += "\n";
    }
    for (domain, policy) in [("strict", "reject"), ("gentle", "quarantine"), ("watching", "none"), ("author", "reject")] {
        zone += &format!("_dmarc.{domain} TXT \"v=DMARC1; p={policy}\"\n{domain} TXT \"v=spf1 ip4:127.0.66.1 -all\"\n");
    }
    std::fs::write(folder.join("example.zone"), zone).unwrap();
    system.append_config(
        "\n[[dns.zone]]\nname = \"example\"\nfile = \"dns/example.zone\"\n\
         \n[policy]\ntrusted_networks = []\ngreeting_wait_ms = 0\ninformation_link = \"https://why.example\"\n\
         \n[policy.dmarc]\nreject = \"refuse\"\ntrusted_sealers = [\"forwarder.example\", \"list.example\"]\n",
    );
    system.append_config(common::RULES_DRY);
    system.up();
    let from = |client: &str, from: &str, body: &str| {
        let message = format!("From: {from}\nSubject: x\n\n{body}\n");
        send_as(&system, client, "somebody@strict.example", &message, usize::MAX)
    };

    // The envelope's domain may be below the author's or above.
    assert!(from("127.0.66.1", "a@strict.example", "authentic").starts_with("250"));
    let text = unfolded(&system.delivered("new", "authentic"));
    assert!(text.contains("dmarc=pass (p=reject dis=none) header.from=strict.example"), "{text}");
    for (client, author) in [("127.0.66.2", "a@strict.example"), ("127.0.66.2", "b <\"x@y\"@sub.strict.example>")] {
        let domain = author.trim_end_matches('>').rsplit_once('@').unwrap().1;
        let reply =
            format!("550 5.7.26 This is not from {domain}, which asks to refuse such mail (DMARC); see https://why.example");
        assert_eq!(from(client, author, "refused"), reply);
    }
    assert!(from("127.0.66.1", "a@watching.example", "watched").starts_with("250"));
    assert!(unfolded(&system.delivered("new", "watched")).contains("dmarc=fail (p=none dis=none)"));
    assert!(from("127.0.66.1", "a@strict.example, b@watching.example", "two").starts_with("250"));
    let text = unfolded(&system.delivered(".Junk/new", "two"));
    assert!(text.contains("dmarc=permerror reason=\"the From field has addresses of several domains\""), "{text}");

    // Into the Junk folder, though it is clean.
    assert!(from("127.0.66.1", "a@gentle.example", "doubtful").starts_with("250"));
    assert!(unfolded(&system.delivered(".Junk/new", "doubtful")).contains("dmarc=fail (p=quarantine dis=quarantine)"));

    // The same mailing list's mail, its sealers trusted, and changed by another since.
    let sealed = include_str!("../../../edge/auth/tests/arc/list.eml");
    assert!(send_as(&system, "127.0.66.9", "list@list.example", sealed, 100).starts_with("250"));
    let text = unfolded(&system.delivered("new", "Chains"));
    assert!(text.contains("dmarc=fail (p=reject dis=reject)") && text.contains("arc=pass"), "{text}");
    let changed = sealed.replace("First line", "Worst line");
    assert!(
        send_as(&system, "127.0.66.9", "list@list.example", &changed, 100)
            .starts_with("550 5.7.26 This is not from author.example")
    );
    let other = sealed.replace("d=list.example", "d=first.example").replace("s=list2026", "s=a");
    assert!(send_as(&system, "127.0.66.9", "list@list.example", &other, 100).starts_with("550 5.7.26 "));

    system.wait("the counts", || {
        let counters = &system.status().unwrap()["counters"];
        ["pass", "fail", "permerror"].map(|result| counters[format!("dmarc_{result}_total")].as_u64())
            == [Some(1), Some(7), Some(1)]
    });
}

/// A message that is doubtful is put off until it is tried again; whoever has brought good mail before, or is who he says he is, does not wait.
#[test]
fn who_is_not_known_tries_again() {
    let mut system = System::init();
    let config = |delay: u32| {
        format!(
            "\n[policy]\ntrusted_networks = []\ngreeting_wait_ms = 0\n\
             \n[policy.spf]\ncheck = false\n\
             \n[policy.rules]\nhelo_not_qualified = {{ points = 4.5 }}\nhelo_unknown = {{ dry_run = true }}\n\
             reverse_name_missing = {{ dry_run = true }}\nsender_domain_unknown = {{ dry_run = true }}\n\
             \n[policy.greylist]\ndelay_minutes = {delay}\n\n[policy.reputation]\nmessages_min = 2\n"
        )
    };
    let file = system.config();
    let before = std::fs::read_to_string(&file).unwrap();
    system.append_config(&config(5));
    system.up();
    let sent = |system: &System, client: &str, helo: &str, from: &str| {
        let mut smtp = system.smtp_from(client);
        for command in [&format!("EHLO {helo}"), &format!("MAIL FROM:<{from}>"), "RCPT TO:<alice@test.example>", "DATA"] {
            smtp.say(command).unwrap();
        }
        smtp.write(b"From: <a@far.example>\r\nSubject: x\r\n\r\nx\r\n.\r\n").unwrap();
        smtp.reply().unwrap().trim_end().to_owned()
    };
    const PUT_OFF: &str = "451 4.7.1 You are not known here yet, try again in 5 minutes (greylisting)";
    assert_eq!(sent(&system, "127.0.66.1", "doubtful", "a@far.example"), PUT_OFF);
    assert_eq!(sent(&system, "127.0.66.1", "doubtful", "a@far.example"), PUT_OFF);
    // Nobody else waits, and two good messages are a history.
    for _ in 0..2 {
        assert!(sent(&system, "127.0.67.1", "mail.far.example", "b@far.example").starts_with("250"));
    }
    assert!(sent(&system, "127.0.67.1", "doubtful", "b@far.example").starts_with("250"));
    assert_eq!(sent(&system, "127.0.67.2", "doubtful", "b@far.example"), PUT_OFF);

    // What is known outlives a restart. Without a delay the first try is let through, and then it is known.
    system.down();
    std::fs::write(&file, before + &config(0)).unwrap();
    system.up();
    assert!(sent(&system, "127.0.67.1", "doubtful", "b@far.example").starts_with("250"));
    assert!(sent(&system, "127.0.66.1", "doubtful", "a@far.example").starts_with("250"));
    system.wait("the counts", || {
        let counters = &system.status().unwrap()["counters"];
        counters["greylist_deferred_total"] == 0 && counters["greylist_passed_total"] == 1
    });
}

/// A domain two labels below a public suffix of the administrator's list has its policy found there; a dry run looks and does nothing.
#[test]
fn public_suffixes_are_the_administrators_and_a_dry_run_does_nothing() {
    let mut system = System::init();
    let zone = "$TTL 60\n@ SOA ns h 1 60 60 60 60\n NS ns\nns A 127.0.0.1\n_dmarc.club TXT \"v=DMARC1; p=reject; sp=quarantine\"\n\
                2.66.0.127.list TXT x\n2.66.0.127.list A 127.0.0.2\n2.0.0.127.list A 127.0.0.2\n";
    system.write_dns("league.zone", zone);
    system.write_dns("suffixes.dat", "// ours\nexample\nleague.example\n");
    let common = "\n[[dns.zone]]\nname = \"league.example\"\nfile = \"dns/league.zone\"\n\
                  \n[policy]\ntrusted_networks = []\ngreeting_wait_ms = 0\n\n[policy.greylist]\ncheck = false\n";
    let list = |dry_run: bool| format!("\n[[policy.dnsbl]]\nzone = \"list.league.example\"\nweight = 9.0\ndry_run = {dry_run}\n");
    let dmarc = |dry_run: bool| format!("\n[policy.dmarc]\nsuffix_list = \"dns/suffixes.dat\"\ndry_run = {dry_run}\n");
    let spf = "\n[policy.spf]\ndry_run = true\n";
    let before = std::fs::read_to_string(system.config()).unwrap();
    let file = system.config();
    let write = |more: &str| std::fs::write(&file, format!("{before}{common}{}{more}", common::RULES_DRY)).unwrap();
    write(&(dmarc(false) + &list(true)));
    system.up();

    let message = |word: &str| format!("From: a@team.club.league.example\nSubject: {word}\n\n{word}\n");
    let send = |client: &str, word: &str| send_as(&system, client, "a@team.club.league.example", &message(word), usize::MAX);
    // The list would have refused this client.
    assert!(send("127.0.66.2", "judged").starts_with("250"));
    let text = unfolded(&system.delivered(".Junk/new", "judged"));
    assert!(text.contains("dmarc=fail (p=reject sp=quarantine dis=quarantine)") && !text.contains("DNSBL"), "{text}");
    let listed = |system: &System| {
        let lists = system.status().unwrap()["dnsbl"].clone();
        lists.as_array().into_iter().flatten().map(|list| list["dnsbl_listed_total"].as_u64().unwrap()).sum::<u64>()
    };
    // It is asked once its test entries were there.
    system.wait("the hit to be counted", || send("127.0.66.2", "judged").starts_with("250") && listed(&system) > 0);

    write(&(dmarc(true) + &list(false) + spf));
    system.run(&["reload"]);
    system.wait("the list to refuse", || {
        let mut smtp = system.smtp_from("127.0.66.2");
        smtp.say("EHLO mail.football.example.com").unwrap();
        smtp.say("MAIL FROM:<a@team.club.league.example>").unwrap();
        smtp.say("RCPT TO:<alice@test.example>").unwrap().starts_with("554 5.7.1")
    });
    assert!(send("127.0.66.3", "watched").starts_with("250"));
    let text = unfolded(&system.delivered("new", "watched"));
    assert!(text.contains("dmarc=fail (p=reject sp=quarantine dis=quarantine)") && !text.contains("DMARC_POLICY"), "{text}");

    system.write_dns("suffixes.dat", "<html>\n");
    let check = common::postring(&["check", "--config", &system.config()]);
    let error = String::from_utf8(check.stderr).unwrap();
    assert!(error.contains("policy.dmarc.suffix_list: ") && error.contains("line 1 is no rule"), "{error}");
}

/// All that one message makes us ask comes from one budget; what is beyond it is nobody's fault, and no way around the policy of others.
#[test]
fn a_transaction_has_a_budget_of_questions() {
    let mut system = System::init();
    let mut zone =
        "$TTL 60\n@ SOA ns h 1 60 60 60 60\n NS ns\nns A 127.0.0.1\nplain TXT \"v=spf1 ip4:127.0.66.1 -all\"\n".to_owned();
    zone += "@ TXT \"v=spf1 mx:m1.%{d} mx:m2.%{d} mx:m3.%{d} mx:m4.%{d} mx:m5.%{d} mx:m6.%{d} ip4:127.0.66.1 -all\"\n";
    for list in 1..=6 {
        for host in 0..9 {
            zone += &format!("m{list} MX 1 h{host}.m{list}\nh{host}.m{list} A 192.0.2.{host}\n");
        }
    }
    zone += "_dmarc.strict TXT \"v=DMARC1; p=reject\"\nstrict TXT \"v=spf1 redirect=greedy.example\"\n";
    system.write_dns("greedy.zone", &zone);
    system.append_config(
        "\n[[dns.zone]]\nname = \"greedy.example\"\nfile = \"dns/greedy.zone\"\n\
         \n[policy]\ntrusted_networks = []\ngreeting_wait_ms = 0\nquestions_max = 40\n\n[policy.spf]\nreject_fail = true\n\
         \n[policy.dmarc]\nreject = \"refuse\"\n\
         \n[policy.greylist]\ncheck = false\n",
    );
    system.append_config(common::RULES_DRY);
    system.up();
    let send = |domain: &str, word: &str| {
        let message = format!("From: a@{domain}\nSubject: {word}\n\n{word}\n");
        send_as(&system, "127.0.66.2", &format!("a@{domain}"), &message, usize::MAX)
    };
    // By its record it is refused; for that the record must be read to its end.
    assert!(send("plain.greedy.example", "plain").starts_with("550 5.7.23 "));
    assert!(send("greedy.example", "greedy").starts_with("250 "));
    assert!(unfolded(&system.delivered("new", "greedy")).contains("spf=temperror"));
    // Its own policy is asked for all the same, and that SPF did not come to an end spares nobody.
    let message = "From: a@strict.greedy.example\nSubject: strict\n\nstrict\n";
    let reply = send_as(&system, "127.0.66.2", "a@strict.greedy.example", message, usize::MAX);
    assert!(reply.starts_with("550 5.7.26 "), "{reply}");
    let spent = |system: &System| system.status().unwrap()["counters"]["budgets_spent_total"].as_u64();
    system.wait("the count", || spent(&system) == Some(2));

    let text = std::fs::read_to_string(system.config()).unwrap();
    std::fs::write(system.config(), text.replace("questions_max = 40", "questions_max = 200")).unwrap();
    system.run(&["reload"]);
    system.wait("the larger budget", || send("greedy.example", "again").starts_with("550 5.7.23 "));
}

/// The name in EHLO is looked at beside the sender's domain (RFC 7208 section 2.3).
#[test]
fn the_name_in_ehlo_says_who_may_use_it() {
    let mut system = System::init();
    let zone = "$TTL 60\n@ SOA ns h 1 60 60 60 60\n NS ns\n TXT \"v=spf1 ip4:127.0.66.0/24 -all\"\nns A 127.0.0.1\n\
                mail TXT \"v=spf1 ip4:127.0.66.1 -all\"\n";
    system.write_dns("football.zone", zone);
    system.append_config(
        "\n[[dns.zone]]\nname = \"football.example.com\"\nfile = \"dns/football.zone\"\n\
         \n[policy]\ntrusted_networks = []\ngreeting_wait_ms = 0\nmark_score = 0.5\n\n[policy.greylist]\ncheck = false\n",
    );
    system.append_config(common::RULES_DRY);
    system.up();
    for (client, word, result) in [("127.0.66.1", "own", "pass"), ("127.0.66.2", "borrowed", "fail")] {
        assert!(send(&system, client, &format!("Subject: x\n\n{word}\n"), usize::MAX).starts_with("250"));
        let text = unfolded(&system.delivered("new", word));
        let fields = text.split_once("\nReceived-SPF: ").unwrap();
        assert!(fields.0.contains("spf=pass ") && fields.0.contains(" smtp.mailfrom="), "{text}");
        let helo = fields.0.split("; ").find(|field| field.contains("smtp.helo=mail.football.example.com")).unwrap();
        assert!(helo.starts_with(&format!("spf={result} ")), "{text}");
        assert_eq!(text.contains("R_SPF_HELO_FAIL(1.00)"), result == "fail", "{text}");
    }
}
