//! The strings of the POS document, each with its maximum length in characters.

use std::fmt;

/// Checks the length in characters, and that there is no control character; `lines` allows line
/// breaks and tabs.
fn check(raw: &str, min: usize, max: usize, lines: bool) -> Result<(), String> {
    let length = raw.chars().count();
    if length < min {
        return Err("is required and must not be empty".to_owned());
    }
    if length > max {
        return Err(format!("is {length} characters long, at most {max} are allowed"));
    }
    let refused = |c: char| c.is_control() && !(lines && matches!(c, '\n' | '\r' | '\t'));
    if raw.chars().any(refused) {
        return Err("contains a control character, none is allowed".to_owned());
    }
    Ok(())
}

macro_rules! texts {
    ($($(#[$doc:meta])* $name:ident $min:literal ..= $max:literal lines $lines:literal;)*) => {$(
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub struct $name(Box<str>);

        impl $name {
            /// The maximum length in characters.
            pub const LEN_MAX: usize = $max;

            /// Checks the limits. The error says what is wrong and what is allowed, without the
            /// value.
            pub fn parse(raw: String) -> Result<Self, String> {
                check(&raw, $min, $max, $lines)?;
                Ok(Self(raw.into_boxed_str()))
            }

            /// The text as it was parsed.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}({:?})", stringify!($name), self.0)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    )*};
}

texts! {
    /// MerchantID: 1 to 10 characters.
    MerchantId 1..=10 lines false;
    /// StoreID: at most 20 characters.
    StoreId 0..=20 lines false;
    /// StoreName: at most 100 characters.
    StoreName 0..=100 lines false;
    /// GatewayTradeNo: at most 20 characters.
    GatewayTradeNo 0..=20 lines false;
    /// MerchantTradeNo: 1 to 60 characters, unique for each merchant. It is the idempotency key.
    MerchantTradeNo 1..=60 lines false;
    /// PosID: at most 20 characters.
    PosId 0..=20 lines false;
    /// The name of one of a merchant's keys, 1 to 16 characters. It is not a secret: the log and
    /// the policy contain it. The limit is short on purpose: a key that is written in place of its
    /// name is too long, and is refused.
    KeyName 1..=16 lines false;
    /// Remark: at most 1000 characters.
    Remark 0..=1000 lines true;
    /// Extra1 and Extra2: at most 512 characters.
    Extra 0..=512 lines true;
}
