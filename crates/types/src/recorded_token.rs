//! The card token in a record, and the part of it that a payment stores. Both have two forms: the
//! protected form, and the form before protocol version 3, which stays readable.

use crate::{
    Alphabet, CardToken, CardTokenDigest, OrderKey, ProtectedToken, SealedToken, TokenMac, TokenShape,
    protected_token::differ,
};

/// The card token of a request, as it is or as its record has it.
#[derive(Clone, Debug)]
pub enum RecordedToken {
    /// In the clear: as a caller sent it, and in records from before protocol version 3.
    Clear(CardToken),
    /// Under keys that no record contains.
    Protected(Box<ProtectedToken>),
}

impl From<CardToken> for RecordedToken {
    fn from(token: CardToken) -> Self {
        Self::Clear(token)
    }
}

impl RecordedToken {
    /// Whether the token begins with the prefix of a route.
    pub fn begins_with(&self, prefix: &str) -> bool {
        match self {
            Self::Clear(token) => token.expose().starts_with(prefix),
            Self::Protected(token) => token.shape.prefix.starts_with(prefix),
        }
    }

    /// The length in characters.
    pub fn length(&self) -> u32 {
        match self {
            Self::Clear(token) => token.expose().len() as u32,
            Self::Protected(token) => token.shape.length,
        }
    }

    /// Whether the alphabet has every character of the token.
    pub fn is_within(&self, alphabet: Alphabet) -> bool {
        match self {
            Self::Clear(token) => token.expose().bytes().all(|byte| alphabet.has(byte)),
            Self::Protected(token) => token.shape.alphabet <= alphabet,
        }
    }

    /// The token with no more than what a protected record shows of it.
    #[must_use]
    pub fn shape_only(self) -> Self {
        let shape = match self {
            Self::Clear(token) => TokenShape::of(&token),
            Self::Protected(token) => token.shape,
        };
        Self::Protected(Box::new(ProtectedToken { shape, macs: Vec::new(), sealed: None }))
    }

    /// The part of the token that the payment with this key stores, to compare repeats.
    pub fn compared(&self, key: &OrderKey) -> ComparedToken {
        match self {
            Self::Clear(token) => ComparedToken::Digest(token.digest(key)),
            Self::Protected(token) => ComparedToken::Macs(token.macs.clone()),
        }
    }

    /// The token in the form that the worker gets to send the charge.
    pub fn spendable(&self) -> SpendableToken {
        match self {
            Self::Clear(token) => SpendableToken::Clear(token.clone()),
            Self::Protected(token) => SpendableToken::Sealed(token.sealed.clone().unwrap_or_default()),
        }
    }
}

/// The part of its card token that a payment stores. It is only compared with the token of a repeat
/// or a cancel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ComparedToken {
    /// The digest without a key that payments from before protocol version 3 keep.
    Digest(CardTokenDigest),
    /// One MAC for each key of the record that made the payment.
    Macs(Vec<TokenMac>),
}

impl ComparedToken {
    /// Whether the token of another request under the same key is certainly another one. Tokens in
    /// different forms, or without a key in common, cannot be told apart.
    pub fn differs_from(&self, token: &RecordedToken, key: &OrderKey) -> bool {
        match (self, token) {
            (Self::Digest(digest), RecordedToken::Clear(token)) => *digest != token.digest(key),
            (Self::Macs(macs), RecordedToken::Protected(token)) => differ(macs, &token.macs),
            (Self::Digest(_), RecordedToken::Protected(_)) | (Self::Macs(_), RecordedToken::Clear(_)) => false,
        }
    }
}

/// The card token in a charge's task.
#[derive(Clone, Debug)]
pub enum SpendableToken {
    /// In the clear: once the worker has opened it, and in tasks from before protocol version 3.
    Clear(CardToken),
    /// For the worker to open when it sends the charge.
    Sealed(SealedToken),
}
