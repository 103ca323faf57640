//! The rendered `DaemonSet` as it stands, started by runc with its own rights, network and root: the agent in it
//! attributes spans of a process in another container, and is replaced as on a rolling update.

use std::{fs, sync::Arc, thread, time::Duration};

use profiler::time::monotonic_now;
use tests::{
    certificates::Authority,
    container::{Container, has_runc},
    matrix::{Cell, cell},
    pod::{Manifest, NODE, Network, Pod, answers},
    pretend_pyroscope::{PretendPyroscope, Storage, StoredProfile},
    process::eventually,
    tls::TlsServer,
};

/// What the workload calls its span.
const SPAN: &str = "root";
/// Longer than any of these tests.
const FOR_EVER: &str = "1000";
/// What must be charged to the container at most, its maps with it.
const MOST_MEMORY: u64 = 96 << 20;

/// What every test here needs: an interpreter for a container, runc, and a network for pods.
fn prepare() -> Option<(Cell, Network)> {
    let cell = cell("3.13-debian")?;
    if !has_runc() {
        return None;
    }
    Some((cell, Network::join()?))
}

/// A container whose only thread is in one span after another.
fn busy(cell: &Cell) -> Container {
    let mut container = Container::start(cell, 0xd5, &["labelled.py", "app", FOR_EVER]);
    container.running.send_line("begin");
    container
}

/// The chart's own settings, with short windows so that a test need not wait for them.
fn manifest() -> Manifest {
    Manifest::example("default").with_variable("SPANPROF_UPLOAD_INTERVAL", "1s")
}

fn server() -> PretendPyroscope {
    PretendPyroscope::at(&Network::host(4040), Storage::V2)
}

/// CPU time of a process so far, by the scheduler.
fn cpu(pid: &str) -> Duration {
    let told = fs::read_to_string(format!("/proc/{pid}/schedstat")).unwrap();
    Duration::from_nanos(told.split(' ').next().unwrap().parse().unwrap())
}

/// What the server has of a container.
fn profiles(server: &PretendPyroscope, container: &Container) -> Vec<StoredProfile> {
    let mut profiles = server.profiles();
    profiles.retain(|it| it.label("container_id") == Some(&container.id));
    profiles
}

/// CPU time of a container in its spans, as the server has it.
fn in_spans(server: &PretendPyroscope, container: &Container) -> Duration {
    let profiles = profiles(server, container).into_iter();
    let in_span = profiles.filter(|it| it.label("span_name") == Some(SPAN));
    let labelled = in_span
        .flat_map(|it| it.samples)
        .filter(|it| it.span_id.is_some());
    Duration::from_nanos(labelled.map(|it| u64::try_from(it.value).unwrap()).sum())
}

/// The agent of the chart profiles another container, says on which node, and needs no more memory than the chart
/// requests; the agent that replaces it continues where it has ended.
#[test]
fn daemonset() {
    let Some((cell, network)) = prepare() else {
        return;
    };
    let server = server();
    let container = busy(&cell);
    let pid = container.pid();
    let manifest = manifest();

    let (started, cpu_at_start) = (monotonic_now(), cpu(&pid));
    let first = Pod::start(&manifest, &network);
    first.running.stderr.wait_for("profiling");
    let until_ready = started.elapsed();
    eventually("three seconds in spans", || {
        (in_spans(&server, &container) > Duration::from_secs(3)).then_some(())
    });
    let memory = first.memory();
    let (asked, cpu_when_asked) = (monotonic_now(), cpu(&pid));
    let ended = first.stop();
    assert!(ended.status.success(), "{ended:#?}");
    let of_first = in_spans(&server, &container);
    let second = Pod::start(&manifest, &network);
    second.running.stderr.wait_for("profiling");
    let until_replaced = asked.elapsed();
    eventually("three more seconds in spans", || {
        (in_spans(&server, &container) > of_first + Duration::from_secs(3)).then_some(())
    });
    let cpu_at_end = cpu(&pid);
    let ended = second.stop();
    assert!(ended.status.success(), "{ended:#?}");
    let of_second = in_spans(&server, &container).saturating_sub(of_first);

    // CPU time that the container has used unsampled: it is always busy, so this is also elapsed time.
    let unseen = |from: Duration, to: Duration, seen| to.saturating_sub(from).saturating_sub(seen);
    let unseen_at_start = unseen(cpu_at_start, cpu_when_asked, of_first);
    let unseen_between = unseen(cpu_when_asked, cpu_at_end, of_second);
    eprintln!(
        "start to the first labelled sample: {unseen_at_start:.2?} of the container's CPU, ready after \
         {until_ready:.2?}; SIGTERM to the first sample of the next: {unseen_between:.2?}, ready after \
         {until_replaced:.2?}; charged: {:.1} MiB",
        mebibytes(memory)
    );
    let profiles = profiles(&server, &container);
    assert!(!profiles.is_empty());
    for profile in &profiles {
        assert_eq!(profile.label("host_name"), Some(NODE));
        let name = profile.label("span_name");
        assert!(name.is_none_or(|name| name == SPAN), "{name:?}");
    }
    assert_eq!(server.refusals(), []);
    assert!(memory < MOST_MEMORY, "{:.1} MiB", mebibytes(memory));
    // Unseen is what came before the agent was ready, and what the first samples are for. The goal is a second each: how
    // long it is in fact depends on what the machine has to do besides. Some of what came afterwards is not sampled if
    // the host takes the processor away.
    let allowed =
        |ready: Duration, seen: Duration| ready + Duration::from_secs(1) + seen.mul_f64(0.4);
    assert!(unseen_at_start < allowed(until_ready, of_first));
    assert!(unseen_between < allowed(until_replaced, of_second));
}

/// What `doctor` says in the pod, as `kubectl exec` would run it there.
fn doctor(manifest: &Manifest, network: &Network) -> String {
    let manifest = manifest.clone().with_arguments(&["doctor", "--no-sample"]);
    Pod::start(&manifest, network).wait().stdout
}

/// With the rights of the chart nothing is missing; with one capability less, `doctor` in the pod says which.
#[test]
fn doctor_in_the_pod() {
    let Some((_, network)) = prepare() else {
        return;
    };
    let manifest = manifest();
    let said = doctor(&manifest, &network);
    assert!(said.contains("all that is needed"), "{said}");
    assert!(!said.contains("CAP_"), "{said}");
    for name in manifest.capabilities() {
        let said = doctor(&manifest.clone().without_capability(&name), &network);
        assert!(said.contains(&format!("CAP_{name}")), "{name}: {said}");
    }
}

/// The probes pass at the pod's address as soon as the agent takes samples, and still pass when the server is down;
/// metrics are there, and the table of losses is not.
#[test]
fn probes_of_the_pod() {
    let Some((_, network)) = prepare() else {
        return;
    };
    let server = server();
    let manifest = manifest();
    let pod = Pod::start(&manifest, &network);
    eventually("the startup probe", || {
        Pod::passes(&manifest, "startupProbe").then_some(())
    });
    for probe in ["readinessProbe", "livenessProbe"] {
        eventually(probe, || Pod::passes(&manifest, probe).then_some(()));
    }
    let (_, port) = manifest.probe("livenessProbe");
    assert!(answers("/metrics", port));
    assert!(!answers("/debug/losses", port));
    server.shut();
    thread::sleep(Duration::from_secs(3));
    assert!(Pod::passes(&manifest, "readinessProbe"));
    assert!(Pod::passes(&manifest, "livenessProbe"));
    drop(pod);
    assert!(!Pod::passes(&manifest, "livenessProbe"));
}

/// Over TLS, by the secret that the chart mounts: the authority to trust, and the certificate that the agent shows.
#[test]
fn https_by_a_secret() {
    let Some((cell, network)) = prepare() else {
        return;
    };
    let authority = Authority::new("of the cluster");
    let tls = TlsServer::new(&authority.server(&["pyroscope"]), Some(&authority.pem()));
    let address = Network::host(4040);
    let server = PretendPyroscope::at_with_tls(&address, Storage::V2, Arc::clone(&tls));
    let client = authority.client("spanprof");
    let texts = [
        ("ca.crt", &*authority.pem()),
        ("tls.crt", &client.chain),
        ("tls.key", &client.key),
    ];
    let manifest = Manifest::example("client-certificate")
        .with_secret("spanprof-client", &texts)
        .with_variable("SPANPROF_PYROSCOPE_URL", "https://pyroscope:4040")
        .with_variable("SPANPROF_UPLOAD_INTERVAL", "1s");
    let container = busy(&cell);
    let pod = Pod::start(&manifest, &network);
    eventually("a second in spans over TLS", || {
        (in_spans(&server, &container) > Duration::from_secs(1)).then_some(())
    });
    assert!(
        tls.handshakes()
            .iter()
            .all(|it| it.client_certificate.is_some())
    );
    let ended = pod.stop();
    assert!(ended.status.success(), "{ended:#?}");
}

/// The image has no certificates of a system: it trusts the list that is compiled in, and so not a stranger's.
#[test]
fn https_by_the_images_own_trust() {
    let Some((cell, network)) = prepare() else {
        return;
    };
    let authority = Authority::new("a stranger");
    let tls = TlsServer::new(&authority.server(&["pyroscope"]), None);
    let address = Network::host(4040);
    let server = PretendPyroscope::at_with_tls(&address, Storage::V2, Arc::clone(&tls));
    let manifest = manifest().with_variable("SPANPROF_PYROSCOPE_URL", "https://pyroscope:4040");
    let _container = busy(&cell);
    let pod = Pod::start(&manifest, &network);
    pod.running.stderr.wait_for("Mozilla");
    eventually("a handshake that fails", || {
        (!tls.failures().is_empty()).then_some(())
    });
    pod.stop();
    assert!(tls.handshakes().is_empty());
    assert_eq!(server.requests(), 0);
}

#[expect(clippy::cast_precision_loss, reason = "mebibytes")]
fn mebibytes(bytes: u64) -> f64 {
    bytes as f64 / f64::from(1 << 20)
}
