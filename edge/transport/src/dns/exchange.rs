//! One query to one server and back over TCP. However the server goes about it, it has one time for all.

use crate::Stream;
use glommio::net::TcpStream;
use std::io;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

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
}
