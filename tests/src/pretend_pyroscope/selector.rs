//! Selectors of series: `{name="value", "dotted.name"!="value", name=~"a|b.*"}`.

use super::{refusal::Refusal, store::StoredProfile};

/// Conditions on labels, all of which must hold.
#[derive(Debug)]
pub(super) struct Selector(Vec<Matcher>);

#[derive(Debug)]
struct Matcher {
    name: String,
    is_wanted: bool,
    value: Value,
}

#[derive(Debug)]
enum Value {
    Exactly(String),
    /// Alternatives of a regular expression in which nothing is special but `|`, `.*` and `.+`.
    Like(Vec<String>),
}

impl Selector {
    pub(super) fn parse(text: &str) -> Result<Self, Refusal> {
        let parsed = Self::matchers(text.trim());
        parsed
            .map(Self)
            .ok_or_else(|| Refusal::invalid(format!("parse error: unexpected selector {text:?}")))
    }

    fn matchers(text: &str) -> Option<Vec<Matcher>> {
        let mut rest = text.strip_prefix('{')?.strip_suffix('}')?.trim();
        let mut matchers = Vec::new();
        while !rest.is_empty() {
            let (name, after) = name(rest)?;
            let (operator, after) = operator(after.trim_start())?;
            let (value, after) = quoted(after.trim_start())?;
            matchers.push(Matcher {
                name,
                is_wanted: operator.starts_with('='),
                value: if operator.ends_with('~') {
                    Value::Like(value.split('|').map(str::to_owned).collect())
                } else {
                    Value::Exactly(value)
                },
            });
            rest = after.trim_start();
            if !rest.is_empty() {
                rest = rest.strip_prefix(',')?.trim_start();
            }
        }
        Some(matchers)
    }

    pub(super) fn is_met(&self, profile: &StoredProfile) -> bool {
        self.0.iter().all(|matcher| {
            // A label that is not there is an empty one.
            let value = profile.label(&matcher.name).unwrap_or_default();
            let is_met = match &matcher.value {
                Value::Exactly(text) => text == value,
                Value::Like(patterns) => patterns.iter().any(|it| is_like(it, value)),
            };
            is_met == matcher.is_wanted
        })
    }
}

fn is_like(pattern: &str, text: &str) -> bool {
    let wild = [".*", ".+"].iter().filter_map(|it| pattern.find(it)).min();
    let Some(place) = wild else {
        return pattern == text;
    };
    let (head, tail) = pattern.split_at(place);
    let (least, tail) = (
        usize::from(tail.starts_with(".+")),
        tail.get(2..).unwrap_or_default(),
    );
    let Some(rest) = text.strip_prefix(head) else {
        return false;
    };
    let mut ends = rest.char_indices().map(|(at, _)| at).chain([rest.len()]);
    ends.any(|at| at >= least && is_like(tail, rest.get(at..).unwrap_or_default()))
}

fn name(text: &str) -> Option<(String, &str)> {
    if text.starts_with('"') {
        return quoted(text);
    }
    let is_part = |it: char| it.is_ascii_alphanumeric() || it == '_';
    let end = text.find(|it| !is_part(it)).unwrap_or(text.len());
    let (name, rest) = text.split_at(end);
    (!name.is_empty()).then(|| (name.to_owned(), rest))
}

fn operator(text: &str) -> Option<(&str, &str)> {
    let mut operators = ["=~", "!~", "!=", "="].into_iter();
    operators.find_map(|it| text.strip_prefix(it).map(|rest| (it, rest)))
}

fn quoted(text: &str) -> Option<(String, &str)> {
    let rest = text.strip_prefix('"')?;
    let (mut value, mut characters) = (String::new(), rest.char_indices());
    loop {
        match characters.next()? {
            (end, '"') => return Some((value, rest.get(end + 1..)?)),
            (_, '\\') => value.push(characters.next()?.1),
            (_, character) => value.push(character),
        }
    }
}
