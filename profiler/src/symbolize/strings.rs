pub(super) fn text(string: &crate::events::PythonString) -> Option<String> {
    Some(String::from_utf8_lossy(&string.bytes).into_owned())
}
