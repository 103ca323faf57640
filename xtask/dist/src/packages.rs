//! The packages of distributions, and a tar file for other distributions. The list of their files is in
//! `profiler/Cargo.toml`, where cargo-deb and cargo-generate-rpm look for it.

use std::{fs::File, path::Path, process::Command};

use anyhow::{Context as _, Result};
use xtask::command;

use crate::{
    archive::{self, Entry},
    binary,
    folders::{self, Folders},
    pages,
    release::{self, Release},
    tools::Tools,
};

/// The folder in the copy of the tree with the generated files for the packages.
pub(crate) const GENERATED: &str = "profiler/generated";
/// The number of the package among those of one version.
pub(crate) const REVISION: &str = "1";
/// Files of `deploy/systemd` that are installed; the others are examples, and are packed with the documents.
const PLACED: [&str; 4] = [
    "spanprof.service",
    "spanprof.sysusers.conf",
    "spanprof.tmpfiles.conf",
    "spanprof.toml",
];

/// Lays out the files of the packages that are not in the tree.
pub(crate) fn lay_out(generated: &Path, binary: &Path, release: &Release) -> Result<()> {
    let root = generated.ancestors().nth(2).unwrap_or(generated);
    folders::write(&generated.join("spanprof"), folders::read(binary)?)?;
    pages::write(generated, release)?;
    folders::write(&generated.join("changelog"), changelog(release)?)?;
    let documents = generated.join("doc");
    folders::write(
        &documents.join("changelog.gz"),
        archive::gzip(&folders::read(&root.join("CHANGELOG.md"))?)?,
    )?;
    for path in folders::files(&root.join("deploy/systemd"))? {
        let name = path.file_name().unwrap_or_default();
        if !PLACED.iter().any(|placed| name == *placed) {
            folders::write(&documents.join(name), folders::read(&path)?)?;
        }
    }
    Ok(())
}

/// The changelog that Debian requires: <https://www.debian.org/doc/debian-policy/ch-source.html#s-dpkgchangelog>.
fn changelog(release: &Release) -> Result<String> {
    let date = httpdate::fmt_http_date(release.time()?).replace("GMT", "+0000");
    Ok(format!(
        "spanprof ({}-{REVISION}) unstable; urgency=medium\n\n  * changelog.gz says what is new.\n  * Commit {}\n\n \
         -- The spanprof developers <spanprof@users.noreply.github.com>  {date}\n",
        release.version, release.commit
    ))
}

/// Packs binary, pages, completions and licences into one tar file.
pub(crate) fn tarball(generated: &Path, release: &Release, folders: &Folders) -> Result<()> {
    let name = format!("spanprof-{}-x86_64-linux-musl", release.version);
    let mut entries = vec![Entry::folder(&name)];
    for folder in ["man", "completions", "doc"] {
        entries.push(Entry::folder(&format!("{name}/{folder}")));
        for path in folders::files(&generated.join(folder))? {
            let inside = path.strip_prefix(generated)?.display();
            let bytes = folders::read(&path)?;
            entries.push(Entry::file(format!("{name}/{inside}"), bytes));
        }
    }
    for file in ["LICENSE-APACHE", "LICENSE-MIT", "README.md"] {
        let bytes = folders::read(&folders.source.join(file))?;
        entries.push(Entry::file(format!("{name}/{file}"), bytes));
    }
    let program = folders::read(&generated.join("spanprof"))?;
    entries.push(Entry::program(format!("{name}/spanprof"), program));
    let packed = archive::gzip(&archive::tar(&entries, release.epoch)?)?;
    folders::write(&folders.out.join(format!("{name}.tar.gz")), packed)
}

/// Makes the deb of a revision in `out`.
pub(crate) fn deb(
    tools: &Tools,
    release: &Release,
    folders: &Folders,
    revision: &str,
    out: &Path,
) -> Result<()> {
    let mut command = of_tool(&tools.of_agent()?.deb, release, folders);
    command
        .args(["--no-build", "--no-strip", "--locked", "--quiet"])
        .args(["--package", "profiler", "--target", binary::TARGET])
        .args(["--deb-revision", revision, "--output"])
        .arg(out.join(deb_name(release, revision)));
    command::run(&mut command)
}

/// The deb's file.
pub(crate) fn deb_name(release: &Release, revision: &str) -> String {
    format!("spanprof_{}-{revision}_amd64.deb", release.version)
}

/// Makes the rpm of a revision in `out`.
pub(crate) fn rpm(
    tools: &Tools,
    release: &Release,
    folders: &Folders,
    revision: &str,
    out: &Path,
) -> Result<()> {
    // The tool uses a file's own time if it is before the commit's, as that of a file that was copied earlier.
    let mut packed = ["LICENSE-APACHE", "LICENSE-MIT", "README.md", "CHANGELOG.md"]
        .map(|file| folders.source.join(file))
        .to_vec();
    for folder in ["deploy", GENERATED] {
        packed.extend(folders::files(&folders.source.join(folder))?);
    }
    for path in packed {
        set_time(&path, release)?;
    }
    let mut command = of_tool(&tools.of_agent()?.generate_rpm, release, folders);
    command
        .args(["--package", "profiler", "--target", binary::TARGET])
        .args(["--set-metadata", &format!("release = \"{revision}\"")])
        // rpm itself writes Zstandard today, but all versions since 4.14 read gzip, such as that of RHEL 8.
        .args(["--payload-compress", "gzip", "--output"])
        .arg(out.join(rpm_name(release, revision)));
    command::run(&mut command)
}

/// Gives a file the time of the commit.
fn set_time(path: &Path, release: &Release) -> Result<()> {
    let time = release.time()?;
    let file = File::options().append(true).open(path);
    file.and_then(|file| file.set_modified(time))
        .with_context(|| format!("failed to set the time of {}", path.display()))
}

/// The rpm's file.
pub(crate) fn rpm_name(release: &Release, revision: &str) -> String {
    format!("spanprof-{}-{revision}.x86_64.rpm", release.version)
}

fn of_tool(program: &Path, release: &Release, folders: &Folders) -> Command {
    let mut command = Command::new(program);
    command
        .current_dir(&folders.source)
        .env("CARGO_TARGET_DIR", &folders.target)
        .env(release::EPOCH, release.epoch.to_string());
    command
}
