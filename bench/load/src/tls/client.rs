//! The client's half of a session with STARTTLS, one after the other on each of some threads.

use crate::generator::{STALL, complete, connect};
use crate::server::DOMAIN;
use rustls::client::Resumption;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::CryptoProvider;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{
    ClientConfig, ClientConnection, DigitallySignedStruct, HandshakeKind, SignatureScheme, StreamOwned, SupportedProtocolVersion,
};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

/// How a session is protected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protection {
    Plain,
    /// A whole handshake each time.
    Full,
    /// With a ticket, where the server has given one; each is used once (RFC 8446 section C.4).
    Resumed,
}

/// What the threads do.
#[derive(Clone, Copy)]
pub struct Work<'a> {
    pub target: SocketAddr,
    pub protection: Protection,
    /// What is sent in a session, with its terminator; none: EHLO and QUIT are all.
    pub message: Option<&'a [u8]>,
    pub threads: usize,
    pub until: Instant,
    pub version: &'static SupportedProtocolVersion,
}

/// What came of it.
#[derive(Debug, Default)]
pub struct Done {
    pub sessions: u64,
    /// Of them, those whose handshake was resumed.
    pub resumed: u64,
    /// Suite and group of one of them.
    pub negotiated: String,
}

impl Work<'_> {
    /// Sessions on all threads until the time has come; each ends the one it is in.
    pub fn run(&self) -> Result<Done, String> {
        let number = AtomicUsize::new(0);
        std::thread::scope(|scope| {
            let threads: Vec<_> = (0..self.threads.max(1)).map(|_| scope.spawn(|| self.thread(&number))).collect();
            threads.into_iter().try_fold(Done::default(), |mut sum, thread| {
                let done = thread.join().map_err(|_| "a thread of the load has ended".to_owned())??;
                sum.sessions += done.sessions;
                sum.resumed += done.resumed;
                sum.negotiated = done.negotiated;
                Ok(sum)
            })
        })
    }

    fn thread(&self, number: &AtomicUsize) -> Result<Done, String> {
        let config = Arc::new(config(self.protection, self.version)?);
        let mut done = Done::default();
        // At least two: the first of a thread has no ticket.
        while done.sessions < 2 || Instant::now() < self.until {
            let number = number.fetch_add(1, Ordering::Relaxed);
            let handshake = self.session(number, &config, &mut done.negotiated);
            let is_resumed = handshake.map_err(|error| format!("session {number}: {error}"))? == Some(HandshakeKind::Resumed);
            if is_resumed && self.protection != Protection::Resumed {
                return Err(format!("session {number}: the handshake was resumed, and full ones are what is measured"));
            }
            done.resumed += u64::from(is_resumed);
            done.sessions += 1;
        }
        Ok(done)
    }

    fn session(
        &self,
        number: usize,
        config: &Arc<ClientConfig>,
        negotiated: &mut String,
    ) -> Result<Option<HandshakeKind>, String> {
        let wrong = |error: std::io::Error| error.to_string();
        let mut stream = TcpStream::from(std::os::fd::OwnedFd::from(connect(self.target, number).map_err(wrong)?));
        stream.set_nonblocking(false).map_err(wrong)?;
        stream.set_read_timeout(Some(STALL)).map_err(wrong)?;
        say(&mut stream, b"", b'2')?;
        say(&mut stream, b"EHLO load.example\r\n", b'2')?;
        if self.protection == Protection::Plain {
            return self.rest(&mut stream).map(|()| None);
        }
        say(&mut stream, b"STARTTLS\r\n", b'2')?;
        let name = ServerName::try_from(format!("mx.{DOMAIN}")).map_err(|error| error.to_string())?;
        let mut tls = ClientConnection::new(Arc::clone(config), name).map_err(|error| error.to_string())?;
        while tls.is_handshaking() {
            tls.complete_io(&mut stream).map_err(wrong)?;
        }
        let handshake = tls.handshake_kind();
        if negotiated.is_empty() {
            let suite = tls.negotiated_cipher_suite().and_then(|suite| suite.suite().as_str()).unwrap_or_default();
            let group = tls.negotiated_key_exchange_group().map(|group| format!(" {:?}", group.name())).unwrap_or_default();
            *negotiated = format!("{suite}{group}");
        }
        let mut stream = StreamOwned::new(tls, stream);
        // Tickets come with what is read here.
        say(&mut stream, b"EHLO load.example\r\n", b'2')?;
        self.rest(&mut stream).map(|()| handshake)
    }

    /// The message, if there is one, and the end.
    fn rest(&self, stream: &mut (impl Read + Write)) -> Result<(), String> {
        if let Some(message) = self.message {
            say(stream, b"MAIL FROM:<load@far.example>\r\n", b'2')?;
            say(stream, format!("RCPT TO:<u00@{DOMAIN}>\r\n").as_bytes(), b'2')?;
            say(stream, b"DATA\r\n", b'3')?;
            say(stream, message, b'2')?;
        }
        say(stream, b"QUIT\r\n", b'2')
    }
}

/// Sends, and reads a reply that must begin so.
fn say(stream: &mut (impl Read + Write), text: &[u8], digit: u8) -> Result<(), String> {
    let wrong = |error: std::io::Error| error.to_string();
    stream.write_all(text).map_err(wrong)?;
    stream.flush().map_err(wrong)?;
    let (mut reply, mut buffer) = (Vec::new(), [0; 2048]);
    loop {
        let received = stream.read(&mut buffer).map_err(wrong)?;
        reply.extend_from_slice(buffer.get(..received).unwrap_or_default());
        match complete(&reply) {
            Some(found) if found == digit => return Ok(()),
            None if received > 0 => {}
            _ => return Err(format!("{:?} was answered {:?}", first_line(text), first_line(&reply))),
        }
    }
}

fn first_line(text: &[u8]) -> String {
    String::from_utf8_lossy(text).lines().next().unwrap_or_default().to_owned()
}

fn config(protection: Protection, version: &'static SupportedProtocolVersion) -> Result<ClientConfig, String> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let verifier = Arc::new(Believing { provider: Arc::clone(&provider) });
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[version])
        .map_err(|error| error.to_string())?
        .dangerous()
        .with_custom_certificate_verifier(verifier)
        .with_no_client_auth();
    config.resumption = match protection {
        Protection::Resumed => Resumption::in_memory_sessions(8),
        Protection::Plain | Protection::Full => Resumption::disabled(),
    };
    Ok(config)
}

/// Verifies nothing, the server's signature neither: the load shall cost less than what it measures.
#[derive(Debug)]
struct Believing {
    provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for Believing {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _certificate: &CertificateDer<'_>,
        _signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _message: &[u8],
        _certificate: &CertificateDer<'_>,
        _signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}
