//! Encryption: the certificates of the server and its clients, and what is said before the startup message.
//!
//! In: PEM files and a fresh connection; out: frames of the protocol, encrypted if the client asked for it. Nothing that
//! came before the encryption is taken for a part of what comes after it.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use auspex_planner::Encryption;
use pgwire::api::{ClientInfo as _, DefaultClient, PgWireConnectionState};
use pgwire::tokio::TlsAcceptor;
use pgwire::tokio::server::{MaybeTls, PgWireMessageServerCodec};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{ServerConfig, ServerConnection, WebPkiClientVerifier};
use rustls::{ProtocolVersion, RootCertStore};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_util::codec::{Framed, FramedParts};
use x509_certificate::CapturedX509Certificate;

use super::{Peer, Scram};

/// The length and code of the messages that ask for encryption.
const REQUEST_BYTES: usize = 8;
const TLS_REQUEST: [u8; REQUEST_BYTES] = [0, 0, 0, 8, 4, 0xd2, 0x16, 0x2f];
const GSS_REQUEST: [u8; REQUEST_BYTES] = [0, 0, 0, 8, 4, 0xd2, 0x16, 0x30];
/// The first byte of TLS, for clients that do not ask.
const TLS_HANDSHAKE: u8 = 0x16;
/// What such clients must name, so that no other protocol is led here.
const PROTOCOL: &[u8] = b"postgresql";
/// How often a client may ask before it begins.
const MAX_REQUESTS: usize = 3;

/// Where the certificates are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TlsFiles {
    /// The server's certificate, and those that it was signed with.
    pub certificate: PathBuf,
    /// Its key.
    pub key: PathBuf,
    /// The certificates that those of clients must be signed with.
    pub client_ca: Option<PathBuf>,
}

/// Certificates that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file cannot be read.
    #[error("cannot read TLS file \"{path}\": {reason}")]
    Unreadable {
        /// The file.
        path: String,
        /// Why.
        reason: String,
    },
    /// The certificate and the key do not go together, or are not good.
    #[error("cannot use TLS certificate \"{path}\": {reason}")]
    Unusable {
        /// The file.
        path: String,
        /// Why.
        reason: String,
    },
    /// One of two flags is missing.
    #[error("--tls-cert and --tls-key must be given together")]
    Half,
    /// Certificates of clients without encryption.
    #[error("--tls-client-ca needs --tls-cert and --tls-key")]
    ClientsOnly,
}

/// What a server encrypts with.
#[derive(Clone)]
pub struct Tls {
    acceptor: TlsAcceptor,
    scram: Arc<Scram>,
}

impl std::fmt::Debug for Tls {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Tls")
    }
}

impl Tls {
    /// Reads the certificates.
    pub fn load(files: &TlsFiles) -> Result<Tls, TlsError> {
        let shown = files.certificate.display().to_string();
        let unusable = |reason: String| TlsError::Unusable {
            path: shown.clone(),
            reason,
        };
        let pem = std::fs::read(&files.certificate)
            .map_err(|error| unreadable(&files.certificate, error))?;
        let chain = certificates(&files.certificate)?;
        let key = PrivateKeyDer::from_pem_file(&files.key)
            .map_err(|error| unreadable(&files.key, error))?;
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()
            .map_err(|error| unusable(error.to_string()))?;
        let builder = match &files.client_ca {
            None => builder.with_no_client_auth(),
            Some(path) => {
                let mut roots = RootCertStore::empty();
                for certificate in certificates(path)? {
                    roots
                        .add(certificate)
                        .map_err(|error| unreadable(path, error))?;
                }
                // Who has no certificate may still have a password: the rules decide.
                let verifier =
                    WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider)
                        .allow_unauthenticated()
                        .build()
                        .map_err(|error| unreadable(path, error))?;
                builder.with_client_cert_verifier(verifier)
            }
        };
        let mut config = builder
            .with_single_cert(chain, key)
            .map_err(|error| unusable(error.to_string()))?;
        config.alpn_protocols = vec![PROTOCOL.to_vec()];
        Ok(Tls {
            acceptor: TlsAcceptor::from(Arc::new(config)),
            scram: Arc::new(Scram::with_certificate(&pem).map_err(unusable)?),
        })
    }

    /// The exchange about passwords, bound to the certificate.
    pub(crate) fn scram(&self) -> &Arc<Scram> {
        &self.scram
    }
}

fn unreadable(path: &Path, reason: impl ToString) -> TlsError {
    TlsError::Unreadable {
        path: path.display().to_string(),
        reason: reason.to_string(),
    }
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let read = CertificateDer::pem_file_iter(path).map_err(|error| unreadable(path, error))?;
    let all: Result<Vec<_>, _> = read.collect();
    let all = all.map_err(|error| unreadable(path, error))?;
    match all.is_empty() {
        true => Err(unreadable(path, "there is no certificate in it")),
        false => Ok(all),
    }
}

/// A connection that is about to send its startup message.
pub(crate) struct Negotiated {
    pub(crate) frames: Framed<MaybeTls, PgWireMessageServerCodec<()>>,
    pub(crate) peer: Peer,
}

/// Why a connection does not come to its startup message.
#[derive(Debug, thiserror::Error)]
pub(crate) enum NegotiateError {
    /// Its client left, or asked for encryption without end.
    #[error(transparent)]
    Left(#[from] io::Error),
    /// The two do not come to an encrypted connection.
    #[error(transparent)]
    Handshake(#[from] HandshakeError),
}

/// Why a TLS handshake failed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum HandshakeError {
    /// The server has no certificate.
    #[error("TLS is not configured")]
    Unconfigured,
    /// Without a request, the client may mean another server.
    #[error("TLS without a request must name the protocol postgresql")]
    OtherProtocol,
    /// They do not agree, or one does not trust the other.
    #[error("{0}")]
    Disagreement(#[source] io::Error),
}

/// Answers what comes before the startup message.
pub(crate) async fn negotiate(
    mut stream: TcpStream,
    tls: Option<&Tls>,
) -> Result<Negotiated, NegotiateError> {
    stream.set_nodelay(true)?;
    let mut first = [0];
    // Looked at, not taken: TLS wants its first byte itself.
    if stream.peek(&mut first).await? == 1 && first[0] == TLS_HANDSHAKE {
        let tls = tls.ok_or(HandshakeError::Unconfigured)?;
        let negotiated = encrypted(stream, tls).await?;
        return match is_ours(&negotiated.frames) {
            true => Ok(negotiated),
            false => Err(HandshakeError::OtherProtocol.into()),
        };
    }
    for _ in 0..MAX_REQUESTS {
        // Exactly as many bytes as a request has, so that nothing sent ahead of the encryption is kept.
        let mut request = [0; REQUEST_BYTES];
        stream.read_exact(&mut request).await?;
        match (request, tls) {
            (TLS_REQUEST, Some(tls)) => {
                stream.write_all(b"S").await?;
                return encrypted(stream, tls).await;
            }
            (TLS_REQUEST | GSS_REQUEST, _) => stream.write_all(b"N").await?,
            _ => return Ok(plain(stream, &request)?),
        }
    }
    let message = "too many requests for encryption";
    Err(io::Error::new(io::ErrorKind::InvalidData, message).into())
}

fn plain(stream: TcpStream, read: &[u8]) -> io::Result<Negotiated> {
    let address = stream.peer_addr()?;
    let codec = PgWireMessageServerCodec::new(DefaultClient::new(address, false));
    let mut parts =
        FramedParts::new::<pgwire::messages::PgWireBackendMessage>(MaybeTls::Plain(stream), codec);
    parts.read_buf.extend_from_slice(read);
    let peer = Peer {
        address: Some(address),
        is_encrypted: false,
        certificate_name: None,
        encryption: None,
    };
    Ok(ready(Framed::from_parts(parts), peer))
}

async fn encrypted(stream: TcpStream, tls: &Tls) -> Result<Negotiated, NegotiateError> {
    let address = stream.peer_addr()?;
    let accepted = tls.acceptor.accept(stream).await;
    let stream = accepted.map_err(HandshakeError::Disagreement)?;
    let (_, connection) = stream.get_ref();
    let certificate = connection
        .peer_certificates()
        .and_then(|chain| chain.first());
    let certificate_name = certificate.and_then(common_name);
    let peer = Peer {
        address: Some(address),
        is_encrypted: true,
        encryption: encryption(connection, certificate_name.as_deref()),
        certificate_name,
    };
    let codec = PgWireMessageServerCodec::new(DefaultClient::new(address, true));
    let frames = Framed::new(MaybeTls::Tls(Box::new(stream)), codec);
    Ok(ready(frames, peer))
}

fn ready(mut frames: Framed<MaybeTls, PgWireMessageServerCodec<()>>, peer: Peer) -> Negotiated {
    frames.set_state(PgWireConnectionState::AwaitingStartup);
    Negotiated { frames, peer }
}

fn is_ours(frames: &Framed<MaybeTls, PgWireMessageServerCodec<()>>) -> bool {
    match frames.get_ref() {
        MaybeTls::Tls(stream) => stream.get_ref().1.alpn_protocol() == Some(PROTOCOL),
        _ => false,
    }
}

/// What was agreed on, in OpenSSL's words where they are the standard's, too.
fn encryption(connection: &ServerConnection, client: Option<&str>) -> Option<Encryption> {
    let version = match connection.protocol_version()? {
        ProtocolVersion::TLSv1_2 => "TLSv1.2".to_owned(),
        ProtocolVersion::TLSv1_3 => "TLSv1.3".to_owned(),
        other => format!("{other:?}"),
    };
    let suite = connection.negotiated_cipher_suite()?.suite();
    let cipher = format!("{suite:?}").replacen("TLS13_", "TLS_", 1);
    let bits = match cipher.contains("256_GCM") || cipher.contains("CHACHA20") {
        true => 256,
        false => 128,
    };
    Some(Encryption {
        version,
        cipher,
        bits,
        client: client.map(|name| format!("/CN={name}")),
    })
}

/// The name of whom a certificate is about.
fn common_name(certificate: &CertificateDer<'_>) -> Option<String> {
    let certificate = CapturedX509Certificate::from_der(certificate.to_vec()).ok()?;
    certificate.subject_common_name()
}
