//! Names as linkers have them → names for people.

use std::fmt::{self, Write as _};

use cpp_demangle::{DemangleOptions, Symbol};

/// Most bytes of a name that are shown. A short symbol can stand for a name of gigabytes, because each part may repeat
/// those before it: a name that does not fit is shown as the linker has it.
const MAX_SHOWN: usize = 8 << 10;

/// The name of a Rust or C++ function as written in its language; any other name unchanged.
pub(super) fn demangle(symbol: &str) -> String {
    rust(symbol)
        .or_else(|| cpp(symbol))
        .unwrap_or_else(|| symbol.to_owned())
}

fn rust(symbol: &str) -> Option<String> {
    let name = rustc_demangle::try_demangle(symbol).ok()?;
    let mut bounded = Bounded::default();
    // Without the hash.
    write!(bounded, "{name:#}").ok()?;
    Some(bounded.text)
}

fn cpp(symbol: &str) -> Option<String> {
    let name = Symbol::new(symbol).ok()?;
    let mut bounded = Bounded::default();
    name.structured_demangle(&mut bounded, &DemangleOptions::new())
        .ok()?;
    Some(bounded.text)
}

/// A text that refuses to grow past its bound.
#[derive(Default)]
struct Bounded {
    text: String,
}

impl fmt::Write for Bounded {
    fn write_str(&mut self, more: &str) -> fmt::Result {
        if self.text.len() + more.len() > MAX_SHOWN {
            return Err(fmt::Error);
        }
        self.text.push_str(more);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::fmt::Write as _;

    use super::demangle;

    /// Names of three languages.
    #[test]
    fn languages() {
        let names = [
            ("deflate", "deflate"),
            ("_ZN4core3fmt5write17h0123456789abcdefE", "core::fmt::write"),
            ("_RNvC4main3run", "main::run"),
            (
                "_ZNSt6vectorIiSaIiEE9push_backEOi",
                "std::vector<int, std::allocator<int> >::push_back(int&&)",
            ),
            ("_Znot a name", "_Znot a name"),
        ];
        for (symbol, name) in names {
            assert_eq!(demangle(symbol), name);
        }
    }

    /// A symbol whose parts double again and again is shown unchanged.
    #[test]
    fn names_without_end() {
        let mut pairs = String::new();
        for part in "0123456789ABCDEF".chars() {
            write!(pairs, "S_IS{part}_S{part}_E").unwrap();
        }
        let symbol = format!("_Z1fSt4pairIiiE{pairs}");
        assert!(
            demangle("_Z1fSt4pairIiiES_IS0_S0_E").contains("pair<int, int>, std::pair<int, int>")
        );
        assert_eq!(demangle(&symbol), symbol);
    }
}
