//! Load for demonstrations, tests and measurements: sample days generated from a seed, senders that
//! keep a MerchantTradeNo through every retry, audits, and load scenarios with their reports. An
//! audit compares the answers that callers got with the orders and with the simulator's ledger.

mod audit;
pub mod audit_answers;
mod caller_key;
pub mod compare;
mod day;
pub mod full_api;
pub mod generator;
mod issuers;
mod latency;
mod open_loop;
mod pay_streams;
pub mod reconcile;
pub mod report;
mod sample;
pub mod scenario;
pub mod schedule;
mod send;
pub mod traffic;

pub use audit::{Audit, audit, is_in_progress, ledger};
pub use caller_key::{CallerKey, KeyedChannel};
pub use day::{day, payments, steady_payments};
pub use issuers::{ISSUERS, IssuerCodes, issuer_of};
pub use latency::{latencies, latency_histogram};
pub use open_loop::{Load, Measurement, Over, open_loop};
pub use sample::sample_day;
pub use send::{CallResult, TradeKey, is_refusal, resolve, send_each};
