//! Who may call the public API and the operators' API. A caller is identified by its certificate or
//! by an API key, may use its operations for its merchants, and may have roles at the operators'
//! API.
//!
//! The configuration names the first callers. A change of a caller is a record in the topic
//! `callers`; [`Book`] applies it if its version is above the newest. So every process that has
//! read the same records has the same callers. This crate does no I/O.

mod book;
mod caller;
mod change;
mod key;
mod limits;

pub use book::{Book, Credential, Denial, Identity};
pub use caller::{Caller, CallerName, MerchantScope, Operation, Role};
pub use change::CallerChange;
pub use key::{ApiKey, KeyHash, NewKey};
pub use limits::CallerLimits;
