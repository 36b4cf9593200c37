//! The policy document: the rules by which orders are decided, as people write them in TOML.

mod document;
mod issuer;
mod merchant;

pub(crate) use document::PolicyDocument;
