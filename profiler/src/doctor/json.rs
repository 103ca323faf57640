//! What was found, for programs.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::{Found, Sampled, host::State, text::version};
use crate::targets::{Report, python::detect::OffsetsSource};

/// All of it.
pub(super) fn of(found: &Found) -> Value {
    let Found {
        works,
        checks,
        reports,
        refused,
        sampled,
    } = found;
    let host: serde_json::Map<_, _> = checks
        .iter()
        .map(|check| {
            let mut value = json!({
                "ok": check.state == State::Good,
                "stops": check.state == State::Bad,
                "says": check.says,
            });
            if let (Some(remedy), Some(object)) = (&check.remedy, value.as_object_mut()) {
                object.insert("remedy".to_owned(), json!(remedy));
            }
            (check.name.to_owned(), value)
        })
        .collect();
    let processes: Vec<_> = reports
        .iter()
        .map(|report| process_json(report, sampled.as_ref()))
        .collect();
    let refused: Vec<_> = refused
        .iter()
        .map(|(pid, refusal)| json!({"pid": pid.0, "reason": refusal.to_string()}))
        .collect();
    json!({"works": works, "host": host, "processes": processes, "refused": refused})
}

fn process_json(report: &Report, shown: Option<&Sampled>) -> Value {
    let tally = shown.and_then(|it| it.coverage.process(report.pid));
    let unread = shown.and_then(|it| it.unread.get(&report.pid));
    let samples = tally.map(|it| {
        let unattributed = it.by_reason().into_iter();
        let unattributed = unattributed.map(|(reason, sum)| (reason, sum.samples));
        json!({
            "taken": it.samples(),
            "in_spans": it.in_spans.samples,
            "not_recorded": it.not_recorded.samples,
            "in_no_span": it.in_no_span.samples,
            "in_native_threads": it.in_native_threads.samples,
            "unattributed": unattributed.collect::<BTreeMap<_, _>>(),
        })
    });
    json!({
        "pid": report.pid.0,
        "version": report.version.map(version),
        "flavour": report.flavour.map(|it| it.to_string()),
        "offsets": report.offsets.map(OffsetsSource::name),
        "path": report.path,
        "build": report.build,
        "supported": report.unsupported.is_none(),
        "reason": report.unsupported,
        "hook": report.hook,
        "span_source": report.span_source,
        "context_not_read": report.no_context,
        "span_classes_not_read": unread.map_or(&[][..], |it| &**it),
        "thread_states_not_known": report.no_thread_states,
        "other_interpreters": {
            "count": report.other_interpreters.0,
            "not_read": report.other_interpreters.1,
        },
        "pyroscope_sdk": report.pyroscope_sdk,
        "samples": samples,
        "service_name": report.service.name,
        "service_namespace": report.service.namespace,
        "service_named_by": report.service_source,
    })
}
