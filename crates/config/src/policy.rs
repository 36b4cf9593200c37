//! The policy document: the rules by which orders are decided, as operators write them in TOML.

mod changes;
mod choice;
mod document;
mod file;
mod issuer;
mod merchant;

use twqr_order::PolicyFault;

pub use changes::changes;
pub(crate) use choice::choice;
pub use document::PolicyDocument;
pub(crate) use document::default_table;
pub use file::{parse_policy, read_policy};

/// Joins all faults of a policy in one line.
pub fn list_faults(faults: &[PolicyFault]) -> String {
    faults.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
}
