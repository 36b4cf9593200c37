//! Speaks the brokers' protocol without the client library: connections, answers that are checked
//! before they are read, and the question which broker leads which partition. `producer/direct.rs`
//! appends with it, `fetcher/direct.rs` reads.

mod answer;
mod connection;
mod leaders;

pub(super) use answer::Call;
pub use answer::fuzz_answer;
#[cfg(test)]
pub(super) use answer::{request, written};
pub(super) use connection::{Address, Connection, topic_name};
pub(super) use leaders::{Leader, LeaderSearch, Leaders};
