//! Simulates the JKOPAY wallet and FISC with its issuers in one process, for demonstrations, load
//! tests and fault tests. Its durable ledger is an independent record of every charge and refund.
//! Each issuer is of a kind: usually the wallet is idempotent by TradeNo, and the other issuers act
//! on each call whenever it arrives, so a call that is sent twice or too late shows up in the
//! ledger.

mod bank;
mod counterparty;
mod http;
mod kind;
mod ledger;
mod script;
mod server;
mod teller;

pub use bank::{Bank, Reaction};
pub use counterparty::counterparty_file;
pub use kind::{IssuerKind, KindChoice};
pub use ledger::{Ledger, LedgerError, movements};
pub use script::{Faults, Script, ScriptError};
pub use server::{Error, Settings, run};
