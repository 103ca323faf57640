//! Automation: see `cargo xtask help`.

fn main() {}
