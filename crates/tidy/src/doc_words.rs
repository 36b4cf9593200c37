//! Checks that a doc comment has at least three words; a shorter one only repeats a name.

use crate::{
    comments::{Comment, Style},
    files::SourceFile,
    finding::{Finding, Rule},
};

const WORDS_MIN: usize = 3;

pub(crate) fn check(file: &SourceFile, comments: &[Comment], findings: &mut Vec<Finding>) {
    for block in comments.chunk_by(Comment::continues_in) {
        let Some(first) = block.first().filter(|first| first.style != Style::Plain) else { continue };
        let words = block.iter().map(|comment| count_words(&comment.text)).sum::<usize>();
        if words < WORDS_MIN {
            findings.push(Finding {
                file: file.path.clone(),
                line: first.line,
                rule: Rule::DocWords,
                message: format!(
                    "the doc comment has {words} words, at least {WORDS_MIN} are required; say what the name does not, \
                     or delete the comment"
                ),
            });
        }
    }
}

fn count_words(text: &str) -> usize {
    text.split_whitespace().filter(|word| word.contains(char::is_alphanumeric)).count()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{comments, files::Kind};

    #[test]
    fn short_doc_comments_are_found_and_plain_comments_may_be_short() {
        for (name, text, lines) in [
            ("three words", "/// Says three words.\nfn a() {}\n", &[][..]),
            ("two words", "/// Two words.\nfn a() {}\n", &[1]),
            ("two lines together", "/// One\n/// two three.\nfn a() {}\n", &[]),
            ("no word", "fn a() {}\n/// --\nfn b() {}\n", &[2]),
            ("a module's", "//! Why.\n\n/// Which one it is.\nfn a() {}\n", &[1]),
            ("plain", "// Why.\nfn a() {}\n", &[]),
            ("in a string", "const A: &str = \"\n/// Why.\n\";\n", &[]),
        ] {
            let file = SourceFile { path: "a.rs".to_owned(), kind: Kind::Rust, text: text.to_owned() };
            let mut findings = Vec::new();
            check(&file, &comments::read(&file), &mut findings);
            let found: Vec<usize> = findings.iter().map(|finding| finding.line).collect();
            assert_eq!(found, lines, "{name}");
        }
    }
}
