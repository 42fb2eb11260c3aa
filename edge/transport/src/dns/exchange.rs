//! One query to one server and back, over a socket of its own.

use futures_lite::io::{AsyncReadExt, AsyncWriteExt};
use glommio::net::{TcpStream, UdpSocket};
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::{FromRawFd, IntoRawFd};
use std::time::Duration;

/// Octets of a UDP response: we announce less, but some send more.
const UDP_BYTES: usize = 4096;

/// A socket of its own for every query: the kernel's random port is half of what an attacker must guess, and being connected it
/// takes packets of this server alone.
pub(super) struct UdpExchange {
    socket: UdpSocket,
}

impl UdpExchange {
    #[allow(unsafe_code)] // glommio takes foreign sockets only as raw descriptors
    pub(super) async fn send(server: SocketAddr, packet: &[u8], wait: Duration) -> io::Result<Self> {
        let any: SocketAddr =
            if server.is_ipv4() { (Ipv4Addr::UNSPECIFIED, 0).into() } else { (Ipv6Addr::UNSPECIFIED, 0).into() };
        let socket = std::net::UdpSocket::bind(any)?;
        socket.set_nonblocking(true)?;
        socket.connect(server)?;
        // SAFETY: the descriptor was owned and is given up here, so the socket is its only owner.
        let socket = unsafe { UdpSocket::from_raw_fd(socket.into_raw_fd()) };
        socket.set_read_timeout(Some(wait))?;
        socket.send(packet).await?;
        Ok(Self { socket })
    }

    /// The next packet of the server.
    pub(super) async fn receive(&self) -> io::Result<Vec<u8>> {
        let mut packet = vec![0; UDP_BYTES];
        let length = self.socket.recv(&mut packet).await?;
        packet.truncate(length);
        Ok(packet)
    }
}

/// Over TCP (RFC 7766), one query a connection.
pub(super) async fn over_tcp(server: SocketAddr, packet: &[u8], wait: Duration) -> io::Result<Vec<u8>> {
    let mut stream = TcpStream::connect_timeout(server, wait).await?;
    stream.set_read_timeout(Some(wait))?;
    stream.set_write_timeout(Some(wait))?;
    let length = u16::try_from(packet.len()).map_err(io::Error::other)?;
    let mut framed = length.to_be_bytes().to_vec();
    framed.extend_from_slice(packet);
    stream.write_all(&framed).await?;
    let mut length = [0; 2];
    stream.read_exact(&mut length).await?;
    let mut response = vec![0; u16::from_be_bytes(length).into()];
    stream.read_exact(&mut response).await?;
    Ok(response)
}
