//! The folder of a run. Each run empties it first, but only if an earlier run has made it: no other
//! files are ever removed.

use std::{
    fs::{self, OpenOptions},
    io::Write,
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
    process::Stdio,
};

use anyhow::{Context as _, ensure};
use tokio::process::Command;
use twqr_config::Config;
use twqr_simulator::Script;

/// The name of the file that marks a folder as one that may be emptied.
const MARKER: &str = ".twqr-run";
/// The text in the marker file.
const MARKER_TEXT: &str = "twqr made this folder and empties it before each run.\n";

/// Creates or empties `dir`, and puts the marker into it. Fails if the folder has content but no
/// marker.
pub fn empty(dir: &Path) -> anyhow::Result<()> {
    let name = dir.display();
    fs::create_dir_all(dir).with_context(|| format!("cannot create {name}"))?;
    let cannot_read = || format!("cannot read {name}");
    let entries: Vec<_> =
        fs::read_dir(dir).with_context(cannot_read)?.collect::<Result<_, _>>().with_context(cannot_read)?;
    let may_be_emptied = entries.is_empty() || entries.iter().any(|entry| entry.file_name() == MARKER);
    ensure!(
        may_be_emptied,
        "{name} is not empty and was not made by twqr (no {MARKER} in it), so it is not emptied; name another folder, or empty it yourself"
    );
    fs::write(dir.join(MARKER), MARKER_TEXT).with_context(|| format!("cannot write to {name}"))?;
    for entry in entries.iter().filter(|entry| entry.file_name() != MARKER) {
        let path = entry.path();
        let is_folder = entry.file_type().is_ok_and(|kind| kind.is_dir());
        let removed = if is_folder { fs::remove_dir_all(&path) } else { fs::remove_file(&path) };
        removed.with_context(|| format!("cannot remove {}", path.display()))?;
    }
    Ok(())
}

/// Writes the full configuration, readable only by the present user, because it may contain
/// secrets; returns the file.
pub(super) fn write_config(dir: &Path, config: &Config) -> anyhow::Result<PathBuf> {
    let path = dir.join("twqr.toml");
    let text = toml::to_string(config)?;
    let opened = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path);
    opened
        .and_then(|mut file| file.write_all(text.as_bytes()))
        .with_context(|| format!("cannot write {}", path.display()))?;
    Ok(path)
}

/// Reads and checks a fault script; `-` is standard input.
pub(super) fn read_script(file: &Path) -> anyhow::Result<String> {
    let place = || format!("fault script {}", file.display());
    let text = twqr_files::read_text(file).with_context(place)?;
    Script::parse(&text).with_context(place)?;
    Ok(text)
}

/// Writes a fault script where the simulator, which has no standard input, can read it; returns
/// the file.
pub(super) fn write_script(dir: &Path, text: &str) -> anyhow::Result<PathBuf> {
    let path = dir.join("fault-script.toml");
    fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))?;
    Ok(path)
}

/// The log files of the processes, one for each, in `logs` of the run's folder.
pub(super) struct Logs(PathBuf);

impl Logs {
    /// Makes the folder of the log files.
    pub(super) fn create(dir: &Path) -> anyhow::Result<Self> {
        let logs = dir.join("logs");
        fs::create_dir_all(&logs).with_context(|| format!("cannot create {}", logs.display()))?;
        Ok(Self(logs))
    }

    /// The log file of a process.
    pub(super) fn file(&self, name: &str) -> PathBuf {
        self.0.join(format!("{name}.log"))
    }

    /// Appends the process's standard error to its log file. Its standard output is discarded.
    pub(super) fn redirect(&self, command: &mut Command, name: &str) -> anyhow::Result<()> {
        let file = self.file(name);
        let log = OpenOptions::new().create(true).append(true).open(&file);
        let log = log.with_context(|| format!("{} cannot be written", file.display()))?;
        command.stdout(Stdio::null()).stderr(log);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn a_folder_without_the_marker_is_not_emptied() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("precious"), "x").unwrap();
        let error = empty(folder.path()).unwrap_err().to_string();
        assert!(error.contains(&folder.path().display().to_string()) && error.contains("another folder"), "{error}");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
        assert!(empty(&folder.path().join("precious")).is_err(), "a file is no folder");
    }

    #[test]
    fn a_folder_that_is_missing_empty_or_of_an_earlier_run_is_emptied() {
        let folder = tempfile::tempdir().unwrap();
        let outside = tempfile::tempdir().unwrap();
        fs::write(outside.path().join("precious"), "x").unwrap();
        let run = folder.path().join("run");
        for _ in 0..2 {
            empty(&run).unwrap();
            assert_eq!(fs::read_dir(&run).unwrap().count(), 1);
            fs::create_dir_all(run.join("data/deep")).unwrap();
            fs::write(run.join("data/deep/file"), "x").unwrap();
            std::os::unix::fs::symlink(outside.path(), run.join("link")).unwrap();
        }
        empty(&run).unwrap();
        assert!(outside.path().join("precious").exists(), "files behind a link are kept");
    }

    #[test]
    fn only_its_user_can_read_the_configuration() {
        let folder = tempfile::tempdir().unwrap();
        let file = write_config(folder.path(), &Config::default()).unwrap();
        assert_eq!(fs::metadata(file).unwrap().permissions().mode() & 0o777, 0o600);
    }
}
