//! A Flask app under gunicorn (`tests/programs/shop.py`), and its customers.

#![expect(
    clippy::missing_panics_doc,
    clippy::expect_used,
    reason = "a test cannot go on without its service"
)]

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
};

use serde_json::Value;
use tempfile::TempDir;

use crate::{
    http,
    process::{Running, Signal, eventually},
    python::{Python, program},
};

/// Customers at a time: more than workers, so that those always have work.
const CUSTOMERS: usize = 4;
const WORKERS: usize = 2;
const PATHS: [&str; 2] = ["/search/lamp", "/checkout"];

/// A running app, with worker processes forked by gunicorn.
#[derive(Debug)]
pub struct Shop {
    running: Running,
    address: String,
    /// Its workers' pids.
    pub workers: BTreeSet<String>,
    folder: TempDir,
}

/// A span that the app's own exporter reported.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReportedSpan {
    /// Its name.
    pub name: String,
    /// 32 hex digits.
    pub trace_id: String,
    /// The id of its parent, if it has one.
    pub parent: Option<String>,
}

impl Shop {
    /// Starts it under this service name; returns when all workers answer.
    pub fn start(python: &Python, name: &str) -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let mut command = python.command();
        command
            .args(["-m", "gunicorn", "--bind", "127.0.0.1:0", "--workers"])
            .args([&WORKERS.to_string(), "--chdir"])
            .arg(program(""))
            .arg("shop:app")
            .env("SHOP_NAME", name)
            .env("SPANS_FILE", folder.path().join("spans"));
        let running = Running::start(&mut command);
        let line = running.stderr.wait_for("Listening at: http://");
        let address = line
            .split("http://")
            .nth(1)
            .and_then(|it| it.split(' ').next());
        let address = address.expect("an address").to_owned();
        let mut workers = BTreeSet::new();
        eventually("an answer of every worker", || {
            workers.insert(http::get(&address, "/pid"));
            (workers.len() == WORKERS).then_some(())
        });
        Self {
            running,
            address,
            workers,
            folder,
        }
    }

    /// Sends this many requests, and waits for their answers.
    pub fn serve(&self, requests: usize) {
        http::load(CUSTOMERS, requests, |number| {
            let path = PATHS.iter().cycle().nth(number % PATHS.len());
            http::get(&self.address, path.expect("endless"));
        });
    }

    /// Stops it, and returns what its exporter reported, by span id.
    pub fn stop(self) -> BTreeMap<String, ReportedSpan> {
        self.running.signal(Signal::TERM);
        let ended = self.running.wait();
        assert!(ended.status.success(), "{ended:#?}");
        let lines = fs::read_to_string(self.folder.path().join("spans")).expect("spans");
        lines.lines().map(reported).collect()
    }
}

fn reported(line: &str) -> (String, ReportedSpan) {
    let span: Value = serde_json::from_str(line).expect("the exporter writes JSON");
    let text = |key: &str| span.get(key).and_then(Value::as_str).map(str::to_owned);
    let reported = ReportedSpan {
        name: text("name").expect("a name"),
        trace_id: text("trace_id").expect("a trace id"),
        parent: text("parent"),
    };
    (text("span_id").expect("a span id"), reported)
}
