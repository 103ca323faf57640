//! Checks the packages of distributions: they install, upgrade and uninstall in clean roots, and the agent works.

use std::{
    io::{BufRead as _, BufReader},
    path::Path,
    process::{Child, Command, Stdio},
};

use anyhow::{Context as _, Result, ensure};
use launcher::interpreter;
use xtask::{command::say, python::Environment, workspace::Workspace};

use super::{
    proof,
    roots::{BULLSEYE, Inside, JUDGES, TRIXIE},
};
use crate::{
    folders::{self, Folders},
    image,
    packages::{self, REVISION},
    release::Release,
    tools::Tools,
};

/// The package that an upgrade installs: the same content, as the next package of the version.
const NEXT: &str = "2";
const HAS_DONE: &str = "it installs, records a span, upgrades and uninstalls";

pub(super) fn check(
    workspace: &Workspace,
    tools: &Tools,
    release: &Release,
    folders: &Folders,
) -> Result<()> {
    let all = workspace.target.join("dist-work/packages");
    folders::replace(&folders.out, &all)?;
    packages::deb(tools, release, folders, NEXT, &all)?;
    packages::rpm(tools, release, folders, NEXT, &all)?;
    let workload = Workload::start(workspace, tools)?;
    let scratch = workspace.target.join("dist-work/scratch");
    let run = |root: &Path, target: Option<&Path>, script: &str, arguments: &[&str]| {
        let inside = Inside {
            root,
            target,
            packages: &all,
            scratch: &scratch,
        };
        inside.run(script, arguments)
    };
    let version = format!("{}-{NEXT}", release.version);
    let pid = workload.pid();
    let roots = [&BULLSEYE, &TRIXIE];
    for root in roots {
        let arguments = [
            &packages::deb_name(release, REVISION),
            &packages::deb_name(release, NEXT),
            &*version,
            &pid,
        ];
        let recorded = run(&root.ensure()?, None, include_str!("deb.sh"), &arguments)?;
        proof::shows_the_span(&recorded)
            .with_context(|| format!("the agent of the deb in {}", root.name))?;
        say(&format!("the deb in a clean {}: {HAS_DONE}", root.name));
    }
    let judges = JUDGES.ensure()?;
    for root in roots {
        let arguments = [
            &packages::rpm_name(release, REVISION),
            &packages::rpm_name(release, NEXT),
            &*version,
            &pid,
        ];
        let target = root.ensure()?;
        let recorded = run(&judges, Some(&target), include_str!("rpm.sh"), &arguments)?;
        proof::shows_the_span(&recorded)
            .with_context(|| format!("the agent of the rpm in {}", root.name))?;
        say(&format!("the rpm in a clean {}: {HAS_DONE}", root.name));
    }
    let [deb, rpm] = [
        packages::deb_name(release, REVISION),
        packages::rpm_name(release, REVISION),
    ];
    let image = image::name(release);
    run(
        &judges,
        None,
        include_str!("judges.sh"),
        &[&deb, &rpm, &image, release.version],
    )?;
    say("lintian, rpmlint, skopeo, man and the shells have no objection");
    Ok(())
}

/// A process of the host that burns CPU in spans, without the package; ends with this.
#[derive(Debug)]
struct Workload(Child);

impl Workload {
    fn start(workspace: &Workspace, tools: &Tools) -> Result<Self> {
        let interpreter = interpreter::any().with_context(interpreter::none_found)?;
        let python = Environment {
            folder: workspace.target.join("dist-work/python"),
            interpreter: &interpreter,
            requirements: &[workspace.root.join("tests/cells/3.10.txt")],
            packages: &[],
            inputs: 0,
        }
        .ensure(&tools.pip)?;
        let mut child = Command::new(python)
            .arg(workspace.root.join(proof::PROGRAM))
            .stdout(Stdio::piped())
            .spawn()
            .context("failed to start the workload")?;
        let mut line = String::new();
        if let Some(stdout) = child.stdout.take() {
            BufReader::new(stdout).read_line(&mut line)?;
        }
        let workload = Self(child);
        ensure!(line == "ready\n", "the workload says {line:?}");
        Ok(workload)
    }

    fn pid(&self) -> String {
        self.0.id().to_string()
    }
}

impl Drop for Workload {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
