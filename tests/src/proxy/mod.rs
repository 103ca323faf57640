//! Forward proxies as networks have them: HTTP (absolute form for `http`, `CONNECT` for tunnels), the same over
//! TLS, and SOCKS5. Each can require a user and a password, and records the addresses that clients request.

mod http;
mod socks;
mod tunnel;

use std::{
    collections::BTreeMap,
    fmt, io,
    net::{SocketAddr, TcpStream},
    sync::{Arc, Mutex},
};

use crate::{
    listen::{Port, lock},
    tls::TlsServer,
};

/// A running proxy; its port is closed when it is dropped.
pub struct Proxy {
    port: Port,
    scheme: &'static str,
    rules: Arc<Rules>,
}

/// What a proxy does, and has done.
#[derive(Debug, Default)]
struct Rules {
    /// User and password that it wants.
    wanted: Mutex<Option<(String, String)>>,
    /// Addresses of `host:port` that no resolver knows.
    routes: Mutex<BTreeMap<String, SocketAddr>>,
    targets: Mutex<Vec<String>>,
    refused: Mutex<usize>,
}

impl Proxy {
    /// An HTTP proxy.
    pub fn http() -> Self {
        Self::run("http", http::serve)
    }

    /// An HTTP proxy that is itself spoken to over TLS.
    pub fn https(tls: Arc<TlsServer>) -> Self {
        Self::run("https", move |rules, stream| {
            tls.serve(stream, |stream| http::serve(rules, stream));
        })
    }

    /// A SOCKS5 proxy.
    pub fn socks5() -> Self {
        Self::run("socks5h", socks::serve)
    }

    #[expect(clippy::expect_used, reason = "a test cannot go on without it")]
    fn run(
        scheme: &'static str,
        serve: impl Fn(&Rules, TcpStream) + Send + Sync + 'static,
    ) -> Self {
        let rules = Arc::<Rules>::default();
        let shared = Arc::clone(&rules);
        let port = Port::open(Arc::new(move |stream| serve(&shared, stream)));
        Self {
            port: port.expect("a free port"),
            scheme,
            rules,
        }
    }

    /// Refuses clients that do not give this user and password.
    #[must_use]
    pub fn wanting(self, user: &str, password: &str) -> Self {
        *lock(&self.rules.wanted) = Some((user.to_owned(), password.to_owned()));
        self
    }

    /// Sends what is for `target` (`host:port`) to an address, whatever a resolver says.
    #[must_use]
    pub fn route(self, target: &str, address: SocketAddr) -> Self {
        lock(&self.rules.routes).insert(target.to_owned(), address);
        self
    }

    /// Its URL, without a user.
    pub fn url(&self) -> String {
        format!("{}://{}", self.scheme, self.port.address)
    }

    /// The address that it listens on.
    pub fn address(&self) -> SocketAddr {
        self.port.address
    }

    /// The requested addresses, in order: `host:port`, as the client has written them.
    pub fn targets(&self) -> Vec<String> {
        lock(&self.rules.targets).clone()
    }

    /// How often the user or the password was wrong or missing.
    pub fn refused(&self) -> usize {
        *lock(&self.rules.refused)
    }

    /// Connections accepted so far.
    pub fn connections(&self) -> usize {
        lock(&self.port.connections).accepted
    }
}

impl fmt::Debug for Proxy {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Proxy")
            .field("url", &self.url())
            .field("rules", &self.rules)
            .finish_non_exhaustive()
    }
}

impl Rules {
    /// Whether these are the user and the password; counts if they are not.
    fn admits(&self, given: Option<(&str, &str)>) -> bool {
        let wanted = lock(&self.wanted);
        let is_right = wanted
            .as_ref()
            .is_none_or(|(user, password)| given == Some((user, password)));
        if !is_right {
            *lock(&self.refused) += 1;
        }
        is_right
    }

    fn connect(&self, target: &str) -> io::Result<TcpStream> {
        lock(&self.targets).push(target.to_owned());
        let route = lock(&self.routes).get(target).copied();
        match route {
            Some(address) => TcpStream::connect(address),
            None => TcpStream::connect(target),
        }
    }
}
