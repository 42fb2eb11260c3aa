//! HTTPS to the authority, verified by the system's roots or by those of the configuration.

use bytes::Bytes;
use http::Request;
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client as Hyper;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use instant_acme::{BodyWrapper, BytesResponse, Error, HttpClient};
use rustls::RootCertStore;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

/// Time for one request.
const REQUEST_WAIT: Duration = Duration::from_secs(30);

#[derive(Clone)]
pub(super) struct Client(Hyper<HttpsConnector<HttpConnector>, BodyWrapper<Bytes>>);

impl Client {
    /// `roots`: a file in place of the system's.
    pub(super) fn new(roots: Option<&Path>) -> Result<Self, String> {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let connector = match roots {
            Some(file) => {
                let wrong = |error: &dyn std::fmt::Display| format!("tls.acme.authority_roots: {}: {error}", file.display());
                let mut store = RootCertStore::empty();
                for certificate in CertificateDer::pem_file_iter(file).map_err(|error| wrong(&error))? {
                    store.add(certificate.map_err(|error| wrong(&error))?).map_err(|error| wrong(&error))?;
                }
                let config = rustls::ClientConfig::builder_with_provider(provider)
                    .with_safe_default_protocol_versions()
                    .map_err(|error| error.to_string())?;
                HttpsConnectorBuilder::new().with_tls_config(config.with_root_certificates(store).with_no_client_auth())
            }
            None => HttpsConnectorBuilder::new().with_provider_and_native_roots(provider).map_err(|error| {
                format!("the system has no roots to verify the authority by: {error}; install ca-certificates")
            })?,
        };
        Ok(Self(Hyper::builder(TokioExecutor::new()).build(connector.https_only().enable_http1().build())))
    }
}

impl HttpClient for Client {
    fn request(
        &self,
        request: Request<BodyWrapper<Bytes>>,
    ) -> Pin<Box<dyn Future<Output = Result<BytesResponse, Error>> + Send>> {
        let response = self.0.request(request);
        Box::pin(async move {
            match tokio::time::timeout(REQUEST_WAIT, response).await {
                Ok(Ok(response)) => Ok(BytesResponse::from(response)),
                Ok(Err(error)) => Err(Error::Other(Box::new(error))),
                Err(_) => Err(Error::Other("the authority does not answer".into())),
            }
        })
    }
}
