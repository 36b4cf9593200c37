//! The card keys of the histories, as files that processes and callers read at different moments:
//! the comparison key is rotated while a history runs, and the hour of the sealing key ends.

use std::{fs, path::Path, sync::LazyLock};

use twqr_card_keys::{Hour, KeyDirectory, KeyKind, KeySet, KeySource};
use twqr_types::UnixMs;

use crate::processes::EPOCH_MS;

/// The directories, as their owner changes them over time.
pub struct KeyFiles {
    _folder: tempfile::TempDir,
    /// With the first comparison key, with the second one, too, and without the first one.
    rotation: [KeyDirectory; ROTATION_STEPS],
    /// Without the sealing key of the second hour.
    early: KeyDirectory,
}

/// How many steps the rotation of the comparison key has.
pub const ROTATION_STEPS: usize = 3;

/// Those of all histories.
pub static KEY_FILES: LazyLock<KeyFiles> = LazyLock::new(KeyFiles::make);

impl KeyFiles {
    /// The keys after so many steps of the rotation, at most all.
    pub fn rotated(&self, steps: usize) -> KeySet {
        read(&self.rotation[steps.min(ROTATION_STEPS - 1)])
    }

    /// The keys of a process that the key of the second hour has not reached.
    pub fn early(&self) -> KeySet {
        read(&self.early)
    }

    fn make() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let began = UnixMs(EPOCH_MS);
        let second_hour = Hour::of(began).plus(1);
        let in_folder = |name: &str| (folder.path().join(name), KeyDirectory::new(folder.path().join(name)));
        let [(first, a), (both, b), (second, c), (without, early)] =
            ["first", "both", "second", "early"].map(in_folder);
        a.renew(began).unwrap();
        remove(&a, |kind| matches!(kind, KeyKind::Sealing(hour) if hour > second_hour));
        copy(&first, &both);
        b.rotate(began.plus(3_600_000)).unwrap();
        copy(&both, &second);
        let old = a.list().unwrap().into_iter().find(|file| file.kind == KeyKind::Comparison).unwrap();
        c.destroy(&old.file_name()).unwrap();
        copy(&first, &without);
        remove(&early, |kind| kind == KeyKind::Sealing(second_hour));
        Self { _folder: folder, rotation: [a, b, c], early }
    }
}

fn read(directory: &KeyDirectory) -> KeySet {
    let (keys, faults) = directory.read().unwrap();
    assert!(faults.is_empty(), "{faults:?}");
    keys
}

fn remove(directory: &KeyDirectory, is_removed: impl Fn(KeyKind) -> bool) {
    for file in directory.list().unwrap().into_iter().filter(|file| is_removed(file.kind)) {
        directory.destroy(&file.file_name()).unwrap();
    }
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let path = entry.unwrap().path();
        fs::copy(&path, to.join(path.file_name().unwrap())).unwrap();
    }
}
