//! Who issued a payment code.

use std::fmt;

/// An institution code, such as 391: an opaque string of three ASCII letters or digits (POS
/// document, Extra3).
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct InstitutionCode([u8; 3]);

/// The text is no institution code.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("an institution code is three ASCII letters or digits, such as 391")]
pub struct InvalidInstitution;

impl InstitutionCode {
    /// Takes three ASCII letters or digits.
    pub fn parse(raw: &str) -> Result<Self, InvalidInstitution> {
        let bytes: [u8; 3] = raw.as_bytes().try_into().map_err(|_| InvalidInstitution)?;
        if bytes.iter().all(u8::is_ascii_alphanumeric) { Ok(Self(bytes)) } else { Err(InvalidInstitution) }
    }

    /// The three characters.
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

/// The issuer of a payment code: the own wallet, or another institution reached through FISC.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Issuer {
    /// The JKOPAY wallet.
    Wallet,
    /// Another institution.
    Institution(InstitutionCode),
}

impl Issuer {
    /// From the wire's form: empty means the wallet.
    pub fn parse(raw: &str) -> Result<Self, InvalidInstitution> {
        if raw.is_empty() { Ok(Self::Wallet) } else { InstitutionCode::parse(raw).map(Self::Institution) }
    }

    /// The wire's form: empty for the wallet.
    pub fn institution(&self) -> &str {
        match self {
            Self::Wallet => "",
            Self::Institution(code) => code.as_str(),
        }
    }

    /// A name for labels and tables.
    pub fn label(&self) -> &str {
        match self {
            Self::Wallet => "wallet",
            Self::Institution(code) => code.as_str(),
        }
    }
}
