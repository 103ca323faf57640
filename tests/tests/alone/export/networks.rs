//! Certificates, secrets, and what happens when they change.

use std::{fs, path::PathBuf, sync::Arc, thread, time::Duration};

use profiler::{
    export::{
        Credentials, Exporter, Tls,
        pyroscope::{self, Settings},
        transport::ClientFiles,
    },
    health::Loss,
};
use tempfile::TempDir;
use tests::{
    certificates::Authority,
    pretend_pyroscope::{PretendPyroscope, Storage},
    tls::TlsServer,
};

use super::{Account, HANG, exporter, one, settings, settle, submit};

/// Certificates on a disk.
struct Files(TempDir);

impl Files {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.0.path().join(name);
        // Atomically, as certificates should be rotated.
        let next = self.0.path().join("next");
        fs::write(&next, text).unwrap();
        fs::rename(next, &path).unwrap();
        path
    }
}

/// Settings to reach a server by its name, so that the handshake has the name.
fn by_name(server: &PretendPyroscope, ca_file: PathBuf) -> Settings {
    let mut settings = settings(server);
    settings.server.url = server.url().replace("127.0.0.1", "localhost");
    settings.server.tls.ca_file = Some(ca_file);
    settings
}

/// An own authority's certificate is trusted, by name (which the server is told) and by address; one connection
/// shakes hands once.
#[test]
fn own_authority() {
    let (files, authority) = (Files::new(), Authority::new("ours"));
    let tls = TlsServer::new(&authority.server(&["localhost", "127.0.0.1"]), None);
    let server = PretendPyroscope::with_tls(Storage::V2, Arc::clone(&tls));
    let ca = files.write("ca.pem", &authority.pem());
    let by_address = {
        let mut settings = settings(&server);
        settings.server.tls.ca_file = Some(ca.clone());
        settings
    };
    for settings in [by_name(&server, ca), by_address] {
        let (exporter, health, _runtime) = exporter(settings);
        for _ in 0..5 {
            exporter.submit(vec![one()]);
            settle(&exporter);
        }
        exporter.drain(HANG);
        assert_eq!(Account::of(&health), Account::stored(5));
    }
    let names: Vec<_> = tls
        .handshakes()
        .into_iter()
        .map(|it| it.server_name)
        .collect();
    assert_eq!(names, [Some("localhost".to_owned()), None]);
}

/// Another authority, an expired certificate, another name: nothing is sent, so nothing can be stored twice.
#[test]
fn not_trusted() {
    let (files, authority) = (Files::new(), Authority::new("ours"));
    let ca = files.write("ca.pem", &authority.pem());
    let other = Authority::new("another");
    for certificate in [
        other.server(&["localhost"]),
        authority.expired(&["localhost"]),
        authority.server(&["elsewhere.example"]),
    ] {
        let server = PretendPyroscope::with_tls(Storage::V2, TlsServer::new(&certificate, None));
        let (exporter, health, _runtime) = exporter(by_name(&server, ca.clone()));
        exporter.submit(vec![one()]);
        exporter.drain(Duration::from_millis(500));
        assert_eq!(server.requests(), 0);
        assert_eq!(Account::of(&health).dropped, 1);
        assert_eq!(health.get(Loss::ProfileMaybeTwice), 0, "nothing was sent");
    }
}

/// A server that requires a certificate gets it, also a new one; without one, nothing is sent.
#[test]
fn client_certificate() {
    let (files, authority) = (Files::new(), Authority::new("ours"));
    let tls = TlsServer::new(&authority.server(&["localhost"]), Some(&authority.pem()));
    let server = PretendPyroscope::with_tls(Storage::V2, Arc::clone(&tls));
    let ca = files.write("ca.pem", &authority.pem());
    let (exporter, health, _runtime) = exporter_without(&server, &ca);
    exporter.submit(vec![one()]);
    exporter.drain(Duration::from_millis(500));
    assert_eq!((server.requests(), Account::of(&health).dropped), (0, 1));
    assert_eq!(health.get(Loss::ProfileMaybeTwice), 0, "nothing was sent");

    let first = authority.client("agent");
    let client = ClientFiles {
        certificate: files.write("client.pem", &first.chain),
        key: files.write("client.key", &first.key),
    };
    let mut settings = by_name(&server, ca);
    settings.server.tls.client = Some(client);
    let (exporter, health, _runtime) = super::exporter(settings);
    exporter.submit(vec![one()]);
    settle(&exporter);
    // From now on only what another authority has signed is good.
    let next = Authority::new("next");
    tls.replace(&authority.server(&["localhost"]), Some(&next.pem()));
    server.shut();
    server.reopen();
    let second = next.client("agent");
    exporter.submit(vec![one()]);
    thread::sleep(Duration::from_millis(300));
    assert_eq!(exporter.waiting(), 1);
    files.write("client.key", &second.key);
    files.write("client.pem", &second.chain);
    settle(&exporter);
    assert_eq!(Account::of(&health), Account::stored(2));
}

fn exporter_without(
    server: &PretendPyroscope,
    ca: &std::path::Path,
) -> (Exporter, profiler::health::Health, tokio::runtime::Runtime) {
    exporter(by_name(server, ca.to_owned()))
}

/// The server's authority is replaced, and then the file.
#[test]
fn new_authority() {
    let (files, authority) = (Files::new(), Authority::new("ours"));
    let tls = TlsServer::new(&authority.server(&["localhost"]), None);
    let server = PretendPyroscope::with_tls(Storage::V2, Arc::clone(&tls));
    let (exporter, health, _runtime) =
        exporter(by_name(&server, files.write("ca.pem", &authority.pem())));
    exporter.submit(vec![one()]);
    settle(&exporter);
    let next = Authority::new("next");
    tls.replace(&next.server(&["localhost"]), None);
    server.shut();
    server.reopen();
    exporter.submit(vec![one()]);
    files.write("ca.pem", &next.pem());
    settle(&exporter);
    assert_eq!(Account::of(&health), Account::stored(2));
}

/// A token is replaced under load: what the server does not accept for a moment is sent again with the new one,
/// and nothing is lost. A file that is empty for a moment, or gone, does no harm.
#[test]
fn token_is_replaced() {
    const SUBMITTED: u64 = 300;
    let files = Files::new();
    let server = PretendPyroscope::start();
    server.require_authorization("Bearer first");
    let mut settings = settings(&server);
    let token_file = files.write("token", "first\n");
    settings.server.credentials = Some(Credentials::Bearer {
        token_file: token_file.clone(),
    });
    let (exporter, health, _runtime) = exporter(settings);
    for submitted in 1..=SUBMITTED {
        submit(&exporter, &health, vec![one()]);
        thread::sleep(Duration::from_millis(10));
        match submitted {
            100 => server.require_authorization("Bearer second"),
            130 => fs::remove_file(&token_file).unwrap(),
            160 => {
                files.write("token", "second\n");
            }
            _ => {}
        }
    }
    settle(&exporter);
    assert!(
        !server.refusals().is_empty(),
        "the server has refused the old one"
    );
    assert_eq!(Account::of(&health), Account::stored(SUBMITTED));
    let kept = u64::try_from(server.kept().len()).unwrap();
    assert_eq!(kept, SUBMITTED);
}

/// Files without the right content are refused at the start; the error names them.
#[test]
fn unusable_files() {
    let files = Files::new();
    let server = PretendPyroscope::start();
    let garbage = files.write("garbage.pem", "garbage");
    let refused = |settings: Settings| {
        let runtime = profiler::runtime::start().unwrap();
        let health = profiler::health::Health::default();
        let error = Exporter::start(&health, |shared| {
            Ok(vec![pyroscope::start(settings, runtime.handle(), shared)?])
        });
        error.unwrap_err().to_string()
    };
    let with = |tls: Tls| {
        let mut settings = settings(&server);
        settings.server.tls = tls;
        settings
    };
    let error = refused(with(Tls {
        ca_file: Some(garbage.clone()),
        client: None,
    }));
    assert!(
        error.contains("garbage.pem") && error.contains("PEM"),
        "{error}"
    );
    let error = refused(with(Tls {
        ca_file: None,
        client: Some(ClientFiles {
            certificate: garbage.clone(),
            key: garbage,
        }),
    }));
    assert!(error.contains("garbage.pem"), "{error}");
    let mut settings = settings(&server);
    settings.server.credentials = Some(Credentials::Bearer {
        token_file: "/nonexistent/token".into(),
    });
    let error = refused(settings);
    assert!(error.contains("/nonexistent/token"), "{error}");
}
