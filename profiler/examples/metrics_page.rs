//! Writes the tables of `docs/metrics.md` anew: `cargo run -p profiler --example metrics_page`.

use std::{fs, io, path::Path};

use profiler::telemetry::page;

fn main() -> io::Result<()> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/metrics.md");
    let before = fs::read_to_string(&path)?;
    fs::write(&path, page::page(&before))
}
