use super::*;
use crate::dns::ResolverMode;
use postring_dns::Service;
use postring_dns::responder::{Client, Context, Response, Transport, respond};
use postring_dns::zone::parse_zone;
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpListener, UdpSocket};
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};

/// A server for each zone: the root, a top-level domain, and two zones below it.
const ZONES: [(&str, &str); 4] = [
    (".", "@ 60 SOA a h 1 2 3 4 60\n@ 60 NS a\na 60 A 127.0.0.1\ntest 60 NS ns.test\nns.test 60 A 127.0.0.2\n"),
    (
        "test",
        "@ 60 SOA ns h 1 2 3 4 60\n@ 60 NS ns\nns 60 A 127.0.0.2\na 60 NS ns.a\nns.a 60 A 127.0.0.3\nb 60 NS ns.a\nc 60 NS ns.c\nns.c 60 A 127.0.0.9\n",
    ),
    (
        "a.test",
        "@ 60 SOA ns h 1 2 3 4 60\n@ 60 NS ns\nns 60 A 127.0.0.3\nmx 60 A 192.0.2.1\nfar 60 CNAME www.b.test.\nlong 60 TXT LONG\n",
    ),
    ("b.test", "@ 60 SOA ns.a.test. h 1 2 3 4 60\n@ 60 NS ns.a.test.\nwww 60 A 192.0.2.2\n"),
];
const SERVERS: usize = 3;

fn hosted(zones: &[usize]) -> Hosted {
    let mut hosted = Hosted::default();
    // Six strings of 250 octets are more than a datagram holds.
    let long = std::iter::repeat_n(format!("\"{}\"", "x".repeat(250)), 6).collect::<Vec<_>>().join(" ");
    for (name, text) in zones.iter().map(|zone| ZONES[*zone]) {
        let origin = Name::absolute(name).unwrap();
        let zone = parse_zone(&origin, Path::new("zone"), &mut |_| Ok(text.replace("LONG", &long))).unwrap();
        hosted.add(&origin, Service::Zone(zone)).unwrap();
    }
    hosted
}

fn by(transport: Transport) -> Client {
    Client { address: [127, 0, 0, 1].into(), transport }
}

/// Sockets of all servers on one port.
fn bind() -> (u16, Vec<(UdpSocket, TcpListener)>) {
    for _ in 0..100 {
        let first = UdpSocket::bind("127.0.0.1:0").unwrap();
        let port = first.local_addr().unwrap().port();
        let others = (2..=SERVERS).map(|last| UdpSocket::bind(format!("127.0.0.{last}:{port}")));
        let Ok(udp) = std::iter::once(Ok(first)).chain(others).collect::<io::Result<Vec<_>>>() else { continue };
        let tcp = udp.iter().map(|udp| TcpListener::bind(udp.local_addr().unwrap())).collect::<io::Result<Vec<_>>>();
        let Ok(tcp) = tcp else { continue };
        return (port, udp.into_iter().zip(tcp).collect());
    }
    panic!("no port is free on three addresses");
}

/// Runs `test` with a resolver for which the Internet is these servers; gives the number of datagrams they were sent.
fn with_servers<F: Future<Output = ()>>(test: impl FnOnce(Resolver) -> F) -> usize {
    let (port, sockets) = bind();
    let asked = Arc::new(AtomicUsize::new(0));
    for (number, (udp, tcp)) in sockets.into_iter().enumerate() {
        let zones = if number == 2 { vec![2, 3] } else { vec![number] };
        let (hosted, asked) = (Arc::new(hosted(&zones)), Arc::clone(&asked));
        let tcp_hosted = Arc::clone(&hosted);
        // They end with the process.
        std::thread::spawn(move || {
            let (mut packet, mut out) = ([0; 4096], Vec::new());
            while let Ok((length, client)) = udp.recv_from(&mut packet) {
                asked.fetch_add(1, Ordering::Relaxed);
                assert_eq!(
                    respond(&Context::default(), &hosted, &packet[..length], by(Transport::Udp), false, &mut out),
                    Response::Ready
                );
                udp.send_to(&out, client).unwrap();
            }
        });
        std::thread::spawn(move || {
            let mut out = Vec::new();
            while let Ok((mut stream, _)) = tcp.accept() {
                let mut length = [0; 2];
                stream.read_exact(&mut length).unwrap();
                let mut query = vec![0; u16::from_be_bytes(length).into()];
                stream.read_exact(&mut query).unwrap();
                assert_eq!(
                    respond(&Context::default(), &tcp_hosted, &query, by(Transport::Tcp), false, &mut out),
                    Response::Ready
                );
                stream.write_all(&[&u16::try_from(out.len()).unwrap().to_be_bytes()[..], &out].concat()).unwrap();
            }
        });
    }
    let config = DnsConfig {
        resolver: ResolverMode::Iterate,
        root_hints: vec![SocketAddr::from(([127, 0, 0, 1], port))],
        do_not_query: Vec::new(),
        validate: Some(false),
        upstream_port: port,
        ..DnsConfig::default()
    };
    glommio::LocalExecutor::default().run(test(Resolver::new(&config, Arc::default())));
    asked.load(Ordering::Relaxed)
}

async fn addresses(resolver: &Resolver, name: &str) -> (Rcode, Vec<IpAddr>) {
    let resolved = resolver.lookup(&Name::absolute(name).unwrap(), Rtype::A).await;
    (resolved.rcode(), resolved.rdata(Rtype::A).filter_map(address).collect())
}

#[test]
fn from_the_root_down_over_sockets() {
    let asked = with_servers(|resolver| async move {
        assert_eq!(addresses(&resolver, "mx.a.test").await, (Rcode::NOERROR, vec![[192, 0, 2, 1].into()]));
        assert_eq!(addresses(&resolver, "Mx.A.test").await, (Rcode::NOERROR, vec![[192, 0, 2, 1].into()]));
        assert_eq!(addresses(&resolver, "far.a.test").await, (Rcode::NOERROR, vec![[192, 0, 2, 2].into()]));
        assert_eq!(addresses(&resolver, "no.a.test").await, (Rcode::NXDOMAIN, vec![]));
        let long = resolver.lookup(&Name::absolute("long.a.test").unwrap(), Rtype::TXT).await;
        assert_eq!(postring_dns::record::text(long.rdata(Rtype::TXT).next().unwrap()).len(), 1500);
        assert_eq!((resolver.counters().asked, resolver.counters().asked_tcp), (10, 1));
        let trace = resolver.trace(&Name::absolute("mx.a.test").unwrap(), Rtype::A).await;
        assert_eq!((trace.answer.records.len(), trace.entries.len(), trace.verdict), (1, 1, None));
    });
    // The root's servers, test, a.test, mx; far, b.test, www; no; long, and over TCP; mx again.
    assert_eq!(asked, 10);
}

#[test]
fn equal_questions_are_asked_once() {
    let asked = with_servers(|resolver| async move {
        let same: Vec<_> = (0..50)
            .map(|_| {
                let resolver = resolver.clone();
                glommio::spawn_local(async move { addresses(&resolver, "mx.a.test").await })
            })
            .collect();
        for task in same {
            assert_eq!(task.await.0, Rcode::NOERROR);
        }
    });
    assert_eq!(asked, 4);
}

#[test]
fn a_server_that_is_not_there_is_a_failure() {
    with_servers(|resolver| async move {
        assert_eq!(addresses(&resolver, "www.c.test").await, (Rcode::SERVFAIL, vec![]));
        assert!(resolver.counters().silences > 0);
    });
}
