//! Accepts clients by the batch.
//!
//! glommio accepts one at a time: four system calls that change and restore the socket's flags around a try, a submission to its ring when nobody was
//! there, and one more to learn who it is. That is what a quiet server needs. Under a flood of clients that are refused at once it is most
//! of what they cost, so whoever has come meanwhile is taken with one call each, which tells the address too.

use crate::Stream;
use glommio::net::{TcpListener, TcpStream};
use rustix::fs::OFlags;
use rustix::net::{SendFlags, SocketFlags};
use std::io;
use std::net::SocketAddr;
use std::os::fd::{FromRawFd, IntoRawFd, OwnedFd};
use std::time::Duration;

/// Clients taken at once, at most: those who are here must have their turn.
pub const NEWCOMERS_MAX: usize = 64;

/// A listening socket on the executor that waits for it.
pub struct Listener {
    waiting: TcpListener,
    /// The same socket.
    socket: OwnedFd,
    flags: OFlags,
    /// Somebody is likely there already.
    busy: bool,
}

/// A client that was accepted, and costs nothing yet but its descriptor.
pub struct Newcomer {
    peer: SocketAddr,
    socket: Socket,
}

enum Socket {
    /// Known to glommio.
    Bound(TcpStream),
    Raw(OwnedFd),
}

impl Listener {
    /// Takes a listening socket over. Must be called on the executor that will wait for it.
    ///
    /// # Errors
    /// No descriptor is left.
    #[allow(unsafe_code)] // glommio takes inherited sockets only as raw descriptors
    pub fn new(socket: OwnedFd) -> io::Result<Self> {
        let second = socket.try_clone()?;
        let flags = make_blocking(&socket)?;
        // SAFETY: the descriptor was owned and is given up here, so the listener is its only owner.
        let waiting = unsafe { TcpListener::from_raw_fd(second.into_raw_fd()) };
        Ok(Self { waiting, socket, flags, busy: false })
    }

    /// Waits for clients, and adds those who are there, [`NEWCOMERS_MAX`] at most. Costs one system call each when they are many. No client is added
    /// when the one that came is gone already.
    ///
    /// # Errors
    /// The socket's: out of descriptors most likely.
    pub async fn accept(&mut self, newcomers: &mut Vec<Newcomer>) -> io::Result<()> {
        if self.busy {
            self.take(newcomers)?;
            if !newcomers.is_empty() {
                return Ok(());
            }
        }
        let stream = self.waiting.accept().await?;
        // A client that is gone already has no address.
        if let Ok(peer) = stream.peer_addr() {
            newcomers.push(Newcomer { peer, socket: Socket::Bound(stream) });
        }
        self.take(newcomers)
    }

    /// Lets clients gather for some time, after which they are taken together. They wait in the kernel, connected.
    pub async fn gather(&mut self, time: Duration) {
        glommio::timer::sleep(time).await;
        self.busy = true;
    }

    /// Takes who is there. The socket does not block meanwhile, and does again when glommio's ring is to wait for it: its kernel side would answer "nobody"
    /// at once instead.
    fn take(&mut self, newcomers: &mut Vec<Newcomer>) -> io::Result<()> {
        rustix::fs::fcntl_setfl(&self.socket, self.flags | OFlags::NONBLOCK)?;
        let taken = self.take_all(newcomers);
        rustix::fs::fcntl_setfl(&self.socket, self.flags)?;
        self.busy = newcomers.len() >= NEWCOMERS_MAX;
        taken
    }

    fn take_all(&self, newcomers: &mut Vec<Newcomer>) -> io::Result<()> {
        while newcomers.len() < NEWCOMERS_MAX {
            // The new socket blocks, as glommio's do: it is received from through the ring.
            match rustix::net::acceptfrom_with(&self.socket, SocketFlags::CLOEXEC) {
                Ok((socket, peer)) => {
                    if let Some(peer) = peer.and_then(|peer| SocketAddr::try_from(peer).ok()) {
                        newcomers.push(Newcomer { peer, socket: Socket::Raw(socket) });
                    }
                }
                Err(error) if error == rustix::io::Errno::AGAIN => break,
                // One that broke before it was taken says nothing of the next.
                Err(error) if error == rustix::io::Errno::CONNABORTED || error == rustix::io::Errno::INTR => {}
                // Those who were taken come first; the next call says it again.
                Err(_) if !newcomers.is_empty() => break,
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }
}

/// The ring waits for a socket that blocks alone. Its flags are those of all who have it: a process that was killed while it tried to accept, as glommio
/// and [`Listener`] do with a socket that does not, has left it so to its successor. Gives the flags.
pub(crate) fn make_blocking(socket: &OwnedFd) -> io::Result<OFlags> {
    let flags = rustix::fs::fcntl_getfl(socket)? - OFlags::NONBLOCK;
    rustix::fs::fcntl_setfl(socket, flags)?;
    Ok(flags)
}

impl Newcomer {
    /// Who it is.
    #[must_use]
    pub fn peer(&self) -> SocketAddr {
        self.peer
    }

    /// Sends some last words, as far as the socket takes them at once, as a new one does with a line, and closes.
    pub fn refuse(self, words: &[u8]) {
        match self.socket {
            Socket::Bound(stream) => Stream::accepted(stream).send_now(words),
            Socket::Raw(socket) => {
                // A client that is gone needs no words.
                let _ = rustix::net::send(&socket, words, SendFlags::DONTWAIT | SendFlags::NOSIGNAL);
            }
        }
    }

    /// The connection, on the executor of the listener.
    #[must_use]
    #[allow(unsafe_code)] // glommio takes foreign sockets only as raw descriptors
    pub fn into_stream(self) -> Stream {
        Stream::accepted(match self.socket {
            Socket::Bound(stream) => stream,
            // SAFETY: the descriptor was owned and is given up here, so the stream is its only owner.
            Socket::Raw(socket) => unsafe { TcpStream::from_raw_fd(socket.into_raw_fd()) },
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_lite::future::poll_once;
    use std::io::Read;
    use std::net::TcpStream as Client;

    #[test]
    fn all_who_are_there_are_taken_and_the_next_is_waited_for() {
        glommio::LocalExecutor::default().run(async {
            let socket = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
            // As a process leaves it that was killed at the wrong moment.
            socket.set_nonblocking(true).unwrap();
            let address = socket.local_addr().unwrap();
            let mut listener = Listener::new(socket.into()).unwrap();
            let mut newcomers = Vec::new();
            for _ in 0..2 {
                assert!(poll_once(listener.accept(&mut newcomers)).await.is_none(), "nobody is there");
                let mut clients: Vec<Client> = (0..5).map(|_| Client::connect(address).unwrap()).collect();
                while newcomers.len() < clients.len() {
                    listener.accept(&mut newcomers).await.unwrap();
                }
                for newcomer in newcomers.drain(..) {
                    assert!(clients.iter().any(|client| client.local_addr().unwrap() == newcomer.peer()));
                    newcomer.refuse(b"no\r\n");
                }
                for client in &mut clients {
                    let mut text = String::new();
                    client.read_to_string(&mut text).unwrap();
                    assert_eq!(text, "no\r\n");
                }
                // Those who gathered are there at once.
                let client = Client::connect(address).unwrap();
                listener.gather(Duration::from_micros(100)).await;
                listener.accept(&mut newcomers).await.unwrap();
                let mut stream = newcomers.pop().unwrap().into_stream();
                drop(client);
                assert_eq!(stream.receive(|read| read(&mut [0; 8])).await.unwrap(), 0);
            }
        });
    }
}
