use super::*;

fn list(codes: &[(&str, f64)]) -> Dnsbl {
    let codes = codes.iter().map(|(code, weight)| ((*code).to_owned(), CodeConfig::Weight(*weight))).collect();
    let config = DnsblConfig { codes, ..toml_of("bl.example") };
    Dnsbl::new(config, 1).unwrap()
}

fn toml_of(zone: &str) -> DnsblConfig {
    serde_json::from_value(serde_json::json!({ "zone": zone })).unwrap()
}

const TWO: [Ipv4Addr; 1] = [Ipv4Addr::new(127, 0, 0, 2)];

fn trusted(codes: &[(&str, f64)]) -> Dnsbl {
    let mut list = list(codes);
    assert!(list.poll_probe(0) && list.ask(false, 0) == Err(NotAsked::Suspended));
    list.handle_probe(Some(&TWO), Some(&[]), 0);
    assert!(!list.poll_probe(0) && list.poll_probe(3600));
    list
}

fn answer(list: &mut Dnsbl, codes: &[[u8; 4]], now: u64) -> Option<Listing> {
    list.handle_answer(Outcome::Answered, codes.iter().map(|code| Ipv4Addr::from(*code)), now)
}

#[test]
fn codes_have_their_weights() {
    let mut all = trusted(&[]);
    assert_eq!(answer(&mut all, &[[127, 0, 0, 9]], 0).unwrap().weight, 3.0);
    assert_eq!(answer(&mut all, &[], 0), None);
    let mut some = trusted(&[("127.0.0.2", 4.0), ("127.0.0.4-127.0.0.7", -2.0)]);
    assert_eq!(answer(&mut some, &[[127, 0, 0, 9]], 0), None);
    assert_eq!(
        answer(&mut some, &[[127, 0, 0, 5], [127, 0, 0, 2]], 0),
        Some(Listing { code: TWO[0], weight: 4.0, symbol: "DNSBL_BL_EXAMPLE".into() })
    );
    assert_eq!(answer(&mut some, &[[127, 0, 0, 7]], 0).unwrap().weight, -2.0);
    assert_eq!(some.counts().listed, 2);
    let mut dry = Dnsbl::new(DnsblConfig { dry_run: true, ..toml_of("bl.example") }, 1).unwrap();
    assert_eq!((answer(&mut dry, &TWO.map(|code| code.octets()), 0), dry.counts().listed), (None, 1));
}

#[test]
fn a_code_may_have_a_name_of_its_own() {
    let text = r#"{ "zone": "bl.example", "symbol": "BL", "codes": { "127.0.0.2": 4, "127.0.0.3": { "weight": 1, "symbol": "BL_THREE" } } }"#;
    let mut list = Dnsbl::new(serde_json::from_str(text).unwrap(), 1).unwrap();
    let mut symbol = |code| answer(&mut list, &[code], 0).unwrap().symbol.to_string();
    assert_eq!([symbol([127, 0, 0, 2]), symbol([127, 0, 0, 3])], ["BL", "BL_THREE"]);
    let bad = r#"{ "zone": "bl.example", "codes": { "127.0.0.2": { "weight": 1, "symbol": "A B" } } }"#;
    assert!(serde_json::from_str::<DnsblConfig>(bad).unwrap().check().unwrap_err().contains("\"A B\" is no symbol"));
    let bad = r#"{ "zone": "bl.example", "codes": { "127.0.0.2": "much" } }"#;
    assert!(serde_json::from_str::<DnsblConfig>(bad).unwrap_err().to_string().contains("give a number of points, or {"));
}

#[test]
fn questions() {
    let list = list(&[]);
    assert_eq!(list.question([192, 0, 2, 7].into()).unwrap().to_string(), "7.2.0.192.bl.example.");
    let tests = list.config().test_names();
    assert_eq!(tests.iter().map(Name::to_string).collect::<Vec<_>>(), ["2.0.0.127.bl.example.", "1.0.0.127.bl.example."]);
    let six = list.question("2001:db8::1".parse().unwrap()).unwrap().to_string();
    assert_eq!(six, "1.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.8.b.d.0.1.0.0.2.bl.example.");
}

#[test]
fn error_codes_and_nonsense_list_nobody_and_suspend() {
    for codes in [[127, 255, 255, 254], [192, 0, 2, 1], [0, 0, 0, 0]] {
        let mut list = trusted(&[]);
        assert_eq!(answer(&mut list, &[[127, 0, 0, 2], codes], 5), None);
        assert_eq!(list.ask(false, 6), Err(NotAsked::Suspended));
        assert!(list.trouble().is_some() && !list.poll_probe(64) && list.poll_probe(65));
    }
}

#[test]
fn failures_suspend_for_longer_and_longer_and_a_good_probe_ends_it() {
    let mut list = trusted(&[]);
    for _ in 0..FAILURES_MAX {
        assert_eq!(list.ask(false, 10), Ok(()));
        assert_eq!(list.handle_answer(Outcome::Failed, [].into_iter(), 10), None);
    }
    assert_eq!(list.ask(false, 10), Err(NotAsked::Suspended));
    assert!(list.poll_probe(70));
    list.handle_probe(None, Some(&[]), 70);
    assert!(!list.poll_probe(70 + 119) && list.poll_probe(70 + 120));
    for probe in [(Some(&TWO[..]), Some(&TWO[..])), (Some(&[][..]), Some(&[][..]))] {
        list.handle_probe(probe.0, probe.1, 200);
        assert_eq!(list.ask(false, 200), Err(NotAsked::Suspended), "{probe:?}");
    }
    list.handle_probe(Some(&TWO), Some(&[]), 5000);
    assert_eq!((list.ask(false, 5000), list.trouble()), (Ok(()), None));
    assert_eq!(list.counts(), Counts { asked: 9, failed: 8, skipped: 4, ..Counts::default() });
}

#[test]
fn a_days_questions() {
    let mut list = Dnsbl::new(DnsblConfig { questions_per_day_max: 2, ..toml_of("bl.example") }, 1).unwrap();
    list.handle_probe(Some(&TWO), Some(&[]), 0);
    assert_eq!([list.ask(false, 1), list.ask(false, 2), list.ask(false, 3)], [Ok(()), Ok(()), Err(NotAsked::Budget)]);
    // What is in memory costs nothing.
    assert_eq!((list.ask(true, 3), list.counts().asked), (Ok(()), 2));
    assert_eq!(list.ask(false, DAY_SECONDS), Ok(()));
    let mut of_three = Dnsbl::new(DnsblConfig { questions_per_day_max: 2, ..toml_of("bl.example") }, 3).unwrap();
    of_three.handle_probe(Some(&TWO), Some(&[]), 0);
    assert_eq!([of_three.ask(false, 1), of_three.ask(false, 1)], [Ok(()), Err(NotAsked::Budget)]);
}

#[test]
fn what_cannot_be_is_said() {
    for (config, expected) in [
        (toml_of("a..b"), "policy.dnsbl: zone = \"a..b\""),
        (DnsblConfig { weight: f64::NAN, ..toml_of("a") }, "weights"),
        (
            DnsblConfig { codes: [("192.0.2.1".to_owned(), CodeConfig::Weight(1.0))].into(), ..toml_of("a") },
            "\"192.0.2.1\" is no return code",
        ),
        (DnsblConfig { timeout_ms: 1, ..toml_of("a") }, "timeout_ms = 1"),
        (DnsblConfig { ttl_min: 10, ttl_max: 5, ..toml_of("a") }, "ttl_min = 10"),
    ] {
        assert!(config.check().unwrap_err().contains(expected), "{config:?}");
    }
}
