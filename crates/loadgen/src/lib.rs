//! Load for demonstrations and tests: sample days generated from a seed, senders that keep a
//! MerchantTradeNo through every retry, and audits. An audit compares the answers that callers got
//! with the orders and with the simulator's ledger.

mod audit;
pub mod audit_answers;
mod day;
pub mod full_api;
mod issuers;
mod latency;
mod open_loop;
mod sample;
mod send;

pub use audit::{Audit, audit, is_in_progress, ledger};
pub use day::{day, payments, steady_payments};
pub use issuers::{ISSUERS, IssuerCodes, issuer_of};
pub use latency::{latencies, latency_histogram};
pub use open_loop::{Load, Measurement, open_loop};
pub use sample::sample_day;
pub use send::{CallResult, TradeKey, is_refusal, resolve, send_each};
