//! The canonical text of a request, which the signature covers: JSON with keys sorted by their
//! bytes at every depth and numbers as they were sent. Its form decides about blanks and escapes
//! (`proto/README.md`, section HTTP form).

use sha2::{Digest, Sha256};
use twqr_types::SignatureForm;

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

/// Writes all members except the one with the key `except`, in this form.
pub(super) fn write(members: &Object, except: &str, form: SignatureForm, to: &mut impl Sink) {
    object(members.iter().filter(|(key, _)| *key != except), form, to);
}

fn object<'a>(members: impl Iterator<Item = (&'a String, &'a Json)>, form: SignatureForm, to: &mut impl Sink) {
    to.put(b"{");
    for (n, (key, member)) in members.enumerate() {
        if n > 0 {
            separator(b",", form, to);
        }
        text(key, form, to);
        separator(b":", form, to);
        value(member, form, to);
    }
    to.put(b"}");
}

fn separator(mark: &[u8], form: SignatureForm, to: &mut impl Sink) {
    to.put(mark);
    if form.has_blanks() {
        to.put(b" ");
    }
}

fn value(json: &Json, form: SignatureForm, to: &mut impl Sink) {
    match json {
        Json::Null => to.put(b"null"),
        Json::Bool(true) => to.put(b"true"),
        Json::Bool(false) => to.put(b"false"),
        Json::Number(number) => to.put(number.as_bytes()),
        Json::Text(string) => text(string, form, to),
        Json::Object(members) => object(members.iter(), form, to),
        Json::List(elements) => {
            to.put(b"[");
            for (n, element) in elements.iter().enumerate() {
                if n > 0 {
                    separator(b",", form, to);
                }
                value(element, form, to);
            }
            to.put(b"]");
        }
    }
}

/// Writes a text. Quotes, backslashes and control characters are always escaped, control characters
/// in their short form if they have one; the form says which others are.
fn text(string: &str, form: SignatureForm, to: &mut impl Sink) {
    to.put(b"\"");
    let mut rest = string;
    while let Some((at, character)) = rest.char_indices().find(|(_, character)| is_escaped(*character, form)) {
        to.put(&rest.as_bytes()[..at]);
        escape(character, form, to);
        rest = &rest[at + character.len_utf8()..];
    }
    to.put(rest.as_bytes());
    to.put(b"\"");
}

fn is_escaped(character: char, form: SignatureForm) -> bool {
    match character {
        '"' | '\\' | ..='\x1f' => true,
        '\u{2028}' | '\u{2029}' => form.escapes_line_separators(),
        _ if character.is_ascii() => form.escaped_ascii().contains(character),
        _ => form.escapes_non_ascii(),
    }
}

fn escape(character: char, form: SignatureForm, to: &mut impl Sink) {
    let short = match character {
        '"' if !form.writes_quotes_as_numbers() => b'"',
        '\\' => b'\\',
        '/' => b'/',
        '\x08' => b'b',
        '\t' => b't',
        '\n' => b'n',
        '\x0c' => b'f',
        '\r' => b'r',
        _ => return escape_as_number(character, form, to),
    };
    to.put(&[b'\\', short]);
}

fn escape_as_number(character: char, form: SignatureForm, to: &mut impl Sink) {
    for unit in character.encode_utf16(&mut [0; 2]) {
        let escape = if form.writes_capital_hex() { format!("\\u{unit:04X}") } else { format!("\\u{unit:04x}") };
        to.put(escape.as_bytes());
    }
}

#[cfg(test)]
mod tests;
