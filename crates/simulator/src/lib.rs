//! The JKOPAY wallet and FISC with its issuers, as one process with a durable ledger of its own:
//! for demonstrations, load and fault tests. Its ledger is the independent witness of what was
//! charged and given back: the wallet is idempotent by TradeNo, the other issuers are not, so that
//! whoever sends a charge or a refund twice is seen.

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
