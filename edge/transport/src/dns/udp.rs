//! A UDP socket of port 53: waits with glommio, receives and answers by the batch.
//!
//! ```text
//!   asleep ── a datagram has come ──> receive ── nothing left ──> asleep
//!                                      │  ^
//!                          answer, send │  │ a full batch: the next at once, after others had their turn
//!                                      v  │ a busy socket: when all busy ones are looked at (pace.rs)
//!                                     (next)
//! ```

use super::mmsg::{Batch, Origin, Outgoing};
use super::pace::{Load, Pace};
use super::watch::Watch;
use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, OwnedFd};
use std::time::{Duration, Instant};

/// Datagrams received at once: more do not make one cheaper, and the shard's other tasks wait for a whole batch.
const BATCH: usize = 64;
/// Octets of a query; longer ones are nobody's.
const QUERY_BYTES_MAX: usize = 4096;
/// Octets an answer has without an allocation; longer than any over UDP.
const ANSWER_BYTES: usize = 2048;

/// Who answers the datagrams of a socket.
pub(super) trait Datagrams {
    /// A batch has come.
    fn begin(&mut self);
    /// Writes the answer to one of it; empty: none is sent.
    fn answer(&mut self, packet: &[u8], client: SocketAddr, origin: &Origin, out: &mut Vec<u8>);
    /// So many of the batch's answers went out.
    fn sent(&mut self, count: usize);
}

/// Serves a socket until it cannot be waited for.
///
/// Cost for each batch: two system calls, and those of [`Watch::readable`] or a timer; no allocation.
///
/// # Errors
/// No descriptor is left to wait with.
pub(super) async fn serve(socket: &OwnedFd, pace: &Pace, datagrams: &mut impl Datagrams) -> io::Result<()> {
    let mut watch = Watch::new(socket)?;
    let mut batch = Batch::new(BATCH, QUERY_BYTES_MAX);
    let mut outgoing = Outgoing::new(BATCH, ANSWER_BYTES);
    let mut load = Load::new(pace.clone());
    loop {
        let received = match batch.receive(socket.as_fd()) {
            Ok(received) => received,
            Err(error) => {
                tracing::debug!("a DNS datagram could not be received: {error}");
                glommio::timer::sleep(Duration::from_millis(1)).await;
                continue;
            }
        };
        if received > 0 {
            datagrams.begin();
        }
        for slot in 0..received {
            let (Some((packet, client)), Some(origin)) = (batch.packet(slot), batch.origin(slot)) else { continue };
            if let Some(out) = outgoing.answer(slot) {
                datagrams.answer(packet, client, origin, out);
            }
        }
        if received > 0 {
            datagrams.sent(outgoing.send(socket.as_fd(), &batch));
        }
        let busy = load.is_busy(received, Instant::now());
        if received == batch.capacity() {
            // Receiving does not wait while datagrams wait: mail must have its turn in a flood.
            glommio::yield_if_needed().await;
        } else if busy {
            load.next_look().await;
        } else if let Err(error) = watch.readable(socket).await {
            tracing::debug!("a DNS socket could not be waited for: {error}");
            glommio::timer::sleep(Duration::from_millis(1)).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dns::mmsg::{ask_for_destination, forbid_fragments};
    use std::net::UdpSocket as Client;

    const LONG: Duration = Duration::from_secs(20);

    struct Echo {
        answered: usize,
    }

    impl Datagrams for Echo {
        fn begin(&mut self) {}

        fn answer(&mut self, packet: &[u8], _: SocketAddr, _: &Origin, out: &mut Vec<u8>) {
            out.extend_from_slice(packet);
        }

        fn sent(&mut self, count: usize) {
            self.answered += count;
        }
    }

    /// Echoes what `clients` send, on a thread, but for what is empty; gives how many answers went out.
    fn echo(bound: &str, clients: impl FnOnce(SocketAddr) + Send + 'static) -> usize {
        let socket = std::net::UdpSocket::bind(bound).unwrap();
        let address = socket.local_addr().unwrap();
        glommio::LocalExecutor::default().run(async {
            ask_for_destination(socket.as_fd(), address).unwrap();
            forbid_fragments(socket.as_fd(), address).unwrap();
            let socket = OwnedFd::from(socket);
            let clients = std::thread::spawn(move || clients(address));
            let mut echo = Echo { answered: 0 };
            let pace = Pace::new();
            pace.set_interval(Duration::from_micros(300));
            let serving = serve(&socket, &pace, &mut echo);
            let ending = async {
                while !clients.is_finished() {
                    glommio::timer::sleep(Duration::from_millis(5)).await;
                }
                Ok(())
            };
            futures_lite::future::or(serving, ending).await.unwrap();
            clients.join().unwrap();
            echo.answered
        })
    }

    fn connect(server: SocketAddr) -> Client {
        let any = if server.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" };
        let client = Client::bind(any).unwrap();
        client.set_read_timeout(Some(LONG)).unwrap();
        // Packets of another address do not arrive here.
        client.connect(server).unwrap();
        client
    }

    #[test]
    fn all_of_many_batches_are_answered_each_to_its_own() {
        const CLIENTS: u16 = 20;
        const ROUNDS: u16 = 30;
        // All of a round fit into the buffer of any socket.
        const EACH: u16 = 5;
        let answered = echo("127.0.0.1:0", |server| {
            let clients: Vec<Client> = (0..CLIENTS).map(|_| connect(server)).collect();
            let packet = |client: u16, round: u16, number: u16| {
                // All equal, some, or none.
                let length = usize::from(round + number / 2 * (client % 3));
                [&client.to_be_bytes()[..], &round.to_be_bytes(), &number.to_be_bytes(), &vec![7; length]].concat()
            };
            for round in 0..ROUNDS {
                for number in 0..EACH {
                    for (client, socket) in (0..CLIENTS).zip(&clients) {
                        socket.send(&packet(client, round, number)).unwrap();
                    }
                }
                for (client, socket) in (0..CLIENTS).zip(&clients) {
                    // Those of one length go together, so the order may be another.
                    let mut answers: Vec<Vec<u8>> = (0..EACH)
                        .map(|_| {
                            let mut place = [0; 512];
                            let length = socket.recv(&mut place).unwrap();
                            place[..length].to_vec()
                        })
                        .collect();
                    answers.sort();
                    assert_eq!(answers, (0..EACH).map(|number| packet(client, round, number)).collect::<Vec<_>>());
                }
            }
        });
        assert_eq!(answered, usize::from(CLIENTS * ROUNDS * EACH));
    }

    #[test]
    fn what_is_empty_or_too_long_is_not_answered_and_the_next_is() {
        let answered = echo("127.0.0.1:0", |server| {
            let client = connect(server);
            client.send(b"").unwrap();
            client.send(&[1; QUERY_BYTES_MAX + 1]).unwrap();
            client.send(&[2; QUERY_BYTES_MAX]).unwrap();
            client.send(b"x").unwrap();
            let mut packet = [0; 2 * QUERY_BYTES_MAX];
            assert_eq!(client.recv(&mut packet).unwrap(), QUERY_BYTES_MAX);
            assert_eq!(client.recv(&mut packet).unwrap(), 1);
        });
        assert_eq!(answered, 2);
    }

    #[test]
    fn the_answer_leaves_from_the_address_that_was_asked() {
        for (bound, asked) in [("0.0.0.0:0", "127.0.0.9"), ("[::]:0", "127.0.0.9"), ("[::]:0", "::1")] {
            if Client::bind(bound).is_err() {
                continue;
            }
            let answered = echo(bound, |server| {
                let client = connect((asked.parse::<std::net::IpAddr>().unwrap(), server.port()).into());
                client.send(b"where").unwrap();
                let mut packet = [0; 64];
                assert_eq!(client.recv(&mut packet).unwrap(), 5);
            });
            assert_eq!(answered, 1);
        }
    }
}
