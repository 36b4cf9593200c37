//! The files that the rules apply to: all that git tracks or does not ignore.

use std::{fs, path::Path, process::Command};

use anyhow::{Context, ensure};

/// How a file marks its comments.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Rust: `//`, `///`, `//!` and block comments.
    Rust,
    /// Protobuf, with `//` only.
    Proto,
    /// Scripts, Python, Makefiles, TOML and YAML: `#`.
    Hash,
    /// SQL, where `--` begins a comment.
    Sql,
    /// Markdown: everything outside code fences is prose.
    Markdown,
}

/// A file with its text.
pub(crate) struct SourceFile {
    /// Relative to the root, with `/`.
    pub(crate) path: String,
    pub(crate) kind: Kind,
    pub(crate) text: String,
}

/// Lists the files below `root` that git does not ignore, sorted by path.
pub(crate) fn list(root: &Path) -> anyhow::Result<Vec<String>> {
    let output = Command::new("git")
        .args(["ls-files", "-z", "--cached", "--others", "--exclude-standard"])
        .current_dir(root)
        .output()
        .context("cannot run git; install it, and run this inside a work tree")?;
    let reason = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "git cannot list the files of {}: {}", root.display(), reason.trim());
    let listed = String::from_utf8(output.stdout).context("git listed a path that is not UTF-8")?;
    let is_there = |path: &&str| !path.is_empty() && root.join(path).exists();
    let mut paths: Vec<String> = listed.split('\0').filter(is_there).map(str::to_owned).collect();
    paths.sort();
    paths.dedup();
    Ok(paths)
}

/// Reads those of the files that have a [`Kind`].
pub(crate) fn read_all(root: &Path, paths: &[String]) -> Vec<SourceFile> {
    paths.iter().filter_map(|path| read(root, path)).collect()
}

/// The folders with unchanged copies of other projects' files.
const COPIES: [&str; 2] = ["proto/buf/", "proto/google/"];

/// Reads a file; returns `None` if it is binary, a copy of another project's file, or its kind of
/// comments is not known.
fn read(root: &Path, path: &str) -> Option<SourceFile> {
    if COPIES.iter().any(|folder| path.starts_with(folder)) {
        return None;
    }
    let name = path.rsplit('/').next()?;
    let by_name = kind_by_name(name);
    if by_name.is_none() && name.contains('.') {
        return None;
    }
    let text = fs::read_to_string(root.join(path)).ok()?;
    let kind = by_name.or_else(|| text.starts_with("#!").then_some(Kind::Hash))?;
    Some(SourceFile { path: path.to_owned(), kind, text })
}

fn kind_by_name(name: &str) -> Option<Kind> {
    if matches!(name, "Makefile" | "Dockerfile" | ".editorconfig" | ".gitignore" | ".gitattributes") {
        return Some(Kind::Hash);
    }
    match name.rsplit_once('.')?.1 {
        "rs" => Some(Kind::Rust),
        "proto" => Some(Kind::Proto),
        "py" | "toml" | "yaml" | "yml" | "sh" | "properties" => Some(Kind::Hash),
        "sql" => Some(Kind::Sql),
        "md" => Some(Kind::Markdown),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_script_is_found_by_its_first_line_and_ignored_files_and_copies_are_left_out() {
        let folder = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| fs::write(folder.path().join(name), text).unwrap();
        write("run", "#!/bin/sh\n");
        write("LICENSE", "All of it.\n");
        write("lib.rs", "//! Why.\n");
        write("picture.svg", "<svg/>");
        write("left.rs", "");
        fs::create_dir_all(folder.path().join("proto/buf")).unwrap();
        write("proto/buf/copy.proto", "// Of another project.\n");
        write(".gitignore", "left.rs\n");
        let git = Command::new("git").arg("init").arg("-q").current_dir(folder.path()).status().unwrap();
        assert!(git.success());
        let files = read_all(folder.path(), &list(folder.path()).unwrap());
        let found: Vec<_> = files.iter().map(|file| (file.path.as_str(), file.kind)).collect();
        assert_eq!(found, [(".gitignore", Kind::Hash), ("lib.rs", Kind::Rust), ("run", Kind::Hash)]);
    }
}
