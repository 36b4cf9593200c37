//! The reference adapter: accepts calls of `twqr.backend.v1` and turns each into one HTTP request
//! with a JSON body. Names of fields, formats of amounts and times, and the meaning of result codes
//! are configurable. The README of this folder says which rules it follows.
//!
//! Every adapter must follow these rules:
//!
//! - A call becomes at most one request. No request is sent again, not even by the HTTP library.
//! - Nothing is sent after `send_by`. The clock is read when the connection is ready.
//! - Only an answer with a result code of the configured table decides anything. A time-out, a
//!   broken connection, an HTTP status of 500 or above, and an unknown code are all Undecided.
//! - The adapter keeps no state, so a restart loses nothing.

pub mod config;

mod answers;
mod calls;
mod formats;
mod request;
mod server;

pub use server::{AdapterError, run};
