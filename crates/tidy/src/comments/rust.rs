//! Finds the comments of Rust source, which a parser does not keep. It skips strings and characters
//! that contain comment markers. Protobuf has the same comments, so it is read in the same way.

use super::{Comment, Style};

pub(super) fn read(text: &str) -> Vec<Comment> {
    let mut reader = Reader { rest: text, line: 1, comments: Vec::new() };
    while !reader.rest.is_empty() {
        reader.step();
    }
    reader.comments
}

struct Reader<'a> {
    rest: &'a str,
    line: usize,
    comments: Vec<Comment>,
}

impl Reader<'_> {
    fn step(&mut self) {
        if self.rest.starts_with("//") {
            self.line_comment();
        } else if self.rest.starts_with("/*") {
            self.block_comment();
        } else if let Some(hashes) = raw_string(self.rest) {
            let end = format!("\"{}", "#".repeat(hashes));
            let open = self.rest.find('"').map_or(0, |at| at + 1);
            let close = self.rest[open..].find(&end).map_or(self.rest.len(), |at| open + at + end.len());
            self.skip(close);
        } else if self.rest.starts_with('"') {
            self.skip(string_end(self.rest));
        } else if self.rest.starts_with('\'') {
            self.skip(char_end(self.rest));
        } else {
            // Skip a whole identifier, so that its last letter is not taken for the `r` of a raw
            // string.
            let name = self.rest.find(|char: char| !char.is_alphanumeric() && char != '_').unwrap_or(self.rest.len());
            let one = self.rest.chars().next().map_or(1, char::len_utf8);
            self.skip(name.max(one));
        }
    }

    fn skip(&mut self, bytes: usize) {
        let (skipped, rest) = self.rest.split_at(bytes.min(self.rest.len()));
        self.line += skipped.matches('\n').count();
        self.rest = rest;
    }

    fn line_comment(&mut self) {
        let end = self.rest.find('\n').unwrap_or(self.rest.len());
        let text = &self.rest[..end];
        let (style, marker) = match text.as_bytes().get(2..4).or_else(|| text.as_bytes().get(2..3)) {
            Some([b'!', ..]) => (Style::Inner, 3),
            Some(b"//") | None => (Style::Plain, 2),
            Some([b'/', ..]) => (Style::Outer, 3),
            Some(_) => (Style::Plain, 2),
        };
        self.comments.push(Comment { line: self.line, style, text: text[marker..].to_owned() });
        self.skip(end);
    }

    /// Reads a block comment, which may contain others.
    fn block_comment(&mut self) {
        let (mut depth, mut end) = (0_usize, 0);
        while let Some(at) = self.rest[end..].find(['/', '*']) {
            end += at;
            let pair = self.rest.get(end..end + 2).unwrap_or_default();
            depth = if pair == "/*" { depth + 1 } else { depth.saturating_sub(usize::from(pair == "*/")) };
            end += if matches!(pair, "/*" | "*/") { 2 } else { 1 };
            if depth == 0 {
                break;
            }
        }
        let end = if depth == 0 { end } else { self.rest.len() };
        for (line, text) in (self.line..).zip(self.rest[..end].lines()) {
            self.comments.push(Comment { line, style: Style::Plain, text: text.to_owned() });
        }
        self.skip(end);
    }
}

/// The number of hashes where a raw string begins.
fn raw_string(text: &str) -> Option<usize> {
    let after = ["r", "br", "cr"].into_iter().find_map(|prefix| text.strip_prefix(prefix))?;
    let hashes = after.len() - after.trim_start_matches('#').len();
    after[hashes..].starts_with('"').then_some(hashes)
}

fn string_end(text: &str) -> usize {
    let mut is_escaped = false;
    for (at, char) in text.char_indices().skip(1) {
        match char {
            _ if is_escaped => is_escaped = false,
            '\\' => is_escaped = true,
            '"' => return at + 1,
            _ => {}
        }
    }
    text.len()
}

/// The end of a character literal such as `'"'`, or of the quote alone if it begins a lifetime.
fn char_end(text: &str) -> usize {
    let mut chars = text.char_indices().skip(1);
    match (chars.next(), chars.next()) {
        (Some((_, '\\')), Some((at, escaped))) => {
            let after = at + escaped.len_utf8();
            text[after..].find('\'').map_or(1, |quote| after + quote + 1)
        }
        (Some(_), Some((at, '\''))) => at + 1,
        _ => 1,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn comments_are_distinguished_from_strings_and_lifetimes() {
        for (text, expected) in [
            ("let a = 1; // one", &[(1, Style::Plain, " one")][..]),
            (
                "/// outer\n//! inner\n//// plain\n//",
                &[
                    (1, Style::Outer, " outer"),
                    (2, Style::Inner, " inner"),
                    (3, Style::Plain, "// plain"),
                    (4, Style::Plain, ""),
                ],
            ),
            ("let a = \"// no \\\" // no\"; // yes", &[(1, Style::Plain, " yes")]),
            ("let a = r#\"// \" no\"#; // yes", &[(1, Style::Plain, " yes")]),
            ("let a = \"\n\n\"; // third", &[(3, Style::Plain, " third")]),
            ("let a = '\"'; // yes", &[(1, Style::Plain, " yes")]),
            ("let a = '\\''; // yes", &[(1, Style::Plain, " yes")]),
            ("fn a<'b>(c: &'b str) {} // yes", &[(1, Style::Plain, " yes")]),
            ("let for_r = bar\"// no\";", &[]),
            ("/* a /* b */ c */ d // e", &[(1, Style::Plain, "/* a /* b */ c */"), (1, Style::Plain, " e")]),
        ] {
            let found = read(text);
            let found: Vec<_> = found.iter().map(|comment| (comment.line, comment.style, &*comment.text)).collect();
            assert_eq!(found, expected, "{text}");
        }
    }
}
