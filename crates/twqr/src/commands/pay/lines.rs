//! The lines of a file of requests, which may be a pipe.

use std::{
    fs::{File, Metadata},
    io::{BufRead, BufReader, Read},
    os::unix::fs::MetadataExt,
    path::Path,
    thread,
};

use anyhow::{Context as _, ensure};
use tokio::sync::mpsc::{Receiver, channel};
use twqr_files::{is_standard, without_mark};

/// The longest line that is accepted, in bytes; a complete Payment request has about 12 KiB.
pub(super) const LINE_BYTES_MAX: u64 = 64 * 1024;
/// How many lines are read ahead of those that are sent.
const AHEAD: usize = 64;

/// One line of the file.
pub(super) struct Line {
    /// The line number, from 1.
    pub(super) number: u64,
    pub(super) bytes: Vec<u8>,
    pub(super) too_long: bool,
}

/// Iterates over the lines of a file that are not empty.
pub(super) struct Lines {
    reader: BufReader<File>,
    name: String,
    about: Metadata,
    number: u64,
    /// Whether the end of the file or a read error was reached.
    ended: bool,
}

impl Lines {
    /// Opens a file; `-` is standard input.
    pub(super) fn open(path: &Path) -> anyhow::Result<Self> {
        let name = path.display().to_string();
        let cannot_read = || format!("{name} cannot be read");
        let file = twqr_files::open(path).with_context(cannot_read)?;
        let about = file.metadata().with_context(cannot_read)?;
        ensure!(!about.is_dir(), "{name} is a folder; name a file with one request in each line");
        Ok(Self { reader: BufReader::new(file), name, about, number: 0, ended: false })
    }

    /// Whether the path leads to the same file; `-` is standard output.
    pub(super) fn is_same_file(&self, path: &Path) -> bool {
        let is_same = |other: Metadata| (other.dev(), other.ino()) == (self.about.dev(), self.about.ino());
        let other =
            if is_standard(path) { twqr_files::create(path).and_then(|file| file.metadata()) } else { path.metadata() };
        self.about.is_file() && other.is_ok_and(is_same)
    }

    /// Reads in a thread of its own, since a pipe may be silent for long. The thread ends when the
    /// receiver is dropped or the process ends.
    pub(super) fn in_background(self) -> Receiver<anyhow::Result<Line>> {
        let (sender, receiver) = channel(AHEAD);
        thread::spawn(move || {
            for line in self {
                if sender.blocking_send(line).is_err() {
                    break;
                }
            }
        });
        receiver
    }

    /// Reads to the end of the line, and keeps at most [`LINE_BYTES_MAX`] bytes of it.
    fn read(&mut self) -> std::io::Result<Option<Line>> {
        let mut bytes = Vec::new();
        if self.reader.by_ref().take(LINE_BYTES_MAX + 1).read_until(b'\n', &mut bytes)? == 0 {
            return Ok(None);
        }
        self.number += 1;
        let too_long = bytes.len() as u64 > LINE_BYTES_MAX && bytes.last() != Some(&b'\n');
        if too_long {
            self.reader.skip_until(b'\n')?;
        }
        if self.number == 1 {
            bytes = without_mark(&bytes).to_vec();
        }
        Ok(Some(Line { number: self.number, bytes, too_long }))
    }
}

impl Iterator for Lines {
    type Item = anyhow::Result<Line>;

    fn next(&mut self) -> Option<Self::Item> {
        while !self.ended {
            match self.read() {
                Ok(None) => self.ended = true,
                Ok(Some(line)) if line.bytes.trim_ascii().is_empty() => {}
                Ok(Some(line)) => return Some(Ok(line)),
                Err(error) => {
                    self.ended = true;
                    let place = || format!("{} cannot be read after line {}", self.name, self.number);
                    return Some(Err(error).with_context(place));
                }
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_lines_keep_the_numbers_of_later_lines() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let long = "x".repeat(3 * LINE_BYTES_MAX as usize);
        std::fs::write(file.path(), format!("{{}}\n\n{long}\n  \n[]")).unwrap();
        let lines: Vec<Line> = Lines::open(file.path()).unwrap().map(Result::unwrap).collect();
        let seen: Vec<(u64, bool)> = lines.iter().map(|line| (line.number, line.too_long)).collect();
        assert_eq!(seen, [(1, false), (3, true), (5, false)]);
        assert!(lines.iter().all(|line| line.bytes.len() as u64 <= LINE_BYTES_MAX + 1));
    }

    #[test]
    fn iteration_ends_at_the_first_read_error() {
        // Reading the memory of a process at address 0 always fails.
        let mut lines = Lines::open(Path::new("/proc/self/mem")).unwrap();
        let error = lines.next().unwrap().err().unwrap();
        assert!(format!("{error:#}").starts_with("/proc/self/mem cannot be read after line 0"), "{error:#}");
        assert!(lines.next().is_none());
    }
}
