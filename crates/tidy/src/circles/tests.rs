//! Small crates with and without circles.

use super::*;

/// The circles of a crate, each as the files in their order.
fn circles(files: &[(&str, &str)]) -> Vec<Vec<String>> {
    let texts: BTreeMap<&str, &str> = files.iter().copied().collect();
    let modules = Modules::read("src/lib.rs", &texts).unwrap();
    let names = |circle: &Vec<Use>| circle.iter().map(|used| used.from.clone()).collect();
    Graph::of(&modules).circles().iter().map(names).collect()
}

fn circle_count(files: &[(&str, &str)]) -> usize {
    circles(files).len()
}

const ROOT: (&str, &str) = ("src/lib.rs", "mod a;\nmod b;\nmod c;\npub use c::C;\n");

#[test]
fn a_direct_circle_is_found() {
    let files = [
        ROOT,
        ("src/a.rs", "use crate::b::B;\npub struct A(B);\n"),
        ("src/b.rs", "use crate::a::A;\npub struct B(Box<A>);\n"),
        ("src/c.rs", "use crate::{a::A, b::B};\npub struct C(A, B);\n"),
    ];
    assert_eq!(circles(&files), [["src/a.rs", "src/b.rs"]]);
}

#[test]
fn a_circle_around_is_found_and_named_with_its_lines() {
    let files = [
        ROOT,
        ("src/a.rs", "\npub fn a() { super::b::b() }\n"),
        ("src/b.rs", "pub fn b() { let _ = crate::c::C; }\n"),
        ("src/c.rs", "use super::*;\npub struct C;\nfn c() { a::a() }\n"),
    ];
    let texts = files.into_iter().collect();
    let modules = Modules::read("src/lib.rs", &texts).unwrap();
    let circles = Graph::of(&modules).circles();
    let found = finding(&circles[0]);
    assert_eq!((&*found.file, found.line), ("src/a.rs", 2));
    assert!(found.message.contains("src/c.rs:3 uses `a::a` of src/a.rs"), "{}", found.message);
}

#[test]
fn each_way_to_use_an_item_counts() {
    for (name, a) in [
        ("an import", "use crate::b::B;"),
        ("a group with a rename", "use crate::{b::{self as other, B as Other}};"),
        ("a path in a type", "fn f(_: crate::b::B) {}"),
        ("a path from the parent", "fn f(_: super::b::B) {}"),
        ("a module's name", "use crate::b; fn f(_: b::B) {}"),
        ("a re-export", "use crate::c::B;"),
        ("a glob", "use crate::b::*; fn f(_: B) {}"),
        ("an import in a function", "fn f() { use crate::b::B; }"),
        ("a macro's argument", "fn f() { println!(\"{}\", crate::b::f()); }"),
        ("a pattern", "fn f(x: u8) { match x { crate::b::ONE => {} _ => {} } }"),
        ("a test", "#[cfg(test)] mod tests { use super::super::b::B; }"),
    ] {
        let files = [
            ROOT,
            ("src/a.rs", &*format!("pub struct A;\n{a}\n")),
            ("src/b.rs", "use crate::a::A;\npub struct B;\npub const ONE: u8 = 1;\npub fn f() -> u8 { 1 }\n"),
            ("src/c.rs", "pub use crate::b::B;\npub struct C;\n"),
        ];
        assert_eq!(circle_count(&files), 1, "{name}");
    }
}

#[test]
fn what_is_no_use_of_the_other_file_is_no_circle() {
    for (name, a) in [
        ("another crate's module of that name", "use other::b::B;"),
        ("a name of its own", "struct B; fn f(_: B) {}"),
        ("the module alone", "use crate::b;"),
        ("an item of the root", "use crate::C;"),
        ("a field in a macro", "fn f(x: X) { println!(\"{}\", x.b); }"),
        ("a variable", "fn f(b: u8) -> u8 { b }"),
    ] {
        let files = [
            ROOT,
            ("src/a.rs", &*format!("pub struct A;\n{a}\n")),
            ("src/b.rs", "use crate::a::A;\npub struct B;\n"),
            ("src/c.rs", "pub struct C;\n"),
        ];
        assert_eq!(circle_count(&files), 0, "{name}");
    }
}

#[test]
fn a_module_and_those_below_it_may_use_each_other_but_not_two_below_it() {
    let files = [
        ("src/lib.rs", "mod a;\npub struct Root(a::A);\n"),
        ("src/a.rs", "mod x;\nmod y;\nuse crate::Root;\npub struct A(x::X, Root);\n"),
        ("src/a/x.rs", "use super::{A, y::Y};\npub struct X(A, Y);\n"),
        ("src/a/y.rs", "use super::A;\npub struct Y(A);\n"),
    ];
    assert_eq!(circle_count(&files), 0);
    let mut files = files;
    files[3].1 = "use super::x::X;\npub struct Y(X);\n";
    assert_eq!(circles(&files), [["src/a/x.rs", "src/a/y.rs"]]);
}

#[test]
fn modules_with_a_path_of_their_own_are_read() {
    let files = [
        ("src/lib.rs", "#[path = \"other/one.rs\"]\nmod a;\nmod b;\n"),
        ("src/other/one.rs", "use crate::b::B;\npub struct A;\n"),
        ("src/b.rs", "use crate::a::A;\npub struct B;\n"),
    ];
    assert_eq!(circles(&files), [["src/b.rs", "src/other/one.rs"]]);
}

#[test]
fn libraries_binaries_and_integration_tests_are_roots() {
    for (path, is_root) in [
        ("crates/a/src/lib.rs", true),
        ("crates/a/src/main.rs", true),
        ("crates/a/tests/b.rs", true),
        ("crates/a/tests/support/b.rs", false),
        ("crates/a/src/tests/b.rs", false),
        ("crates/a/src/b.rs", false),
    ] {
        assert_eq!(is_crate_root(path), is_root, "{path}");
    }
}
