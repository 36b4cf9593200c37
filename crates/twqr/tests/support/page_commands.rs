//! Runs each command of a program that the runbooks name with `--help` at its end. The program
//! refuses an unknown command, option or value before it prints its help.

#![allow(unreachable_pub, clippy::unwrap_used, clippy::missing_panics_doc, reason = "a test fails by panicking")]

use std::{collections::BTreeSet, fs, path::Path};

use twqr_lab::launch::command;

/// Checks the commands of `name` on all pages; there must be at least `least` of them.
pub fn check(name: &str, program: &str, least: usize) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../deploy/runbooks");
    let mut checked = 0;
    for entry in fs::read_dir(folder).unwrap() {
        let page = entry.unwrap().path();
        for arguments in commands(name, &fs::read_to_string(&page).unwrap()) {
            let output = command(program).args(&arguments).arg("--help").output().unwrap();
            let said = String::from_utf8_lossy(&output.stderr);
            assert!(output.status.success(), "{}: {name} {}: {said}", page.display(), arguments.join(" "));
            checked += 1;
        }
    }
    assert!(checked >= least, "only {checked} commands of {name} were found");
}

/// The arguments of each command of `name` in a page: in code fences, and in backticks, where a
/// command may go on in the next line.
fn commands(name: &str, page: &str) -> BTreeSet<Vec<String>> {
    let mut texts: Vec<String> = Vec::new();
    for (at, part) in page.split("```").enumerate() {
        if at % 2 == 1 {
            texts.extend(part.replace("\\\n", " ").lines().map(str::to_owned));
        } else {
            texts.extend(part.split('`').skip(1).step_by(2).map(str::to_owned));
        }
    }
    let own = |text: &String| {
        let words = words(text);
        (words.first().is_some_and(|first| first == name)).then(|| words[1..].to_vec())
    };
    texts.iter().filter_map(own).filter(|arguments| !arguments.is_empty()).collect()
}

/// The words of a command up to a redirection, a pipe or a comment; quotes hold words together.
fn words(text: &str) -> Vec<String> {
    let mut words = Vec::new();
    for (at, part) in text.split('"').enumerate() {
        if at % 2 == 1 {
            words.push(part.to_owned());
            continue;
        }
        for word in part.split_whitespace() {
            if [">", "|", "#", "&&"].contains(&word) {
                return words;
            }
            words.push(word.to_owned());
        }
    }
    words
}
