//! One account's spam is another's mail: each recipient's own scores, and what the sender is told of each.

#![allow(clippy::unwrap_used)] // a test that cannot go on fails

mod common;

use common::peers::{tool, wanted};
use common::{Smtp, System};

/// A sender without a reverse name, which is worth a known number of points; nothing else counts.
const CONFIG: &str = "\n[edge]\nscan = false\n\n[policy]\ntrusted_networks = []\ngreeting_wait_ms = 0\n\n[policy.greylist]\ncheck = false\n\
    \n[policy.reputation]\ncheck = false\n\n[policy.dkim]\ncheck = false\n\n[policy.spf]\ncheck = false\n\n[policy.rules]\nhelo_not_qualified = { points = 8.0 }\n\
    helo_unknown = { dry_run = true }\nreverse_name_missing = { dry_run = true }\nreverse_name_unconfirmed = { dry_run = true }\nsender_domain_unknown = { dry_run = true }\n";

/// Replies to a message of eight points.
fn send(smtp: &mut Smtp, parameters: &str, recipients: &[&str], subject: &str, replies: usize) -> Vec<String> {
    let reply = smtp.say(&format!("MAIL FROM:<a@far.example>{parameters}")).unwrap();
    assert!(reply.starts_with("250"), "{reply}");
    for recipient in recipients {
        let reply = smtp.say(&format!("RCPT TO:<{recipient}@test.example>")).unwrap();
        assert!(reply.starts_with("250"), "{reply}");
    }
    smtp.say("DATA").unwrap();
    smtp.write(format!("Subject: {subject}\r\n\r\nx\r\n.\r\n").as_bytes()).unwrap();
    (0..replies).map(|_| smtp.reply().unwrap().trim_end().to_owned()).collect()
}

/// Where the message with this subject lies in the account's mailbox.
fn found(system: &System, account: &str, subject: &str) -> Vec<&'static str> {
    let has = |folder: &str| {
        let files = common::files(&system.maildir(account).join(folder));
        files.iter().any(|file| std::fs::read_to_string(file).unwrap().contains(&format!("Subject: {subject}\n")))
    };
    ["new", ".Junk/new"].into_iter().filter(|folder| has(folder)).collect()
}

#[test]
fn each_recipient_has_its_own_verdict() {
    let mut system = System::init();
    system.append_config(CONFIG);
    system.run(&["account", "add", "carol@test.example"]);
    // Alice takes everything, Bob nothing, Carol is as all are; a list of all three.
    system.run(&["account", "scores", "alice@test.example", "--junk", "100", "--reject", "200"]);
    system.run(&["account", "scores", "bob@test.example", "--reject", "5"]);
    assert!(system.run(&["account", "list"]).contains("bob@test.example (Junk as for all, refused from 5 points on)"));
    system.run(&["alias", "add", "all@test.example", "alice@test.example", "bob@test.example", "carol@test.example"]);
    system.up();
    let refusal = "550 5.7.1 Message refused: it looks like spam";
    let mut smtp = system.smtp_from("127.0.66.1");
    smtp.say("EHLO localhost").unwrap();

    // A sender that hears of each.
    let replies = send(&mut smtp, " PRDR", &["alice", "bob", "carol", "postmaster"], "each", 6);
    assert!(replies[0].starts_with("353 "), "{replies:?}");
    assert!(replies[1].starts_with("250 2.0.0 ") && replies[2] == refusal && replies[3].starts_with("250 "), "{replies:?}");
    assert!(replies[5].starts_with("250 2.0.0 "), "{replies:?}");
    system.wait("carol's", || found(&system, "carol", "each") == [".Junk/new"]);
    assert_eq!((found(&system, "alice", "each"), found(&system, "bob", "each")), (vec!["new"], vec![]));

    // One that hears of all together.
    let replies = send(&mut smtp, "", &["alice", "bob"], "together", 1);
    assert!(replies[0].starts_with("250 "), "{replies:?}");
    system.wait("bob's", || found(&system, "bob", "together") == [".Junk/new"]);
    assert_eq!(found(&system, "alice", "together"), ["new"]);
    assert_eq!(send(&mut smtp, "", &["bob"], "alone", 1), [refusal]);
    // An alias is one recipient.
    let replies = send(&mut smtp, " PRDR", &["all", "bob"], "alias", 4);
    assert!(replies[1].starts_with("250 ") && replies[2] == refusal, "{replies:?}");
    system.wait("the alias'", || found(&system, "bob", "alias") == [".Junk/new"] && found(&system, "alice", "alias") == ["new"]);

    // The domain's, for who has none.
    system.run(&["domain", "scores", "test.example", "--reject", "7", "--junk", "3"]);
    system.wait("the domain's", || send(&mut smtp, "", &["carol"], "domain", 1) == [refusal]);
    assert!(send(&mut smtp, "", &["alice"], "domain", 1)[0].starts_with("250 "));
    system.run(&["account", "scores", "bob@test.example"]);
    system.run(&["domain", "scores", "test.example"]);
    system.wait("all the same", || send(&mut smtp, "", &["bob"], "same", 1)[0].starts_with("250 "));
    system.wait("bob's", || found(&system, "bob", "same") == [".Junk/new"]);
}

/// Spam is not sent on because somebody else takes it: it cannot be put into Junk elsewhere, and a refusal there would be reported to a forged sender.
#[test]
fn what_is_refused_does_not_leave() {
    let mut system = System::init();
    system.append_config(&CONFIG.replace("[policy]\n", "[policy]\nreject_score = 7.0\n"));
    system.append_config("\n[dns]\nforwarders = []\n");
    system.run(&["account", "scores", "alice@test.example", "--junk", "100", "--reject", "200"]);
    system.run(&["alias", "add", "out@test.example", "x@other.example"]);
    system.run(&["alias", "add", "both@test.example", "alice@test.example", "x@other.example"]);
    system.up();
    let refusal = "550 5.7.1 Message refused: it looks like spam";
    let mut smtp = system.smtp_from("127.0.66.1");
    smtp.say("EHLO localhost").unwrap();
    for recipients in [&["alice", "out"][..], &["both"], &["out", "alice", "bob"]] {
        assert_eq!(send(&mut smtp, "", recipients, "together", 1), [refusal], "{recipients:?}");
    }
    let replies = send(&mut smtp, " PRDR", &["out", "alice", "both"], "each", 5);
    assert_eq!((replies[1].as_str(), replies[3].as_str()), (refusal, refusal));
    assert!(replies[2].starts_with("250 ") && replies[4].starts_with("250 "), "{replies:?}");
    // The other half of an alias that is refused gets nothing either, nor does who would have it in Junk.
    let replies = send(&mut smtp, "", &["alice", "bob"], "here", 1);
    assert!(replies[0].starts_with("250 "), "{replies:?}");
    system.wait("alice's", || found(&system, "alice", "each") == ["new"] && found(&system, "bob", "here") == [".Junk/new"]);
    assert!(!system.run(&["queue", "list", "--json"]).contains("other.example"));
    assert!(found(&system, "alice", "together").is_empty() && found(&system, "bob", "together").is_empty());
}

/// A client that others have written understands the replies.
#[test]
fn swaks_hears_of_each() {
    if !wanted(&["swaks"]) {
        return;
    }
    let mut system = System::init();
    system.append_config(CONFIG);
    system.run(&["account", "scores", "bob@test.example", "--reject", "5"]);
    system.up();
    let server = format!("127.0.0.1:{}", system.base + 25);
    let to = "alice@test.example,bob@test.example";
    let (_, said) = tool(
        "swaks",
        &[
            "--server",
            &server,
            "--local-interface",
            "127.0.66.1",
            "--ehlo",
            "localhost",
            "--from",
            "a@far.example",
            "--to",
            to,
            "--prdr",
        ],
        "",
    );
    assert!(
        said.contains("353 ") && said.contains("550 5.7.1 Message refused: it looks like spam") && said.contains("250 2.0.0 Ok"),
        "{said}"
    );
    system.wait("alice's", || common::files(&system.maildir("alice").join(".Junk/new")).len() == 1);
    assert_eq!(system.inbox("bob").len(), 0);
}
