//! A caller, and what it may do.

use std::{
    collections::{BTreeSet, HashSet},
    fmt,
};

use twqr_types::MerchantId;

use crate::{ApiKey, CallerLimits};

/// The longest name of a caller, and of a certificate's subject, in characters.
const NAME_LEN_MAX: usize = 60;
const CERTIFICATE_LEN_MAX: usize = 253;
/// How many certificates, keys and merchants one caller may have.
const CERTIFICATES_MAX: usize = 16;
const KEYS_MAX: usize = 16;
const MERCHANTS_MAX: usize = 5_000;

/// The name of a caller, in records and logs.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct CallerName(Box<str>);

impl CallerName {
    /// Checks a name: 1 to 60 ASCII letters, digits, '.', '_' or '-'.
    pub fn parse(raw: String) -> Result<Self, String> {
        let letter = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
        if !(1..=NAME_LEN_MAX).contains(&raw.len()) || !raw.chars().all(letter) {
            return Err(format!("must be 1 to {NAME_LEN_MAX} ASCII letters, digits, '.', '_' or '-'"));
        }
        Ok(Self(raw.into()))
    }

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for CallerName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

macro_rules! named {
    ($(#[$doc:meta])* $name:ident { $($(#[$of:meta])* $value:ident $text:literal,)* }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum $name {
            $($(#[$of])* $value,)*
        }

        impl $name {
            /// All of them with their names.
            pub const ALL: &[(Self, &'static str)] = &[$((Self::$value, $text),)*];

            /// The name in documents, logs and metrics.
            pub fn name(self) -> &'static str {
                match self {
                    $(Self::$value => $text,)*
                }
            }
        }
    };
}

named! {
    /// An operation of the public API.
    Operation {
        /// Pay and PayStream.
        Pay "pay",
        /// Inquiries about payments and refunds.
        Query "query",
        /// Refunds, in part or in full.
        Refund "refund",
        /// Cancels of whole payments.
        Cancel "cancel",
        /// Watches of orders.
        Watch "watch",
    }
}

named! {
    /// A role at the operators' API. Each role may read.
    Role {
        /// May read everything.
        Viewer "viewer",
        /// May change the directory of merchants, and close the books.
        Operator "operator",
        /// May change the policy and the callers.
        Approver "approver",
    }
}

/// The merchants for which a caller acts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MerchantScope {
    /// For each merchant there is.
    All,
    /// Only for these merchants.
    Only(BTreeSet<MerchantId>),
}

/// A caller with its credentials and rights.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Caller {
    /// Its name among the callers.
    pub name: CallerName,
    /// Subject alternative names, one of which its certificate must have.
    pub certificates: Vec<Box<str>>,
    /// Its API keys; several during a rotation.
    pub keys: Vec<ApiKey>,
    /// The merchants for which it acts.
    pub merchants: MerchantScope,
    /// The operations that it may use for them.
    pub operations: BTreeSet<Operation>,
    /// Its roles at the operators' API.
    pub roles: BTreeSet<Role>,
    /// How much of an ingress it may use.
    pub limits: CallerLimits,
}

impl Caller {
    /// Whether the caller acts for this merchant. Text that is not a MerchantID belongs to no list.
    pub fn acts_for(&self, merchant_id: &str) -> bool {
        match &self.merchants {
            MerchantScope::All => true,
            MerchantScope::Only(listed) => {
                MerchantId::parse(merchant_id.to_owned()).is_ok_and(|merchant| listed.contains(&merchant))
            }
        }
    }

    /// The faults of the caller, by field; without faults it may be written.
    pub fn faults(&self) -> Vec<(String, String)> {
        let mut faults = Vec::new();
        let listed = match &self.merchants {
            MerchantScope::All => 0,
            MerchantScope::Only(listed) => listed.len(),
        };
        for (field, count, most) in [
            ("certificates", self.certificates.len(), CERTIFICATES_MAX),
            ("keys", self.keys.len(), KEYS_MAX),
            ("merchants", listed, MERCHANTS_MAX),
        ] {
            if count > most {
                faults.push((field.to_owned(), format!("has {count} entries, must have at most {most}")));
            }
        }
        let mut names = HashSet::new();
        for (i, name) in self.certificates.iter().enumerate() {
            let is_text = name.chars().all(|c| c.is_ascii_graphic());
            if !(1..=CERTIFICATE_LEN_MAX).contains(&name.len()) || !is_text || !names.insert(name) {
                let rule = format!(
                    "must be a subject alternative name of 1 to {CERTIFICATE_LEN_MAX} visible ASCII characters, once"
                );
                faults.push((format!("certificates[{i}]"), rule));
            }
        }
        let (mut names, mut hashes) = (HashSet::new(), HashSet::new());
        for (i, key) in self.keys.iter().enumerate() {
            if !names.insert(key.name.as_str()) || !hashes.insert(key.hash) {
                faults.push((format!("keys[{i}]"), "has the name or the hash of an earlier key".to_owned()));
            }
            if key.from.zip(key.until).is_some_and(|(from, until)| from >= until) {
                faults.push((format!("keys[{i}].until"), "must be later than from".to_owned()));
            }
        }
        let CallerLimits { calls_per_s, calls_max } = self.limits;
        for (field, limit) in [("calls_per_s", calls_per_s), ("calls_max", calls_max)] {
            if limit.is_some_and(|limit| !(1..=1_000_000).contains(&limit)) {
                faults.push((field.to_owned(), "must be 1 to 1000000".to_owned()));
            }
        }
        faults
    }
}
