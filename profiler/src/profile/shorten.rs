//! Names of machine code, as long as people can read: a function of a C++ library can have a name of thousands of
//! characters, most of them arguments of templates.

use std::{borrow::Cow, ops::Range};

use super::text::columns;
use crate::{
    events::printable,
    symbolize::{Frame, FrameKind},
};

/// Columns of a name of machine code in a flame graph and in folded stacks.
const MOST: usize = 120;
/// Stands for what was left out.
const GAP: char = '…';

/// A frame's name for people: printable, and cut if it is a long one of machine code. Names that Python gives are whole.
pub(super) fn shown_name(frame: &Frame) -> Cow<'_, str> {
    match (frame.kind, frame.marked_name()) {
        (FrameKind::Native | FrameKind::Interpreter, Cow::Borrowed(name)) => shorten(name, MOST),
        (_, Cow::Borrowed(name)) => printable(name),
        (_, Cow::Owned(name)) => Cow::Owned(printable(&name).into_owned()),
    }
}

/// A name in so many columns at most. If it is longer, the arguments of templates go first, the longest of them before
/// others; then those of functions; and at last the middle of what is left.
pub(super) fn shorten(name: &str, most: usize) -> Cow<'_, str> {
    let name = printable(name);
    if columns(&name) <= most {
        return name;
    }
    let name = without_lists(&name, ['<', '>'], most);
    let name = without_lists(&name, ['(', ')'], most);
    Cow::Owned(without_middle(&name, most))
}

/// The name without what is in these brackets, as far as it takes to fit.
fn without_lists(name: &str, brackets: [char; 2], most: usize) -> String {
    let mut lists = lists(name, brackets);
    lists.sort_by_key(|list| usize::MAX - list.len());
    let mut width = columns(name);
    let mut left_out: Vec<Range<usize>> = Vec::new();
    for list in lists {
        let saved = columns(name.get(list.clone()).unwrap_or_default());
        if width <= most || saved <= 1 {
            break;
        }
        width = width.saturating_sub(saved - 1);
        left_out.push(list);
    }
    left_out.sort_by_key(|list| list.start);
    let (mut shown, mut end) = (String::new(), 0);
    for list in left_out {
        shown.push_str(name.get(end..list.start).unwrap_or_default());
        shown.push(GAP);
        end = list.end;
    }
    shown.push_str(name.get(end..).unwrap_or_default());
    shown
}

/// What is inside the outermost of these brackets. An operator's name is no bracket (`operator<<`, `->`), and
/// `(anonymous namespace)` is a name.
fn lists(name: &str, [open, close]: [char; 2]) -> Vec<Range<usize>> {
    let (mut lists, mut depth, mut start) = (Vec::new(), 0_usize, 0);
    for (place, bracket) in name.char_indices() {
        if bracket != open && bracket != close {
            continue;
        }
        let before = name.get(..place).unwrap_or_default();
        if is_operator(before) || (bracket == '>' && before.ends_with('-')) {
            continue;
        }
        if bracket == open {
            if depth == 0 {
                start = place + open.len_utf8();
            }
            depth += 1;
        } else if let Some(outer) = depth.checked_sub(1) {
            depth = outer;
            if depth == 0 && name.get(start..place) != Some("anonymous namespace") {
                lists.push(start..place);
            }
        }
    }
    lists
}

/// Whether what follows is still the name of an operator.
fn is_operator(before: &str) -> bool {
    let name = before.trim_end_matches(['<', '>', '=', '(']);
    let symbols = before.len() - name.len();
    // `operator<<` is followed by its template's arguments, if at all.
    symbols < 2 && name.ends_with("operator")
}

/// Its beginning and its end, the latter not the shorter: there the function is.
fn without_middle(name: &str, most: usize) -> String {
    if columns(name) <= most {
        return name.to_owned();
    }
    let room = most.saturating_sub(1);
    let head = fitting(name.chars(), room / 2);
    let tail = fitting(name.chars().rev(), room - room / 2);
    let tail: String = tail.chars().rev().collect();
    // One gap is enough.
    let (head, tail) = (head.trim_end_matches(GAP), tail.trim_start_matches(GAP));
    format!("{head}{GAP}{tail}")
}

/// As many characters as fit.
fn fitting(characters: impl Iterator<Item = char>, most: usize) -> String {
    let mut used = 0;
    characters
        .take_while(|character| {
            used += columns(character.encode_utf8(&mut [0; 4]));
            used <= most
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::{shorten, shown_name};
    use crate::profile::{samples::frame, text::columns};

    /// The arguments of templates go before anything else, those of functions next; the function's own name stays.
    #[test]
    fn arguments_go_first() {
        let kernel = format!(
            "void at::native::vectorized_elementwise_kernel<4, at::native::{}>(int, std::array<char*, 3ul>)",
            "binary_internal::MulFunctor<float, ".repeat(15)
        );
        // Brackets that are never closed are no list: the middle goes.
        assert_eq!(columns(&shorten(&kernel, 120)), 120);
        let arguments = "std::vector<int, std::allocator<int> >, ".repeat(16);
        let name = format!("ns::Map<{arguments}int>::find(std::pair<int, int> const&) const");
        assert!(name.len() > 600);
        assert_eq!(
            shorten(&name, 120),
            "ns::Map<…>::find(std::pair<int, int> const&) const"
        );
        assert_eq!(shorten(&name, 40), "ns::Map<…>::find(…) const");
        assert_eq!(shorten(&name, 20), "ns::Map<…d(…) const");
    }

    /// A name that fits is whole; so are operators and namespaces without a name.
    #[test]
    fn what_is_no_list_stays() {
        let most = 40;
        for (name, shown) in [
            ("deflate", "deflate"),
            (
                "std::ostream& operator<< <std::char_traits<char> >(std::ostream&, char const*)",
                "std::ostream& operator<< <…>(…)",
            ),
            (
                "(anonymous namespace)::Pool<std::string, std::string>::run(std::function<void ()>)",
                "(anonymous namespace)::Pool<…>::run(…)",
            ),
            (
                "Pointer<std::vector<unsigned long> >::operator->() const volatile",
                "Pointer<…>::operator->() const volatile",
            ),
            (
                "<alloc::vec::Vec<T> as core::iter::Extend<T>>::extend",
                "<…>::extend",
            ),
        ] {
            assert_eq!(shorten(name, most), shown);
        }
    }

    /// Names of machine code are cut; those of Python functions are not; and none breaks a line.
    #[test]
    fn names_of_machine_code_only() {
        let long = "x".repeat(300);
        assert_eq!(columns(&shown_name(&frame(&format!("n:{long}")))), 120);
        assert_eq!(shown_name(&frame(&long)), long);
        assert_eq!(shown_name(&frame("n:a\nb")), "a\\nb");
        assert_eq!(shown_name(&frame("k:a\nb")), "a\\nb_[k]");
    }
}
