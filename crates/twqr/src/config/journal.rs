//! `[journal]`: the log that everything goes through, and the folder of all durable data.

use std::{num::NonZeroU32, path::PathBuf};

use twqr_journal::embedded::Settings;

use super::{setting::Any, table::table};

table! {
    /// The embedded journal: one log on this machine. Nothing leaves the system before its cause is on disk.
    Journal {
        /// The folder of all data: journal, orders and read model. One process at a time uses it.
        dir: PathBuf = PathBuf::from("./data"), Any("a path");
        /// Shards of the orders; fixed when the folder is created.
        shards: u32 = 8, 1..=1_024;
        /// Partitions of each task topic, at most as many as shards; fixed when the folder is created.
        task_partitions: u32 = 8, 1..=1_024;
    }
}

impl Journal {
    /// The settings of the journal itself.
    pub(crate) fn settings(&self) -> Settings {
        let positive = |count| NonZeroU32::new(count).unwrap_or(NonZeroU32::MIN);
        Settings {
            dir: self.dir.join("journal"),
            shards: positive(self.shards),
            task_partitions: positive(self.task_partitions),
        }
    }
}
