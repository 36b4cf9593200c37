//! A seeded day of payments over the wallet and every issuer, a sender that keeps its
//! MerchantTradeNos through every retry, and the audit of what callers were told and what orders
//! say against the simulator's ledger.

mod audit;
pub mod audit_answers;
mod day;
mod open_loop;
mod sample;
mod send;
pub mod whole;

pub use audit::{Audit, audit, ledger};
pub use day::{ISSUERS, Issuer, day, payments, steady_payments};
pub use open_loop::{Load, Measured, open_loop};
pub use sample::sample_day;
pub use send::{Told, TradeKey, resolve, send_each};
