//! The lock-free cache of recent payments: who asks for a key first is told so, everybody else gets
//! what the first one put there.
//!
//! Keys are 128 bits of SipHash under a secret of the process, over merchant and MerchantTradeNo:
//! nobody outside can make two numbers meet. Memory is bounded by two generations of a fixed size,
//! allocated whole; when the current one is full it becomes the previous one, and what was previous
//! is forgotten. So an entry lives for at least one generation of newer entries and at most two,
//! unless it is removed. A miss means nothing: whoever uses the cache asks the order itself then.
//!
//! `generations.rs` has the protocol that makes [`Cache::insert_if_absent`] linearizable while
//! generations rotate; `tests/interleavings.rs` checks it under every interleaving of small scopes.
//!
//! # Which map
//!
//! `cargo bench -p twqr-dedupe` plays one trace (new payments, a tenth repeats, some removed) over
//! the same protocol with four maps. On two cores, medians, in million steps a second, and the
//! times of single insertions:
//!
//! | map | 1 thread | 2 threads | p99.9 | longest (a rotation) | locks |
//! |---|---|---|---|---|---|
//! | papaya 0.2 | 6.8 | 6.5 | 2.0 µs | 1.9 ms | none |
//! | scc 3 `HashMap` | 8.8 | 7.8 | 0.6 µs | 1.1 ms | a bucket, while it is written |
//! | dashmap 6 | 9.3 | 6.6 | 0.5 µs | 0.7 ms | a shard |
//! | `Mutex<HashMap>` | 10.5 | 5.5 | 0.4 µs | 0.6 ms | the map |
//!
//! The locked maps win as long as nobody shares them; with two threads that only insert, what
//! dashmap and the mutex gain is gone. papaya is chosen: the only one in which a thread that is
//! stopped in the middle of a write stops nobody, at dashmap's rate on two threads. What it gives
//! away to scc, 30 ns a payment, is a 20,000th of a payment's CPU time.
mod generations;
mod key;
mod table;

pub use generations::{Cache, Inserted};
pub use key::{Key, KeyHasher};
pub use table::{KeyAsHash, PapayaTable, Table};

/// What a test of the protocol replaces: the state of a slot and the pointer to the generations.
pub mod protocol {
    pub use crate::generations::{Pair, Pointer, Protocol, Slot, State};
}
