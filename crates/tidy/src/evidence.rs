//! Finds the evidence that a row of a security table names: tests, commands and documents.

use std::collections::{BTreeMap, BTreeSet};

use crate::files::SourceFile;

/// The kind of evidence that a name in a row is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Evidence {
    /// A test, as `path::name`.
    Test,
    /// A `make` target, or a script of the repository.
    Command,
    /// Any other file of the repository.
    Document,
}

/// The files of the repository.
pub(crate) struct Repository<'a> {
    texts: BTreeMap<&'a str, &'a str>,
    paths: BTreeSet<&'a str>,
    targets: BTreeSet<&'a str>,
}

impl<'a> Repository<'a> {
    pub(crate) fn new(files: &'a [SourceFile], paths: &'a [String]) -> Self {
        let texts: BTreeMap<&str, &str> = files.iter().map(|file| (&*file.path, &*file.text)).collect();
        let makefile = texts.get("Makefile").copied().unwrap_or_default();
        let targets = makefile.lines().filter_map(|line| line.split_once(':')).map(|(name, _)| name).collect();
        Self { texts, paths: paths.iter().map(|path| &**path).collect(), targets }
    }

    /// Everything that the text names in backticks or as the target of a link. Names in backticks
    /// without a slash, such as keys of the configuration, or with one at their beginning, such as
    /// `/metrics`, are no evidence.
    ///
    /// # Errors
    ///
    /// Says which name is of nothing that exists.
    pub(crate) fn evidence(&self, text: &str) -> Result<Vec<Evidence>, String> {
        let is_named = |name: &&str| name.starts_with("make ") || name.find('/').is_some_and(|at| at > 0);
        let names = text.split('`').skip(1).step_by(2).filter(is_named);
        let links = text.split("](").skip(1).filter_map(|rest| rest.split([')', '#']).next());
        let links = links.filter(|link| !link.contains("://") && !link.is_empty());
        names.chain(links).map(|name| self.find(name)).collect()
    }

    fn find(&self, name: &str) -> Result<Evidence, String> {
        if let Some(target) = name.strip_prefix("make ") {
            let target = target.split_whitespace().next().unwrap_or_default();
            let exists = self.targets.contains(target);
            return if exists { Ok(Evidence::Command) } else { Err(format!("there is no `make {target}`")) };
        }
        let (path, function) = name.split_once("::").map_or((name, None), |(path, function)| (path, Some(function)));
        let places = [path.to_owned(), format!("crates/{path}"), format!("security/{path}")];
        let above = path.strip_prefix("../").map(str::to_owned);
        let found = places.iter().chain(&above).find_map(|place| self.paths.get(&**place));
        let found = *found.ok_or_else(|| format!("`{path}` does not exist; name the file that took its place"))?;
        let text = self.texts.get(found).copied().unwrap_or_default();
        match function {
            Some(function) if is_test(found, text, function) => Ok(Evidence::Test),
            Some(function) => Err(format!("`{path}` has no test `{function}`; name what took its place")),
            None if text.starts_with("#!") => Ok(Evidence::Command),
            None => Ok(Evidence::Document),
        }
    }
}

/// Whether the file defines a test of this name: a function with the attribute `test`, one that a
/// macro of the file makes, a method of a Python test, or an entry of a YAML file of tests.
fn is_test(path: &str, text: &str, name: &str) -> bool {
    let lines: Vec<&str> = text.lines().map(str::trim).collect();
    match path.rsplit_once('.').map(|(_, extension)| extension) {
        Some("rs") => {
            let is_defined = |at: usize| {
                let above = lines[..at].iter().rev().take_while(|line| line.starts_with(['#', '/']));
                is_function(lines[at], name) && above.into_iter().any(|line| is_test_attribute(line))
            };
            let is_made = || {
                let begins = |line: &&str| line.strip_prefix(name).is_some_and(|rest| !rest.starts_with(is_word));
                text.contains("macro_rules!") && text.contains("test]") && lines.iter().any(begins)
            };
            (0..lines.len()).any(is_defined) || is_made()
        }
        Some("py") => name.starts_with("test_") && lines.iter().any(|line| line.starts_with(&format!("def {name}("))),
        Some("yml" | "yaml") => {
            let is_entry = |line: &&str| {
                line.trim_start_matches("- ").split_once(": ").is_some_and(|(key, value)| {
                    matches!(key, "it" | "name" | "alertname") && value.trim_matches(['"', '\'']) == name
                })
            };
            lines.iter().any(is_entry)
        }
        _ => false,
    }
}

fn is_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

fn is_function(line: &str, name: &str) -> bool {
    line.split_once("fn ")
        .and_then(|(_, rest)| rest.strip_prefix(name))
        .is_some_and(|rest| rest.starts_with(['(', '<']))
}

fn is_test_attribute(line: &str) -> bool {
    line.strip_prefix("#[").is_some_and(|rest| rest.starts_with("test") || rest.starts_with("tokio::test"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_test_is_known_by_the_form_of_its_language() {
        let made = "macro_rules! scenarios { () => { #[test] }; }\nscenarios! {\n    a_broker => &[],\n}\n";
        for (path, text, name, expected) in [
            ("a.rs", "#[test]\nfn a() {}\n", "a", true),
            ("a.rs", "    /// Says.\n    #[tokio::test(flavor = \"x\")]\n    async fn a() {}\n", "a", true),
            ("a.rs", "#[test]\n#[ignore]\nfn a() {}\n", "a", true),
            ("a.rs", "#[test]\nfn ab() {}\n", "a", false),
            ("a.rs", "fn a() {}\n", "a", false),
            ("a.rs", "#[test]\nfn b() {}\n\nfn a() {}\n", "a", false),
            ("a.rs", made, "a_broker", true),
            ("a.rs", made, "a_brok", false),
            ("a.py", "class T:\n    def test_a(self):\n", "test_a", true),
            ("a.py", "def test_ab(self):\n", "test_a", false),
            ("a.yaml", "tests:\n  - it: closes all\n", "closes all", true),
            ("a.yml", "  - alert: Closes\n", "Closes", false),
            ("a.txt", "a", "a", false),
        ] {
            assert_eq!(is_test(path, text, name), expected, "{path}, {name}: {text}");
        }
    }
}
