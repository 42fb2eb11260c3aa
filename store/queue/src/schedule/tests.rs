//! The schedule, tried by example and by random operations with restarts.

use super::*;
use crate::record::RecipientProgress;

const MINUTE_US: u64 = 60_000_000;

fn head(id: u64, reverse_path: &str, recipients: &[&str]) -> MessageHead {
    MessageHead {
        id: MessageId(id),
        received_us: 1000,
        flags: EnvelopeFlags(0),
        reverse_path: reverse_path.to_owned(),
        account: String::new(),
        recipients: recipients.iter().map(|&recipient| recipient.to_owned()).collect(),
        envelope_id: String::new(),
        requests: Vec::new(),
    }
}

fn queue_of(heads: Vec<MessageHead>) -> Queue {
    let mut queue = Queue::new(QueueConfig::default());
    for head in heads {
        queue.add(head, 5, None);
    }
    queue.invariants();
    queue
}

fn outcome(recipient: usize, outcome: Outcome, reply: &str) -> RecipientOutcome {
    RecipientOutcome { recipient, outcome, host: "mx.example".to_owned(), reply: reply.to_owned() }
}

fn kept(change: Option<Change>) -> Progress {
    match change {
        Some(Change::Kept(progress)) => progress,
        other => panic!("{other:?}"),
    }
}

fn all_attempts(queue: &mut Queue, now_us: u64) -> Vec<(String, Vec<usize>)> {
    let attempts = std::iter::from_fn(|| queue.poll_attempt(now_us));
    attempts.map(|attempt| (attempt.domain, attempt.recipients.into_iter().map(|(index, _)| index).collect())).collect()
}

#[test]
fn a_message_is_tried_once_for_each_destination() {
    let addresses = ["a@X.example", "b@y.example", "c@x.EXAMPLE", "d@[192.0.2.1]", "postmaster", "e@", "\"@\"@y.example"];
    let mut queue = queue_of(vec![head(1, "s@s.example", &addresses)]);
    let attempts = all_attempts(&mut queue, 1000);
    let expected: [(&str, &[usize]); 5] =
        [("[192.0.2.1]", &[3]), ("e@", &[5]), ("postmaster", &[4]), ("x.example", &[0, 2]), ("y.example", &[1, 6])];
    assert_eq!(attempts, expected.map(|(domain, indexes)| (domain.to_owned(), indexes.to_vec())));
    assert_eq!((queue.under_way(), queue.poll_timeout()), (5, None));
    queue.invariants();
}

#[test]
fn the_round_ends_with_its_last_attempt_and_then_the_sender_is_told() {
    let mut queue = queue_of(vec![head(1, "s@s.example", &["a@x", "b@y", "c@z"])]);
    assert_eq!(all_attempts(&mut queue, 1000).len(), 3);
    let progress = kept(queue.handle_attempt(MessageId(1), vec![outcome(2, Outcome::Permanent, "550 5.1.1 a\r\nb")], 2000));
    assert_eq!((progress.attempts, progress.recipients[2].reply.as_str()), (0, "550 5.1.1 a  b"));
    assert_eq!(queue.poll_report(), None);
    kept(queue.handle_attempt(MessageId(1), vec![outcome(0, Outcome::Delivered, "250 ok")], 2000));
    let progress = kept(queue.handle_attempt(MessageId(1), vec![], 2000));
    queue.invariants();
    assert_eq!((progress.attempts, progress.recipients[1].reply.as_str()), (1, NO_ANSWER));
    assert_eq!(progress.recipients[1].host, "");
    assert!(progress.next_attempt_us >= 2000 + 5 * MINUTE_US);

    // While the sender is not told, there is no further round, however late it is.
    assert_eq!((queue.poll_report(), queue.poll_report()), (Some(MessageId(1)), None));
    assert_eq!((queue.poll_attempt(u64::MAX), queue.poll_timeout()), (None, None));
    assert_eq!(queue.reserve_report(MessageId(1), MessageId(9)).unwrap().report, MessageId(9));
    assert_eq!(queue.reserve_report(MessageId(1), MessageId(10)).unwrap().report, MessageId(9));
    queue.report_failed(MessageId(1), 3000);
    queue.invariants();
    assert_eq!((queue.poll_report(), queue.poll_timeout()), (None, Some(3000 + REPORT_RETRY_US)));
    assert_eq!(queue.poll_attempt(3000 + REPORT_RETRY_US), None);
    assert_eq!(queue.poll_report(), Some(MessageId(1)));
    let told = kept(queue.handle_reported(MessageId(1)));
    assert_eq!(told.report, MessageId(0));
    let statuses: Vec<Status> = told.recipients.iter().map(|recipient| recipient.status).collect();
    assert_eq!(statuses, [Status::Delivered, Status::Pending, Status::Reported]);
    queue.invariants();
    assert_eq!(queue.poll_timeout(), Some(progress.next_attempt_us));
    assert_eq!(queue.poll_attempt(progress.next_attempt_us - 1), None);
    assert_eq!(queue.poll_attempt(progress.next_attempt_us).unwrap().domain, "y");
    let end = queue.handle_attempt(MessageId(1), vec![outcome(1, Outcome::Delivered, "250 ok")], u64::MAX);
    assert_eq!((end, queue.is_empty()), (Some(Change::Ended), true));
    queue.invariants();
}

#[test]
fn nobody_is_told_of_a_failed_report() {
    let mut queue = queue_of(vec![head(1, "", &["a@x"])]);
    assert!(queue.poll_attempt(1000).is_some());
    let change = queue.handle_attempt(MessageId(1), vec![outcome(0, Outcome::Permanent, "550 no")], 1000);
    assert_eq!((change, queue.poll_report()), (Some(Change::Ended), None));
}

#[test]
fn a_message_that_is_too_old_fails_and_keeps_the_last_reply() {
    let mut queue = queue_of(vec![head(1, "s@s.example", &["a@x"])]);
    let (mut now_us, mut rounds) = (1000, 0);
    let progress = loop {
        assert!(queue.poll_attempt(now_us).is_some());
        let reply = outcome(0, Outcome::Transient, &format!("451 4.3.0 {}", "é".repeat(400)));
        let progress = kept(queue.handle_attempt(MessageId(1), vec![reply], now_us));
        rounds += 1;
        assert!(rounds < 45, "it does not end");
        match queue.poll_timeout() {
            Some(next_us) => now_us = next_us,
            None => break progress,
        }
    };
    assert_eq!(now_us, 1000 + QueueConfig::default().lifetime_us);
    assert!(rounds > 25, "{rounds}");
    let RecipientProgress { status, reply, .. } = &progress.recipients[0];
    assert_eq!(*status, Status::Failed);
    assert!(reply.starts_with("450 4.4.7 Not delivered within 5 days; the last reply: 451 4.3.0 éé"), "{reply}");
    assert!((REPLY_BYTES_MAX - 1..=REPLY_BYTES_MAX).contains(&reply.len()));
    assert_eq!(queue.poll_report(), Some(MessageId(1)));
}

#[test]
fn what_comes_from_disk_goes_where_it_belongs() {
    let of = |id, statuses: [Status; 2]| {
        let mut progress = Progress::new(MessageId(id), 2, 5000);
        for (recipient, status) in progress.recipients.iter_mut().zip(statuses) {
            recipient.status = status;
        }
        progress
    };
    let mut queue = Queue::new(QueueConfig::default());
    let heads = |id| head(id, "s@s.example", &["a@x", "b@y"]);
    queue.add(heads(1), 5, Some(of(1, [Status::Delivered, Status::Reported])));
    queue.add(heads(2), 5, Some(of(2, [Status::Delivered, Status::Failed])));
    queue.add(heads(3), 5, Some(of(3, [Status::Delivered, Status::Pending])));
    queue.add(head(4, "", &["a@x", "b@y"]), 5, Some(of(4, [Status::Delivered, Status::Failed])));
    queue.add(head(5, "s@s.example", &[]), 5, None);
    // Another's progress, and one of other recipients: tried from the beginning. A second copy: nothing.
    queue.add(heads(6), 5, Some(of(7, [Status::Delivered, Status::Delivered])));
    queue.add(head(7, "s@s.example", &["a@x"]), 5, Some(of(7, [Status::Delivered, Status::Delivered])));
    queue.add(heads(3), 5, None);
    queue.invariants();
    let settled: Vec<u64> = std::iter::from_fn(|| queue.poll_settled()).map(|id| id.0).collect();
    assert_eq!(settled, [1, 4, 5]);
    assert_eq!((queue.poll_report(), queue.poll_report()), (Some(MessageId(2)), None));
    assert_eq!(all_attempts(&mut queue, 0).len(), 3);
    assert_eq!(queue.poll_timeout(), Some(5000));
    assert_eq!(all_attempts(&mut queue, 5000), [("y".to_owned(), vec![1])]);
    queue.invariants();
}

#[test]
fn an_attempt_that_names_nobody_is_known_by_the_others() {
    let mut queue = queue_of(vec![head(1, "s@s.example", &["a@x", "b@y", "c@z"])]);
    assert_eq!(all_attempts(&mut queue, 1000).len(), 3);
    let progress = kept(queue.handle_attempt(MessageId(1), vec![], 1000));
    assert!(progress.recipients.iter().all(|recipient| recipient.reply.is_empty()));
    assert_eq!(queue.under_way(), 3);
    kept(queue.handle_attempt(MessageId(1), vec![outcome(0, Outcome::Delivered, "250 ok")], 1000));
    assert_eq!(queue.under_way(), 2);
    queue.invariants();
    let progress = kept(queue.handle_attempt(MessageId(1), vec![outcome(2, Outcome::Delivered, "250 ok")], 1000));
    assert_eq!((progress.recipients[1].reply.as_str(), progress.attempts), (NO_ANSWER, 1));
    assert_eq!(queue.handle_attempt(MessageId(1), vec![], 1000), None);
    queue.invariants();
    // The same of a dropped one.
    queue.add(head(2, "s@s.example", &["a@x", "b@y"]), 5, None);
    assert_eq!(all_attempts(&mut queue, 1000).len(), 2);
    queue.drop(&Selector::Id(MessageId(2)));
    assert_eq!((queue.handle_attempt(MessageId(2), vec![], 1000), queue.under_way()), (None, 2));
    assert_eq!((queue.handle_attempt(MessageId(2), vec![], 1000), queue.under_way()), (None, 0));
    queue.invariants();
}

#[test]
fn outcomes_nobody_can_know_are_not_believed() {
    let mut queue = queue_of(vec![head(1, "s@s.example", &["a@x", "b@y"])]);
    queue.reconfigure(QueueConfig { attempts_max: 1, ..QueueConfig::default() });
    assert_eq!(all_attempts(&mut queue, 1000).len(), 1);
    let lies = vec![
        outcome(1, Outcome::Delivered, "250"),
        outcome(9, Outcome::Delivered, "250"),
        outcome(usize::MAX, Outcome::Permanent, ""),
    ];
    let progress = kept(queue.handle_attempt(MessageId(1), lies, 1000));
    assert!(progress.recipients.iter().all(|recipient| recipient.status == Status::Pending));
    assert_eq!(queue.poll_attempt(1000).unwrap().domain, "y");
    // The first word that settles a recipient stands.
    let both = vec![outcome(1, Outcome::Delivered, "250"), outcome(1, Outcome::Permanent, "550")];
    assert_eq!(kept(queue.handle_attempt(MessageId(1), both, 1000)).recipients[1].status, Status::Delivered);
    queue.invariants();
}

#[test]
fn limits_hold_and_a_large_group_is_several_attempts() {
    let many: Vec<String> = (0..250).map(|index| format!("u{index}@x")).collect();
    let many: Vec<&str> = many.iter().map(String::as_str).collect();
    let mut queue = queue_of(vec![head(1, "s@s.example", &many), head(2, "s@s.example", &["a@x", "b@y"])]);
    queue.reconfigure(QueueConfig { attempts_max: 3, attempts_per_domain_max: 2, ..QueueConfig::default() });
    let attempts = all_attempts(&mut queue, 1000);
    let sizes: Vec<(&str, usize)> = attempts.iter().map(|(domain, indexes)| (domain.as_str(), indexes.len())).collect();
    assert_eq!(sizes, [("x", 100), ("y", 1), ("x", 100)]);
    kept(queue.handle_attempt(MessageId(1), vec![outcome(0, Outcome::Delivered, "250")], 1000));
    assert_eq!(all_attempts(&mut queue, 1000), [("x".to_owned(), (200..250).collect::<Vec<_>>())]);
    queue.invariants();
}

#[test]
fn a_full_queue_has_no_room_but_takes_what_is_on_disk() {
    let mut queue = Queue::new(QueueConfig { messages_max: 1, ..QueueConfig::default() });
    assert!(queue.has_room());
    queue.add(head(1, "", &["a@x"]), 5, None);
    assert!(!queue.has_room());
    queue.add(head(2, "", &["a@x"]), 5, None);
    assert!(queue.len() == 2 && queue.contains(MessageId(2)) && queue.get(MessageId(3)).is_none());
}

#[test]
fn the_operator_hastens_and_drops() {
    let mut queue = queue_of(vec![
        head(1, "s@s.example", &["a@x"]),
        head(2, "s@s.example", &["b@y"]),
        head(3, "s@s.example", &["c@z"]),
        head(4, "s@s.example", &["d@z"]),
    ]);
    let ids: Vec<MessageId> = std::iter::from_fn(|| queue.poll_attempt(1000)).map(|attempt| attempt.id).collect();
    assert_eq!(ids.len(), 4);
    kept(queue.handle_attempt(MessageId(1), vec![], 1000));
    kept(queue.handle_attempt(MessageId(2), vec![outcome(0, Outcome::Permanent, "550")], 1000));
    queue.poll_report();
    queue.report_failed(MessageId(2), 1000);
    assert_eq!(queue.retry(&"x".parse().unwrap(), 2000), 1);
    assert_eq!(queue.poll_attempt(2000).unwrap().id, MessageId(1));
    assert_eq!(queue.poll_report(), None);
    // 1, 3 and 4 are under way; the report about 2 waits.
    assert_eq!(queue.retry(&Selector::All, 2000), 1);
    assert_eq!(queue.poll_report(), Some(MessageId(2)));
    queue.invariants();
    assert_eq!(queue.drop(&"C@Z".parse().unwrap()), [MessageId(3)]);
    assert_eq!(queue.under_way(), 3);
    queue.invariants();
    assert_eq!(queue.handle_attempt(MessageId(3), vec![outcome(0, Outcome::Delivered, "250")], 2000), None);
    assert_eq!(queue.under_way(), 2);
    assert_eq!(queue.drop(&Selector::All), [MessageId(1), MessageId(2), MessageId(4)]);
    assert_eq!(queue.handle_reported(MessageId(2)), None);
    assert_eq!((queue.drop(&Selector::All), queue.poll_timeout(), queue.poll_attempt(u64::MAX)), (vec![], None, None));
    queue.invariants();
    assert_eq!(queue.handle_attempt(MessageId(9), vec![], 2000), None);
}

#[test]
fn the_list_is_oldest_first() {
    let mut queue = queue_of(vec![head(2, "", &["a@x"]), head(1, "s@s.example", &["b@y", "c@z"]), head(3, "", &["a@x"])]);
    let attempt = queue.poll_attempt(1000).unwrap();
    assert_eq!(attempt.id, MessageId(1));
    let listed = queue.list(2);
    assert_eq!(listed.iter().map(|listed| (listed.id.0, listed.under_way)).collect::<Vec<_>>(), [(1, true), (2, false)]);
    assert_eq!((listed[0].size, listed[0].received_us, listed[0].reverse_path), (5, 1000, "s@s.example"));
    assert_eq!(listed[0].recipients, [("b@y", Status::Pending, ""), ("c@z", Status::Pending, "")]);
}

#[test]
fn the_sender_is_told_what_it_asked_for() {
    let request = |notify: &str| RecipientRequest {
        notify: postring_mail::dsn::Notify::parse(notify).unwrap(),
        original_recipient: String::new(),
    };
    let asked = |notify: [&str; 3]| MessageHead {
        requests: notify.map(request).to_vec(),
        ..head(1, "s@s.example", &["a@x", "b@x", "c@x"])
    };
    let statuses = |progress: &Progress| progress.recipients.iter().map(|recipient| recipient.status).collect::<Vec<_>>();

    // NEVER, and nothing but success: a failure is told to nobody.
    let mut queue = queue_of(vec![asked(["NEVER", "SUCCESS", "DELAY"])]);
    assert_eq!(queue.poll_attempt(1000).unwrap().requests, ["NEVER", "SUCCESS", "DELAY"].map(request));
    let refused = [0, 1, 2].map(|index| outcome(index, Outcome::Permanent, "550 5.1.1 no")).to_vec();
    assert_eq!(queue.handle_attempt(MessageId(1), refused, 2000), Some(Change::Ended));

    // Relayed is told to those who want to hear of success.
    let mut queue = queue_of(vec![asked(["NEVER", "SUCCESS", "FAILURE"])]);
    queue.poll_attempt(1000).unwrap();
    let relayed = [0, 1, 2].map(|index| outcome(index, Outcome::Relayed, "250 2.1.5 ok")).to_vec();
    let progress = kept(queue.handle_attempt(MessageId(1), relayed, 2000));
    assert_eq!(statuses(&progress), [Status::Delivered, Status::Relayed, Status::Delivered]);
    assert_eq!(queue.poll_report(), Some(MessageId(1)));
    queue.invariants();
    assert_eq!(queue.handle_reported(MessageId(1)), Some(Change::Ended));

    // Late is told once, after four hours, and the message goes on.
    let mut queue = queue_of(vec![asked(["DELAY", "FAILURE", "NEVER"])]);
    let put_off = || [0, 1, 2].map(|index| outcome(index, Outcome::Transient, "450 4.2.1 later")).to_vec();
    queue.poll_attempt(1000).unwrap();
    let progress = kept(queue.handle_attempt(MessageId(1), put_off(), LATE_AFTER_US));
    assert_eq!(statuses(&progress), [Status::Pending; 3]);
    queue.poll_attempt(u64::MAX / 2).unwrap();
    let progress = kept(queue.handle_attempt(MessageId(1), put_off(), 1000 + LATE_AFTER_US));
    assert_eq!(statuses(&progress), [Status::Late, Status::Pending, Status::Pending]);
    assert_eq!((queue.poll_attempt(u64::MAX / 2), queue.poll_report()), (None, Some(MessageId(1))));
    let progress = kept(queue.handle_reported(MessageId(1)));
    assert_eq!(statuses(&progress), [Status::PendingLate, Status::Pending, Status::Pending]);
    queue.poll_attempt(u64::MAX / 2).unwrap();
    let progress = kept(queue.handle_attempt(MessageId(1), put_off(), 2 * LATE_AFTER_US));
    assert_eq!(statuses(&progress), [Status::PendingLate, Status::Pending, Status::Pending]);
    assert_eq!(queue.poll_report(), None);
    queue.invariants();
    // As from disk.
    let mut again = Queue::new(QueueConfig::default());
    again.add(asked(["DELAY", "FAILURE", "NEVER"]), 5, Some(progress));
    assert_eq!(again.poll_attempt(u64::MAX / 2).unwrap().recipients.len(), 3);
    again.invariants();
}
