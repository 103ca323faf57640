//! What tests ask of the pretend Pyroscope beside the rules: times, connections, orders, accounts.

mod keeping;
mod orders;
mod serving;

use std::collections::BTreeMap;

use profiler::{
    export::pyroscope::proto::{LabelPair, PushRequest, RawProfileSeries, RawSample},
    profile::proto::Profile,
    time::UnixNanos,
};
use prost::Message as _;
use tests::pretend_pyroscope::PretendPyroscope;

use super::{
    PUSH,
    client::{Answer, ask},
    message::Context,
    row,
};

/// A profile of 10 ns, of now.
fn profile() -> Profile {
    let context = Context {
        service: String::new(),
        now: i64::try_from(UnixNanos::now().0).unwrap(),
    };
    context.message(&row::Profile::default())
}

fn series(service: &str, profile: &Profile) -> RawProfileSeries {
    let labels = [("__name__", "process_cpu"), ("service_name", service)];
    let labels = labels.map(|(name, value)| LabelPair {
        name: name.to_owned(),
        value: value.to_owned(),
    });
    RawProfileSeries {
        labels: labels.to_vec(),
        samples: vec![RawSample {
            raw_profile: profile.encode_to_vec(),
            id: String::new(),
        }],
    }
}

fn push_all(server: &PretendPyroscope, series: Vec<RawProfileSeries>) -> Answer {
    let bytes = PushRequest { series }.encode_to_vec();
    let kind = ("Content-Type".to_owned(), "application/proto".to_owned());
    let headers = BTreeMap::from([kind]);
    ask(
        &server.address().to_string(),
        "POST",
        PUSH,
        &headers,
        &bytes,
    )
}

fn push(server: &PretendPyroscope, profile: &Profile) -> Answer {
    push_all(server, vec![series("rt", profile)])
}
