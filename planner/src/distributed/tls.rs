//! TLS between the machines of a cluster, each of which shows a certificate.
//!
//! In: a folder with the authority's certificate, and this machine's with its key; out: connections that are encrypted,
//! between machines whose certificates the authority signed. A machine that is called must have the certificate of the
//! name or address under which it is called.

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use hyper_util::rt::TokioIo;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::server::WebPkiClientVerifier;
use rustls::{ClientConfig, RootCertStore, ServerConfig};
use tokio::net::TcpStream;
use tokio_rustls::{TlsAcceptor, TlsConnector, client, server};
use tonic::transport::{Channel, Endpoint, Uri};
use tower::service_fn;

use super::counted::Counted;
use super::error::ClusterError;

/// What both sides speak inside.
const PROTOCOL: &[u8] = b"h2";
/// How long a machine may take to show its certificate.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(2);

/// What the machines of a cluster encrypt with.
#[derive(Clone)]
pub struct ClusterTls {
    acceptor: TlsAcceptor,
    connector: TlsConnector,
}

impl std::fmt::Debug for ClusterTls {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("ClusterTls")
    }
}

impl ClusterTls {
    /// Reads `ca.pem`, `cert.pem` and `key.pem` of a folder.
    ///
    /// Errors: `Certificate` for a file that is missing or of no use.
    pub fn load(folder: &Path) -> std::result::Result<ClusterTls, ClusterError> {
        let file = |name: &str| folder.join(name);
        let (authority, certificate, key) = (file("ca.pem"), file("cert.pem"), file("key.pem"));
        let mut roots = RootCertStore::empty();
        for signer in certificates(&authority)? {
            roots
                .add(signer)
                .map_err(|error| unusable(&authority, error))?;
        }
        let roots = Arc::new(roots);
        let chain = certificates(&certificate)?;
        let read_key = || PrivateKeyDer::from_pem_file(&key).map_err(|error| unusable(&key, error));
        let bad = |error: rustls::Error| unusable(&certificate, error);
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let verifier =
            WebPkiClientVerifier::builder_with_provider(Arc::clone(&roots), Arc::clone(&provider));
        let verifier = verifier
            .build()
            .map_err(|error| unusable(&authority, error))?;
        let mut called = ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()
            .map_err(bad)?
            .with_client_cert_verifier(verifier)
            .with_single_cert(chain.clone(), read_key()?)
            .map_err(bad)?;
        called.alpn_protocols = vec![PROTOCOL.to_vec()];
        let mut calling = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(bad)?
            .with_root_certificates(roots)
            .with_client_auth_cert(chain, read_key()?)
            .map_err(bad)?;
        calling.alpn_protocols = vec![PROTOCOL.to_vec()];
        Ok(ClusterTls {
            acceptor: TlsAcceptor::from(Arc::new(called)),
            connector: TlsConnector::from(Arc::new(calling)),
        })
    }

    /// Encrypts a connection that was accepted, if the other machine's certificate is good.
    pub(super) async fn accept(&self, stream: Counted) -> io::Result<server::TlsStream<Counted>> {
        let accepting = self.acceptor.accept(stream);
        match tokio::time::timeout(HANDSHAKE_TIMEOUT, accepting).await {
            Ok(accepted) => accepted,
            Err(_) => Err(io::Error::new(
                io::ErrorKind::TimedOut,
                "no certificate came in time",
            )),
        }
    }

    /// A channel that encrypts.
    pub(super) fn channel(&self, endpoint: &Endpoint) -> Channel {
        let connector = self.connector.clone();
        endpoint.connect_with_connector_lazy(service_fn(move |address: Uri| {
            let connector = connector.clone();
            async move { connect(&connector, &address).await.map(TokioIo::new) }
        }))
    }
}

/// Why a machine that called was not let in.
pub(super) fn refusal(error: &io::Error) -> &'static str {
    use rustls::AlertDescription as Alert;
    use rustls::CertificateError as Bad;
    use rustls::Error::{AlertReceived, InvalidCertificate, InvalidMessage};
    let inner = error.get_ref();
    let inner = inner.and_then(|inner| inner.downcast_ref::<rustls::Error>());
    match inner {
        Some(InvalidMessage(_)) => "it does not encrypt: it was started without --cluster-tls",
        Some(AlertReceived(
            Alert::BadCertificate
            | Alert::UnsupportedCertificate
            | Alert::CertificateExpired
            | Alert::CertificateUnknown
            | Alert::UnknownCA
            | Alert::DecryptError,
        )) => {
            "it does not accept this machine's certificate: another authority signed it, it has expired, or is not of the address that was called"
        }
        Some(InvalidCertificate(
            Bad::Expired
            | Bad::ExpiredContext { .. }
            | Bad::NotValidYet
            | Bad::NotValidYetContext { .. },
        )) => "its certificate has expired, or is not valid yet",
        Some(_) => "it showed no certificate that the cluster's authority signed",
        None if error.kind() == io::ErrorKind::TimedOut => "it showed no certificate in time",
        None => "it ended the connection before it showed a certificate",
    }
}

async fn connect(
    connector: &TlsConnector,
    address: &Uri,
) -> io::Result<client::TlsStream<TcpStream>> {
    let host = address.host().unwrap_or_default();
    let host = host.trim_start_matches('[').trim_end_matches(']');
    let stream = TcpStream::connect((host, address.port_u16().unwrap_or(80))).await?;
    stream.set_nodelay(true)?;
    let name = ServerName::try_from(host.to_owned())
        .map_err(|error| io::Error::new(io::ErrorKind::InvalidInput, error))?;
    connector.connect(name, stream).await
}

fn certificates(path: &Path) -> std::result::Result<Vec<CertificateDer<'static>>, ClusterError> {
    let read = CertificateDer::pem_file_iter(path).map_err(|error| unusable(path, error))?;
    let found: std::result::Result<Vec<_>, _> = read.collect();
    let found = found.map_err(|error| unusable(path, error))?;
    match found.is_empty() {
        true => Err(unusable(path, "it has no certificate")),
        false => Ok(found),
    }
}

fn unusable(path: &Path, reason: impl ToString) -> ClusterError {
    ClusterError::Certificate {
        path: path.display().to_string(),
        reason: reason.to_string(),
    }
}
