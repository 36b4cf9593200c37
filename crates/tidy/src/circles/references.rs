//! The paths that one item mentions, in types, expressions, patterns and the arguments of macros.

use proc_macro2::{Spacing, TokenStream, TokenTree};
use syn::{
    Attribute, Expr, ExprCall, Item, ItemUse, Macro, Path,
    visit::{self, Visit},
};

/// A path that a module mentions, such as `crate::a::B`.
#[derive(Clone, Debug)]
pub(super) struct Reference {
    pub(super) segments: Vec<String>,
    pub(super) line: usize,
}

/// The paths and imports that one item mentions.
#[derive(Default)]
pub(super) struct Found {
    pub(super) paths: Vec<Reference>,
    /// The item's `use` declarations, including those within functions.
    pub(super) imports: Vec<ItemUse>,
}

pub(super) fn of_item(item: &Item) -> Found {
    let mut found = Found::default();
    found.visit_item(item);
    found
}

impl Found {
    /// Adds a path. A single name in lower case may be a variable, so it counts only if it is
    /// called.
    fn add(&mut self, segments: Vec<String>, line: usize, is_called: bool) {
        let is_item = segments.len() > 1 || segments.first().is_some_and(|name| name.starts_with(char::is_uppercase));
        if is_item || is_called {
            self.paths.push(Reference { segments, line });
        }
    }

    /// Adds the paths among the tokens of a macro, which need not be Rust syntax.
    fn scan(&mut self, tokens: TokenStream) {
        let tokens: Vec<TokenTree> = tokens.into_iter().collect();
        let mut at = 0;
        while at < tokens.len() {
            match &tokens[at] {
                TokenTree::Group(group) => self.scan(group.stream()),
                TokenTree::Ident(first) => {
                    let line = first.span().start().line;
                    let is_field = at > 0 && is_dot(&tokens[at - 1]);
                    let mut segments = vec![first.to_string()];
                    while let Some(next) = next_segment(&tokens[at + 1..]) {
                        segments.push(next);
                        at += 3;
                    }
                    let is_called = matches!(tokens.get(at + 1), Some(TokenTree::Group(_)));
                    if !is_field {
                        self.add(segments, line, is_called);
                    }
                }
                TokenTree::Punct(_) | TokenTree::Literal(_) => {}
            }
            at += 1;
        }
    }
}

/// Whether the token is the dot of a field or method, and not part of a range such as `..`.
fn is_dot(token: &TokenTree) -> bool {
    matches!(token, TokenTree::Punct(punct) if punct.as_char() == '.' && punct.spacing() == Spacing::Alone)
}

/// The name after `::`.
fn next_segment(tokens: &[TokenTree]) -> Option<String> {
    match tokens {
        [TokenTree::Punct(first), TokenTree::Punct(second), TokenTree::Ident(name), ..]
            if first.as_char() == ':' && first.spacing() == Spacing::Joint && second.as_char() == ':' =>
        {
            Some(name.to_string())
        }
        _ => None,
    }
}

impl<'ast> Visit<'ast> for Found {
    fn visit_item_use(&mut self, item: &'ast ItemUse) {
        if item.leading_colon.is_none() {
            self.imports.push(item.clone());
        }
    }

    fn visit_path(&mut self, path: &'ast Path) {
        if path.leading_colon.is_none() {
            let segments = path.segments.iter().map(|segment| segment.ident.to_string()).collect();
            let line = path.segments.first().map_or(1, |first| first.ident.span().start().line);
            self.add(segments, line, false);
        }
        visit::visit_path(self, path);
    }

    fn visit_expr_call(&mut self, call: &'ast ExprCall) {
        if let Expr::Path(function) = &*call.func
            && let Some(name) = function.path.get_ident()
        {
            self.add(vec![name.to_string()], name.span().start().line, true);
        }
        visit::visit_expr_call(self, call);
    }

    fn visit_macro(&mut self, item: &'ast Macro) {
        if let Some(name) = item.path.get_ident() {
            self.add(vec![name.to_string()], name.span().start().line, true);
        }
        self.scan(item.tokens.clone());
        visit::visit_macro(self, item);
    }

    /// Skips attributes, which only name macros of other crates.
    fn visit_attribute(&mut self, _: &'ast Attribute) {}
}
