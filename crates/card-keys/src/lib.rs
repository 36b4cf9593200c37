//! The keys that protect card tokens, and the operations with them.
//!
//! There are two kinds, both random and both in files of one directory (`directory.rs`):
//!
//! - **Comparison keys** make the MACs by which a repeat or a cancel is recognised. Each record has
//!   a MAC under every one of them, so a new key is added beside the old one, and the old one is
//!   destroyed later.
//! - **Sealing keys**, one for each hour, encrypt the token for the worker that sends the charge. A
//!   charge is sent within seconds, so an hour's key is destroyed soon after its hour, which makes
//!   its tokens in the log, in backups and in dead letters unreadable. The keys are random and not
//!   derived from another key, since a derived key could be derived again.
//!
//! A key management service can write the files of the directory, like a mounted secret, or be
//! implemented as another [`KeySource`].

mod card_keys;
mod directory;
mod follow;
mod hour;
mod key_set;
mod protect;
mod source;

pub use card_keys::{AwaitedKey, CannotOpen, CardKeys};
pub use directory::{KeyDirectory, KeyFile, KeyKind, Renewed};
pub use follow::{follow, keep_renewed};
pub use hour::Hour;
pub use key_set::KeySet;
pub use protect::NoKey;
pub use source::{KeyFault, KeySource};
