//! A seeded day of payments over the wallet and every issuer, a sender that keeps its MerchantTradeNos through every retry, and the
//! audit of what callers were told and what orders say against the simulator's ledger.

mod audit;
mod day;
mod send;

pub use audit::{Audit, audit, ledger};
pub use day::{ISSUERS, Issuer, day};
pub use send::{Told, TradeKey, resolve, send};
