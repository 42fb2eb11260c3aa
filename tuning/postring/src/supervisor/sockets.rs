//! Opens the listening sockets: one for each edge shard and address (SO_REUSEPORT), so that the kernel spreads the clients.

use crate::config::Config;
use postring_control::{ListenerName, ListenerSpec};
use socket2::{Domain, Protocol, Socket, Type};
use std::io;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;

/// Connections the kernel keeps for us while we are busy.
const BACKLOG: i32 = 4096;
/// Bytes of datagrams the kernel keeps for us: a few thousand queries.
const UDP_BUFFER_BYTES: usize = 4 * 1024 * 1024;

pub fn open(config: &Config, shards: usize) -> Result<Vec<(ListenerSpec, OwnedFd)>, String> {
    let listen = &config.listen;
    let lists = [
        (ListenerName::Smtp, "smtp", &listen.smtp),
        (ListenerName::Submission, "submission", &listen.submission),
        (ListenerName::Submissions, "submissions", &listen.submissions),
        (ListenerName::Lmtp, "lmtp", &listen.lmtp),
        (ListenerName::DnsUdp, "dns", &listen.dns),
        (ListenerName::DnsTcp, "dns", &listen.dns),
    ];
    let mut sockets = Vec::new();
    for (name, key, addresses) in lists {
        for &address in addresses {
            // Another program's socket, and another postring's, must be found: SO_REUSEPORT alone would share the port with it.
            if let Err(error) = probe(transport(name), address) {
                return Err(explain(&format!("listen.{key}"), address, &error));
            }
            for shard in (0_u32..).take(shards) {
                let socket =
                    bind(transport(name), address).map_err(|error| explain(&format!("listen.{key}"), address, &error))?;
                sockets.push((ListenerSpec { name, shard, address }, socket));
            }
        }
    }
    Ok(sockets)
}

fn transport(name: ListenerName) -> Protocol {
    if name == ListenerName::DnsUdp { Protocol::UDP } else { Protocol::TCP }
}

fn socket(transport: Protocol, address: SocketAddr) -> io::Result<Socket> {
    let kind = if transport == Protocol::UDP { Type::DGRAM } else { Type::STREAM };
    let socket = Socket::new(Domain::for_address(address), kind, Some(transport))?;
    if transport == Protocol::TCP {
        socket.set_reuse_address(true)?;
    }
    if address.is_ipv6() {
        socket.set_only_v6(false)?;
    }
    Ok(socket)
}

/// Fails if anybody listens there.
pub fn probe(transport: Protocol, address: SocketAddr) -> io::Result<()> {
    let socket = socket(transport, address)?;
    socket.bind(&address.into())?;
    if transport == Protocol::TCP { socket.listen(1) } else { Ok(()) }
}

fn bind(transport: Protocol, address: SocketAddr) -> io::Result<OwnedFd> {
    let socket = socket(transport, address)?;
    socket.set_reuse_port(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    if transport == Protocol::TCP {
        // Every accepted connection has it from here: small replies do not wait for an acknowledgement (Nagle).
        socket.set_tcp_nodelay(true)?;
        socket.listen(BACKLOG)?;
    } else {
        // The supervisor is root most often and may have more than the system allows others; else what it allows is fine too.
        if rustix::net::sockopt::set_socket_recv_buffer_size_force(&socket, UDP_BUFFER_BYTES).is_err() {
            let _ = socket.set_recv_buffer_size(UDP_BUFFER_BYTES);
        }
    }
    Ok(socket.into())
}

/// One line that says what to do.
pub fn explain(key: &str, address: SocketAddr, error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::AddrInUse => {
            format!(
                "{key}: {address} is in use by another program (`ss -tulnp 'sport = :{}'` shows which); stop it or choose another port",
                address.port()
            )
        }
        io::ErrorKind::PermissionDenied => {
            format!("{key}: {address} needs root or CAP_NET_BIND_SERVICE; start as root, or choose a port above 1023")
        }
        io::ErrorKind::AddrNotAvailable => format!("{key}: {address} is no address of this machine"),
        _ => format!("{key}: {address}: {error}"),
    }
}
