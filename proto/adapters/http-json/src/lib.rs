//! The reference adapter: takes calls of `twqr.backend.v1` and makes each of them one HTTP request
//! with a JSON body. Names of fields, forms of amounts and times, and the meaning of result codes
//! are configuration. Its README says what it promises.
//!
//! Whatever else an adapter does, these are the rules:
//!
//! - A call becomes at most one request. No request is sent again, not even by the HTTP library.
//! - Nothing is sent after `send_by`. The clock is read when the connection is ready.
//! - Only an answer that the table of results knows decides anything. A time-out, a broken
//!   connection, an HTTP status of 500 or above, and an unknown code are all Undecided.
//! - The adapter keeps no state, so a restart forgets nothing.

pub mod config;

mod answers;
mod calls;
mod formats;
mod request;
mod server;

pub use server::{AdapterError, run};
