//! Why a route does not work, and what would help.

use std::{error::Error, fmt, io, iter};

use rustix::io::Errno;

use super::route::Route;
use crate::kernel::error::error_chain;

/// Why no route puts probes on a file.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}", told(.0))]
pub struct NoRoute(pub(super) Vec<(Route, Reason)>);

impl NoRoute {
    /// Nothing but this route was tried.
    pub(crate) fn by(route: Route, error: &io::Error) -> Self {
        Self(vec![(route, Reason::of(route, error))])
    }

    /// Whether one of the routes may work a moment later.
    pub fn may_pass(&self) -> bool {
        self.0.iter().any(|(_, reason)| reason.may_pass)
    }
}

fn told(refused: &[(Route, Reason)]) -> String {
    let each = refused
        .iter()
        .map(|(route, reason)| format!("{route}: {reason}"));
    each.collect::<Vec<_>>().join("; ")
}

/// Why a route does not work.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Reason {
    pub(super) words: String,
    /// Whether it is want of something, such as memory or descriptors, and not a matter of rights or of the kernel.
    pub(super) may_pass: bool,
}

impl Reason {
    /// What has kept a route from working, and what would help.
    pub(super) fn of(route: Route, error: &(dyn Error + 'static)) -> Self {
        let number = os_error(error);
        let lasts = [
            Errno::ACCESS,
            Errno::PERM,
            Errno::INVAL,
            Errno::OPNOTSUPP,
            // What the verifier says of a program that is too much for it.
            Errno::TOOBIG,
        ];
        Self {
            words: in_words(route, &error_chain(error), number),
            // What has no number the agent says itself, and will again.
            may_pass: number.is_some_and(|number| !lasts.contains(&number)),
        }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.words)
    }
}

/// The verifier's words are as long as the program that it has followed; what it refuses stands at their end.
pub(super) fn shortened(words: &str) -> String {
    const MOST: usize = 300;
    let count = words.chars().count();
    if count <= 2 * MOST {
        return words.to_owned();
    }
    let (start, end) = (words.chars().take(MOST), words.chars().skip(count - MOST));
    start.chain(" … ".chars()).chain(end).collect()
}

/// What was said, and what would help.
fn in_words(route: Route, said: &str, number: Option<Errno>) -> String {
    let is_refused = matches!(number, Some(Errno::ACCESS | Errno::PERM));
    match route {
        Route::Perf if is_refused => {
            format!(
                "{said}: kernels mended for CVE-2025-38466 (since July 2025) want CAP_SYS_ADMIN for them"
            )
        }
        Route::Tracefs if is_refused => {
            format!("{said}: they want tracefs mounted writable, and CAP_DAC_OVERRIDE or its owner")
        }
        _ => said.to_owned(),
    }
}

/// The number of the system's error behind an error.
fn os_error(error: &(dyn Error + 'static)) -> Option<Errno> {
    let chain = iter::successors(Some(error), |error| (*error).source());
    chain
        .filter_map(|error| error.downcast_ref::<io::Error>())
        .find_map(Errno::from_io_error)
}

#[cfg(test)]
mod tests {
    use std::io;

    use rustix::io::Errno;

    use super::{NoRoute, Route, shortened};

    /// Want of descriptors passes, want of a right does not, and one route that may work is enough.
    #[test]
    fn what_may_pass() {
        let by = |errno: Errno| NoRoute::by(Route::Multi, &io::Error::from(errno));
        assert!(by(Errno::MFILE).may_pass());
        assert!(by(Errno::NOMEM).may_pass());
        for lasts in [Errno::PERM, Errno::ACCESS, Errno::INVAL, Errno::OPNOTSUPP] {
            assert!(!by(lasts).may_pass(), "{lasts}");
        }
        assert!(!NoRoute::by(Route::Tracefs, &io::Error::other("not mounted")).may_pass());
        let both = [by(Errno::PERM).0, by(Errno::MFILE).0].concat();
        assert!(NoRoute(both).may_pass());
    }

    /// Of a long story both ends are kept, whatever it is written in.
    #[test]
    fn long_words_are_shortened() {
        assert_eq!(shortened("short"), "short");
        let long = format!("é{}ü", "x".repeat(100_000));
        let short = shortened(&long);
        assert_eq!(short.chars().count(), 603);
        assert!(short.starts_with('é') && short.ends_with('ü'));
    }
}
