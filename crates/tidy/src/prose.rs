//! Checks that prose has at most 100 columns; a Chinese, Japanese or Korean character takes two.
//!
//! Tables, code fences and lines with an address may be longer, since they cannot be broken.
//! Database migrations are not checked: databases store the checksums of applied migrations, so the
//! files must never change.

use unicode_width::UnicodeWidthStr;

use crate::{
    comments::Comment,
    files::SourceFile,
    finding::{Finding, Rule},
};

const COLUMNS_MAX: usize = 100;

pub(crate) fn check(file: &SourceFile, comments: &[Comment], findings: &mut Vec<Finding>) {
    if file.path.contains("/migrations/") {
        return;
    }
    let lines: Vec<&str> = file.text.lines().collect();
    let mut is_in_fence = false;
    let mut above: Option<&Comment> = None;
    for comment in comments {
        if !above.is_some_and(|above| above.continues_in(comment)) {
            is_in_fence = false;
        }
        above = Some(comment);
        if comment.text.trim_start().starts_with("```") {
            is_in_fence = !is_in_fence;
            continue;
        }
        let Some(line) = lines.get(comment.line - 1) else { continue };
        let columns = line.width();
        if columns > COLUMNS_MAX && !is_in_fence && !may_be_long(&comment.text) {
            findings.push(Finding {
                file: file.path.clone(),
                line: comment.line,
                rule: Rule::Prose,
                message: format!("the line has {columns} columns, prose at most {COLUMNS_MAX}; wrap or shorten it"),
            });
        }
    }
}

fn may_be_long(text: &str) -> bool {
    text.trim_start().starts_with('|') || text.contains("://")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{comments, files::Kind};

    fn lines(kind: Kind, text: &str) -> Vec<usize> {
        let file = SourceFile { path: "a".to_owned(), kind, text: text.to_owned() };
        let mut findings = Vec::new();
        check(&file, &comments::read(&file), &mut findings);
        findings.iter().map(|finding| finding.line).collect()
    }

    #[test]
    fn comments_are_measured_in_every_kind_of_file() {
        let long = "word ".repeat(20);
        for (name, kind, text, expected) in [
            ("a Rust comment", Kind::Rust, format!("// {long}\nfn a() {{}}\n"), &[1][..]),
            ("long code", Kind::Rust, format!("fn a() {{ let b = \"{long}\"; }}\n"), &[]),
            ("a comment after code", Kind::Rust, format!("fn a() {{}} // {long}\n"), &[1]),
            ("a block comment", Kind::Rust, format!("/* one\n{long}{long}\n*/\n"), &[2]),
            ("protobuf", Kind::Proto, format!("// {long}\n"), &[1]),
            ("a script", Kind::Hash, format!("#!/bin/sh\n# {long}\necho '# {long}'\n"), &[2]),
            ("a help text", Kind::Hash, format!("build: ## {long}\n"), &[1]),
            ("SQL", Kind::Sql, format!("-- {long}\nSELECT 1;\n"), &[1]),
            ("Markdown", Kind::Markdown, format!("# Title\n\n{long}x\n"), &[3]),
            ("exactly 100", Kind::Markdown, "a".repeat(100), &[]),
        ] {
            assert_eq!(lines(kind, &text), expected, "{name}");
        }
    }

    #[test]
    fn wide_characters_count_twice() {
        assert_eq!(lines(Kind::Markdown, &"街".repeat(50)), []);
        assert_eq!(lines(Kind::Markdown, &"街".repeat(51)), [1]);
    }

    #[test]
    fn tables_fences_and_addresses_may_be_long() {
        let long = "word ".repeat(20);
        let fence = format!("```\n{long}x\n```\n{long}x\n");
        assert_eq!(lines(Kind::Markdown, &fence), [4]);
        assert_eq!(lines(Kind::Markdown, &format!("| {long} |\n")), []);
        assert_eq!(lines(Kind::Rust, &format!("/// {long} https://example.org/\n")), []);
        assert_eq!(lines(Kind::Rust, &format!("/// ```\n/// {long}\n/// ```\n/// {long}\n")), [4]);
    }
}
