//! The table of values in the chart's README, made from the comments of `values.yaml`.

use std::collections::BTreeMap;
use std::fs;

use anyhow::{Context as _, Result, bail};

use super::{chart, generated::Generated};
use crate::workspace::Workspace;

/// The beginning of a comment that describes a value.
const MARK: &str = "# -- ";
/// The table is between these lines of the README.
const BEGIN: &str = "<!-- values: cargo xtask deploy --update -->\n";
const END: &str = "<!-- end of values -->\n";

/// A value, as a row of the table.
#[derive(Debug, PartialEq, Eq)]
struct Row {
    path: String,
    default: String,
    words: String,
}

/// The README with the table of the current values.
pub(super) fn table(workspace: &Workspace) -> Result<Generated> {
    let folder = chart::folder(workspace);
    let readme = fs::read_to_string(folder.join("README.md")).context("the chart's README.md")?;
    let values =
        fs::read_to_string(folder.join("values.yaml")).context("the chart's values.yaml")?;
    let (before, rest) = readme
        .split_once(BEGIN)
        .with_context(|| format!("README.md has no line {BEGIN}"))?;
    let (_, after) = rest
        .split_once(END)
        .with_context(|| format!("README.md has no line {END}"))?;
    let table = in_words(&rows(&values)?);
    Ok(Generated {
        folder,
        files: BTreeMap::from([(
            "README.md".to_owned(),
            format!("{before}{BEGIN}{table}{END}{after}"),
        )]),
        owns: None,
    })
}

fn in_words(rows: &[Row]) -> String {
    let head = "| value | default | what it is |\n|---|---|---|\n".to_owned();
    rows.iter().fold(head, |table, row| {
        let Row {
            path,
            default,
            words,
        } = row;
        format!("{table}| `{path}` | `{default}` | {words} |\n")
    })
}

/// Reads only the form that the file has: comments, keys indented by two blanks, and lists on the last level.
fn rows(values: &str) -> Result<Vec<Row>> {
    let mut rows: Vec<Row> = Vec::new();
    let mut parents: Vec<&str> = Vec::new();
    let mut words = None;
    for line in values.lines() {
        let text = line.trim_start();
        let depth = (line.len() - text.len()) / 2;
        if let Some(found) = text.strip_prefix(MARK) {
            words = Some(found);
        } else if let Some(item) = text.strip_prefix("- ") {
            let row = rows.last_mut().context("a list of no value")?;
            row.default = format!("[{{{item}}}]");
        } else if let Some((key, default)) = text.split_once(':')
            && !text.starts_with('#')
        {
            parents.truncate(depth);
            parents.push(key);
            match words.take() {
                Some(words) => rows.push(Row {
                    path: parents.join("."),
                    default: default.trim().to_owned(),
                    words: words.replace('|', r"\|"),
                }),
                None if !default.trim().is_empty() => {
                    bail!("values.yaml does not say what {} is", parents.join("."))
                }
                None => {}
            }
        }
    }
    Ok(rows)
}

#[cfg(test)]
mod tests {
    use super::{Row, in_words, rows};

    /// Values have their parents' names before them; a value without a description is refused.
    #[test]
    fn values_become_rows() {
        let found = rows(
            "# of the file\nimage:\n  # -- where | from\n  tag: \"\"\n# -- taints\ntolerations:\n  - operator: Exists\n",
        )
        .unwrap();
        let row = |path: &str, default: &str, words: &str| Row {
            path: path.to_owned(),
            default: default.to_owned(),
            words: words.to_owned(),
        };
        assert_eq!(
            found,
            [
                row("image.tag", "\"\"", r"where \| from"),
                row("tolerations", "[{operator: Exists}]", "taints"),
            ]
        );
        assert!(
            in_words(&found).ends_with("| `tolerations` | `[{operator: Exists}]` | taints |\n")
        );
        let error = rows("image:\n  tag: 1\n").unwrap_err();
        assert!(error.to_string().contains("image.tag"), "{error}");
    }
}
