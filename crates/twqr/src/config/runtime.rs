//! `[runtime]`: the threads of the process.

use super::table::table;

table! {
    /// The threads of the process.
    Runtime {
        /// Threads that run the services.
        worker_threads: usize = 2, 1..=64;
        /// How long the services may take to drain after SIGTERM or SIGINT, in ms; then the process ends as it is.
        drain_ms_max: u64 = 15_000, 100..=600_000;
    }
}
