//! Checks the systemd unit, its drop-ins, its user and its files, with systemd's own tools on a separate root.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, bail, ensure};

use crate::command::{self, say};
use crate::once::once;
use crate::pythons::debian::{Apt, unpack};
use crate::workspace::{Workspace, files_below};

/// The highest exposure that the unit may have, in tenths, by `systemd-analyze security`.
const MOST_EXPOSED: u8 = 25;
/// The release of Debian whose systemd is fetched if this machine has none.
const SUITE: &str = "trixie";
const UNIT: &str = "spanprof.service";
/// The capabilities that the unit and the chart ask for.
const CAPABILITIES: [&str; 6] = [
    "BPF",
    "PERFMON",
    "SYS_PTRACE",
    "DAC_READ_SEARCH",
    "SYSLOG",
    "CHECKPOINT_RESTORE",
];
/// Further capabilities that drop-ins may ask for.
const MORE: [&str; 2] = ["SYS_ADMIN", "SYS_RESOURCE"];
/// The settings of a unit that name capabilities. systemd silently ignores names that it does not know.
const OF_CAPABILITIES: [&str; 2] = ["AmbientCapabilities=", "CapabilityBoundingSet="];
/// The folder of the distribution's units.
const UNITS: &str = "usr/lib/systemd/system";

/// The tools of a systemd; systemd itself need not run.
struct Systemd {
    /// The root folder in which they are: `/`, or that of what was fetched.
    root: PathBuf,
}

impl Systemd {
    /// The tools of this machine; if it has none, those of Debian.
    fn ensure(workspace: &Workspace) -> Result<Self> {
        let tools = ["systemd-analyze", "systemd-sysusers", "systemd-tmpfiles"];
        let has = |name| Path::new("/usr/bin").join(name).is_file();
        let has_units = Path::new("/").join(UNITS).join("sysinit.target").is_file();
        if has_units && tools.into_iter().all(has) {
            return Ok(Self { root: "/".into() });
        }
        let folder = workspace.target.join("deploy/systemd");
        once(&folder, SUITE, |folder| {
            say(&format!(
                "fetching systemd of Debian {SUITE} into {}: its tools only, nothing is started",
                folder.display()
            ));
            // Its downloads are removed with it.
            let apt = Apt::new(SUITE)?;
            let mut packages = apt.download(&["base-files", "libc6", "systemd"])?;
            // It makes the links of a merged /usr, through which the others are unpacked.
            packages.sort_by_key(|path| !path.to_string_lossy().contains("/base-files_"));
            packages
                .iter()
                .try_for_each(|package| unpack(package, folder))
        })?;
        Ok(Self { root: folder })
    }

    /// One of the tools; a fetched tool is run with the libraries that were fetched with it.
    fn tool(&self, name: &str) -> Command {
        let program = self.root.join("usr/bin").join(name);
        if self.root == Path::new("/") {
            return Command::new(program);
        }
        let libraries = self.root.join("usr/lib/x86_64-linux-gnu");
        let mut command = Command::new(self.root.join("lib64/ld-linux-x86-64.so.2"));
        command
            .arg("--library-path")
            .arg(format!(
                "{}:{}/systemd",
                libraries.display(),
                libraries.display()
            ))
            .arg(program);
        command
    }
}

/// Fails if systemd would not accept the unit as it is, or rates its exposure as too high.
pub(super) fn check(workspace: &Workspace) -> Result<()> {
    let systemd = Systemd::ensure(workspace)?;
    let folder = workspace.root.join("deploy/systemd");
    let drop_ins = files_below(&folder.join("drop-ins"), "conf")?;
    ensure!(!drop_ins.is_empty(), "there are no drop-ins");
    let alone = Root::with(&systemd, &folder, &[])?;
    alone.verify(&systemd)?;
    alone.is_closed(&systemd)?;
    let example = workspace.root.join("deploy/helm/examples/default.yaml");
    let chart = of_chart(&fs::read_to_string(&example).context("the chart's example")?);
    ensure!(chart == CAPABILITIES, "the chart asks for {chart:?}");
    for found in of_unit(&fs::read_to_string(folder.join(UNIT))?) {
        ensure!(found == CAPABILITIES, "the unit asks for {found:?}");
    }
    for drop_in in &drop_ins {
        for found in of_unit(&fs::read_to_string(drop_in)?) {
            ensure!(
                found.iter().all(|name| MORE.contains(&name.as_str())),
                "{} asks for {found:?}",
                drop_in.display()
            );
        }
        Root::with(&systemd, &folder, &[drop_in])?
            .verify(&systemd)
            .with_context(|| drop_in.display().to_string())?;
    }
    alone.user_and_files(&systemd, &folder)
}

/// The capabilities that each setting of a unit names, without `CAP_`.
fn of_unit(text: &str) -> Vec<Vec<String>> {
    let settings = text.lines().filter_map(|line| {
        OF_CAPABILITIES
            .iter()
            .find_map(|setting| line.strip_prefix(setting))
    });
    settings
        .map(|names| {
            let names = names.split_whitespace();
            names
                .map(|name| name.strip_prefix("CAP_").unwrap_or(name).to_owned())
                .collect()
        })
        .collect()
}

/// The capabilities that a rendered `DaemonSet` adds.
fn of_chart(text: &str) -> Vec<String> {
    let added = text
        .lines()
        .map(str::trim)
        .skip_while(|line| *line != "add:")
        .skip(1);
    added
        .map_while(|line| line.strip_prefix("- "))
        .map(str::to_owned)
        .collect()
}

/// A root folder with the unit and what it needs to be judged.
struct Root(tempfile::TempDir);

impl Root {
    fn with(systemd: &Systemd, from: &Path, drop_ins: &[&PathBuf]) -> Result<Self> {
        let root = Self(tempfile::tempdir().context("failed to create a temporary folder")?);
        let units = root.path(UNITS);
        let own = units.join(format!("{UNIT}.d"));
        for folder in [
            &own,
            &root.path("usr/bin"),
            &root.path("etc"),
            &root.path("run"),
        ] {
            fs::create_dir_all(folder)?;
        }
        // The units that the unit is ordered after.
        for target in files_below(&systemd.root.join(UNITS), "target")? {
            fs::copy(&target, units.join(target.file_name().unwrap_or_default()))?;
        }
        fs::copy(from.join(UNIT), units.join(UNIT))?;
        for drop_in in drop_ins {
            fs::copy(drop_in, own.join(drop_in.file_name().unwrap_or_default()))?;
        }
        // It is never run, it only has to exist.
        let program = root.path("usr/bin/spanprof");
        fs::write(&program, "#!/bin/sh\n")?;
        fs::set_permissions(&program, Permissions::from_mode(0o755))?;
        Ok(root)
    }

    fn path(&self, inside: &str) -> PathBuf {
        self.0.path().join(inside)
    }

    /// A tool that works on this root.
    fn tool(&self, systemd: &Systemd, name: &str) -> Command {
        let mut command = systemd.tool(name);
        command.arg(format!("--root={}", self.0.path().display()));
        command
    }

    /// systemd knows every line of the unit and finds no error; of some wrong lines it only says that it ignores them.
    fn verify(&self, systemd: &Systemd) -> Result<()> {
        let mut verify = self.tool(systemd, "systemd-analyze");
        let output = verify.args(["verify", "--man=no", UNIT]).output();
        let output = output.context("failed to start systemd-analyze")?;
        let said = String::from_utf8_lossy(&output.stderr);
        if !output.status.success() || !said.trim().is_empty() {
            bail!("systemd-analyze verify: {}", said.trim());
        }
        Ok(())
    }

    fn is_closed(&self, systemd: &Systemd) -> Result<()> {
        let mut security = self.tool(systemd, "systemd-analyze");
        security.args(["security", "--offline=yes", "--no-pager"]);
        security.arg(format!("--threshold={MOST_EXPOSED}"));
        let output = security.arg(UNIT).output();
        let output = output.context("failed to start systemd-analyze")?;
        let said = String::from_utf8_lossy(&output.stdout);
        let verdict = said.trim_end().lines().next_back().unwrap_or_default();
        if !output.status.success() {
            bail!("the unit is too exposed, or cannot be judged: {said}");
        }
        say(verdict.trim_matches(|letter: char| !letter.is_ascii() || letter == ' '));
        Ok(())
    }

    /// systemd's tools make the user, and the files that belong to it.
    fn user_and_files(&self, systemd: &Systemd, from: &Path) -> Result<()> {
        let sysusers = self
            .tool(systemd, "systemd-sysusers")
            .arg(from.join("spanprof.sysusers.conf"))
            .output()
            .context("failed to start systemd-sysusers")?;
        let passwd = fs::read_to_string(self.path("etc/passwd")).unwrap_or_default();
        if !sysusers.status.success() || !passwd.contains("spanprof:") {
            bail!(
                "systemd-sysusers makes no user: {}",
                String::from_utf8_lossy(&sysusers.stderr)
            );
        }
        if !command::is_root() {
            say("skipped: systemd-tmpfiles gives files to another user, which needs root");
            return Ok(());
        }
        command::run(
            self.tool(systemd, "systemd-tmpfiles")
                .arg("--create")
                .arg(from.join("spanprof.tmpfiles.conf")),
        )?;
        for (folder, expected) in [("etc/spanprof", 0o750), ("etc/spanprof/secrets", 0o700)] {
            let found = fs::metadata(self.path(folder))
                .with_context(|| format!("systemd-tmpfiles made no {folder}"))?;
            let mode = found.permissions().mode() & 0o777;
            ensure!(mode == expected, "{folder} is open to others: {mode:o}");
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::{of_chart, of_unit};

    /// Names are read from their settings only.
    #[test]
    fn capabilities() {
        let unit =
            "# AmbientCapabilities=CAP_KILL\nAmbientCapabilities=CAP_BPF CAP_SYSLOG\nUser=a\n";
        assert_eq!(of_unit(unit), [["BPF", "SYSLOG"]]);
        let chart = "  drop: [ALL]\n  add:\n    - BPF\n    - SYSLOG\n  seccompProfile:\n    - X\n";
        assert_eq!(of_chart(chart), ["BPF", "SYSLOG"]);
    }
}
