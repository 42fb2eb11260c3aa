//! How the authority is shown that a name is ours: a small answer on port 80, or a record in a zone of ours.

use crate::supervisor::Note;
use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::mpsc::{self, Sender};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;

/// Where the authority looks (RFC 8555 section 8.3).
const PATH: &str = "/.well-known/acme-challenge/";
/// Octets of a request that are read.
const REQUEST_BYTES_MAX: usize = 8 * 1024;
const CONNECTION_WAIT: Duration = Duration::from_secs(10);
const CONNECTIONS_MAX: usize = 64;
/// Time for the keeper of zones.
const ZONE_WAIT: Duration = Duration::from_secs(10);

/// Tokens and what is answered to them.
#[derive(Clone, Debug, Default)]
pub struct Tokens(Arc<Mutex<HashMap<String, String>>>);

impl Tokens {
    pub(super) fn put(&self, token: String, answer: String) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(token, answer);
    }

    pub(super) fn clear(&self) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }

    fn get(&self, token: &str) -> Option<String> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).get(token).cloned()
    }
}

/// Opens a port before it is served, so that a port of somebody else's is one clear line.
pub(super) fn listen(address: SocketAddr) -> Result<std::net::TcpListener, String> {
    let wrong =
        |error: std::io::Error| format!("tls.acme.http: {address}: {error}; nothing else may listen there (listen.http?)");
    let listener = std::net::TcpListener::bind(address).map_err(wrong)?;
    listener.set_nonblocking(true).map_err(wrong)?;
    Ok(listener)
}

/// Answers until the runtime ends.
pub(super) async fn serve(listener: std::net::TcpListener, tokens: Tokens) {
    let Ok(listener) = TcpListener::from_std(listener) else { return };
    let places = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    loop {
        let Ok(place) = Arc::clone(&places).acquire_owned().await else { return };
        let Ok((stream, _)) = listener.accept().await else {
            tokio::time::sleep(Duration::from_millis(100)).await;
            continue;
        };
        let tokens = tokens.clone();
        tokio::spawn(async move {
            // Whoever is slower than that is no authority.
            let _ = tokio::time::timeout(CONNECTION_WAIT, answer(stream, &tokens)).await;
            drop(place);
        });
    }
}

async fn answer(mut stream: TcpStream, tokens: &Tokens) -> std::io::Result<()> {
    let mut request = Vec::new();
    let mut piece = [0; 1024];
    while !request.windows(4).any(|end| end == b"\r\n\r\n") && request.len() < REQUEST_BYTES_MAX {
        match stream.read(&mut piece).await? {
            0 => return Ok(()),
            received => request.extend_from_slice(piece.get(..received).unwrap_or_default()),
        }
    }
    let response = respond(&String::from_utf8_lossy(&request), tokens);
    stream.write_all(response.as_bytes()).await?;
    stream.shutdown().await
}

fn respond(request: &str, tokens: &Tokens) -> String {
    let path = request.strip_prefix("GET ").and_then(|rest| rest.split(' ').next());
    let found = path.and_then(|path| path.strip_prefix(PATH)).and_then(|token| tokens.get(token));
    let (status, text) = found.map_or(("404 Not Found", String::new()), |answer| ("200 OK", answer));
    format!(
        "HTTP/1.1 {status}\r\nContent-Type: application/octet-stream\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{text}",
        text.len()
    )
}

/// The records of challenges, by the name they are of, in the zones of the edge.
pub(super) struct Records {
    notes: Sender<Note>,
    set: Vec<(String, Vec<String>)>,
}

impl Records {
    pub(super) fn new(notes: Sender<Note>) -> Self {
        Self { notes, set: Vec::new() }
    }

    /// Adds a value; several may have one name, a domain and all below it. Comes back when it is served.
    pub(super) fn add(&mut self, domain: &str, value: String) -> Result<(), String> {
        let name = format!("_acme-challenge.{}", domain.trim_start_matches("*."));
        let place = self.set.iter().position(|(other, _)| *other == name);
        let place = place.unwrap_or_else(|| {
            self.set.push((name, Vec::new()));
            self.set.len() - 1
        });
        let Some((name, values)) = self.set.get_mut(place) else { return Ok(()) };
        values.push(value);
        tell(&self.notes, name, values)
    }

    /// Takes all away.
    pub(super) fn clear(&mut self) {
        for (name, _) in self.set.drain(..) {
            if let Err(error) = tell(&self.notes, &name, &[]) {
                tracing::warn!("tls: the record of a challenge stays at {name}: {error}");
            }
        }
    }
}

fn tell(notes: &Sender<Note>, name: &str, values: &[String]) -> Result<(), String> {
    let words = ["dns", "challenge", name].into_iter().map(str::to_owned).chain(values.iter().cloned()).collect();
    let (answer, answers) = mpsc::sync_channel(1);
    let gone = || "the edge does not answer".to_owned();
    notes.send(Note::Ask { words, answer }).map_err(|_| gone())?;
    answers.recv_timeout(ZONE_WAIT).map_err(|_| gone())?.map(|_| ())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_but_tokens_is_answered() {
        let tokens = Tokens::default();
        tokens.put("abc".into(), "abc.thumb".into());
        let get = |path: &str| respond(&format!("GET {path} HTTP/1.1\r\nHost: x\r\n\r\n"), &tokens);
        assert!(get("/.well-known/acme-challenge/abc").ends_with("Content-Length: 9\r\nConnection: close\r\n\r\nabc.thumb"));
        for other in
            ["/", "/.well-known/acme-challenge/", "/.well-known/acme-challenge/abd", "/.well-known/acme-challenge/../abc"]
        {
            assert!(get(other).starts_with("HTTP/1.1 404 "), "{other}");
        }
        assert!(respond("POST /.well-known/acme-challenge/abc HTTP/1.1\r\n\r\n", &tokens).starts_with("HTTP/1.1 404 "));
        tokens.clear();
        assert!(get("/.well-known/acme-challenge/abc").starts_with("HTTP/1.1 404 "));
    }
}
