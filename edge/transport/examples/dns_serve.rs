//! Serves one zone over UDP and TCP, for measurements without the rest of the system:
//!
//! ```text
//!   dns_serve zone.kit zone.kit.txt 127.0.0.1:5300
//! ```

use postring_dns::rate_limit::RateSettings;
use postring_dns::{Hosted, Name, Service};
use postring_transport::dns::{DnsConfig, DnsServer, Resolver};
use postring_zones::source;
use std::error::Error;
use std::net::{SocketAddr, TcpListener, UdpSocket};
use std::sync::Arc;

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let mut next = || arguments.next().ok_or("give: the zone's name, its file, the address to serve it at");
    let origin = Name::absolute(&next()?)?;
    let zone = source::zone_file(&origin, next()?.as_ref(), &mut |_| {})?;
    let address: SocketAddr = next()?.parse()?;
    let config = DnsConfig { forwarders: Some(Vec::new()), ..DnsConfig::default() };
    let mut hosted = Hosted::default();
    hosted.add(&origin, Service::Zone(zone))?;
    let (udp, tcp) = (UdpSocket::bind(address)?, TcpListener::bind(address)?);
    udp.set_nonblocking(true)?;
    // As the supervisor does; the system's limit is fine too.
    let _ = rustix::net::sockopt::set_socket_recv_buffer_size(&udp, 4 << 20);
    glommio::LocalExecutor::default().run(async {
        let server = DnsServer::new(Resolver::new(&config, Arc::new(hosted)), Vec::new());
        // One client with all the load is what a measurement is.
        server.set_rates(RateSettings { responses_per_second: 0, all_per_second: 0, ..RateSettings::default() });
        glommio::spawn_local(server.clone().serve_tcp(tcp.into())).detach();
        server.serve_udp(udp.into()).await;
    });
    Ok(())
}
