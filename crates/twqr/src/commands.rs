//! The client commands, a file each.

pub(crate) mod pay;
pub(crate) mod policy;
pub(crate) mod query;
pub(crate) mod topics;
