//! Bytes to a server over HTTP, and what became of them. Knows certificates, proxies and secrets, and nothing of the
//! content.

mod client;
mod delivery;
mod proxy;
mod secrets;
mod tls;
mod watched;

use std::{fmt, path::PathBuf};

pub use self::{
    client::{Transport, plain_client},
    delivery::{Delivery, chain},
};

/// How the agent identifies itself to a server. Secrets are in files, which are read again when they change.
#[derive(Clone, PartialEq, Eq)]
pub enum Credentials {
    /// HTTP basic authentication.
    Basic {
        /// The user.
        user: String,
        /// File with the password.
        password_file: PathBuf,
    },
    /// A bearer token.
    Bearer {
        /// File with the token.
        token_file: PathBuf,
    },
}

impl fmt::Debug for Credentials {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Basic { user, .. } => write!(formatter, "Basic({user}, …)"),
            Self::Bearer { .. } => write!(formatter, "Bearer(…)"),
        }
    }
}

/// Which certificates to trust, and which one the agent shows. PEM files, which are read again when they change.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tls {
    /// Certificates to trust instead of the system's.
    pub ca_file: Option<PathBuf>,
    /// Our certificate, with those between it and the server's root, and its key.
    pub client: Option<ClientFiles>,
}

/// Files of a client certificate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientFiles {
    /// The certificate, then those that signed it.
    pub certificate: PathBuf,
    /// Its private key.
    pub key: PathBuf,
}

/// Settings of a connection to a server.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Address that is posted to.
    pub url: String,
    /// Header fields of every request.
    pub headers: Vec<(&'static str, String)>,
    /// How the agent identifies itself.
    pub credentials: Option<Credentials>,
    /// Certificates.
    pub tls: Tls,
    /// How long a request may take.
    pub timeout: std::time::Duration,
    /// Connections that are kept open.
    pub connections: usize,
}
