//! How many files and connections this process may have open.
//!
//! Systems give a process a low soft limit, for the sake of programs that count files in sets of 1024, and let it
//! take more by itself. A store without a free file cannot open a table, and must stop.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// What a node may come to want: the connections that a store accepts (16,384), its table files and logs.
const WANTED_PER_NODE: u64 = 17_408;

/// How many files may be open.
#[derive(Clone, Copy, Debug)]
pub(crate) struct OpenFiles {
    /// `None` for as many as the system has.
    limit: Option<u64>,
}

impl OpenFiles {
    /// Raises the limit as far as this user may.
    pub(crate) fn raise() -> Self {
        let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
        let wish = Rlimit { current: maximum, maximum };
        let is_raised = current != maximum && setrlimit(Resource::Nofile, wish).is_ok();
        Self { limit: if is_raised { maximum } else { current } }
    }

    /// Tells the log, and warns where `nodes` in this process may come to want more.
    pub(crate) fn tell(self, nodes: usize) {
        let wanted = WANTED_PER_NODE.saturating_mul(nodes as u64);
        match self.limit {
            Some(limit) if limit < wanted => tracing::warn!(
                limit,
                wanted,
                "few files and connections may be open; raise the hard limit (ulimit -Hn, LimitNOFILE=)"
            ),
            limit => tracing::info!(limit, "files and connections that may be open"),
        }
    }
}
