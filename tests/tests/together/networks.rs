//! The TLS, the certificates and the proxies that tests of an exporter use, judged by curl.

use std::{fs, process::Command};

use tempfile::TempDir;
use tests::{
    certificates::{Authority, Certificate},
    pretend_pyroscope::{PretendPyroscope, Storage},
    process::eventually,
    proxy::Proxy,
    skip,
    tls::TlsServer,
};

/// Files that curl reads.
struct Files(TempDir);

impl Files {
    fn new() -> Option<Self> {
        if Command::new("curl").arg("--version").output().is_err() {
            skip("no curl");
            return None;
        }
        Some(Self(TempDir::new().unwrap()))
    }

    fn write(&self, name: &str, text: &str) -> String {
        let path = self.0.path().join(name);
        fs::write(&path, text).unwrap();
        path.display().to_string()
    }
}

/// The body that curl gets, else its number of what is wrong.
fn curl(arguments: &[&str]) -> Result<String, i32> {
    let mut command = Command::new("curl");
    command.args(["--silent", "--show-error", "--fail"]);
    for variable in ["http_proxy", "https_proxy", "all_proxy", "no_proxy"] {
        command.env_remove(variable);
        command.env_remove(variable.to_uppercase());
    }
    let output = command.args(arguments).output().unwrap();
    let body = String::from_utf8(output.stdout).unwrap();
    output
        .status
        .success()
        .then_some(body)
        .ok_or_else(|| output.status.code().unwrap())
}

/// curl's numbers of what is wrong.
const UNREACHABLE: i32 = 7;
const NOT_TRUSTED: i32 = 60;

/// A server with a certificate, and its URL by name.
fn server(certificate: &Certificate, clients: Option<&str>) -> (PretendPyroscope, String) {
    let tls = TlsServer::new(certificate, clients);
    let server = PretendPyroscope::with_tls(Storage::V2, tls);
    let url = format!("https://localhost:{}/ready", server.address().port());
    (server, url)
}

/// A certificate is taken from the right authority, for the right name, within its time, and no other.
#[test]
fn certificates() {
    let Some(files) = Files::new() else {
        return;
    };
    let authority = Authority::new("a test's");
    let trusted = files.write("ca.pem", &authority.pem());
    let stranger = files.write("other.pem", &Authority::new("another test's").pem());
    let names = ["localhost", "127.0.0.1"];
    let below = authority.below("between");
    for certificate in [authority.server(&names), below.server(&names)] {
        let (server, by_name) = server(&certificate, None);
        assert_eq!(curl(&["--cacert", &trusted, &by_name]).unwrap(), "ready\n");
        let by_address = format!("{}/ready", server.url());
        assert_eq!(
            curl(&["--cacert", &trusted, &by_address]).unwrap(),
            "ready\n"
        );
        let asked: Vec<_> = server
            .handshakes()
            .into_iter()
            .map(|it| it.server_name)
            .collect();
        assert_eq!(asked, [Some("localhost".to_owned()), None]);
        assert_eq!(curl(&["--cacert", &stranger, &by_name]), Err(NOT_TRUSTED));
        assert_eq!(server.handshakes().len(), 2);
    }
    let elsewhere = authority.server(&["elsewhere.test"]);
    for certificate in [authority.expired(&names), elsewhere] {
        let (_server, url) = server(&certificate, None);
        assert_eq!(curl(&["--cacert", &trusted, &url]), Err(NOT_TRUSTED));
    }
}

/// A server with an authority for clients refuses clients without a certificate of it; a handshake has the
/// certificate that the client has shown.
#[test]
fn client_certificates() {
    let Some(files) = Files::new() else {
        return;
    };
    let (authority, clients) = (Authority::new("servers'"), Authority::new("clients'"));
    let trusted = files.write("ca.pem", &authority.pem());
    let (server, url) = server(&authority.server(&["localhost"]), Some(&clients.pem()));
    let as_client = |of: &Authority| {
        let client = of.client("agent");
        let (chain, key) = (
            files.write("client.pem", &client.chain),
            files.write("client.key", &client.key),
        );
        curl(&["--cacert", &trusted, "--cert", &chain, "--key", &key, &url])
    };
    assert_eq!(as_client(&clients).unwrap(), "ready\n");
    assert!(server.handshakes()[0].client_certificate.is_some());
    // By TLS 1.3 a client hears of it when it reads, by 1.2 at once: curl has several numbers for it.
    curl(&["--cacert", &trusted, &url]).unwrap_err();
    as_client(&authority).unwrap_err();
    assert_eq!(server.handshakes().len(), 1);
}

/// Certificates are replaced while the server runs.
#[test]
fn replaced_certificates() {
    let Some(files) = Files::new() else {
        return;
    };
    let [old, new] = ["old", "new"].map(Authority::new);
    let tls = TlsServer::new(&old.server(&["localhost"]), None);
    let server = PretendPyroscope::with_tls(Storage::V2, tls.clone());
    let url = format!("https://localhost:{}/ready", server.address().port());
    let trusted = files.write("new.pem", &new.pem());
    assert_eq!(curl(&["--cacert", &trusted, &url]), Err(NOT_TRUSTED));
    tls.replace(&new.server(&["localhost"]), None);
    assert_eq!(curl(&["--cacert", &trusted, &url]).unwrap(), "ready\n");
    // Each connection has a thread of its own.
    eventually("the failure", || (!tls.failures().is_empty()).then_some(()));
}

/// Each proxy carries both plain requests and TLS to a name that only it knows, wants its password, and says
/// what it was asked for.
#[test]
fn proxies() {
    let Some(files) = Files::new() else {
        return;
    };
    let authority = Authority::new("a test's");
    let trusted = files.write("ca.pem", &authority.pem());
    let plain = PretendPyroscope::start();
    let (secret, _) = server(&authority.server(&["secret.test"]), None);
    let routed = |proxy: Proxy| {
        proxy
            .route("plain.test:80", plain.address())
            .route("secret.test:443", secret.address())
    };
    let of_proxy = || TlsServer::new(&authority.server(&["127.0.0.1"]), None);
    let all = || [Proxy::http(), Proxy::https(of_proxy()), Proxy::socks5()].map(routed);
    let through = |proxy: &Proxy, more: &[&str]| {
        let url = proxy.url();
        let arguments = [
            "--proxy",
            &url,
            "--cacert",
            &trusted,
            "--proxy-cacert",
            &trusted,
        ];
        curl(&[&arguments, more].concat())
    };
    let urls = ["http://plain.test/ready", "https://secret.test/ready"];
    for proxy in all() {
        for url in urls {
            assert_eq!(
                through(&proxy, &[url]).as_deref(),
                Ok("ready\n"),
                "{proxy:?}"
            );
        }
        assert_eq!(proxy.targets(), ["plain.test:80", "secret.test:443"]);
        // Two requests of one client: one connection to the proxy, and one from there.
        let before = (proxy.connections(), plain.connections());
        let twice = ["http://plain.test/ready", "http://plain.test/ready"];
        assert_eq!(
            through(&proxy, &twice).unwrap(),
            "ready\nready\n",
            "{proxy:?}"
        );
        let after = (proxy.connections(), plain.connections());
        assert_eq!(after, (before.0 + 1, before.1 + 1), "{proxy:?}");
    }
    for proxy in all() {
        let proxy = proxy.wanting("me", "pass:word");
        for url in urls {
            let given = ["--proxy-user", "me:pass:word", url];
            assert_eq!(
                through(&proxy, &given).as_deref(),
                Ok("ready\n"),
                "{proxy:?}"
            );
        }
        assert_eq!(proxy.refused(), 0);
        for more in [&[][..], &["--proxy-user", "me:wrong"]] {
            for url in urls {
                let given = [more, &[url]].concat();
                through(&proxy, &given).unwrap_err();
            }
        }
        assert_eq!(proxy.refused(), 4);
        assert_eq!(proxy.targets().len(), 2);
    }
    assert_eq!(
        secret.handshakes()[0].server_name.as_deref(),
        Some("secret.test")
    );
}

/// Nothing passes through a proxy that has ended.
#[test]
fn proxy_that_is_gone() {
    if Files::new().is_none() {
        return;
    }
    let url = Proxy::http().url();
    let error = curl(&["--proxy", &url, "http://plain.test/ready"]);
    assert_eq!(error, Err(UNREACHABLE));
}
