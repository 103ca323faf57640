//! Circles between the agent's files: files of which each imports the other, itself or by way of others.
//!
//! An import is a path that begins with `crate`, `super` or `self`. What a module re-exports by `pub use` belongs to the
//! file that defines it, and the re-export itself is no import.

use std::collections::{BTreeMap, BTreeSet};

use super::code;

/// Re-exports of re-exports that are followed.
const MOST_EXPORTS: usize = 8;

/// The names of modules, or of a module and what is in it, from the crate's root.
type Names<'a> = Vec<&'a str>;

/// A file, as far as imports go.
#[derive(Default)]
struct File<'a> {
    path: &'a str,
    imports: Vec<Names<'a>>,
    /// What it re-exports, by name.
    exports: BTreeMap<&'a str, Names<'a>>,
}

/// The circles among files, which are paths below the sources and texts without comments and tests: each a line.
pub(super) fn circles<'a>(files: &'a [(String, String)]) -> Vec<String> {
    let files: BTreeMap<Names<'a>, File<'a>> = files
        .iter()
        .filter(|(path, _)| path != "main.rs" && !is_test(path))
        .map(|(path, text)| {
            let module = module(path);
            let file = File::read(path, text, &module);
            (module, file)
        })
        .collect();
    let edges: BTreeMap<&str, BTreeSet<&str>> = files
        .values()
        .map(|file| {
            let owners = file.imports.iter().map(|it| owner(&files, it, 0));
            let others = owners.flatten().filter(|it| *it != file.path);
            (file.path, others.collect())
        })
        .collect();
    let below: BTreeMap<&str, BTreeSet<&str>> = edges
        .keys()
        .map(|file| (*file, reached(&edges, file)))
        .collect();
    let reaches = |from: &str, to: &str| below.get(from).is_some_and(|it| it.contains(to));
    let rings: BTreeSet<Vec<&str>> = edges
        .keys()
        .filter(|file| reaches(file, file))
        .map(|file| {
            let others = edges
                .keys()
                .filter(|it| reaches(file, it) && reaches(it, file));
            others.copied().collect()
        })
        .collect();
    rings
        .into_iter()
        .map(|ring| format!("{} import one another", ring.join(", ")))
        .collect()
}

/// Files that are modules of tests alone.
fn is_test(path: &str) -> bool {
    path.ends_with("/tests.rs") || path.contains("/tests/")
}

/// The module that a file is.
fn module(path: &str) -> Names<'_> {
    let path = path.strip_suffix(".rs").unwrap_or(path);
    let path = path.strip_suffix("/mod").unwrap_or(path);
    path.split('/').filter(|name| *name != "lib").collect()
}

impl<'a> File<'a> {
    fn read(path: &'a str, text: &'a str, module: &Names<'a>) -> Self {
        let mut file = Self {
            path,
            ..Self::default()
        };
        let mut rest = text;
        while let Some((before, statement, after)) = re_export(rest) {
            file.import(before, module);
            for path in expand(statement) {
                let is_ours = path.first().is_some_and(|it| KEYWORDS.contains(it));
                let path = if is_ours {
                    path
                } else {
                    [vec!["self"], path].concat()
                };
                if let Some(name) = path.last() {
                    file.exports.insert(name, absolute(module, &path));
                }
            }
            rest = after;
        }
        file.import(rest, module);
        file
    }

    /// All paths in a piece of text.
    fn import(&mut self, text: &'a str, module: &Names<'a>) {
        for (start, _) in text.match_indices("::") {
            let (before, _) = text.split_at(start);
            let word = before.rsplit(|it: char| !is_of_name(it)).next();
            let word = word.unwrap_or_default();
            let begins = before.len() - word.len();
            let (ahead, path) = text.split_at(begins);
            if KEYWORDS.contains(&word) && !ahead.ends_with(['$', ':']) {
                let paths = expand(path).into_iter();
                self.imports.extend(paths.map(|it| absolute(module, &it)));
            }
        }
    }
}

const KEYWORDS: [&str; 3] = ["crate", "super", "self"];

fn is_of_name(letter: char) -> bool {
    letter.is_alphanumeric() || letter == '_'
}

/// The next re-export: what is before it, its paths, and what comes after it.
fn re_export(text: &str) -> Option<(&str, &str, &str)> {
    let mut from = 0;
    while let Some(found) = text.get(from..)?.find("use ") {
        let start = from + found;
        let (before, statement) = text.split_at(start);
        let line = before.rsplit('\n').next().unwrap_or(before);
        if line.trim_start().starts_with("pub") {
            let (paths, after) = statement.split_once(';')?;
            return Some((before, paths.strip_prefix("use ")?, after));
        }
        from = start + 1;
    }
    None
}

/// The paths that a path with groups in braces stands for; it ends where no path goes on.
fn expand(text: &str) -> Vec<Names<'_>> {
    let mut found = Vec::new();
    path(text, &[], &mut found);
    found
}

/// Reads a path, or a group of paths, behind those names; returns what comes after it.
fn path<'a>(text: &'a str, before: &[&'a str], found: &mut Vec<Names<'a>>) -> &'a str {
    let text = text.trim_start();
    if let Some(group) = text.strip_prefix('{') {
        let mut rest = group.trim_start();
        while !rest.is_empty() && !rest.starts_with('}') {
            rest = path(rest, before, found);
            // An alias, and whatever else is between two paths.
            let next = rest.find([',', '}']).unwrap_or(rest.len());
            let (_, behind) = rest.split_at(next);
            rest = behind.strip_prefix(',').unwrap_or(behind).trim_start();
        }
        return rest.strip_prefix('}').unwrap_or(rest);
    }
    let end = text.find(|it| !is_of_name(it)).unwrap_or(text.len());
    let (name, rest) = text.split_at(end);
    let names = [before, &[name]].concat();
    match rest.strip_prefix("::") {
        Some(more) if more.starts_with(|it| is_of_name(it) || it == '{') => {
            path(more, &names, found)
        }
        _ => {
            found.push(names);
            rest
        }
    }
}

/// A path of a module from the crate's root.
fn absolute<'a>(module: &Names<'a>, path: &[&'a str]) -> Names<'a> {
    let mut names = module.clone();
    let mut path = path;
    while let [keyword, rest @ ..] = path {
        match *keyword {
            "crate" => names.clear(),
            "super" => drop(names.pop()),
            "self" => {}
            _ => break,
        }
        path = rest;
    }
    [names.as_slice(), path].concat()
}

/// The file that defines what a path leads to.
fn owner<'a>(
    files: &BTreeMap<Names<'a>, File<'a>>,
    path: &[&'a str],
    depth: usize,
) -> Option<&'a str> {
    let (file, names) = (0..=path.len()).rev().find_map(|length| {
        let (module, names) = path.split_at(length);
        Some((files.get(module)?, names))
    })?;
    if let [name, rest @ ..] = names
        && let Some(target) = file.exports.get(name)
        && depth < MOST_EXPORTS
    {
        return owner(files, &[target.as_slice(), rest].concat(), depth + 1);
    }
    Some(file.path)
}

/// All files that a file imports, itself or by way of others.
fn reached<'a>(edges: &BTreeMap<&'a str, BTreeSet<&'a str>>, from: &str) -> BTreeSet<&'a str> {
    let mut found = BTreeSet::new();
    let mut next: Vec<&str> = edges.get(from).into_iter().flatten().copied().collect();
    while let Some(file) = next.pop() {
        if found.insert(file) {
            next.extend(edges.get(file).into_iter().flatten());
        }
    }
    found
}

/// The same of texts as they are in the tree.
pub(super) fn of_tree(files: &[(String, String)]) -> Vec<String> {
    let files: Vec<_> = files
        .iter()
        .map(|(path, text)| (path.clone(), code(text)))
        .collect();
    circles(&files)
}

#[cfg(test)]
mod tests {
    use super::of_tree;

    fn found(files: &[(&str, &str)]) -> Vec<String> {
        let files: Vec<_> = files
            .iter()
            .map(|(path, text)| ((*path).to_owned(), (*text).to_owned()))
            .collect();
        of_tree(&files)
    }

    /// Two files, or more, that lead back to where one began; by groups, and by paths in the code.
    #[test]
    fn circles_are_found() {
        let files = [
            ("run/mod.rs", "mod a;\nmod b;\npub fn f() {}"),
            ("run/a.rs", "use super::{b::{B, C as D}, x};"),
            ("run/b.rs", "fn f() { crate::run::c::C }"),
            ("run/c.rs", "use super::a::A;"),
            ("run/d.rs", "use super::a::A;"),
        ];
        assert_eq!(
            found(&files),
            ["run/a.rs, run/b.rs, run/c.rs import one another"]
        );
        let files = [
            ("run/mod.rs", "use self::a::A;\npub fn f() {}"),
            ("run/a.rs", "use super::f;"),
        ];
        assert_eq!(found(&files), ["run/a.rs, run/mod.rs import one another"]);
    }

    /// A re-export is no import, and what it names is where it is defined; tests and comments are free.
    #[test]
    fn what_is_no_circle() {
        let files = [
            (
                "run/mod.rs",
                "mod a;\npub use self::{\n    a::A,\n    b::B,\n};",
            ),
            ("run/a.rs", "use super::B;"),
            (
                "run/b.rs",
                "// super::a\n#[cfg(test)]\nmod tests {\n    use crate::run::A;\n}\n",
            ),
            ("run/b/tests.rs", "use crate::run::A;"),
        ];
        assert_eq!(found(&files), [""; 0]);
    }
}
