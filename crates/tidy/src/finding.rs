//! What a rule reports: file, line, what is wrong, and what to do about it.

use std::fmt;

/// The rules, by the names that the command line takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Rule {
    /// A Rust file opens with a module doc, and has at most 500 lines.
    Header,
    /// Prose has at most 100 columns.
    Prose,
    /// A doc comment has at least three words.
    DocWords,
    /// No two files of a crate use each other.
    Circles,
    /// Files and tests that a document names exist.
    References,
    /// No two types of a crate have one name.
    TypeNames,
    /// Runbooks have one form and a rehearsal, and each alert leads to one.
    Runbooks,
    /// Each requirement of the security standards is answered once, with evidence that exists.
    Requirements,
}

impl Rule {
    pub(crate) const ALL: [Self; 8] = [
        Self::Header,
        Self::Prose,
        Self::DocWords,
        Self::Circles,
        Self::References,
        Self::TypeNames,
        Self::Runbooks,
        Self::Requirements,
    ];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Header => "header",
            Self::Prose => "prose",
            Self::DocWords => "doc-words",
            Self::Circles => "circles",
            Self::References => "references",
            Self::TypeNames => "type-names",
            Self::Runbooks => "runbooks",
            Self::Requirements => "requirements",
        }
    }
}

/// One violation of a rule. The fields' order is the order in which findings are printed.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Finding {
    /// Relative to the root of the repository.
    pub(crate) file: String,
    /// Counted from 1.
    pub(crate) line: usize,
    pub(crate) rule: Rule,
    /// The fault, the allowed values, and what to do.
    pub(crate) message: String,
}

impl Finding {
    /// The crate, or the top folder or file, that the finding belongs to.
    pub(crate) fn owner(&self) -> &str {
        let depth = if self.file.starts_with("crates/") { 2 } else { 1 };
        let end = self.file.match_indices('/').nth(depth - 1).map_or(self.file.len(), |(at, _)| at);
        &self.file[..end]
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: {}", self.file, self.line, self.message)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_finding_belongs_to_its_crate_or_to_its_top_folder() {
        for (file, owner) in [
            ("crates/router/src/lib.rs", "crates/router"),
            ("crates/ARCHITECTURE.md", "crates/ARCHITECTURE.md"),
            ("proto/twqr/pos/v1/pos.proto", "proto"),
            ("README.md", "README.md"),
        ] {
            let finding = Finding { file: file.to_owned(), line: 1, rule: Rule::Prose, message: String::new() };
            assert_eq!(finding.owner(), owner);
        }
    }
}
