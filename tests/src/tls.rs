//! The server's side of TLS, with certificates that can be replaced while it runs.

#![expect(
    clippy::expect_used,
    reason = "a test cannot go on without its certificates"
)]

use std::{
    io::{self, Read as _, Write as _},
    net::TcpStream,
    sync::{Arc, Mutex},
};

use rustls::{
    HandshakeKind, RootCertStore, ServerConfig, ServerConnection, StreamOwned,
    crypto::{CryptoProvider, ring},
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _},
    server::WebPkiClientVerifier,
};

use crate::{certificates::Certificate, listen::lock};

/// A stream after its handshake.
pub(crate) type TlsStream = StreamOwned<ServerConnection, TcpStream>;

/// A handshake that succeeded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Handshake {
    /// The name of the server that the client has asked for (SNI); none if it has asked for an address.
    pub server_name: Option<String>,
    /// Whether it went on with an earlier session.
    pub is_resumed: bool,
    /// The client's certificate, in DER.
    pub client_certificate: Option<Vec<u8>>,
}

/// What a server needs to speak TLS.
#[derive(Debug)]
pub struct TlsServer {
    config: Mutex<Arc<ServerConfig>>,
    handshakes: Mutex<Vec<Handshake>>,
    failures: Mutex<Vec<String>>,
}

impl TlsServer {
    /// With a certificate; with an authority (PEM), clients must show a certificate that it has signed.
    pub fn new(certificate: &Certificate, client_authority: Option<&str>) -> Arc<Self> {
        Arc::new(Self {
            config: Mutex::new(config(certificate, client_authority)),
            handshakes: Mutex::default(),
            failures: Mutex::default(),
        })
    }

    /// Has the next handshakes use another certificate and authority of clients.
    pub fn replace(&self, certificate: &Certificate, client_authority: Option<&str>) {
        *lock(&self.config) = config(certificate, client_authority);
    }

    /// Handshakes that succeeded, in their order.
    pub fn handshakes(&self) -> Vec<Handshake> {
        lock(&self.handshakes).clone()
    }

    /// What was wrong with the handshakes that failed.
    pub fn failures(&self) -> Vec<String> {
        lock(&self.failures).clone()
    }

    /// Shakes hands, serves what is inside, and says that it has ended.
    pub(crate) fn serve(&self, stream: TcpStream, serve: impl FnOnce(&mut TlsStream)) {
        match self.accept(stream) {
            Ok(mut stream) => {
                serve(&mut stream);
                stream.conn.send_close_notify();
                // Fails if the client was faster.
                let _ = stream.flush();
            }
            Err(error) => lock(&self.failures).push(error.to_string()),
        }
    }

    fn accept(&self, mut stream: TcpStream) -> io::Result<TlsStream> {
        let config = Arc::clone(&lock(&self.config));
        let mut connection = ServerConnection::new(config).map_err(io::Error::other)?;
        while connection.is_handshaking() {
            if connection.complete_io(&mut stream)? == (0, 0) {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
        let certificates = connection.peer_certificates();
        lock(&self.handshakes).push(Handshake {
            server_name: connection.server_name().map(str::to_owned),
            is_resumed: connection.handshake_kind() == Some(HandshakeKind::Resumed),
            client_certificate: certificates.and_then(|it| Some(it.first()?.to_vec())),
        });
        Ok(StreamOwned::new(connection, stream))
    }
}

/// What has arrived, decrypted, without waiting for more than that; nothing at the end of the stream.
pub(crate) fn read_arrived(stream: &mut TlsStream) -> io::Result<Option<Vec<u8>>> {
    if stream.conn.read_tls(&mut stream.sock)? == 0 {
        return Ok(None);
    }
    stream
        .conn
        .process_new_packets()
        .map_err(io::Error::other)?;
    read_decrypted(stream)
}

/// What is decrypted already; nothing at the end of the stream.
pub(crate) fn read_decrypted(stream: &mut TlsStream) -> io::Result<Option<Vec<u8>>> {
    let mut bytes = Vec::new();
    match stream.conn.reader().read_to_end(&mut bytes) {
        Ok(_) if bytes.is_empty() => Ok(None),
        Err(error) if error.kind() != io::ErrorKind::WouldBlock => Err(error),
        _ => Ok(Some(bytes)),
    }
}

fn config(certificate: &Certificate, client_authority: Option<&str>) -> Arc<ServerConfig> {
    let provider: Arc<CryptoProvider> = Arc::new(ring::default_provider());
    let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .expect("the provider has them");
    let builder = match client_authority {
        None => builder.with_no_client_auth(),
        Some(pem) => {
            let mut roots = RootCertStore::empty();
            for root in certificates(pem) {
                roots.add(root).expect("an authority");
            }
            let roots = Arc::new(roots);
            let verifier = WebPkiClientVerifier::builder_with_provider(roots, provider).build();
            builder.with_client_cert_verifier(verifier.expect("an authority"))
        }
    };
    let key = PrivateKeyDer::from_pem_slice(certificate.key.as_bytes()).expect("a key in PEM");
    let config = builder.with_single_cert(certificates(&certificate.chain), key);
    Arc::new(config.expect("a certificate and its key"))
}

fn certificates(pem: &str) -> Vec<CertificateDer<'static>> {
    let certificates = CertificateDer::pem_slice_iter(pem.as_bytes());
    certificates
        .collect::<Result<_, _>>()
        .expect("certificates in PEM")
}
