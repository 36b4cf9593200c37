//! Simulates the JKOPAY wallet and FISC with its issuers in one process, for demonstrations, load
//! tests and fault tests. Its durable ledger is an independent record of every charge and refund:
//! the wallet is idempotent by TradeNo, the other issuers are not, so a charge or refund that was
//! sent twice shows up in it.

mod bank;
mod counterparty;
mod ledger;
mod script;
mod server;

pub use bank::{Bank, Reaction};
pub use counterparty::counterparty_file;
pub use ledger::{Ledger, LedgerError, movements};
pub use script::{Faults, Script, ScriptError};
pub use server::{Error, Settings, run};
