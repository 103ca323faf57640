//! proto3's JSON: fields by either of their names, left out if they have their default; numbers of 64 bits
//! as text, or as numbers.

use base64::{
    Engine as _,
    engine::general_purpose::{STANDARD_NO_PAD, URL_SAFE_NO_PAD},
};
use serde_json::Value;

fn field<'a>(value: &'a Value, names: &[&str]) -> Option<&'a Value> {
    let mut names = names.iter();
    names
        .find_map(|name| value.get(name))
        .filter(|it| !it.is_null())
}

/// A text; `None` if it is something else.
pub(super) fn text(value: &Value, names: &[&str]) -> Option<String> {
    field(value, names).map_or(Some(String::new()), |it| it.as_str().map(str::to_owned))
}

/// A list; `None` if it is something else.
pub(super) fn list<'a>(value: &'a Value, names: &[&str]) -> Option<&'a [Value]> {
    field(value, names).map_or(Some(&[][..]), |it| it.as_array().map(Vec::as_slice))
}

/// A list of texts; `None` if it is something else.
pub(super) fn texts(value: &Value, names: &[&str]) -> Option<Vec<String>> {
    let values = list(value, names)?.iter();
    values.map(|it| it.as_str().map(str::to_owned)).collect()
}

/// A number; `None` if it is something else.
pub(super) fn number(value: &Value, names: &[&str]) -> Option<i64> {
    match field(value, names) {
        None => Some(0),
        Some(Value::String(text)) => text.parse().ok(),
        Some(value) => value.as_i64(),
    }
}

/// Bytes in either alphabet; `None` if it is something else.
pub(super) fn bytes(value: &Value, names: &[&str]) -> Option<Vec<u8>> {
    let text = text(value, names)?;
    let text = text.trim_end_matches('=');
    let decoded = STANDARD_NO_PAD.decode(text);
    decoded.or_else(|_| URL_SAFE_NO_PAD.decode(text)).ok()
}
