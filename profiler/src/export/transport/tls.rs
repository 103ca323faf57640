//! Which certificates to trust, and which one the agent shows.

use std::{path::Path, sync::Arc};

use rustls::{
    ClientConfig, RootCertStore,
    crypto::ring,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _},
};

use super::{ClientFiles, Tls, secrets};
use crate::export::Error;

/// Where the trusted certificates come from, for people.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Roots {
    /// The file that was given.
    File(usize),
    /// The system's, or those of `SSL_CERT_FILE` and `SSL_CERT_DIR`.
    System(usize),
    /// The system has none.
    Bundled(usize),
}

/// A configuration, and where its roots are from.
pub(super) fn config(tls: &Tls) -> Result<(ClientConfig, Roots), Error> {
    let (store, roots) = match &tls.ca_file {
        Some(path) => {
            let store = store_of(path)?;
            let number = store.len();
            (store, Roots::File(number))
        }
        None => system(),
    };
    let builder = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(|error| Error::Client(error.to_string()))?
        .with_root_certificates(store);
    let config = match &tls.client {
        None => builder.with_no_client_auth(),
        Some(ClientFiles { certificate, key }) => {
            let chain = certificates(certificate)?;
            let unusable = |error: String| Error::Certificate {
                path: key.clone(),
                reason: error,
            };
            let bytes = secrets::read(key)?;
            let secret = PrivateKeyDer::from_pem_slice(&bytes).map_err(|_no_pem| {
                unusable("there is no private key in it: PEM is expected".to_owned())
            })?;
            builder
                .with_client_auth_cert(chain, secret)
                .map_err(|error| unusable(error.to_string()))?
        }
    };
    Ok((config, roots))
}

/// The system's certificates, or those that `SSL_CERT_FILE` and `SSL_CERT_DIR` name; if there are none, Mozilla's list,
/// which is compiled in.
fn system() -> (RootCertStore, Roots) {
    let found = rustls_native_certs::load_native_certs();
    for error in &found.errors {
        tracing::warn!("a certificate of the system cannot be read: {error}");
    }
    let mut store = RootCertStore::empty();
    let (added, _unusable) = store.add_parsable_certificates(found.certs);
    if added > 0 {
        return (store, Roots::System(added));
    }
    store.extend(webpki_roots::TLS_SERVER_ROOTS.iter().cloned());
    let number = store.len();
    (store, Roots::Bundled(number))
}

fn store_of(path: &Path) -> Result<RootCertStore, Error> {
    let mut store = RootCertStore::empty();
    for certificate in certificates(path)? {
        store.add(certificate).map_err(|error| Error::Certificate {
            path: path.to_owned(),
            reason: error.to_string(),
        })?;
    }
    Ok(store)
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, Error> {
    let bytes = secrets::read(path)?;
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&bytes).collect();
    let wrong = |reason: String| Error::Certificate {
        path: path.to_owned(),
        reason,
    };
    let found = found.map_err(|error| wrong(error.to_string()))?;
    if found.is_empty() {
        return Err(wrong(
            "there is no certificate in it: PEM is expected".to_owned(),
        ));
    }
    Ok(found)
}
