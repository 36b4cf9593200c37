//! `[runtime]`: the process as a whole.

use super::{setting::Any, table::table};

table! {
    /// The process as a whole.
    Runtime {
        /// Names this process among others of its kind; it must be unique, and the same after a restart.
        member: String = "twqr-0".to_owned(), Any("a text, not empty");
        /// Threads that run the services.
        worker_threads: usize = 2, 1..=64;
        /// How long the services may take to drain after SIGTERM or SIGINT, in ms; then the process ends as it is.
        drain_ms_max: u64 = 15_000, 100..=600_000;
    }
}
