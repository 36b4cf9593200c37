//! The subcommands, one file each.

pub(crate) mod configuration;
pub(crate) mod pay;
pub(crate) mod query;
pub(crate) mod serve;
