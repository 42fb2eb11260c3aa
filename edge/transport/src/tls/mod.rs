//! TLS by rustls with ring's primitives: what servers present and ask for, what our own connections do.
//!
//! - [`names`]: which certificate a name gets
//! - [`server`]: certificates, versions and tickets of the listeners
//! - `client`: connections to other mail servers

mod client;
pub mod names;
pub mod server;

pub use client::opportunistic_client_config;
pub use names::ByName;
pub use server::{CertificatesOf, ClientCertificates, Material, Pair, Profile, Servers, Tickets, certified, public_key};

/// Version and cipher suite by their names in the registry, as the Received field shows them.
pub(crate) fn describe(tls: &rustls::Connection) -> (&'static str, &'static str) {
    let version = match tls.protocol_version() {
        Some(rustls::ProtocolVersion::TLSv1_2) => "TLSv1.2",
        Some(rustls::ProtocolVersion::TLSv1_3) => "TLSv1.3",
        _ => "TLS",
    };
    let cipher = tls.negotiated_cipher_suite().and_then(|suite| suite.suite().as_str()).unwrap_or("unknown");
    (version, cipher)
}
