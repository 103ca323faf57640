//! Checks which rooms of the agent (`profiler/src`) use which others, against the table below, and that no files import
//! one another.

mod circles;
mod map;

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result, bail};

use crate::command::say;
use crate::workspace::{Workspace, files_below};

/// Check that each room of the agent uses only the rooms that it may use
///
/// Reads the paths that begin with `crate::` in `profiler/src`, except in test modules. Also finds files that import one
/// another, and checks that ARCHITECTURE.md is true.
#[derive(clap::Args)]
pub(crate) struct Arguments {}

/// What a room may use.
enum Uses {
    /// These rooms and itself.
    Only(&'static [&'static str]),
    /// Every room but the [`TOP`], which only the top itself may use.
    Middle,
    /// Every room.
    Any,
}

/// The rooms that put the others together.
const TOP: [&str; 4] = ["run", "record", "agent", "doctor"];

/// The rooms in the order in which data flows through them. A stage knows the types that it takes, and
/// never the stage that takes its output.
const ROOMS: [(&str, Uses); 29] = [
    ("arch", Uses::Only(&[])),
    ("id", Uses::Only(&[])),
    ("time", Uses::Only(&["id"])),
    ("health", Uses::Only(&["id", "time"])),
    ("by_process", Uses::Only(&["id"])),
    ("measure", Uses::Only(&[])),
    ("rights", Uses::Only(&[])),
    (
        "kernel",
        Uses::Only(&["arch", "rights", "id", "time", "health", "measure"]),
    ),
    (
        "events",
        Uses::Only(&["kernel", "id", "time", "health", "measure"]),
    ),
    // It uses only the notices of `events`, which `run` passes to it.
    (
        "targets",
        Uses::Only(&["arch", "kernel", "events", "id", "time", "health"]),
    ),
    (
        "join",
        Uses::Only(&["by_process", "events", "id", "time", "health", "measure"]),
    ),
    (
        "symbolize",
        Uses::Only(&[
            "by_process",
            "join",
            "events",
            "targets",
            "rights",
            "id",
            "time",
            "health",
            "measure",
        ]),
    ),
    (
        "profile",
        Uses::Only(&[
            "symbolize",
            "join",
            "events",
            "id",
            "time",
            "health",
            "measure",
        ]),
    ),
    (
        "export",
        Uses::Only(&["profile", "rights", "id", "time", "health", "measure"]),
    ),
    (
        "pipeline",
        Uses::Only(&[
            // Of `kernel` how much it remembers.
            "kernel",
            "events",
            "join",
            "symbolize",
            "profile",
            "targets",
            "id",
            "time",
            "health",
            "measure",
        ]),
    ),
    (
        "telemetry",
        Uses::Only(&[
            "export", "kernel", "version", "rights", "id", "time", "health",
        ]),
    ),
    ("runtime", Uses::Only(&["rights"])),
    ("host", Uses::Only(&[])),
    ("signals", Uses::Only(&["time"])),
    ("output", Uses::Only(&[])),
    ("cli", Uses::Only(&[])),
    ("version", Uses::Only(&["kernel"])),
    ("config", Uses::Middle),
    ("run", Uses::Any),
    ("record", Uses::Any),
    ("agent", Uses::Any),
    ("doctor", Uses::Any),
    ("main", Uses::Any),
    ("lib", Uses::Any),
];

/// Runs the subcommand.
pub(crate) fn run(_: &Arguments) -> Result<()> {
    check(&Workspace::locate()?)?;
    say("layers: clean");
    Ok(())
}

/// Fails if a room of the agent uses what it must not.
pub(crate) fn check(workspace: &Workspace) -> Result<()> {
    let folder = workspace.root.join("profiler/src");
    let mut violations = Vec::new();
    let mut files = Vec::new();
    for file in files_below(&folder, "rs")? {
        let text = fs::read_to_string(&file)
            .with_context(|| format!("failed to read {}", file.display()))?;
        let inside = file.strip_prefix(&folder).unwrap_or(&file);
        violations.extend(
            check_file(inside, &text)
                .into_iter()
                .map(|violation| format!("profiler/src/{}: {violation}", inside.display())),
        );
        files.push((inside.display().to_string(), text));
    }
    if !violations.is_empty() {
        bail!(
            "the table of xtask/src/layers.rs forbids\n  {}",
            violations.join("\n  ")
        );
    }
    let circles = circles::of_tree(&files);
    if !circles.is_empty() {
        bail!("circles in profiler/src:\n  {}", circles.join("\n  "));
    }
    // The program and the crate's root put nothing together that `run` and the commands do not.
    let rooms = ROOMS.iter().map(|(name, _)| *name);
    let wrong = map::check(
        &workspace.root,
        rooms.filter(|name| !["main", "lib"].contains(name)),
    )?;
    if !wrong.is_empty() {
        bail!("the map is not true:\n  {}", wrong.join("\n  "));
    }
    Ok(())
}

/// The forbidden uses in one file of the agent.
fn check_file(path: &Path, text: &str) -> Vec<String> {
    let Some(room) = room_of(path) else {
        return Vec::new();
    };
    let Some((_, uses)) = ROOMS.iter().find(|(name, _)| *name == room) else {
        return vec![format!("the room `{room}` is not in the table")];
    };
    used_rooms(&code(text))
        .into_iter()
        // A name that is not a room is an item of the crate's root.
        .filter(|used| *used != room && ROOMS.iter().any(|(name, _)| name == used))
        .filter(|used| match uses {
            Uses::Only(allowed) => !allowed.contains(used),
            Uses::Middle => TOP.contains(used),
            Uses::Any => false,
        })
        .map(|used| format!("`{room}` must not use `{used}`"))
        .collect()
}

/// The first folder, or the file's stem at the top.
fn room_of(path: &Path) -> Option<&str> {
    let first = path.components().next()?.as_os_str().to_str()?;
    Some(first.strip_suffix(".rs").unwrap_or(first))
}

/// A text without comments, and without what is compiled for tests alone.
fn code(text: &str) -> String {
    let mut kept = String::new();
    let mut lines = text.lines();
    while let Some(line) = lines.next() {
        if line.trim() == "#[cfg(test)]" {
            skip_item(&mut lines);
        } else {
            kept.push_str(line.split("//").next().unwrap_or(line));
            kept.push('\n');
        }
    }
    kept
}

/// Goes behind an item as rustfmt lays it out: one line, or until a line ends it that begins in the same column.
fn skip_item<'a>(lines: &mut impl Iterator<Item = &'a str>) {
    let Some(first) = lines.find(|line| !line.trim_start().starts_with("#[")) else {
        return;
    };
    if !first.ends_with(['{', '(']) {
        return;
    }
    let column = |line: &str| line.len() - line.trim_start().len();
    lines.find(|line| column(line) == column(first) && line.trim_start().starts_with(['}', ')']));
}

/// The first names behind every `crate::` of a text without comments.
fn used_rooms(code: &str) -> BTreeSet<&str> {
    let mut used = BTreeSet::new();
    let mut rest = code;
    while let Some(position) = rest.find("crate::") {
        let (before, after) = rest.split_at(position);
        let after = after.trim_start_matches("crate::");
        rest = after;
        // `$crate::` and `other_crate::` do not count.
        let is_path = !before.ends_with(|last: char| last.is_alphanumeric() || "_$".contains(last));
        if is_path {
            names(after, &mut used);
        }
    }
    used
}

/// The leading name of a path, or of each path of a group in braces.
fn names<'a>(path: &'a str, used: &mut BTreeSet<&'a str>) {
    let Some(group) = path.strip_prefix('{') else {
        used.extend(leading_name(path));
        return;
    };
    let mut depth = 0_u32;
    let mut item = group;
    for (position, letter) in group.char_indices() {
        match letter {
            '{' => depth += 1,
            '}' if depth > 0 => depth -= 1,
            '}' | ',' if depth == 0 => {
                used.extend(leading_name(item));
                if letter == '}' {
                    return;
                }
                item = group.get(position + 1..).unwrap_or_default();
            }
            _ => {}
        }
    }
}

fn leading_name(path: &str) -> Option<&str> {
    let path = path.trim_start();
    let end = path
        .find(|letter: char| !letter.is_alphanumeric() && letter != '_')
        .unwrap_or(path.len());
    path.get(..end).filter(|name| !name.is_empty())
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::{check_file, used_rooms};

    fn violations(path: &str, text: &str) -> Vec<String> {
        check_file(Path::new(path), text)
    }

    /// A stage may use the stage before it, but not the one after.
    #[test]
    fn data_moves_right() {
        assert_eq!(
            violations("join/spans.rs", "use crate::events::Event;"),
            [""; 0]
        );
        assert_eq!(
            violations("join/spans.rs", "use crate::symbolize::Frame;"),
            ["`join` must not use `symbolize`"]
        );
    }

    /// Groups, nested groups and paths in the code are all read.
    #[test]
    fn every_form_is_read() {
        let text = "use crate::{\n    events::{Event, Kind},\n    id::Pid,\n    time,\n};\n\
            fn f() -> crate::profile::Profile { $crate::run!(); other_crate::agent() }\n";
        assert_eq!(
            used_rooms(text).into_iter().collect::<Vec<_>>(),
            ["events", "id", "profile", "time"]
        );
    }

    /// Comments and the test module are not checked.
    #[test]
    fn comments_and_tests_are_free() {
        let text = "//! See [`crate::export`].\nuse crate::id::Pid; // not crate::run\n\
            #[cfg(test)]\nmod tests {\n    use crate::run::start;\n}\n";
        assert_eq!(violations("join.rs", text), [""; 0]);
        // What comes after a test module in another file is checked.
        let text = "#[cfg(test)]\nmod tests;\n\nuse crate::run::start;\n";
        assert_eq!(violations("join.rs", text), ["`join` must not use `run`"]);
    }

    /// No room of the pipe may use the rooms that put it together, and the command line may use no room.
    #[test]
    fn top_is_unknown_below() {
        assert_eq!(violations("main.rs", "use crate::record;"), [""; 0]);
        assert_eq!(
            violations("config.rs", "use crate::{cli, agent};"),
            ["`config` must not use `agent`"]
        );
        assert_eq!(
            violations("cli.rs", "use crate::config::Config;"),
            ["`cli` must not use `config`"]
        );
    }

    /// A room that is not in the table is refused; an item of the crate's root is not a room.
    #[test]
    fn unknown_rooms() {
        assert_eq!(
            violations("helpers/mod.rs", ""),
            ["the room `helpers` is not in the table"]
        );
        assert_eq!(violations("id.rs", "use crate::Error;"), [""; 0]);
    }
}
