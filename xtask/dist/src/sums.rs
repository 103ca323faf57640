//! SHA-256 sums, as `sha256sum --check` reads them.

use std::{fmt::Write as _, path::Path};

use anyhow::Result;
use sha2::{Digest as _, Sha256};

use crate::folders;

/// The file with the sums of all the others.
pub(crate) const FILE: &str = "SHA256SUMS";

/// The sum of some bytes in hexadecimal.
pub(crate) fn sha256(bytes: &[u8]) -> String {
    hexadecimal(&Sha256::digest(bytes))
}

/// Bytes as two digits each.
pub(crate) fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut digits, byte| {
        let _ = write!(digits, "{byte:02x}");
        digits
    })
}

/// Writes the sums of all files of a folder into it.
pub(crate) fn write(folder: &Path) -> Result<()> {
    let mut lines = String::new();
    for path in folders::files(folder)? {
        let name = path.strip_prefix(folder)?.display();
        let _ = writeln!(lines, "{}  {name}", sha256(&folders::read(&path)?));
    }
    folders::write(&folder.join(FILE), lines)
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::{FILE, write};
    use crate::folders;

    /// `sha256sum` agrees, and sees a file that was changed afterwards.
    #[test]
    fn sums_can_be_checked() {
        let folder = tempfile::tempdir().unwrap();
        folders::write(&folder.path().join("a/one"), "1").unwrap();
        folders::write(&folder.path().join("two"), "2").unwrap();
        write(folder.path()).unwrap();
        let is_good = || {
            Command::new("sha256sum")
                .args(["--check", "--strict", "--status", FILE])
                .current_dir(folder.path())
                .status()
                .unwrap()
                .success()
        };
        assert!(is_good());
        folders::write(&folder.path().join("a/one"), "3").unwrap();
        assert!(!is_good());
    }
}
