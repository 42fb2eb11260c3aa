//! A UDP socket of port 53: waits with glommio, receives and answers by the batch.
//!
//! ```text
//!   asleep ── a datagram has come ──> receive ── nothing left ──> asleep
//!                                      │  ^
//!                          answer, send │  │ a full batch: the next at once, after others had their turn
//!                                      v  │ a busy socket: after COALESCE, so that the next is a batch as well
//!                                     (next)
//! ```
//! A wake-up of the executor costs more than a query's answer, so a busy socket is not waited for but looked at again a little later:
//! edge/decisions/0004 has the figures. An idle one is answered at once.

use super::mmsg::{Batch, Origin, Outgoing};
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
/// What a query may wait under load, at most.
const COALESCE: Duration = Duration::from_micros(50);
/// Queries that must be expected in that time; fewer are not worth the wait.
const COALESCE_MIN: f32 = 3.0;

/// Serves a socket until it cannot be waited for. `answer` writes the answer to a datagram, or nothing; `sent` hears how many went out.
///
/// Cost for each batch: two system calls, and those of [`Watch::readable`] or a timer; no allocation.
///
/// # Errors
/// No descriptor is left to wait with.
pub(super) async fn serve(
    socket: &OwnedFd,
    mut answer: impl FnMut(&[u8], SocketAddr, &Origin, &mut Vec<u8>),
    mut sent: impl FnMut(usize),
) -> io::Result<()> {
    let mut watch = Watch::new(socket)?;
    let mut batch = Batch::new(BATCH, QUERY_BYTES_MAX);
    let mut outgoing = Outgoing::new(BATCH, ANSWER_BYTES);
    let mut load = Load::new(Instant::now());
    loop {
        let received = match batch.receive(socket.as_fd()) {
            Ok(received) => received,
            Err(error) => {
                tracing::debug!("a DNS datagram could not be received: {error}");
                glommio::timer::sleep(Duration::from_millis(1)).await;
                continue;
            }
        };
        for slot in 0..received {
            let (Some((packet, client)), Some(origin)) = (batch.packet(slot), batch.origin(slot)) else { continue };
            if let Some(out) = outgoing.answer(slot) {
                answer(packet, client, origin, out);
            }
        }
        if received > 0 {
            sent(outgoing.send(socket.as_fd(), &batch));
        }
        let busy = load.is_busy(received, Instant::now());
        if received == batch.capacity() {
            // Receiving does not wait while datagrams wait: mail must have its turn in a flood.
            glommio::yield_if_needed().await;
        } else if busy && received > 0 {
            glommio::timer::sleep(COALESCE).await;
        } else if let Err(error) = watch.readable(socket).await {
            tracing::debug!("a DNS socket could not be waited for: {error}");
            glommio::timer::sleep(Duration::from_millis(1)).await;
        }
    }
}

/// How many datagrams come, by the last few batches.
struct Load {
    before: Instant,
    /// In the time of [`COALESCE`].
    expected: f32,
}

impl Load {
    fn new(now: Instant) -> Self {
        Self { before: now, expected: 0.0 }
    }

    /// Takes note of a batch; true if enough can be expected to wait for.
    fn is_busy(&mut self, received: usize, now: Instant) -> bool {
        let elapsed = now.saturating_duration_since(self.before).max(Duration::from_micros(1));
        self.before = now;
        let received = f32::from(u16::try_from(received).unwrap_or(u16::MAX));
        let current = received * COALESCE.as_secs_f32() / elapsed.as_secs_f32();
        self.expected += (current - self.expected) / 4.0;
        self.expected >= COALESCE_MIN
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dns::mmsg::ask_for_destination;
    use std::cell::Cell;
    use std::net::UdpSocket as Client;

    const LONG: Duration = Duration::from_secs(20);

    /// Echoes what `clients` send, on a thread, but for what is empty; gives how many answers went out.
    fn echo(bound: &str, clients: impl FnOnce(SocketAddr) + Send + 'static) -> usize {
        let socket = std::net::UdpSocket::bind(bound).unwrap();
        let address = socket.local_addr().unwrap();
        glommio::LocalExecutor::default().run(async {
            ask_for_destination(socket.as_fd(), address).unwrap();
            let socket = OwnedFd::from(socket);
            let clients = std::thread::spawn(move || clients(address));
            let answered = Cell::new(0);
            let serving =
                serve(&socket, |packet, _, _, out| out.extend_from_slice(packet), |sent| answered.set(answered.get() + sent));
            let ending = async {
                while !clients.is_finished() {
                    glommio::timer::sleep(Duration::from_millis(5)).await;
                }
                Ok(())
            };
            futures_lite::future::or(serving, ending).await.unwrap();
            clients.join().unwrap();
            answered.get()
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
                let length = usize::from(round + number * client);
                [&client.to_be_bytes()[..], &round.to_be_bytes(), &number.to_be_bytes(), &vec![7; length]].concat()
            };
            for round in 0..ROUNDS {
                for number in 0..EACH {
                    for (client, socket) in (0..CLIENTS).zip(&clients) {
                        socket.send(&packet(client, round, number)).unwrap();
                    }
                }
                for (client, socket) in (0..CLIENTS).zip(&clients) {
                    for number in 0..EACH {
                        let mut place = [0; 512];
                        let length = socket.recv(&mut place).unwrap();
                        assert_eq!(place[..length], packet(client, round, number));
                    }
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
