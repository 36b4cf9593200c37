//! The sources of the merchants' keys: a TOML file, which is read again when it changes, and the
//! environment. If the file is invalid at the start, the ingress ends; if it becomes invalid later,
//! the keys stay as they are, and the file is read again until it can be used. No message contains
//! a key or a line of the file.

use std::{
    ffi::OsString,
    fs::Metadata,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, SystemTime},
};

use secrecy::ExposeSecret;
use toml::{
    Spanned, Table, Value,
    de::{DeTable, DeValue},
};
use tracing::{error, info};
use twqr_service::Part;
use twqr_types::{KeyName, MerchantId};
use zeroize::Zeroizing;

use super::{
    keys::{AllKeys, Key, Keys, MerchantKeys},
    message_keys::{MessageKey, MessageKeys},
};

/// How often the file is checked for a change, in ms.
const CHECK_EVERY_MS: u64 = 1_000;
/// The start of the environment variables' names; the MerchantID follows.
const VARIABLE: &str = "TWQR_MERCHANT_KEY_";
/// The names of keys that were given without a name, by their source.
const FROM_FILE: &str = "file";
const FROM_ENVIRONMENT: &str = "environment";

/// The reason why the merchants' keys cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("merchant keys: {place}: {what}")]
pub struct KeysError {
    /// The file or variable, and the line of the file.
    place: String,
    /// The fault, and the allowed values.
    what: String,
}

/// The file and the environment variables that contain keys.
pub(super) struct KeySource {
    pub(super) file: Option<PathBuf>,
    pub(super) variables: Vec<(OsString, OsString)>,
}

/// Identifies a version of the file. The inode is included, because the path may be a link that is
/// switched to another file.
#[derive(PartialEq, Eq)]
struct FileVersion {
    inode: u64,
    length: u64,
    modified: Option<SystemTime>,
}

impl KeySource {
    /// Keys from this file and from this process' environment.
    pub(super) fn new(file: Option<PathBuf>) -> Self {
        let is_key = |(name, _): &(OsString, OsString)| name.as_encoded_bytes().starts_with(VARIABLE.as_bytes());
        Self { file, variables: std::env::vars_os().filter(is_key).collect() }
    }

    /// Reads all keys.
    pub(super) fn read(&self) -> Result<AllKeys, KeysError> {
        let mut keys = self.file.as_deref().map(read).transpose()?.unwrap_or_default();
        for (name, value) in &self.variables {
            let fault = |what: String| KeysError { place: format!("environment variable {}", name.display()), what };
            let (Some(name), Some(value)) = (name.to_str(), value.to_str()) else {
                return Err(fault("is not UTF-8; set it again as UTF-8".to_owned()));
            };
            let merchant = name.strip_prefix(VARIABLE).unwrap_or_default().to_owned();
            MerchantId::parse(merchant.clone())
                .map_err(|what| fault(format!("the MerchantID at the end of its name {what}")))?;
            let key = key(FROM_ENVIRONMENT, Value::String(value.to_owned())).map_err(fault)?;
            keys.sign.entry(merchant).or_default().push(key);
        }
        Ok(keys)
    }

    /// Reads all keys on a thread that may wait for the disk.
    pub(super) async fn read_in_background(self: &Arc<Self>) -> Result<AllKeys, KeysError> {
        let source = self.clone();
        let ended = tokio::task::spawn_blocking(move || source.read()).await;
        ended.unwrap_or_else(|error| {
            Err(KeysError { place: "the keys".to_owned(), what: format!("were not read: {error}") })
        })
    }

    /// Checks the file regularly, and replaces the keys when it has changed. `part` is degraded
    /// while the file cannot be used. Never returns.
    pub(super) async fn follow(self: Arc<Self>, keys: MerchantKeys, part: Part) {
        let mut last = LastCheck::default();
        loop {
            if self.file.is_some() {
                last.check(&self, &keys, &part).await;
            }
            tokio::time::sleep(Duration::from_millis(CHECK_EVERY_MS)).await;
        }
    }
}

/// The result of the last check of the file.
#[derive(Default)]
struct LastCheck {
    /// The version of the file whose keys are in use; absent if the file could not be used.
    in_use: Option<FileVersion>,
    /// The reason why the file could not be used, which is logged once.
    fault: Option<String>,
}

impl LastCheck {
    /// Reads the file if it has changed, or could not be used before: permissions that allow it, or
    /// a disk that works again, do not change its version.
    async fn check(&mut self, source: &Arc<KeySource>, keys: &MerchantKeys, part: &Part) {
        let Some(file) = &source.file else { return };
        let now = tokio::fs::metadata(file).await.ok().as_ref().map(version);
        if now.is_some() && now == self.in_use {
            return;
        }
        match source.read_in_background().await {
            Ok(new) => {
                info!(file = %file.display(), merchants = new.sign.len(), signing_messages = new.message.len(), "merchant keys read");
                keys.replace(new);
                *self = Self { in_use: now, fault: None };
                part.ready();
            }
            Err(error) => {
                let fault = error.to_string();
                if self.fault.as_ref() != Some(&fault) {
                    error!(%error, "the changed merchant keys cannot be used; the earlier ones stay in use");
                }
                part.degraded(format!("{fault}; the earlier keys stay in use"));
                *self = Self { in_use: None, fault: Some(fault) };
            }
        }
    }
}

fn version(metadata: &Metadata) -> FileVersion {
    FileVersion { inode: metadata.ino(), length: metadata.len(), modified: metadata.modified().ok() }
}

/// Reads the file: a table `[keys]` with `MerchantID = "key"`, `MerchantID = ["key", "key before"]`
/// or `MerchantID = { name = "key" }`. A named key may be `{ alg = "ed25519", key = "base64" }`:
/// then it is for message signatures.
fn read(file: &Path) -> Result<AllKeys, KeysError> {
    let fault = |place: String, what: &str| KeysError { place, what: what.to_owned() };
    let name = file.display();
    let text = std::fs::read(file).and_then(twqr_files::text);
    let text = Zeroizing::new(text.map_err(|error| fault(name.to_string(), &format!("cannot be read: {error}")))?);
    let mut table: Table = toml::from_str(&text).map_err(|error| {
        let line = error.span().map_or(1, |at| line_at(&text, at.start));
        fault(format!("{name}, line {line}"), "is not TOML")
    })?;
    let (Some(Value::Table(listed)), true) = (table.remove("keys"), table.is_empty()) else {
        return Err(fault(name.to_string(), "must have a table [keys] and nothing else"));
    };
    let (mut sign, mut message) = (Keys::new(), MessageKeys::new());
    for (merchant, value) in listed {
        let place = || format!("{name}, line {}", line_of(&text, &merchant));
        MerchantId::parse(merchant.clone()).map_err(|what| fault(place(), &format!("the MerchantID {what}")))?;
        let (own, for_messages) = listed_keys(value).map_err(|what| fault(place(), &what))?;
        if own.is_empty() && for_messages.is_empty() {
            return Err(fault(place(), "has no key"));
        }
        if !own.is_empty() {
            sign.insert(merchant.clone(), own);
        }
        if !for_messages.is_empty() {
            message.insert(merchant, for_messages);
        }
    }
    Ok(AllKeys { sign, message })
}

fn line_at(text: &str, at: usize) -> usize {
    text.bytes().take(at).filter(|byte| *byte == b'\n').count() + 1
}

/// The line of a merchant's entry in `[keys]`. Errors give the line and not the name: if MerchantID
/// and key were swapped, the name is a key.
fn line_of(text: &str, merchant: &str) -> usize {
    let Ok(table) = DeTable::parse(text) else { return 1 };
    let keys = table.get_ref().get("keys").map(Spanned::get_ref);
    let Some(DeValue::Table(keys)) = keys else { return 1 };
    keys.iter().find(|(name, _)| name.get_ref() == merchant).map_or(1, |(name, _)| line_at(text, name.span().start))
}

/// Parses a merchant's keys: one text, a list of texts, or a table from names to keys. Those for
/// Sign come first, then those for message signatures.
fn listed_keys(value: Value) -> Result<(Vec<Key>, Vec<MessageKey>), String> {
    match value {
        Value::Array(list) => {
            let keys = list.into_iter().map(|value| key(FROM_FILE, value)).collect::<Result<_, _>>()?;
            Ok((keys, Vec::new()))
        }
        Value::Table(named) => named_keys(named),
        one @ (Value::String(_) | Value::Integer(_) | Value::Float(_) | Value::Boolean(_) | Value::Datetime(_)) => {
            Ok((vec![key(FROM_FILE, one)?], Vec::new()))
        }
    }
}

fn named_keys(named: Table) -> Result<(Vec<Key>, Vec<MessageKey>), String> {
    let (mut own, mut for_messages) = (Vec::<Key>::new(), Vec::new());
    for (name, value) in named {
        match (name.as_str(), value) {
            (FROM_FILE | FROM_ENVIRONMENT, _) => {
                return Err(format!("{name} is the name of keys that were given without a name; use another"));
            }
            (name, Value::Table(table)) => for_messages.push(message_key(name, table)?),
            (name, value) => own.push(key(name, value)?),
        }
    }
    let is_twice = |(i, key): (usize, &Key)| {
        own[..i].iter().any(|other| other.secret.expose_secret() == key.secret.expose_secret())
    };
    if own.iter().enumerate().any(is_twice) {
        return Err("has the same key under two names".to_owned());
    }
    Ok((own, for_messages))
}

fn message_key(name: &str, mut table: Table) -> Result<MessageKey, String> {
    let name = KeyName::parse(name.to_owned()).map_err(|what| format!("the name of a key {what}"))?;
    let (Some(Value::String(algorithm)), Some(Value::String(key)), true) =
        (table.remove("alg"), table.remove("key"), table.is_empty())
    else {
        return Err("a key for message signatures must have the texts alg and key, and nothing else".to_owned());
    };
    MessageKey::new(name, &algorithm, &Zeroizing::new(key))
}

fn key(name: &str, value: Value) -> Result<Key, String> {
    let name = KeyName::parse(name.to_owned()).map_err(|what| format!("the name of a key {what}"))?;
    let Value::String(secret) = value else {
        return Err("must be a text, a list of texts, or a table from names to texts".to_owned());
    };
    let secret = Zeroizing::new(secret);
    let secret = twqr_files::secret(&secret).map_err(|what| format!("a key {what}"))?;
    Ok(Key { name, secret: secret.into() })
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use twqr_service::{Health, PartState};

    use super::*;

    fn read_text(text: &[u8], variables: &[(&str, &str)]) -> Result<Keys, String> {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("keys.toml");
        std::fs::write(&file, text).unwrap();
        let variables = variables.iter().map(|(name, value)| (name.into(), value.into())).collect();
        KeySource { file: Some(file), variables }.read().map(|keys| keys.sign).map_err(|error| error.to_string())
    }

    #[test]
    fn keys_come_from_file_and_environment_together() {
        let text = b"[keys]\nM001 = [\"a\", \"b\"]\n9999999 = \"c\"\n[keys.M003]\n2026-01 = \"f\"\n2026-07 = \"g\"";
        let keys = read_text(text, &[("TWQR_MERCHANT_KEY_M001", "d"), ("TWQR_MERCHANT_KEY_M002", "e")]).unwrap();
        let key = |key: &Key| format!("{}={}", key.name, key.secret.expose_secret());
        let of = |merchant: &str| keys[merchant].iter().map(key).collect::<Vec<_>>().join(" ");
        assert_eq!([of("M001"), of("9999999"), of("M002")], ["file=a file=b environment=d", "file=c", "environment=e"]);
        assert_eq!(of("M003"), "2026-01=f 2026-07=g");
        let ends = b"\xef\xbb\xbf[keys]\r\nM1 = \"\"\"\r\nk\r\n\"\"\"\r\nM2 = \"k\\n\"\r\n";
        let keys = read_text(ends, &[("TWQR_MERCHANT_KEY_M3", "k\n"), ("TWQR_MERCHANT_KEY_M4", "\r\nk\r\n")]).unwrap();
        assert!(keys.len() == 4 && keys.values().flatten().all(|key| key.secret.expose_secret() == "k"));
        assert!(read_text(b"[keys]", &[]).unwrap().is_empty());
        assert!(KeySource { file: None, variables: Vec::new() }.read().unwrap().sign.is_empty());
    }

    #[test]
    fn each_fault_names_its_place_and_no_key() {
        let variable = |name| [(name, "SECRET")];
        for (text, variables, expected) in [
            (&b"[keys]\nM001 = SECRET"[..], &[][..], "keys.toml, line 2: is not TOML"),
            (b"M001 = \"SECRET\"", &[], "keys.toml: must have a table [keys] and nothing else"),
            (b"keys = \"SECRET\"", &[], "keys.toml: must have a table [keys] and nothing else"),
            (b"[keys]\n[other]\nM001 = \"SECRET\"", &[], "keys.toml: must have a table [keys] and nothing else"),
            (b"[keys]\nM001 = []", &[], "keys.toml, line 2: has no key"),
            (b"[keys]\nM001 = \"\"", &[], "keys.toml, line 2: a key is empty"),
            (b"[keys]\nM001 = [\"SECRET\", 5]", &[], "keys.toml, line 2: must be a text, a list of texts, or a table"),
            (b"[keys]\nM001 = 20250310", &[], "keys.toml, line 2: must be a text, a list of texts, or a table"),
            (b"[keys.M001]\na = [\"SECRET\"]", &[], "keys.toml, line 1: must be a text, a list of texts, or a table"),
            (b"[keys.M001]\n\"\" = \"SECRET\"", &[], "keys.toml, line 1: the name of a key is required"),
            (b"[keys.M001]\nfile = \"SECRET\"", &[], "file is the name of keys that were given without a name"),
            (b"[keys.M001]\na = \"SECRET\"\nb = \"SECRET\"", &[], "has the same key under two names"),
            (b"[keys.M001]\nSECRETSECRETSECRE = \"2026-07\"", &[], "the name of a key is 17 characters long"),
            (b"[keys.M001]", &[], "keys.toml, line 1: has no key"),
            (
                b"[keys.M001]\na = { alg = \"ed25519\" }",
                &[],
                "line 1: a key for message signatures must have the texts",
            ),
            (b"[keys.M001]\na = { alg = \"SECRET\", key = \"\" }", &[], "line 1: the alg of a key must be hmac-sha256"),
            (b"[keys.M001]\na = { alg = \"ed25519\", key = \"SECRET!\" }", &[], "line 1: a key is not base64"),
            (
                b"[keys.M001]\na = { alg = \"ed25519\", key = \"SECRETSE\" }",
                &[],
                "line 1: a key is not a public key of ed25519",
            ),
            (
                b"[keys.M001]\na = { alg = \"hmac-sha256\", key = \"SECRETSE\" }",
                &[],
                "line 1: a key of hmac-sha256 has 6 bytes",
            ),
            (b"[keys]\nSECRETSECRET = \"M001\"", &[], "keys.toml, line 2: the MerchantID is 12 characters long"),
            (b"[keys]\nM002 = \"x\"\n\nSECRETKEY1 = \"\"\nA = \"x\"", &[], "keys.toml, line 4: a key is empty"),
            (b"\xff", &[], "keys.toml: cannot be read"),
            (
                b"[keys]",
                &variable("TWQR_MERCHANT_KEY_"),
                "TWQR_MERCHANT_KEY_: the MerchantID at the end of its name is required",
            ),
            (b"[keys]", &[("TWQR_MERCHANT_KEY_M001", "")], "TWQR_MERCHANT_KEY_M001: a key is empty"),
            (b"[keys]", &[("TWQR_MERCHANT_KEY_M001", "\n")], "TWQR_MERCHANT_KEY_M001: a key is empty"),
            (b"[keys]", &[("TWQR_MERCHANT_KEY_M001", "SECRET ")], "a key begins or ends with a blank"),
            (b"[keys]\nM001 = \"SECRET \"", &[], "keys.toml, line 2: a key begins or ends with a blank"),
            (b"[keys]\nM001 = [\"x\", \"\\tSECRET\"]", &[], "line 2: a key begins or ends with a blank"),
        ] {
            let error = read_text(text, variables).unwrap_err();
            assert!(error.contains(expected), "{error} does not contain {expected:?}");
            assert!(error.starts_with("merchant keys: ") && !error.contains("SECRET"), "{error}");
        }
        let absent = KeySource { file: Some("/nowhere/keys.toml".into()), variables: Vec::new() };
        assert!(absent.read().unwrap_err().to_string().contains("/nowhere/keys.toml: cannot be read"));
    }

    /// A file that answers late: a pipe without a writer.
    #[test]
    fn a_disk_that_stalls_under_the_keys_stops_nothing_else() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("keys.toml");
        assert!(std::process::Command::new("mkfifo").arg(&file).status().unwrap().success());
        let source = Arc::new(KeySource { file: Some(file.clone()), variables: Vec::new() });
        let keys = MerchantKeys::new(Keys::new(), Vec::new());
        let has_worked = Arc::new(std::sync::atomic::AtomicBool::default());
        let writer = std::thread::spawn({
            let has_worked = has_worked.clone();
            move || {
                std::thread::sleep(Duration::from_millis(500));
                let has_worked = has_worked.load(std::sync::atomic::Ordering::Acquire);
                // Ends the read.
                std::fs::write(file, "[keys]").unwrap();
                has_worked
            }
        });
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let was_free = runtime.block_on(async {
            tokio::spawn(source.follow(keys, Health::default().side_part("merchant-keys")));
            tokio::time::sleep(Duration::from_millis(10)).await;
            has_worked.store(true, std::sync::atomic::Ordering::Release);
            tokio::task::spawn_blocking(|| writer.join()).await.unwrap().unwrap()
        });
        assert!(was_free, "the runtime's thread waited for the file");
        // A second read waits for a writer that never comes.
        runtime.shutdown_background();
    }

    /// Permissions that a process needs, or a disk that fails for a moment, leave no trace in the
    /// version of a file; here both texts have the same version.
    #[tokio::test]
    async fn a_file_that_could_not_be_used_is_read_again_unchanged() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("keys.toml");
        let write = |text: &str| {
            let mut file = std::fs::OpenOptions::new().create(true).truncate(true).write(true).open(&path).unwrap();
            file.write_all(text.as_bytes()).unwrap();
            file.set_modified(SystemTime::UNIX_EPOCH + Duration::from_hours(500_000)).unwrap();
            version(&file.metadata().unwrap())
        };
        let source = Arc::new(KeySource { file: Some(path.clone()), variables: Vec::new() });
        let (keys, health) = (MerchantKeys::new(Keys::new(), Vec::new()), Health::default());
        let (part, mut last) = (health.side_part("merchant-keys"), LastCheck::default());
        let refused = write("[keys]\nM1 = \"\" #");
        for _ in 0..2 {
            last.check(&source, &keys, &part).await;
            let state = health.report()["merchant-keys"].clone();
            assert!(matches!(&state, PartState::Degraded(why) if why.contains("line 2: a key is empty")), "{state:?}");
        }
        assert!(refused == write("[keys]\nM1 = \"ab\""), "both have the same version");
        last.check(&source, &keys, &part).await;
        assert!(keys.has_merchant("M1") && part.is_ready());
        std::fs::remove_file(&path).unwrap();
        last.check(&source, &keys, &part).await;
        assert!(keys.has_merchant("M1") && !part.is_ready(), "the earlier keys stay in use");
    }

    #[test]
    fn a_variable_that_is_not_utf_8_is_a_fault() {
        use std::os::unix::ffi::OsStringExt;
        let variable = ("TWQR_MERCHANT_KEY_M1".into(), OsString::from_vec(b"SECRET\xff".to_vec()));
        let error = KeySource { file: None, variables: vec![variable] }.read().unwrap_err().to_string();
        assert!(error.contains("TWQR_MERCHANT_KEY_M1: is not UTF-8") && !error.contains("SECRET"), "{error}");
    }
}
