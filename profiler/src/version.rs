//! What this program is, so that a report of a bug can be tied to its sources: version, commit, kernel programs.

use std::{fmt::Write as _, sync::LazyLock};

use ring::digest::{SHA256, digest};

use crate::kernel;

/// The version of the release.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");
/// The commit as 40 hexadecimal digits, with `-modified` behind it if the tree had changes; `unknown` where neither
/// `SPANPROF_COMMIT` nor git has told the build, as in a developer's own builds.
pub const COMMIT: &str = env!("SPANPROF_COMMIT");

static LONG: LazyLock<String> = LazyLock::new(|| {
    let object = object_sha256();
    format!("{VERSION}\ncommit: {COMMIT}\nkernel programs: sha256 {object}")
});

/// The SHA-256 of the object with the kernel programs that is embedded in this program, as `sha256sum` writes it.
pub fn object_sha256() -> String {
    let digest = digest(&SHA256, kernel::OBJECT);
    digest
        .as_ref()
        .iter()
        .fold(String::new(), |mut digits, byte| {
            let _ = write!(digits, "{byte:02x}");
            digits
        })
}

/// What `spanprof --version` says; `-V` says the version alone.
pub fn long() -> &'static str {
    &LONG
}

#[cfg(test)]
mod tests {
    use std::{
        io::Write as _,
        process::{Command, Stdio},
    };

    use super::{COMMIT, VERSION, long};
    use crate::kernel;

    /// The checksum is the one that people get of the object's file; the first line is the version alone, for
    /// programs that read it.
    #[test]
    fn says_what_can_be_checked() {
        let mut sum = Command::new("sha256sum")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        sum.stdin.take().unwrap().write_all(kernel::OBJECT).unwrap();
        let sum = String::from_utf8(sum.wait_with_output().unwrap().stdout).unwrap();
        let sum = sum.split_whitespace().next().unwrap();
        let lines: Vec<&str> = long().lines().collect();
        assert_eq!(
            lines,
            [
                VERSION,
                &format!("commit: {COMMIT}"),
                &format!("kernel programs: sha256 {sum}")
            ]
        );
    }
}
