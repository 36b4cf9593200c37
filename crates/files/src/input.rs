//! Reads files that operators write and name on the command line.

use std::{
    fs::File,
    io::{self, Error, ErrorKind, Read},
    os::fd::AsFd,
    path::Path,
    sync::atomic::{AtomicBool, Ordering},
};

/// The byte order mark of UTF-8.
const MARK: &[u8] = "\u{feff}".as_bytes();
/// The byte order marks of UTF-16, which some editors call "Unicode".
const UTF16_MARKS: [&[u8]; 2] = [b"\xff\xfe", b"\xfe\xff"];

/// Whether standard input was opened. It can be read only once.
static STDIN_OPENED: AtomicBool = AtomicBool::new(false);

/// Whether the name means standard input or output.
pub fn is_standard(path: &Path) -> bool {
    path == Path::new("-")
}

/// Opens a file; `-` is standard input, which can be opened once.
pub fn open(path: &Path) -> io::Result<File> {
    if !is_standard(path) {
        return File::open(path);
    }
    if STDIN_OPENED.swap(true, Ordering::Relaxed) {
        return Err(Error::other("standard input was already read; only one file can be -"));
    }
    Ok(io::stdin().as_fd().try_clone_to_owned()?.into())
}

/// Reads a file; `-` is standard input.
pub fn read(path: &Path) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    open(path)?.read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// Reads a file as [`text`]; `-` is standard input.
pub fn read_text(path: &Path) -> io::Result<String> {
    text(read(path)?)
}

/// Converts the content of a file to text, without a byte order mark and with `\n` at each line
/// end. The error never shows the content. The bytes are changed in place, so that no copy of a
/// secret remains.
pub fn text(mut bytes: Vec<u8>) -> io::Result<String> {
    if UTF16_MARKS.iter().any(|mark| bytes.starts_with(mark)) {
        return Err(Error::new(ErrorKind::InvalidData, "is UTF-16; save it as UTF-8"));
    }
    let mut kept = 0;
    for at in bytes.len() - without_mark(&bytes).len()..bytes.len() {
        if bytes[at] != b'\r' || bytes.get(at + 1) != Some(&b'\n') {
            bytes[kept] = bytes[at];
            kept += 1;
        }
    }
    bytes.truncate(kept);
    String::from_utf8(bytes).map_err(|_| Error::new(ErrorKind::InvalidData, "is not UTF-8; save it as UTF-8"))
}

/// Removes the byte order mark of UTF-8, if there is one.
pub fn without_mark(bytes: &[u8]) -> &[u8] {
    bytes.strip_prefix(MARK).unwrap_or(bytes)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use super::*;

    #[test]
    fn text_has_no_mark_and_plain_line_ends() {
        for (bytes, expected) in [
            ("", ""),
            ("\u{feff}", ""),
            ("\u{feff}a\r\nb\r\n", "a\nb\n"),
            ("a\rb\r\r\nc\r", "a\rb\r\nc\r"),
            ("a\u{feff}\n店", "a\u{feff}\n店"),
        ] {
            assert_eq!(text(bytes.into()).unwrap(), expected);
        }
    }

    #[test]
    fn other_encodings_are_refused_without_showing_the_content() {
        for (bytes, expected) in [
            (&b"\xff\xfeS\0E\0"[..], "is UTF-16; save it as UTF-8"),
            (b"\xfe\xff\0S", "is UTF-16; save it as UTF-8"),
            (b"SECRET\xa5", "is not UTF-8; save it as UTF-8"),
        ] {
            let error = text(bytes.to_vec()).unwrap_err();
            assert_eq!((error.to_string().as_str(), format!("{error:?}").contains("SECRET")), (expected, false));
        }
    }
}
