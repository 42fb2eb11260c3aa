//! One query to one server and back, over a socket of its own. However the server goes about it, it has one time for all.

use crate::Stream;
use glommio::net::{TcpStream, UdpSocket};
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::{FromRawFd, IntoRawFd};
use std::time::{Duration, Instant};

/// Octets of a UDP response: we announce less, but some send more.
const UDP_BYTES: usize = 4096;

/// A socket of its own for every query: the kernel's random port is half of what an attacker must guess, and being connected it
/// takes packets of this server alone.
pub(super) struct UdpExchange {
    socket: UdpSocket,
    until: Instant,
}

impl UdpExchange {
    #[allow(unsafe_code)] // glommio takes foreign sockets only as raw descriptors
    pub(super) async fn send(server: SocketAddr, packet: &[u8], wait: Duration) -> io::Result<Self> {
        let until = Instant::now() + wait;
        let any: SocketAddr =
            if server.is_ipv4() { (Ipv4Addr::UNSPECIFIED, 0).into() } else { (Ipv6Addr::UNSPECIFIED, 0).into() };
        let socket = std::net::UdpSocket::bind(any)?;
        socket.set_nonblocking(true)?;
        socket.connect(server)?;
        // SAFETY: the descriptor was owned and is given up here, so the socket is its only owner.
        let socket = unsafe { UdpSocket::from_raw_fd(socket.into_raw_fd()) };
        socket.send(packet).await?;
        Ok(Self { socket, until })
    }

    /// The next packet of the server. Somebody else's packets do not make the wait longer.
    pub(super) async fn receive(&self) -> io::Result<Vec<u8>> {
        let left = self.until.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(io::ErrorKind::TimedOut.into());
        }
        self.socket.set_read_timeout(Some(left))?;
        let mut packet = vec![0; UDP_BYTES];
        let length = self.socket.recv(&mut packet).await?;
        packet.truncate(length);
        Ok(packet)
    }
}

/// Over TCP (RFC 7766), one query a connection.
pub(super) async fn over_tcp(server: SocketAddr, packet: &[u8], wait: Duration) -> io::Result<Vec<u8>> {
    let begun = Instant::now();
    let mut stream = Stream::connected(TcpStream::connect_timeout(server, wait).await?);
    stream.set_deadline(wait.saturating_sub(begun.elapsed()));
    let length = u16::try_from(packet.len()).map_err(io::Error::other)?;
    let mut framed = length.to_be_bytes().to_vec();
    framed.extend_from_slice(packet);
    stream.send(&framed).await?;
    let mut length = [0; 2];
    stream.receive_exact(&mut length).await?;
    let mut response = vec![0; u16::from_be_bytes(length).into()];
    stream.receive_exact(&mut response).await?;
    Ok(response)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    const WAIT: Duration = Duration::from_millis(300);
    const TRICKLE: Duration = Duration::from_millis(20);
    const PIECES: usize = 200;

    #[test]
    fn a_server_that_trickles_over_tcp_has_the_same_time_as_all() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let server = listener.local_addr().unwrap();
        let trickling = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            stream.set_nodelay(true).unwrap();
            // The first two say how many follow.
            let response = [&[0, u8::try_from(PIECES).unwrap() - 2][..], &[0; PIECES]].concat();
            let sent = response.iter().take(PIECES).take_while(|octet| {
                std::thread::sleep(TRICKLE);
                stream.write_all(&[**octet]).is_ok()
            });
            sent.count()
        });
        let result = glommio::LocalExecutor::default().run(over_tcp(server, b"query", WAIT));
        assert_eq!(result.unwrap_err().kind(), io::ErrorKind::TimedOut);
        assert!(trickling.join().unwrap() < PIECES);
    }

    #[test]
    fn a_server_whose_packets_are_no_response_has_the_same_time_as_all() {
        let server = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
        let address = server.local_addr().unwrap();
        let done = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(false));
        let is_done = std::sync::Arc::clone(&done);
        let chattering = std::thread::spawn(move || {
            let (_, client) = server.recv_from(&mut [0; 64]).unwrap();
            let sent = (0..PIECES).take_while(|_| {
                std::thread::sleep(TRICKLE);
                let _ = server.send_to(b"noise", client);
                !is_done.load(std::sync::atomic::Ordering::Relaxed)
            });
            sent.count()
        });
        let error = glommio::LocalExecutor::default().run(async {
            let exchange = UdpExchange::send(address, b"query", WAIT).await.unwrap();
            loop {
                if let Err(error) = exchange.receive().await {
                    break error;
                }
            }
        });
        done.store(true, std::sync::atomic::Ordering::Relaxed);
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        assert!(chattering.join().unwrap() < PIECES);
    }
}
