//! The JKOPAY wallet and FISC with its issuers, as one process with a durable ledger of its own: for demonstrations, load and fault
//! tests. Its ledger is the independent witness of what was charged: the wallet is idempotent by TradeNo, the other issuers are not,
//! so that whoever sends a charge twice is seen.

mod bank;
mod ledger;
mod script;
mod server;

pub use bank::{Bank, Reaction, Verdict};
pub use ledger::{Ledger, LedgerError};
pub use script::{Faults, Script, ScriptError};
pub use server::{Error, Settings, run};
