//! What the listeners present, and the least they ask for.
//!
//! | profile | versions | suites |
//! |---|---|---|
//! | modern | TLS 1.3 | its AEADs |
//! | intermediate | TLS 1.2, 1.3 | for 1.2 ECDHE with an AEAD alone (RFC 9325 section 4.2) |
//!
//! TLS 1.0 and 1.1 (RFC 8996), CBC and key exchange without forward secrecy are not in the library. A ticket saves a returning sender the
//! full handshake; its key lives in this process alone, shared by all shards and by every set of certificates that follows, and is replaced
//! every six hours. Nothing is kept for a session, so memory does not grow with those who have been here.

use super::names::ByName;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, UnixTime, pem::PemObject};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::server::{ClientHello, NoServerSessionStorage, ProducesTickets, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// Versions and suites, by the names of Mozilla's recommendations.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Profile {
    /// TLS 1.3 alone.
    Modern,
    /// TLS 1.2 with forward secrecy and AEAD, and TLS 1.3.
    #[default]
    Intermediate,
}

/// Whether clients are asked for a certificate of theirs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ClientCertificates {
    /// No.
    #[default]
    Off,
    /// Yes; who has none is as welcome.
    Ask,
}

/// A certificate chain and its key, PEM.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pair {
    /// The chain, leaf first.
    pub certificate_pem: String,
    /// The private key.
    pub key_pem: String,
}

impl std::fmt::Debug for Pair {
    /// Never the key.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Pair").finish_non_exhaustive()
    }
}

/// A pair, and the names it is presented for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CertificatesOf {
    /// Names and wildcards.
    pub names: Vec<String>,
    /// What they get.
    pub pair: Pair,
}

/// All a server needs, as the supervisor hands it over.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Material {
    /// Of port 25.
    pub profile: Profile,
    /// Of the ports of users.
    pub submission_profile: Profile,
    /// Of port 25.
    pub client_certificates: ClientCertificates,
    /// For clients that give no name, or one nobody knows.
    pub default: Pair,
    /// For the others.
    pub named: Vec<CertificatesOf>,
}

/// The keys tickets are made with; one set a process.
#[derive(Clone, Debug)]
pub struct Tickets(Arc<dyn ProducesTickets>);

impl Tickets {
    /// New keys; tickets of others are not understood, their owners do a full handshake.
    ///
    /// # Errors
    /// No randomness.
    pub fn new() -> Result<Self, String> {
        rustls::crypto::ring::Ticketer::new().map(Self).map_err(|error| format!("no keys for TLS tickets: {error}"))
    }
}

/// The settings of each kind of listener.
#[derive(Clone, Debug)]
pub struct Servers {
    /// Other servers' mail.
    pub smtp: Arc<rustls::ServerConfig>,
    /// Users' mail.
    pub submission: Arc<rustls::ServerConfig>,
}

impl Servers {
    /// Reads everything.
    ///
    /// # Errors
    /// One line: which certificate, and what is wrong with it.
    pub fn new(material: &Material, tickets: &Tickets) -> Result<Self, String> {
        let mut by_name = ByName::new(Arc::new(certified(&material.default)?));
        for of in &material.named {
            let key = certified(&of.pair).map_err(|error| format!("{}: {error}", of.names.first().map_or("", String::as_str)))?;
            let key = Arc::new(key);
            for name in &of.names {
                by_name.add(name, Arc::clone(&key))?;
            }
        }
        let by_name = Arc::new(Resolver(by_name));
        let make = |profile, client_certificates| config(profile, client_certificates, Arc::clone(&by_name), tickets);
        Ok(Self {
            smtp: make(material.profile, material.client_certificates)?,
            submission: make(material.submission_profile, ClientCertificates::Off)?,
        })
    }
}

fn config(
    profile: Profile,
    client_certificates: ClientCertificates,
    certificates: Arc<Resolver>,
    tickets: &Tickets,
) -> Result<Arc<rustls::ServerConfig>, String> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let versions: &[&rustls::SupportedProtocolVersion] = match profile {
        Profile::Modern => &[&rustls::version::TLS13],
        Profile::Intermediate => &[&rustls::version::TLS13, &rustls::version::TLS12],
    };
    let builder = rustls::ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_protocol_versions(versions)
        .map_err(|error| error.to_string())?;
    let builder = match client_certificates {
        ClientCertificates::Off => builder.with_no_client_auth(),
        ClientCertificates::Ask => builder.with_client_cert_verifier(Arc::new(AnyOrNone { provider })),
    };
    let mut config = builder.with_cert_resolver(certificates);
    config.ticketer = Arc::clone(&tickets.0);
    // Tickets do it all; a cache would be a lock between the shards, and keep what must be secret.
    config.session_storage = Arc::new(NoServerSessionStorage {});
    Ok(Arc::new(config))
}

/// A chain with its key.
///
/// # Errors
/// One line: what is wrong with either, or that they do not belong together, and what would be right.
pub fn certified(pair: &Pair) -> Result<CertifiedKey, String> {
    let chain = CertificateDer::pem_slice_iter(pair.certificate_pem.as_bytes())
        .collect::<Result<Vec<_>, _>>()
        .map_err(|error| format!("the certificate is no PEM: {error}"))?;
    if chain.is_empty() {
        return Err("the certificate file holds no certificate (BEGIN CERTIFICATE ...)".to_owned());
    }
    let key = PrivateKeyDer::from_pem_slice(pair.key_pem.as_bytes())
        .map_err(|error| format!("the key is no PEM private key (BEGIN PRIVATE KEY ...): {error}"))?;
    CertifiedKey::from_der(chain, key, &rustls::crypto::ring::default_provider()).map_err(|error| match error {
        rustls::Error::InconsistentKeys(_) => {
            "the key is not that of the first certificate: the server's own must be the first in its file, and both of one issue"
                .to_owned()
        }
        error => format!("certificate and key cannot be used: {error}"),
    })
}

/// The public key (SubjectPublicKeyInfo, DER) of a private one in PEM.
///
/// # Errors
/// It is no private key of a kind we know.
pub fn public_key(key_pem: &str) -> Result<Vec<u8>, String> {
    let key =
        PrivateKeyDer::from_pem_slice(key_pem.as_bytes()).map_err(|error| format!("the key is no PEM private key: {error}"))?;
    let provider = rustls::crypto::ring::default_provider();
    let key = provider.key_provider.load_private_key(key).map_err(|error| format!("the key cannot be used: {error}"))?;
    key.public_key().map(|public| public.as_ref().to_vec()).ok_or_else(|| "the key does not give its public half".to_owned())
}

/// Gives each client the certificate of the name it asks for.
#[derive(Debug)]
struct Resolver(ByName<Arc<CertifiedKey>>);

impl ResolvesServerCert for Resolver {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(self.0.find(hello.server_name())))
    }
}

/// Asks for a certificate and takes any: who signed it says nothing between mail servers, that its key is there does.
#[derive(Debug)]
struct AnyOrNone {
    provider: Arc<rustls::crypto::CryptoProvider>,
}

impl ClientCertVerifier for AnyOrNone {
    fn client_auth_mandatory(&self) -> bool {
        false
    }

    fn root_hint_subjects(&self) -> &[rustls::DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _now: UnixTime,
    ) -> Result<ClientCertVerified, rustls::Error> {
        Ok(ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &rustls::DigitallySignedStruct,
    ) -> Result<rustls::client::danger::HandshakeSignatureValid, rustls::Error> {
        rustls::crypto::verify_tls12_signature(message, certificate, signature, &self.provider.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &rustls::DigitallySignedStruct,
    ) -> Result<rustls::client::danger::HandshakeSignatureValid, rustls::Error> {
        rustls::crypto::verify_tls13_signature(message, certificate, signature, &self.provider.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<rustls::SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use rustls::pki_types::ServerName;

    pub(crate) fn self_signed(name: &str) -> Pair {
        let made = rcgen::generate_simple_self_signed([name.to_owned()]).unwrap();
        Pair { certificate_pem: made.cert.pem(), key_pem: made.signing_key.serialize_pem() }
    }

    pub(crate) fn material(default: Pair) -> Material {
        Material {
            profile: Profile::Intermediate,
            submission_profile: Profile::Modern,
            client_certificates: ClientCertificates::Off,
            default,
            named: Vec::new(),
        }
    }

    fn client(versions: &[&'static rustls::SupportedProtocolVersion]) -> Arc<rustls::ClientConfig> {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = rustls::ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(versions)
            .unwrap()
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(super::super::client::AcceptAny::default()))
            .with_no_client_auth();
        Arc::new(config)
    }

    /// Both ends in memory, until the handshake is done and the tickets are there.
    fn shake(
        server: &Arc<rustls::ServerConfig>,
        client: &Arc<rustls::ClientConfig>,
        name: &str,
    ) -> Result<(rustls::ServerConnection, rustls::ClientConnection), rustls::Error> {
        let mut server = rustls::ServerConnection::new(Arc::clone(server))?;
        let mut client = rustls::ClientConnection::new(Arc::clone(client), ServerName::try_from(name.to_owned()).unwrap())?;
        for _ in 0..8 {
            let (mut there, mut back) = (Vec::new(), Vec::new());
            while client.wants_write() {
                client.write_tls(&mut there).unwrap();
            }
            let mut rest = there.as_slice();
            while !rest.is_empty() {
                server.read_tls(&mut rest).unwrap();
                server.process_new_packets()?;
            }
            while server.wants_write() {
                server.write_tls(&mut back).unwrap();
            }
            let mut rest = back.as_slice();
            while !rest.is_empty() {
                client.read_tls(&mut rest).unwrap();
                client.process_new_packets()?;
            }
        }
        Ok((server, client))
    }

    fn presented(pair: &Pair) -> CertificateDer<'static> {
        CertificateDer::from_pem_slice(pair.certificate_pem.as_bytes()).unwrap()
    }

    const ALL: &[&rustls::SupportedProtocolVersion] = &[&rustls::version::TLS12, &rustls::version::TLS13];

    #[test]
    fn each_name_has_its_certificate() {
        let [default, one, wild] = ["mx.example", "one.example", "*.wild.example"].map(self_signed);
        let mut material = material(default.clone());
        material.named = vec![
            CertificatesOf { names: vec!["one.example".to_owned()], pair: one.clone() },
            CertificatesOf { names: vec!["*.wild.example".to_owned()], pair: wild.clone() },
        ];
        let servers = Servers::new(&material, &Tickets::new().unwrap()).unwrap();
        // No server name is sent for an address.
        for (name, expected) in
            [("one.example", &one), ("a.wild.example", &wild), ("wild.example", &default), ("192.0.2.1", &default)]
        {
            let (_, client) = shake(&servers.smtp, &client(ALL), name).unwrap();
            assert_eq!(client.peer_certificates().unwrap()[0], presented(expected), "{name}");
        }
    }

    #[test]
    fn the_profile_says_which_versions() {
        let servers = Servers::new(&material(self_signed("mx.example")), &Tickets::new().unwrap()).unwrap();
        let version = |server, versions: &[&'static rustls::SupportedProtocolVersion]| {
            shake(server, &client(versions), "mx.example").map(|(server, _)| server.protocol_version().unwrap())
        };
        assert_eq!(version(&servers.smtp, ALL), Ok(rustls::ProtocolVersion::TLSv1_3));
        assert_eq!(version(&servers.smtp, &[&rustls::version::TLS12]), Ok(rustls::ProtocolVersion::TLSv1_2));
        assert_eq!(version(&servers.submission, ALL), Ok(rustls::ProtocolVersion::TLSv1_3));
        assert!(version(&servers.submission, &[&rustls::version::TLS12]).is_err());
    }

    #[test]
    fn a_ticket_resumes_with_the_next_certificates_too() {
        let tickets = Tickets::new().unwrap();
        for versions in [&[&rustls::version::TLS12], &[&rustls::version::TLS13]] {
            let first = Servers::new(&material(self_signed("mx.example")), &tickets).unwrap();
            let client = client(versions);
            let kind = |servers: &Servers| shake(&servers.smtp, &client, "mx.example").unwrap().0.handshake_kind().unwrap();
            assert_eq!(kind(&first), rustls::HandshakeKind::Full);
            assert_eq!(kind(&first), rustls::HandshakeKind::Resumed);
            let second = Servers::new(&material(self_signed("mx.example")), &tickets).unwrap();
            assert_eq!(kind(&second), rustls::HandshakeKind::Resumed);
            // Other keys: a full handshake, not an error.
            let strange = Servers::new(&material(self_signed("mx.example")), &Tickets::new().unwrap()).unwrap();
            assert_eq!(kind(&strange), rustls::HandshakeKind::Full);
        }
    }

    #[test]
    fn who_has_no_certificate_is_welcome() {
        let mut material = material(self_signed("mx.example"));
        material.client_certificates = ClientCertificates::Ask;
        let servers = Servers::new(&material, &Tickets::new().unwrap()).unwrap();
        let (server, _) = shake(&servers.smtp, &client(ALL), "mx.example").unwrap();
        assert!(server.peer_certificates().is_none());
        let own = certified(&self_signed("sender.example")).unwrap();
        let mut with = rustls::ClientConfig::clone(&client(ALL));
        with.client_auth_cert_resolver = Arc::new(rustls::sign::SingleCertAndKey::from(own.clone()));
        let (server, _) = shake(&servers.smtp, &Arc::new(with), "mx.example").unwrap();
        assert_eq!(server.peer_certificates().unwrap(), own.cert);
    }

    #[test]
    fn what_is_wrong_with_a_pair_is_said() {
        let (good, other) = (self_signed("a.example"), self_signed("b.example"));
        let error = |certificate: &str, key: &str| {
            certified(&Pair { certificate_pem: certificate.to_owned(), key_pem: key.to_owned() }).unwrap_err()
        };
        assert!(error("", &good.key_pem).contains("holds no certificate"));
        assert!(error(&good.certificate_pem, "").contains("no PEM private key"));
        assert!(error(&good.certificate_pem, &other.key_pem).contains("is not that of the first certificate"));
        assert!(error(&good.key_pem, &good.key_pem).contains("holds no certificate"));
        assert!(
            error("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", &good.key_pem).contains("cannot be used")
        );
        assert!(!format!("{good:?}").contains("PRIVATE"));
    }
}
