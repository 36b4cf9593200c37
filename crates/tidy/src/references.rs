//! Checks that the files and tests that a document names exist.
//!
//! In Markdown, the target of a link, and a name in backticks that looks like a path with an
//! extension, such as `order/src/apply.rs`, must exist below the root, below `crates/`, or beside
//! the document. A path may name a function in the file after `::`.

use std::collections::BTreeMap;

use crate::{
    files::{Kind, SourceFile},
    finding::{Finding, Rule},
};

/// The extensions that are checked. Other files, such as those that a program writes, are not in
/// the repository.
const EXTENSIONS: [&str; 7] = ["rs", "proto", "toml", "md", "jsonl", "svg", "yml"];

/// Checks every Markdown file. `paths` are all files of the repository; those with a known kind are
/// in `files`, too.
pub(crate) fn check(files: &[SourceFile], paths: &[String], findings: &mut Vec<Finding>) {
    let texts: BTreeMap<&str, &str> = files.iter().map(|file| (&*file.path, &*file.text)).collect();
    for document in files.iter().filter(|file| file.kind == Kind::Markdown) {
        for (line, text) in (1..).zip(document.text.lines()) {
            for reference in references(text) {
                if let Err(message) = find(reference, &document.path, &texts, paths) {
                    findings.push(Finding { file: document.path.clone(), line, rule: Rule::References, message });
                }
            }
        }
    }
}

/// The targets of links, and the names in backticks, that look like paths within the repository.
fn references(line: &str) -> impl Iterator<Item = &str> {
    let names = line.split('`').skip(1).step_by(2);
    let links = line.split("](").skip(1).filter_map(|rest| rest.split([')', '#']).next());
    let is_checked = |name: &str| name.split("::").next().is_some_and(is_path);
    names.filter(move |name| name.contains('/') && is_checked(name)).chain(links.filter(move |link| is_checked(link)))
}

fn is_path(name: &str) -> bool {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '/' | '.' | '_' | '-');
    let extension = name.rsplit_once('.').map(|(_, extension)| extension);
    !name.starts_with(['/', '.'])
        && !name.starts_with("target/")
        && name.chars().all(is_plain)
        && extension.is_some_and(|extension| EXTENSIONS.contains(&extension))
}

fn find(reference: &str, document: &str, texts: &BTreeMap<&str, &str>, paths: &[String]) -> Result<(), String> {
    let (path, function) = reference.split_once("::").map_or((reference, None), |(path, name)| (path, Some(name)));
    let folder = document.rsplit_once('/').map_or("", |(folder, _)| folder);
    let places = [path.to_owned(), format!("crates/{path}"), format!("{folder}/{path}")];
    let Some(found) = places.iter().find(|place| paths.contains(place)) else {
        return Err(format!("`{path}` does not exist; name the file that took its place"));
    };
    let Some(function) = function else { return Ok(()) };
    // A macro may define the test, so the name need not follow `fn`.
    let is_defined = texts.get(&**found).is_some_and(|text| {
        text.match_indices(function).any(|(at, _)| {
            let after = text[at + function.len()..].chars().next();
            !after.is_some_and(|c| c.is_alphanumeric() || c == '_')
        })
    });
    if is_defined { Ok(()) } else { Err(format!("`{path}` has no `{function}`; name what took its place")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_and_functions_must_exist_and_other_names_are_left_alone() {
        let document = |text: &str| SourceFile {
            path: "deploy/README.md".to_owned(),
            kind: Kind::Markdown,
            text: text.to_owned(),
        };
        let code = SourceFile {
            path: "crates/a/src/lib.rs".to_owned(),
            kind: Kind::Rust,
            text: "fn it_works() {}\n".to_owned(),
        };
        let paths = ["crates/a/src/lib.rs", "deploy/kafka/pom.toml", "deploy/README.md"].map(str::to_owned);
        let files =
            |text: &str| [document(text), SourceFile { text: code.text.clone(), path: code.path.clone(), ..code }];
        for (text, expected) in [
            ("`crates/a/src/lib.rs`", 0),
            ("`a/src/lib.rs` and `kafka/pom.toml`", 0),
            ("`a/src/lib.rs::it_works`", 0),
            ("`a/src/lib.rs::it_work`", 1),
            ("`a/src/main.rs`", 1),
            ("`twqr.toml`, `bus.v1.Task`, `a b/c.rs`, `/etc/x.toml`, `target/run/x.toml`", 0),
            ("a/src/main.rs", 0),
            ("[here](README.md#part), [there](https://example.org/a/b.md), [this](#part)", 0),
            ("[here](ABSENT.md)", 1),
        ] {
            let mut findings = Vec::new();
            check(&files(text), &paths, &mut findings);
            assert_eq!(findings.len(), expected, "{text}: {findings:?}");
        }
    }
}
