use super::*;

#[test]
fn the_systems_resolvers() {
    let text = "# x\nsearch a.b\nnameserver 192.0.2.1\n  nameserver ::1\nnameserver nonsense\nnameserver 192.0.2.2\nnameserver 192.0.2.3\n";
    let expected: Vec<SocketAddr> = ["192.0.2.1:53", "[::1]:53", "192.0.2.2:53"].map(|text| text.parse().unwrap()).into();
    assert_eq!(system_forwarders(text), expected);
}

#[test]
fn rates_are_those_of_all_shards() {
    let rate_limit = RateLimitConfig { responses_per_second: 10, all_per_second: 0, ..RateLimitConfig::default() };
    let config = DnsConfig { rate_limit, recursion: vec!["192.0.2.0/24".parse().unwrap()], ..DnsConfig::default() };
    let rates = config.rates(4);
    assert_eq!((rates.responses_per_second, rates.all_per_second, rates.slip), (3, 0, 2));
    assert_eq!(rates.exempt, config.recursion);
    assert_eq!((config.identity("mx.example"), config.check()), (b"mx.example".to_vec(), Ok(())));
    let silent = DnsConfig { nsid: Some(String::new()), ..DnsConfig::default() };
    assert!(silent.identity("mx.example").is_empty());
    let wrong = DnsConfig { nsid: Some("a b".to_owned()), ..DnsConfig::default() };
    assert!(wrong.check().unwrap_err().contains("dns.nsid"));
}

#[test]
fn whom_to_ask() {
    let zone = |name: &str, server: &str| ServersConfig { name: name.to_owned(), servers: vec![server.parse().unwrap()] };
    let forwarders = Some(vec!["192.0.2.53:53".parse().unwrap()]);
    let mut config = DnsConfig { forwarders, stub: vec![zone("corp.example", "10.0.0.1:5300")], ..DnsConfig::default() };
    assert_eq!(config.check(), Ok(()));
    assert_eq!(config.infrastructure().forwards, [(Name::root(), vec!["192.0.2.53:53".parse().unwrap()])]);
    config.resolver = ResolverMode::Iterate;
    let infrastructure = config.infrastructure();
    assert!(infrastructure.forwards.is_empty() && infrastructure.stubs.len() == 1 && infrastructure.do_not_query.len() > 10);
    config.forward = vec![zone("Corp.Example.", "10.0.0.2:53")];
    assert_eq!(
        config.check(),
        Err("dns.forward: \"Corp.Example.\" is there twice; a zone can be one stub or one forward".to_owned())
    );
    config.forward = vec![ServersConfig { name: "a..b".to_owned(), servers: Vec::new() }];
    assert!(config.check().unwrap_err().starts_with("dns.forward: name = \"a..b\": "));
    config.forward = vec![ServersConfig { name: "a.b".to_owned(), servers: Vec::new() }];
    assert_eq!(config.check(), Err("dns.forward: \"a.b\" has 0 servers: give 1 to 16".to_owned()));
    config.forward.clear();
    config.root_hints_file = Some("/nonexistent/named.root".into());
    assert!(config.check_files().unwrap_err().starts_with("/nonexistent/named.root: "));
    assert!(config.infrastructure().root_hints.is_empty());
}

#[test]
fn recursion_is_for_this_machine_by_default() {
    let recursion = DnsConfig::default().recursion;
    assert_eq!(recursion.iter().map(ToString::to_string).collect::<Vec<_>>(), ["127.0.0.0/8", "::1/128"]);
}
