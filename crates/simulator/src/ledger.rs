//! The ledger on disk: entries in the order of their sequence numbers. An entry is synced to disk
//! before any answer about it is sent.

use std::path::Path;

use fjall::{Database, Keyspace, KeyspaceCreateOptions, PersistMode};
use prost::Message;
use twqr_wire::backend::{LedgerEntry, ledger_entry::Kind};

/// The ledger cannot be opened, read or written.
#[derive(Clone, Debug, thiserror::Error)]
#[error("ledger: {0}")]
pub struct LedgerError(String);

/// A ledger in a folder.
pub struct Ledger {
    database: Database,
    entries: Keyspace,
}

/// The entries that moved money: charges, refunds and reversals.
pub fn movements(entries: &[LedgerEntry]) -> impl Iterator<Item = &LedgerEntry> {
    entries.iter().filter(|entry| matches!(entry.kind(), Kind::Charged | Kind::Refunded | Kind::Reversed))
}

#[allow(clippy::needless_pass_by_value, reason = "used as a function in map_err")]
fn failed(error: fjall::Error) -> LedgerError {
    LedgerError(error.to_string())
}

fn cannot_open(folder: &Path, error: &fjall::Error) -> LedgerError {
    let what = if matches!(error, fjall::Error::Locked) {
        "is in use by another process; end that simulator, or choose another folder with --data-dir".to_owned()
    } else {
        format!("cannot be opened ({error}); see that it can be written, or choose another folder with --data-dir")
    };
    LedgerError(format!("{} {what}", folder.display()))
}

impl Ledger {
    /// Opens the ledger, or creates it if the folder has none.
    pub fn open(folder: &Path) -> Result<Self, LedgerError> {
        let opened = Database::builder(folder).cache_size(8 << 20).worker_threads(1).open();
        let database = opened.map_err(|error| cannot_open(folder, &error))?;
        let entries = database.keyspace("entries", KeyspaceCreateOptions::default).map_err(failed)?;
        Ok(Self { database, entries })
    }

    /// Every entry, oldest first.
    pub fn entries(&self) -> Result<Vec<LedgerEntry>, LedgerError> {
        let entry = |guard: fjall::Guard| {
            let (_, value) = guard.into_inner().map_err(failed)?;
            LedgerEntry::decode(&*value).map_err(|error| LedgerError(error.to_string()))
        };
        self.entries.iter().map(entry).collect()
    }

    /// Adds entries and syncs them to disk at once.
    pub fn add(&self, entries: &[LedgerEntry]) -> Result<(), LedgerError> {
        if entries.is_empty() {
            return Ok(());
        }
        let mut batch = self.database.batch();
        for entry in entries {
            batch.insert(&self.entries, entry.sequence.to_be_bytes(), entry.encode_to_vec());
        }
        batch.commit().map_err(failed)?;
        self.database.persist(PersistMode::SyncData).map_err(failed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ledger_that_cannot_be_opened_names_its_folder() {
        let folder = tempfile::tempdir().unwrap();
        let _holder = Ledger::open(folder.path()).unwrap();
        let file = tempfile::NamedTempFile::new().unwrap();
        for (path, expected) in
            [(folder.path(), "is in use by another process; end"), (file.path(), "cannot be opened")]
        {
            let error = Ledger::open(path).err().unwrap().to_string();
            assert!(error.contains(&path.display().to_string()) && error.contains(expected), "{error}");
        }
    }
}
