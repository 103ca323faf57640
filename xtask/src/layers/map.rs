//! Whether ARCHITECTURE.md is true of the code: the files that it names exist, and it has a row for every room and for
//! every facility; and whether the table of processes and the contract know no facility.

use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result};

use crate::workspace::files_below;

const MAP: &str = "ARCHITECTURE.md";
const FACILITIES: &str = "profiler/src/targets/facilities.rs";
/// What no facility may be known to: the table of processes, the contract, and the looks.
const NEUTRAL: [&str; 2] = ["profiler/src/targets/registry", "profiler/src/targets/look"];
const NEUTRAL_FILES: [&str; 3] = [
    "profiler/src/targets/registry.rs",
    "profiler/src/targets/facility.rs",
    "profiler/src/targets/workers.rs",
];

/// What is not so.
pub(super) fn check<'a>(root: &Path, rooms: impl Iterator<Item = &'a str>) -> Result<Vec<String>> {
    let map = read(&root.join(MAP))?;
    let facilities = facilities(&read(&root.join(FACILITIES))?);
    let mut wrong: Vec<String> = paths(&map)
        .filter(|path| !exists(root, path))
        .map(|path| format!("{MAP} names {path}, which does not exist"))
        .collect();
    let has_row = |name: &str| map.lines().any(|line| is_row_of(line, name));
    for room in rooms.filter(|room| !has_row(room)) {
        wrong.push(format!("{MAP} has no row for the room `{room}`"));
    }
    for facility in &facilities {
        let folder = format!("targets/{facility}");
        if !has_row(&folder) && !has_row(&format!("{folder}.rs")) {
            wrong.push(format!("{MAP} has no row for the facility in {folder}"));
        }
    }
    let mut neutral: Vec<_> = NEUTRAL_FILES.iter().map(|file| root.join(file)).collect();
    for folder in NEUTRAL {
        neutral.extend(files_below(&root.join(folder), "rs")?);
    }
    for file in neutral {
        let text = read(&file)?;
        for facility in known_facilities(&text, &facilities) {
            let file = file.strip_prefix(root).unwrap_or(&file).display();
            wrong.push(format!("{file} knows the facility {facility}"));
        }
    }
    Ok(wrong)
}

fn read(path: &Path) -> Result<String> {
    fs::read_to_string(path).with_context(|| format!("failed to read {}", path.display()))
}

/// Paths of Rust files and of folders in backticks: words with a slash in them.
fn paths(text: &str) -> impl Iterator<Item = &str> {
    let is_end = |letter: char| letter.is_whitespace() || "`()|,;:→".contains(letter);
    text.split(is_end).filter(|word| {
        let is_rust = Path::new(word).extension().is_some_and(|it| it == "rs");
        let is_path = is_rust || word.ends_with('/') || word.starts_with("targets/");
        word.contains('/') && is_path && !word.starts_with(['/', '~']) && !word.contains('*')
    })
}

/// Below the root, or below the agent's sources.
fn exists(root: &Path, path: &str) -> bool {
    root.join(path).exists() || root.join("profiler/src").join(path).exists()
}

/// Whether a line is the row of a table that has a name in backticks in one of its cells.
fn is_row_of(line: &str, name: &str) -> bool {
    line.starts_with('|') && line.contains(&format!("`{name}`"))
}

/// The modules of the facilities in their table: those before `::…Facility`.
fn facilities(table: &str) -> Vec<String> {
    let is_name = |letter: char| letter.is_ascii_lowercase() || letter == '_';
    table
        .split([',', '{', '}', ' ', '\n'])
        .filter_map(|path| path.split_once("::"))
        .filter(|(module, name)| {
            name.ends_with("Facility") && *name != "Facility" && module.chars().all(is_name)
        })
        .map(|(module, _)| module.to_owned())
        .collect()
}

/// The facilities that a file of the table of processes uses.
fn known_facilities<'a>(text: &str, facilities: &'a [String]) -> Vec<&'a str> {
    let code = text.split("#[cfg(test)]\nmod ").next().unwrap_or(text);
    let code: Vec<&str> = code
        .lines()
        .filter(|line| !line.trim_start().starts_with("//"))
        .collect();
    let uses = |facility: &String| {
        let path = format!("{facility}::");
        code.iter().any(|line| line.contains(&path))
    };
    facilities
        .iter()
        .filter(|it| uses(it))
        .map(String::as_str)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::{facilities, known_facilities, paths};

    /// Paths are found in prose, tables and drawings; addresses, globs and parts of a path are none.
    #[test]
    fn paths_are_found() {
        let text = "| `run/mod.rs`, `targets/hook` | a.rs → events/decode.rs (b/c/) `/metrics` tests/*.rs and/or";
        let found: Vec<&str> = paths(text).collect();
        assert_eq!(
            found,
            ["run/mod.rs", "targets/hook", "events/decode.rs", "b/c/"]
        );
    }

    /// The modules of the table are found, and whether a file uses one: not in comments.
    #[test]
    fn facilities_are_found() {
        let table = "use super::{\n    facility::Facility, hook::HookFacility, opentelemetry::ContextFacility,\n};";
        let all = facilities(table);
        assert_eq!(all, ["hook", "opentelemetry"]);
        let code = "//! See hook::X.\nuse super::look::Request;\n";
        assert_eq!(known_facilities(code, &all), [""; 0]);
        let code = "use crate::targets::hook::HookFile;\n";
        assert_eq!(known_facilities(code, &all), ["hook"]);
    }
}
