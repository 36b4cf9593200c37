//! Writes to standard output and standard error. If the reader has closed the pipe, the rest is
//! discarded silently: the command ends with the exit code of its result, without an error or a
//! panic.

#![allow(clippy::disallowed_methods, reason = "the one place that may use standard output")]

use std::{
    fmt::Display,
    fs::File,
    io::{self, ErrorKind, Write},
    os::fd::AsFd,
    path::Path,
    sync::atomic::{AtomicBool, Ordering},
};

use crate::input::is_standard;

/// Whether the reader of standard output has left.
static STDOUT_CLOSED: AtomicBool = AtomicBool::new(false);

/// Standard output; discards what is written after its reader has left.
#[derive(Clone, Copy, Debug)]
pub struct Stdout;

/// Standard error; discards what cannot be written, since there is nowhere to report it.
#[derive(Clone, Copy, Debug)]
pub struct Stderr;

/// Returns standard output.
pub fn stdout() -> Stdout {
    Stdout
}

/// Returns standard error.
pub fn stderr() -> Stderr {
    Stderr
}

/// Whether the reader of standard output has left, so that an endless command may end. Known only
/// after something was written.
pub fn is_stdout_closed() -> bool {
    STDOUT_CLOSED.load(Ordering::Relaxed)
}

/// Prints a line to standard output.
pub fn print_line(line: impl Display) -> io::Result<()> {
    Stdout.write_all(format!("{line}\n").as_bytes())
}

/// Prints a line to standard error.
pub fn print_error_line(line: impl Display) {
    drop(Stderr.write_all(format!("{line}\n").as_bytes()));
}

/// Creates a file or empties it; `-` is standard output. Unlike [`stdout`], the file reports that
/// its reader has left.
pub fn create(path: &Path) -> io::Result<File> {
    if is_standard(path) { Ok(io::stdout().as_fd().try_clone_to_owned()?.into()) } else { File::create(path) }
}

impl Write for Stdout {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if is_stdout_closed() {
            return Ok(bytes.len());
        }
        unless_closed(io::stdout().write(bytes), bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        unless_closed(io::stdout().flush(), ())
    }
}

/// Treats the error of a closed pipe as success.
fn unless_closed<T>(written: io::Result<T>, all: T) -> io::Result<T> {
    match written {
        Err(error) if error.kind() == ErrorKind::BrokenPipe => {
            STDOUT_CLOSED.store(true, Ordering::Relaxed);
            Ok(all)
        }
        other => other,
    }
}

impl Write for Stderr {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        Ok(io::stderr().write(bytes).unwrap_or(bytes.len()))
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
