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
    Writer::new(form, to).object(members.iter().filter(|(key, _)| *key != except));
}

/// The characters that a form escapes. A stranger may send texts in which each one is escaped, so
/// it must cost little to find them.
#[derive(Clone, Copy)]
struct EscapeSet {
    /// The ASCII characters, one bit for each.
    ascii: u128,
    line_separators: bool,
    non_ascii: bool,
}

impl EscapeSet {
    /// The control characters.
    const CONTROLS: u128 = 0xffff_ffff;

    fn of(form: SignatureForm) -> Self {
        let further = form.escaped_ascii().bytes().chain(*b"\"\\");
        Self {
            ascii: further.fold(Self::CONTROLS, |set, byte| set | 1_u128 << byte),
            line_separators: form.escapes_line_separators(),
            non_ascii: form.escapes_non_ascii(),
        }
    }

    fn has(self, character: char) -> bool {
        match character {
            ..='\x7f' => self.ascii & (1_u128 << u32::from(character)) != 0,
            '\u{2028}' | '\u{2029}' => self.line_separators,
            _ => self.non_ascii,
        }
    }
}

/// Writes a text in one form.
struct Writer<'a, S> {
    form: SignatureForm,
    escaped: EscapeSet,
    to: &'a mut S,
}

impl<'a, S: Sink> Writer<'a, S> {
    fn new(form: SignatureForm, to: &'a mut S) -> Self {
        Self { form, escaped: EscapeSet::of(form), to }
    }

    fn object<'m>(&mut self, members: impl Iterator<Item = (&'m String, &'m Json)>) {
        self.to.put(b"{");
        for (n, (key, member)) in members.enumerate() {
            if n > 0 {
                self.separator(b",");
            }
            self.text(key);
            self.separator(b":");
            self.value(member);
        }
        self.to.put(b"}");
    }

    fn separator(&mut self, mark: &[u8]) {
        self.to.put(mark);
        if self.form.has_blanks() {
            self.to.put(b" ");
        }
    }

    fn value(&mut self, json: &Json) {
        match json {
            Json::Null => self.to.put(b"null"),
            Json::Bool(true) => self.to.put(b"true"),
            Json::Bool(false) => self.to.put(b"false"),
            Json::Number(number) => self.to.put(number.as_bytes()),
            Json::Text(string) => self.text(string),
            Json::Object(members) => self.object(members.iter()),
            Json::List(elements) => {
                self.to.put(b"[");
                for (n, element) in elements.iter().enumerate() {
                    if n > 0 {
                        self.separator(b",");
                    }
                    self.value(element);
                }
                self.to.put(b"]");
            }
        }
    }

    /// Writes a text. Quotes, backslashes and control characters are always escaped, control
    /// characters in their short form if they have one; the form says which others are.
    fn text(&mut self, string: &str) {
        self.to.put(b"\"");
        let (mut written, escaped) = (0, self.escaped);
        for (at, character) in string.char_indices().filter(|(_, character)| escaped.has(*character)) {
            self.to.put(&string.as_bytes()[written..at]);
            self.escape(character);
            written = at + character.len_utf8();
        }
        self.to.put(&string.as_bytes()[written..]);
        self.to.put(b"\"");
    }

    fn escape(&mut self, character: char) {
        let short = match character {
            '"' if !self.form.writes_quotes_as_numbers() => b'"',
            '\\' => b'\\',
            '/' => b'/',
            '\x08' => b'b',
            '\t' => b't',
            '\n' => b'n',
            '\x0c' => b'f',
            '\r' => b'r',
            _ => return self.escape_as_number(character),
        };
        self.to.put(&[b'\\', short]);
    }

    fn escape_as_number(&mut self, character: char) {
        let digits = if self.form.writes_capital_hex() { b"0123456789ABCDEF" } else { b"0123456789abcdef" };
        for unit in character.encode_utf16(&mut [0; 2]).iter() {
            let digit = |shift: u16| digits[usize::from(unit >> shift & 15)];
            self.to.put(&[b'\\', b'u', digit(12), digit(8), digit(4), digit(0)]);
        }
    }
}

#[cfg(test)]
mod tests;
