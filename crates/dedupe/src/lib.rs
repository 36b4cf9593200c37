//! The lock-free cache of recent payments. Of all calls that insert a key, exactly one is reported
//! as the first; the others get the value that the first one inserted.
//!
//! A key is a SipHash of 128 bits over merchant and MerchantTradeNo, keyed with a secret of the
//! process, so that no client can construct two MerchantTradeNos with the same key. Memory is
//! bounded by two generations of a fixed size, each allocated at once. When the current generation
//! is full it becomes the previous one, and the entries of the older one are dropped. So an entry
//! that is not removed stays while at least one and at most two generations of newer entries are
//! inserted. If a key is not found, the payment may exist nevertheless, so the ingress then asks
//! the router.
//!
//! `generations.rs` has the protocol that makes [`Cache::insert_if_absent`] linearizable while
//! generations rotate; `tests/interleavings.rs` checks it in the interleavings of a few threads.
//!
//! # Which map
//!
//! `cargo bench -p twqr-dedupe` runs one trace (new payments, a tenth of them repeats, some
//! removed) with four maps under the same protocol. Medians on two cores, in million steps per
//! second, and the times of single insertions:
//!
//! | map | 1 thread | 2 threads | p99.9 | longest (a rotation) | locks |
//! |---|---|---|---|---|---|
//! | papaya 0.2 | 6.8 | 6.5 | 2.0 µs | 1.9 ms | nothing |
//! | scc 3 `HashMap` | 8.8 | 7.8 | 0.6 µs | 1.1 ms | a bucket during a write |
//! | dashmap 6 | 9.3 | 6.6 | 0.5 µs | 0.7 ms | a shard |
//! | `Mutex<HashMap>` | 10.5 | 5.5 | 0.4 µs | 0.6 ms | the map |
//!
//! The maps with locks are faster with one thread; with two threads, dashmap and the mutex lose
//! that lead. We use papaya, which is as fast as dashmap on two threads, because it is the only map
//! in which a thread that is interrupted during a write blocks no other thread. It takes 30 ns more
//! for each payment than scc, a 20,000th of a payment's CPU time.

mod generations;
mod key;
mod table;

pub use generations::{Cache, Inserted};
pub use key::{Key, KeyHasher};
pub use table::{KeyAsHash, PapayaTable, Table};

/// The parts of the protocol that a test replaces: the state of a slot, and the pointer to the
/// generations.
pub mod protocol {
    pub use crate::generations::{Pair, Pointer, Protocol, Slot, State};
}
