//! The resolver alone on a port of this machine, to be measured beside others or asked by hand: `resolver PORT CONFIG`, where the configuration
//! is the fields of `[dns]` as `key=value` words: `root=ADDRESS:PORT`, `port=N` (of servers found by delegation), `anchor=TEXT`, `loopback`.

use ipnet::IpNet;
use postring_transport::dns::{DnsConfig, DnsServer, Resolver, ResolverMode};
use std::net::UdpSocket;
use std::sync::Arc;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut words = std::env::args().skip(1);
    let port: u16 = words.next().ok_or("give a port")?.parse()?;
    let mut config = DnsConfig { resolver: ResolverMode::Iterate, validate: Some(false), ..DnsConfig::default() };
    for word in words {
        match word.split_once('=').unwrap_or((&word, "")) {
            ("root", address) => config.root_hints.push(address.parse()?),
            ("port", number) => config.upstream_port = number.parse()?,
            ("anchor", text) => {
                config.validate = Some(true);
                config.trust_anchors.push(text.to_owned());
            }
            ("loopback", _) => config
                .do_not_query
                .retain(|network| *network != IpNet::from(ipnet::Ipv4Net::new_assert([127, 0, 0, 0].into(), 8))),
            _ => return Err(format!("{word}: unknown").into()),
        }
    }
    config.check()?;
    let socket = UdpSocket::bind(("127.0.0.1", port))?;
    socket.set_nonblocking(true)?;
    glommio::LocalExecutor::default().run(async move {
        let resolver = Resolver::new(&config, Arc::default());
        DnsServer::new(resolver, config.recursion.clone()).serve_udp(socket.into()).await;
    });
    Ok(())
}
