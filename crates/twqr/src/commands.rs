//! The commands of operators and callers, each in a file.

pub(crate) mod callers;
pub(crate) mod cancel;
pub(crate) mod capacity;
pub(crate) mod dead_letters;
pub(crate) mod journal;
pub(crate) mod keys;
pub(crate) mod merchants;
pub(crate) mod orders;
pub(crate) mod pay;
pub(crate) mod policy;
pub(crate) mod print;
pub(crate) mod query;
pub(crate) mod reconcile;
pub(crate) mod refund;
pub(crate) mod settlement;
pub(crate) mod topics;
