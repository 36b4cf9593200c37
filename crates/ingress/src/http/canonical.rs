//! The canonical text of a request, which the signature covers: compact JSON, keys sorted by their
//! bytes at every depth, numbers as they were sent, and only the escapes that JSON requires
//! (`proto/README.md`, section HTTP form).

use sha2::{Digest, Sha256};

use super::json::{Json, Object};

/// Takes the text piece by piece. The service hashes the pieces, so that it never makes a copy of
/// the whole text, which contains a card token.
pub(super) trait Sink {
    /// Takes the next piece of the text.
    fn put(&mut self, piece: &[u8]);
}

impl Sink for Sha256 {
    fn put(&mut self, piece: &[u8]) {
        self.update(piece);
    }
}

/// Writes all members except the one with the key `except`.
pub(super) fn write(members: &Object, except: &str, to: &mut impl Sink) {
    object(members.iter().filter(|(key, _)| *key != except), to);
}

fn object<'a>(members: impl Iterator<Item = (&'a String, &'a Json)>, to: &mut impl Sink) {
    to.put(b"{");
    for (n, (key, member)) in members.enumerate() {
        if n > 0 {
            to.put(b",");
        }
        text(key, to);
        to.put(b":");
        value(member, to);
    }
    to.put(b"}");
}

fn value(json: &Json, to: &mut impl Sink) {
    match json {
        Json::Null => to.put(b"null"),
        Json::Bool(true) => to.put(b"true"),
        Json::Bool(false) => to.put(b"false"),
        Json::Number(number) => to.put(number.as_bytes()),
        Json::Text(string) => text(string, to),
        Json::Object(members) => object(members.iter(), to),
        Json::List(elements) => {
            to.put(b"[");
            for (n, element) in elements.iter().enumerate() {
                if n > 0 {
                    to.put(b",");
                }
                value(element, to);
            }
            to.put(b"]");
        }
    }
}

/// Writes a text. Quotes, backslashes and control characters are escaped, control characters in
/// their short form if they have one.
fn text(string: &str, to: &mut impl Sink) {
    to.put(b"\"");
    let mut rest = string.as_bytes();
    while let Some(at) = rest.iter().position(|byte| matches!(byte, b'"' | b'\\' | ..=0x1f)) {
        to.put(&rest[..at]);
        let byte = rest[at];
        let short = match byte {
            b'"' | b'\\' => byte,
            0x08 => b'b',
            0x09 => b't',
            0x0a => b'n',
            0x0c => b'f',
            0x0d => b'r',
            _ => 0,
        };
        if short == 0 {
            to.put(format!("\\u{byte:04x}").as_bytes());
        } else {
            to.put(&[b'\\', short]);
        }
        rest = &rest[at + 1..];
    }
    to.put(rest);
    to.put(b"\"");
}

#[cfg(test)]
mod tests;
