//! Pushing through the proxies that the environment names.

use tests::{
    agent::{self, Agent},
    certificates::Authority,
    pretend_pyroscope::{PretendPyroscope, Storage},
    proxy::Proxy,
    python::{Python, with_newest},
    tls::TlsServer,
};

/// A name that no resolver knows: only the proxy can reach it.
const NAME: &str = "pyroscope.invalid";

/// Runs an agent in an environment until the server has a profile; returns its output.
fn push(
    python: &Python,
    server: PretendPyroscope,
    url: &str,
    arguments: &[&str],
    environment: &[(&str, String)],
) -> String {
    let mut command = agent::command(&["--pyroscope-url", url, "--upload-interval", "1s"]);
    command.args(arguments);
    for name in [
        "http_proxy",
        "https_proxy",
        "all_proxy",
        "no_proxy",
        "HTTPS_PROXY",
        "ALL_PROXY",
        "NO_PROXY",
    ] {
        command.env_remove(name);
    }
    command.envs(environment.iter().map(|(name, value)| (name, value)));
    let agent = Agent::run(server, &mut command);
    let mut workload = python.start("nested.py", &["0.5"]);
    workload.begin();
    agent.wait_for_service("nested");
    agent.stop().1.stderr
}

/// Through an HTTP proxy with a user and a password, for `http://`; but not to servers in `no_proxy`.
#[test]
fn http_proxy() {
    with_newest(|python| {
        let server = PretendPyroscope::start();
        let target = format!("{NAME}:{}", server.address().port());
        let proxy = Proxy::http()
            .wanting("me", "se:cret")
            .route(&target, server.address());
        let address = format!("http://me:se%3Acret@{}", proxy.address());
        let said = push(
            python,
            server,
            &format!("http://{target}"),
            &[],
            &[
                ("http_proxy", address),
                ("no_proxy", "other.invalid 10.0.0.0/8".to_owned()),
            ],
        );
        assert!(!proxy.targets().is_empty());
        assert_eq!(proxy.refused(), 0);
        assert!(!said.contains("cret"), "{said}");
    });
}

/// Through a proxy over TLS, to a server over TLS: a tunnel.
#[test]
fn https_proxy() {
    with_newest(|python| {
        let authority = Authority::new("ours");
        let tls = TlsServer::new(&authority.server(&[NAME]), None);
        let server = PretendPyroscope::with_tls(Storage::V2, tls);
        let target = format!("{NAME}:{}", server.address().port());
        let proxy_tls = TlsServer::new(&authority.server(&["127.0.0.1"]), None);
        let proxy = Proxy::https(proxy_tls).route(&target, server.address());
        let ca = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(ca.path(), authority.pem()).unwrap();
        // The system's certificates may be named, too.
        push(
            python,
            server,
            &format!("https://{target}"),
            &[],
            &[
                ("HTTPS_PROXY", proxy.url()),
                ("http_proxy", "http://127.0.0.1:1".to_owned()),
                ("SSL_CERT_FILE", ca.path().display().to_string()),
            ],
        );
        assert_eq!(proxy.targets()[0], target);
    });
}

/// Through a SOCKS5 proxy, which resolves the name; and around a proxy that is not for this server.
#[test]
fn socks_proxy() {
    with_newest(|python| {
        let server = PretendPyroscope::start();
        let target = format!("{NAME}:{}", server.address().port());
        let proxy = Proxy::socks5().route(&target, server.address());
        push(
            python,
            server,
            &format!("http://{target}"),
            &[],
            &[("ALL_PROXY", proxy.url())],
        );
        assert_eq!(proxy.targets()[0], target);
        for except in ["127.0.0.0/8", "*", "localhost, 127.0.0.1"] {
            let server = PretendPyroscope::start();
            let url = server.url();
            let environment = [("all_proxy", proxy.url()), ("NO_PROXY", except.to_owned())];
            let before = proxy.connections();
            push(python, server, &url, &[], &environment);
            assert_eq!(proxy.connections(), before, "{except}");
        }
    });
}
