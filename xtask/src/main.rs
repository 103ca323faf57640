//! The program `xtask`, which the launcher runs.

use std::process::ExitCode;

fn main() -> ExitCode {
    xtask::main()
}
