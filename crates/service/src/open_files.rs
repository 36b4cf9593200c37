//! How many files the process may have open: raised at the start as far as one may, and shared out,
//! so that callers never take the files that the journal, the read model and the operators need.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tracing::warn;

/// More than all bounds together need.
const WANTED: u64 = 65_536;

/// Raises the limit that holds to what may be had.
pub fn raise_open_files() {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    let wanted = maximum.map_or(WANTED, |maximum| maximum.min(WANTED));
    if current.is_none_or(|current| current >= wanted) {
        return;
    }
    if let Err(error) = setrlimit(Resource::Nofile, Rlimit { current: Some(wanted), maximum }) {
        warn!(%error, ?current, wanted, "the limit of open files cannot be raised; fewer connections are let in (see ulimit -n)");
    }
}

/// So many percent of the files that may be open, one at the least.
pub(crate) fn open_files_share(percent: u64) -> usize {
    let current = getrlimit(Resource::Nofile).current.unwrap_or(WANTED);
    usize::try_from((current.saturating_mul(percent) / 100).max(1)).unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_limit_is_raised_and_shared_out() {
        raise_open_files();
        let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
        let held = current.unwrap_or(u64::MAX);
        assert!(held >= maximum.map_or(WANTED, |maximum| maximum.min(WANTED)));
        assert_eq!(open_files_share(50) as u64, current.unwrap_or(WANTED) / 2);
        assert_eq!(open_files_share(0), 1, "never nobody");
    }
}
