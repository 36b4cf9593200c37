//! The keys under which card tokens are written, and what is done with them.
//!
//! There are two kinds, both random and both in files of one directory (`directory.rs`):
//!
//! - **Comparison keys** make the MACs by which a repeat or a cancel is recognised. Each record
//!   carries a MAC under every one of them, so a new one is added beside the old one, and the old
//!   one is destroyed later.
//! - **Sealing keys**, one for each hour, encrypt the token for the worker that sends the charge. A
//!   charge is sent within seconds, so an hour's key is destroyed soon after its hour, and with it
//!   every token that the log, a backup or a dead letter still holds under it. They are random and
//!   not derived: what is derived from a key that stays can be derived again.
//!
//! A key management service takes part through the directory: it writes the files, as a mounted
//! secret does, or it is another [`KeySource`].

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
