//! The limit on the process's open files. It is raised at start-up as far as the system allows.
//! Each listener may use only a share of it, so that callers cannot use up the files that the
//! journal, the read model and the operators need.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tracing::warn;

/// The limit to request: more than all parts of the process need together.
const WANTED: u64 = 65_536;

/// Raises the soft limit of open files to 65,536, or to the hard limit if that is lower.
pub fn raise_open_files() {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    let wanted = maximum.map_or(WANTED, |maximum| maximum.min(WANTED));
    if current.is_none_or(|current| current >= wanted) {
        return;
    }
    if let Err(error) = setrlimit(Resource::Nofile, Rlimit { current: Some(wanted), maximum }) {
        warn!(%error, ?current, wanted, "the limit of open files cannot be raised, so fewer connections are accepted; see ulimit -n");
    }
}

/// Returns this percentage of the process's limit on open files, but at least 1.
pub(crate) fn open_files_share(percent: u64) -> usize {
    let current = getrlimit(Resource::Nofile).current.unwrap_or(WANTED);
    usize::try_from((current.saturating_mul(percent) / 100).max(1)).unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_limit_is_raised_and_shares_are_parts_of_it() {
        raise_open_files();
        let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
        let held = current.unwrap_or(u64::MAX);
        assert!(held >= maximum.map_or(WANTED, |maximum| maximum.min(WANTED)));
        assert_eq!(open_files_share(50) as u64, current.unwrap_or(WANTED) / 2);
        assert_eq!(open_files_share(0), 1, "at least one");
    }
}
