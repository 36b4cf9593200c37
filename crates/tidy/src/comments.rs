//! Finds the comments of a file: for each line of a comment its text and its style.

mod rust;

use crate::files::{Kind, SourceFile};

/// The subject of a comment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Style {
    /// Not documentation of an item; also every line of a Markdown document.
    Plain,
    /// Documents the item that follows: `///`.
    Outer,
    /// Documents the module that contains it: `//!`.
    Inner,
}

/// One line of a comment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Comment {
    /// Counted from 1.
    pub(crate) line: usize,
    pub(crate) style: Style,
    /// Without the marker.
    pub(crate) text: String,
}

impl Comment {
    /// Whether `below` is the next line of the same comment.
    pub(crate) fn continues_in(&self, below: &Self) -> bool {
        below.style == self.style && below.line == self.line + 1
    }
}

pub(crate) fn read(file: &SourceFile) -> Vec<Comment> {
    match file.kind {
        Kind::Rust | Kind::Proto => rust::read(&file.text),
        Kind::Hash => after_marker(&file.text, "#"),
        Kind::Sql => after_marker(&file.text, "--"),
        Kind::Markdown => numbered(&file.text).map(|(line, text)| plain(line, text)).collect(),
    }
}

fn numbered(text: &str) -> impl Iterator<Item = (usize, &str)> {
    (1..).zip(text.lines())
}

fn plain(line: usize, text: &str) -> Comment {
    Comment { line, style: Style::Plain, text: text.to_owned() }
}

/// The comments that begin with `marker`, at the start of a line or after a space, outside quotes.
fn after_marker(text: &str, marker: &str) -> Vec<Comment> {
    let is_comment = |(line, text): (usize, &str)| {
        let at = marker_at(text, marker)?;
        let is_interpreter = line == 1 && text.starts_with("#!");
        (!is_interpreter).then(|| plain(line, text[at..].trim_start_matches(marker)))
    };
    numbered(text).filter_map(is_comment).collect()
}

fn marker_at(line: &str, marker: &str) -> Option<usize> {
    let mut quote = None;
    let mut above = ' ';
    for (at, char) in line.char_indices() {
        match quote {
            Some(open) if char == open => quote = None,
            None if above.is_whitespace() && line[at..].starts_with(marker) => return Some(at),
            None if matches!(char, '"' | '\'') => quote = Some(char),
            Some(_) | None => {}
        }
        above = char;
    }
    None
}
