//! Finds circles of files within a crate. If two files use each other, directly or through others,
//! neither can be understood, tested or moved alone.
//!
//! A file uses another one if a path in it (of a `use` or anywhere else) leads to an item that is
//! defined there; re-exports are followed. A module and the modules below it may use each other.
//! Methods are not followed, since they need types.

mod graph;
mod modules;
mod references;
mod resolve;

use std::collections::BTreeMap;

use crate::{
    files::{Kind, SourceFile},
    finding::{Finding, Rule},
};
use graph::{Graph, Use};
use modules::Modules;

/// Checks every crate among the files.
pub(crate) fn check(files: &[SourceFile], findings: &mut Vec<Finding>) -> anyhow::Result<()> {
    let texts: BTreeMap<&str, &str> =
        files.iter().filter(|file| file.kind == Kind::Rust).map(|file| (&*file.path, &*file.text)).collect();
    for crate_root in texts.keys().filter(|path| is_crate_root(path)) {
        let modules = Modules::read(crate_root, &texts)?;
        let graph = Graph::of(&modules);
        findings.extend(graph.circles().iter().map(|circle| finding(circle)));
    }
    Ok(())
}

/// Libraries, binaries and integration tests are crates, each with its own modules.
fn is_crate_root(path: &str) -> bool {
    let parts: Vec<&str> = path.rsplit('/').collect();
    match parts[..] {
        ["lib.rs" | "main.rs", "src", ..] | [_, "bin", "src", ..] => true,
        [_, "tests" | "benches" | "examples", ..] => !path.contains("/src/"),
        _ => false,
    }
}

fn finding(circle: &[Use]) -> Finding {
    let step = |used: &Use| format!("{}:{} uses `{}` of {}", used.from, used.line, used.name, used.to);
    let steps: Vec<String> = circle.iter().map(step).collect();
    Finding {
        file: circle.first().map(|first| first.from.clone()).unwrap_or_default(),
        line: circle.first().map_or(1, |first| first.line),
        rule: Rule::Circles,
        message: format!(
            "files use each other in a circle: {}; move what both need into a file below them, or hand it in as an \
             argument",
            steps.join(", ")
        ),
    }
}

#[cfg(test)]
mod tests;
