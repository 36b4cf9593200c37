//! Choices of the document, such as an alphabet or a refund scope, by their names.

use anyhow::Context as _;

/// Returns the name of a choice.
pub(crate) fn name_of<T: Copy + PartialEq>(choice: T, all: &[(T, &str)]) -> String {
    all.iter().find(|(known, _)| *known == choice).map_or_else(String::new, |(_, name)| (*name).to_owned())
}

/// Returns the choice with this name; the error lists all names.
pub(crate) fn choice<T: Copy>(name: &str, all: &[(T, &str)]) -> anyhow::Result<T> {
    let found = all.iter().find(|(_, known)| *known == name).map(|(choice, _)| *choice);
    found.with_context(|| {
        let names: Vec<&str> = all.iter().map(|(_, name)| *name).collect();
        format!("is {name:?}, must be one of {}", names.join(", "))
    })
}
