//! Checks that no two types of a crate have one name. A reader who searches for a name must find
//! one meaning. Associated types, tests and generated code are not compared.

use std::collections::BTreeMap;

use syn::Item;

use crate::{
    files::{Kind, SourceFile},
    finding::{Finding, Rule},
};

/// Checks the sources (`src`) of every crate among the files.
pub(crate) fn check(files: &[SourceFile], findings: &mut Vec<Finding>) {
    let mut first: BTreeMap<(&str, String), (&str, usize)> = BTreeMap::new();
    for file in files.iter().filter(|file| file.kind == Kind::Rust) {
        let Some((owner, _)) = file.path.split_once("/src/") else { continue };
        let Ok(parsed) = syn::parse_file(&file.text) else { continue };
        for (name, line) in parsed.items.iter().filter_map(type_name) {
            let place = *first.entry((owner, name.clone())).or_insert((&file.path, line));
            if place != (&*file.path, line) {
                findings.push(finding(file, line, &name, place));
            }
        }
    }
}

/// The name of a type or trait that the item defines, and its line.
#[allow(clippy::wildcard_enum_match_arm, reason = "syn may add kinds of items")]
fn type_name(item: &Item) -> Option<(String, usize)> {
    let name = match item {
        Item::Struct(item) => &item.ident,
        Item::Enum(item) => &item.ident,
        Item::Trait(item) => &item.ident,
        Item::Type(item) => &item.ident,
        Item::Union(item) => &item.ident,
        _ => return None,
    };
    Some((name.to_string(), name.span().start().line))
}

fn finding(file: &SourceFile, line: usize, name: &str, (other, other_line): (&str, usize)) -> Finding {
    Finding {
        file: file.path.clone(),
        line,
        rule: Rule::TypeNames,
        message: format!("`{name}` is also defined at {other}:{other_line}; give one of them another name"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_types_of_one_name_in_a_crate_are_found() {
        let file =
            |path: &str, text: &str| SourceFile { path: path.to_owned(), kind: Kind::Rust, text: text.to_owned() };
        let files = [
            file("crates/a/src/lib.rs", "struct One;\nenum Two {}\n"),
            file("crates/a/src/b.rs", "trait Three {}\n\ntype Two = u8;\n"),
            file("crates/a/tests/c.rs", "struct One;\n"),
            file("crates/b/src/lib.rs", "struct One;\n#[cfg(test)]\nmod tests { struct One; }\n"),
        ];
        let mut findings = Vec::new();
        check(&files, &mut findings);
        let found: Vec<String> = findings.iter().map(ToString::to_string).collect();
        let expected =
            "crates/a/src/b.rs:3: `Two` is also defined at crates/a/src/lib.rs:2; give one of them another name";
        assert_eq!(found, [expected]);
    }
}
