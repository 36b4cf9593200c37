//! The directory of keys: one file for each, named by kind, time and a random number, with 64
//! hexadecimal digits in it. A mounted secret has the same form. Other names are ignored.

use std::{
    collections::BTreeMap,
    fs::{self, DirBuilder, File, OpenOptions},
    io::{self, Write},
    os::unix::fs::{DirBuilderExt, OpenOptionsExt},
    path::{Path, PathBuf},
    time::SystemTime,
};

use twqr_types::{KeyName, TokenMac, UnixMs};
use zeroize::Zeroizing;

use crate::{
    Hour, KeySet,
    key_set::KEY_LEN,
    source::{KeyFault, KeySource},
};

/// A directory of key files.
#[derive(Clone, Debug)]
pub struct KeyDirectory(PathBuf);

/// The use of a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum KeyKind {
    /// Makes the MACs of tokens.
    Comparison,
    /// Seals the tokens of this hour.
    Sealing(Hour),
}

impl KeyKind {
    const COMPARISON: &str = "comparison";
    const SEALING: &str = "sealing";

    /// The word in the names of files.
    pub fn label(self) -> &'static str {
        match self {
            Self::Comparison => Self::COMPARISON,
            Self::Sealing(_) => Self::SEALING,
        }
    }
}

/// A key's file, without the key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyFile {
    /// The use of the key.
    pub kind: KeyKind,
    /// The key's name, by which records name it.
    pub name: String,
}

const SUFFIX: &str = ".key";
/// The bytes that overwrite a destroyed key. No reader takes them for a key, since they contain no
/// digits.
const OVERWRITTEN: [u8; 2 * KEY_LEN] = [b'-'; 2 * KEY_LEN];

impl KeyFile {
    /// The name of the file.
    pub fn file_name(&self) -> String {
        format!("{}-{}{SUFFIX}", self.kind.label(), self.name)
    }

    fn of(file_name: &str) -> Option<Self> {
        let (kind, name) = file_name.strip_suffix(SUFFIX)?.split_once('-')?;
        let is_plain = name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
        if !is_plain || KeyName::parse(name.to_owned()).is_err() {
            return None;
        }
        let kind = match kind {
            KeyKind::COMPARISON => KeyKind::Comparison,
            KeyKind::SEALING => KeyKind::Sealing(Hour::of_name(name)?),
            _ => return None,
        };
        Some(Self { kind, name: name.to_owned() })
    }
}

/// The changes by [`KeyDirectory::renew`], as names of files.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Renewed {
    /// The keys that were made.
    pub made: Vec<String>,
    /// The keys that were destroyed.
    pub destroyed: Vec<String>,
}

impl Renewed {
    /// Whether nothing was to be done.
    pub fn is_empty(&self) -> bool {
        self.made.is_empty() && self.destroyed.is_empty()
    }
}

impl KeyDirectory {
    /// The directory at this path, which need not exist yet.
    pub fn new(path: PathBuf) -> Self {
        Self(path)
    }

    /// The keys that are there, by kind and time.
    pub fn list(&self) -> Result<Vec<KeyFile>, KeyFault> {
        let mut files = Vec::new();
        for entry in fs::read_dir(&self.0).map_err(|error| self.fault(&error))? {
            let entry = entry.map_err(|error| self.fault(&error))?;
            files.extend(entry.file_name().to_str().and_then(KeyFile::of));
        }
        files.sort_by(|a, b| (a.kind, &a.name).cmp(&(b.kind, &b.name)));
        Ok(files)
    }

    /// Makes the first comparison key and the sealing keys of the hours ahead, where they are
    /// missing, and destroys the sealing keys that are not needed any more. Two processes may do
    /// this at once: at worst an hour has two keys.
    pub fn renew(&self, now: UnixMs) -> Result<Renewed, KeyFault> {
        let (hour, mut renewed) = (Hour::of(now), Renewed::default());
        self.create()?;
        let files = self.list()?;
        if !files.iter().any(|file| file.kind == KeyKind::Comparison) {
            renewed.made.push(self.rotate(now)?);
        }
        for hour in (0..=Hour::MADE_AHEAD).map(|ahead| hour.plus(ahead)) {
            if !files.iter().any(|file| file.kind == KeyKind::Sealing(hour)) {
                renewed.made.push(self.make(KeyKind::Sealing(hour), hour)?);
            }
        }
        for file in files {
            if matches!(file.kind, KeyKind::Sealing(of) if of.is_over(now)) {
                self.destroy(&file.file_name())?;
                renewed.destroyed.push(file.file_name());
            }
        }
        Ok(renewed)
    }

    /// Makes a further comparison key; returns the name of its file. The earlier ones stay.
    pub fn rotate(&self, now: UnixMs) -> Result<String, KeyFault> {
        self.create()?;
        let there = self.list()?.iter().filter(|file| file.kind == KeyKind::Comparison).count();
        if there >= TokenMac::COUNT_MAX {
            let what = format!("has {there} comparison keys, which is the most; destroy the oldest first");
            return Err(KeyFault { place: self.0.display().to_string(), what });
        }
        self.make(KeyKind::Comparison, Hour::of(now))
    }

    /// Overwrites the key and removes its file. What overwrites it is no key: a process that reads
    /// the file meanwhile, or after a failed removal, finds a fault and never a known key.
    pub fn destroy(&self, file_name: &str) -> Result<(), KeyFault> {
        let path = self.0.join(file_name);
        let fault = |error: io::Error| fault(&path, &error);
        if KeyFile::of(file_name).is_none() {
            let what = "is not the name of a key; see `twqr keys list`".to_owned();
            return Err(KeyFault { place: file_name.to_owned(), what });
        }
        let mut file = OpenOptions::new().write(true).open(&path).map_err(fault)?;
        file.write_all(&OVERWRITTEN).and_then(|()| file.sync_all()).map_err(fault)?;
        fs::remove_file(&path).map_err(fault)?;
        self.sync()
    }

    fn create(&self) -> Result<(), KeyFault> {
        let made = DirBuilder::new().recursive(true).mode(0o700).create(&self.0);
        made.map_err(|error| self.fault(&error))
    }

    /// Writes a new key beside its place first, so that no reader sees a part of it.
    fn make(&self, kind: KeyKind, hour: Hour) -> Result<String, KeyFault> {
        let name = format!("{}-{:04x}", hour.name(), rand::random::<u16>());
        let file_name = KeyFile { kind, name }.file_name();
        let (beside, path) = (self.0.join(format!(".{file_name}")), self.0.join(&file_name));
        let written = || {
            let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&beside)?;
            let key = Zeroizing::new(rand::random::<[u8; KEY_LEN]>());
            file.write_all(to_hex(&key).as_bytes())?;
            file.sync_all()?;
            fs::rename(&beside, &path)
        };
        written().map_err(|error| fault(&path, &error))?;
        self.sync()?;
        Ok(file_name)
    }

    fn sync(&self) -> Result<(), KeyFault> {
        File::open(&self.0).and_then(|directory| directory.sync_all()).map_err(|error| self.fault(&error))
    }

    fn fault(&self, error: &io::Error) -> KeyFault {
        fault(&self.0, error)
    }
}

impl KeySource for KeyDirectory {
    fn version(&self) -> Result<BTreeMap<String, Option<SystemTime>>, KeyFault> {
        let modified = |name: &str| fs::metadata(self.0.join(name)).and_then(|metadata| metadata.modified()).ok();
        let files = self.list()?.into_iter().map(|file| file.file_name());
        Ok(files.map(|name| (modified(&name), name)).map(|(modified, name)| (name, modified)).collect())
    }

    fn read(&self) -> Result<(KeySet, Vec<KeyFault>), KeyFault> {
        let (mut keys, mut faults) = (KeySet::default(), Vec::new());
        for KeyFile { kind, name } in self.list()? {
            let path = self.0.join(KeyFile { kind, name: name.clone() }.file_name());
            match (read_key(&path), kind) {
                (Ok(key), KeyKind::Sealing(hour)) => keys.add_sealing(name, hour, &key),
                (Ok(_), KeyKind::Comparison) if keys.comparison().len() >= TokenMac::COUNT_MAX => {
                    let what = format!("is one comparison key too many; at most {} are used", TokenMac::COUNT_MAX);
                    faults.push(KeyFault { place: path.display().to_string(), what });
                }
                (Ok(key), KeyKind::Comparison) => match KeyName::parse(name) {
                    Ok(name) => keys.add_comparison(name, &key),
                    Err(what) => faults.push(KeyFault { place: path.display().to_string(), what }),
                },
                (Err(fault), _) => faults.push(fault),
            }
        }
        Ok((keys, faults))
    }
}

fn fault(path: &Path, error: &io::Error) -> KeyFault {
    KeyFault { place: path.display().to_string(), what: error.to_string() }
}

fn read_key(path: &Path) -> Result<Zeroizing<[u8; KEY_LEN]>, KeyFault> {
    let text = Zeroizing::new(fs::read(path).map_err(|error| fault(path, &error))?);
    let wrong = |what: &str| KeyFault { place: path.display().to_string(), what: what.to_owned() };
    let digits = std::str::from_utf8(&text).map_err(|_| wrong("is not UTF-8"))?;
    let digits = twqr_files::secret(digits).map_err(wrong)?;
    from_hex(digits).ok_or_else(|| wrong("must be 64 hexadecimal digits"))
}

fn to_hex(key: &[u8; KEY_LEN]) -> Zeroizing<String> {
    let digit = |nibble: u8| char::from_digit(nibble.into(), 16).unwrap_or('0');
    let mut text = Zeroizing::new(String::with_capacity(2 * KEY_LEN));
    text.extend(key.iter().flat_map(|byte| [digit(byte >> 4), digit(byte & 15)]));
    text
}

fn from_hex(digits: &str) -> Option<Zeroizing<[u8; KEY_LEN]>> {
    let mut key = Zeroizing::new([0; KEY_LEN]);
    let digits = digits.as_bytes();
    if digits.len() != 2 * KEY_LEN {
        return None;
    }
    for (byte, pair) in key.iter_mut().zip(digits.chunks_exact(2)) {
        let [high, low] = [pair[0], pair[1]].map(|digit| char::from(digit).to_digit(16));
        *byte = (high? << 4 | low?) as u8;
    }
    Some(key)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    const NOW: UnixMs = UnixMs(1_795_941_599_000);
    const HOUR_MS: i64 = 3_600_000;

    fn directory() -> (tempfile::TempDir, KeyDirectory) {
        let folder = tempfile::tempdir().unwrap();
        let keys = KeyDirectory::new(folder.path().join("keys"));
        (folder, keys)
    }

    #[test]
    fn keys_are_made_ahead_and_destroyed_after_their_hour() {
        let (folder, keys) = directory();
        let made = keys.renew(NOW).unwrap();
        assert_eq!(i64::try_from(made.made.len()).unwrap(), 1 + 1 + Hour::MADE_AHEAD, "{made:?}");
        assert!(keys.renew(NOW).unwrap().is_empty(), "nothing is to be done twice");
        let first = KeyKind::Sealing(Hour::of(NOW));
        let name = keys.list().unwrap().into_iter().find(|file| file.kind == first).unwrap().file_name();
        let still = keys.renew(NOW.plus(Hour::KEPT * HOUR_MS)).unwrap();
        assert!(still.destroyed.is_empty(), "{still:?}");
        let later = keys.renew(NOW.plus((Hour::KEPT + 1) * HOUR_MS)).unwrap();
        assert_eq!(later.destroyed, std::slice::from_ref(&name));
        assert!(!folder.path().join("keys").join(name).exists());
        let (read, faults) = keys.read().unwrap();
        assert!(faults.is_empty() && read.lacks(Hour::of(NOW).plus(3)).is_none(), "{faults:?}");
    }

    #[test]
    fn only_the_user_can_read_keys_and_no_output_shows_one() {
        let (folder, keys) = directory();
        keys.renew(NOW).unwrap();
        let path = folder.path().join("keys");
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o700);
        let (read, _) = keys.read().unwrap();
        let shown = format!("{read:?} {keys:?} {:?}", keys.list().unwrap());
        for entry in fs::read_dir(&path).unwrap() {
            let entry = entry.unwrap();
            assert_eq!(entry.metadata().unwrap().permissions().mode() & 0o777, 0o600, "{entry:?}");
            let key = fs::read_to_string(entry.path()).unwrap();
            assert!(key.len() == 64 && !shown.contains(&key));
        }
    }

    #[test]
    fn a_further_comparison_key_is_added_and_the_old_one_destroyed_later() {
        let (_folder, keys) = directory();
        keys.renew(NOW).unwrap();
        let comparison = || keys.list().unwrap().into_iter().filter(|file| file.kind == KeyKind::Comparison);
        let old = comparison().next().unwrap().file_name();
        for _ in 1..TokenMac::COUNT_MAX {
            keys.rotate(NOW.plus(HOUR_MS)).unwrap();
        }
        assert!(keys.rotate(NOW).unwrap_err().to_string().contains("destroy the oldest"));
        keys.destroy(&old).unwrap();
        assert!(comparison().all(|file| file.file_name() != old));
    }

    /// The second name stands for a reader that has the file open, and for a removal that fails.
    #[test]
    fn what_overwrites_a_destroyed_key_is_no_key() {
        let (folder, keys) = directory();
        let destroyed = keys.rotate(NOW).unwrap();
        let path = folder.path().join("keys");
        fs::hard_link(path.join(&destroyed), path.join("comparison-left.key")).unwrap();
        keys.destroy(&destroyed).unwrap();
        let (read, faults) = keys.read().unwrap();
        assert_eq!(read.comparison().len(), 0, "{read:?}");
        assert!(matches!(&faults[..], [fault] if fault.place.contains("comparison-left.key")), "{faults:?}");
        keys.destroy("comparison-left.key").unwrap();
        assert!(keys.list().unwrap().is_empty());
    }

    #[test]
    fn an_unusable_file_is_named_and_the_others_are_used() {
        let (folder, keys) = directory();
        keys.renew(NOW).unwrap();
        let path = folder.path().join("keys");
        fs::write(path.join("comparison-bad.key"), "SECRET").unwrap();
        fs::write(path.join("README"), "no key").unwrap();
        fs::write(path.join("sealing-bad.key"), "no hour").unwrap();
        let (read, faults) = keys.read().unwrap();
        let [fault] = &faults[..] else { panic!("{faults:?}") };
        assert!(fault.to_string().contains("comparison-bad.key") && !fault.to_string().contains("SECRET"), "{fault}");
        assert!(read.lacks(Hour::of(NOW)).is_none());
        for bad in ["README", "../x", "comparison-../x.key"] {
            assert!(keys.destroy(bad).is_err(), "{bad}");
        }
    }
}
