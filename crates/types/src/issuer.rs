//! The issuer of a payment code: the JKOPAY wallet, or another institution.

use std::fmt;

/// The code of an institution, such as 391: three ASCII letters or digits without further meaning.
/// Callers get it in Extra3.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct InstitutionCode([u8; 3]);

/// The text is not three ASCII letters or digits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("an institution code is three ASCII letters or digits, such as 391")]
pub struct InvalidInstitution;

impl InstitutionCode {
    /// Takes exactly three ASCII letters or digits.
    pub const fn parse(raw: &str) -> Result<Self, InvalidInstitution> {
        match raw.as_bytes() {
            [a, b, c] if a.is_ascii_alphanumeric() && b.is_ascii_alphanumeric() && c.is_ascii_alphanumeric() => {
                Ok(Self([*a, *b, *c]))
            }
            _ => Err(InvalidInstitution),
        }
    }

    /// The three characters as text.
    pub fn as_str(&self) -> &str {
        std::str::from_utf8(&self.0).unwrap_or_default()
    }
}

impl fmt::Debug for InstitutionCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "InstitutionCode({})", self.as_str())
    }
}

impl fmt::Display for InstitutionCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The issuer of a payment code.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Issuer {
    /// The JKOPAY wallet.
    Wallet,
    /// Another institution, reached through FISC.
    Institution(InstitutionCode),
}

impl Issuer {
    /// Reads the form of protobuf messages, files and tables, where the empty text is the wallet.
    pub fn from_wire(raw: &str) -> Result<Self, InvalidInstitution> {
        if raw.is_empty() { Ok(Self::Wallet) } else { InstitutionCode::parse(raw).map(Self::Institution) }
    }

    /// The form of protobuf messages, files and tables: empty for the wallet, else the institution
    /// code.
    pub fn as_wire(&self) -> &str {
        match self {
            Self::Wallet => "",
            Self::Institution(code) => code.as_str(),
        }
    }

    /// The name in labels and tables for people: `wallet`, or the institution code.
    pub fn label(&self) -> &str {
        match self {
            Self::Wallet => "wallet",
            Self::Institution(code) => code.as_str(),
        }
    }
}
