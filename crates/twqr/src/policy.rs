//! The policy document: the rules by which orders are decided, as people write them in TOML.

mod changes;
mod document;
mod file;
mod issuer;
mod merchant;

use twqr_order::PolicyFault;

pub(crate) use changes::changes;
pub(crate) use document::PolicyDocument;
pub(crate) use file::read;

/// Faults in one line.
pub(crate) fn listed(faults: &[PolicyFault]) -> String {
    faults.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
}
