//! Checks the network before something is fetched: rustup itself would report its failure in a page of output.

use std::{
    env,
    net::{TcpStream, ToSocketAddrs as _},
    time::Duration,
};

use crate::Result;

/// This variable names another server of rustup's toolchains.
const VARIABLE: &str = "RUSTUP_DIST_SERVER";
const SERVER: &str = "https://static.rust-lang.org";
/// If one of these is set, a proxy makes the connection.
const PROXIES: [&str; 5] = [
    "https_proxy",
    "HTTPS_PROXY",
    "http_proxy",
    "all_proxy",
    "ALL_PROXY",
];
/// How long a connection may take.
const PATIENCE: Duration = Duration::from_secs(10);

/// Can rustup's server be reached? If that cannot be determined, the answer is yes.
pub(crate) fn reach_rustup() -> Result<()> {
    let is_set = |name: &&str| env::var_os(name).is_some_and(|value| !value.is_empty());
    if PROXIES.iter().any(is_set) {
        return Ok(());
    }
    let server = env::var(VARIABLE).unwrap_or_else(|_| SERVER.to_owned());
    let Some((host, port)) = place(&server) else {
        return Ok(());
    };
    let failed = |error| {
        format!(
            "{host} cannot be reached ({error}): connect this machine to the network, or set \
             https_proxy or {VARIABLE}"
        )
    };
    let mut reason = None;
    for address in (host, port).to_socket_addrs().map_err(failed)? {
        match TcpStream::connect_timeout(&address, PATIENCE) {
            Ok(_) => return Ok(()),
            Err(error) => reason = Some(error),
        }
    }
    reason.map_or(Ok(()), |error| Err(failed(error)))
}

/// Host and port of an address, if it is an http or https address.
fn place(server: &str) -> Option<(&str, u16)> {
    let (scheme, rest) = server.split_once("://")?;
    let usual = match scheme {
        "https" => 443,
        "http" => 80,
        _ => return None,
    };
    let authority = rest.split('/').next()?;
    let (_, authority) = authority.rsplit_once('@').unwrap_or(("", authority));
    match authority.rsplit_once(':') {
        Some((host, port)) => Some((host, port.parse().ok()?)),
        None => Some((authority, usual)),
    }
}

#[cfg(test)]
mod tests {
    use super::place;

    /// Addresses as users set them; a mirror in a folder has no host to ask.
    #[test]
    fn places() {
        assert_eq!(
            place("https://static.rust-lang.org"),
            Some(("static.rust-lang.org", 443))
        );
        assert_eq!(
            place("http://me@mirror:8080/rustup"),
            Some(("mirror", 8080))
        );
        assert_eq!(place("file:///srv/rustup"), None);
    }
}
