//! Routes: which issuer a payment code belongs to.

use twqr_types::{CardToken, Issuer};

/// Sends the payment codes that begin with a prefix to a target.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Route {
    /// 1 to 16 ASCII letters, digits, `-` or `_`; case matters.
    pub prefix: String,
    /// The issuer, or that these codes are refused.
    pub target: RouteTarget,
    /// The lengths in characters that these codes may have, each 1 to 64.
    pub code_lengths: Vec<u32>,
    /// The characters that these codes may have.
    pub alphabet: Alphabet,
}

/// The target of a route.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RouteTarget {
    /// The payment is sent to this issuer.
    Issuer(Issuer),
    /// Payments are refused (927, bad code).
    Refuse,
}

/// The characters that a payment code may have.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Alphabet {
    /// Any printable ASCII character except the space.
    #[default]
    Printable,
    /// The digits 0 to 9.
    Digits,
    /// ASCII letters and digits.
    Alphanumeric,
    /// ASCII letters, digits, `-` and `_`.
    Base64Url,
}

impl Alphabet {
    /// Every alphabet with its name in the policy document.
    pub const ALL: [(Self, &'static str); 4] = [
        (Self::Printable, "printable"),
        (Self::Digits, "digits"),
        (Self::Alphanumeric, "alphanumeric"),
        (Self::Base64Url, "base64url"),
    ];

    fn has(self, byte: u8) -> bool {
        match self {
            Self::Printable => byte.is_ascii_graphic(),
            Self::Digits => byte.is_ascii_digit(),
            Self::Alphanumeric => byte.is_ascii_alphanumeric(),
            Self::Base64Url => byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'),
        }
    }
}

impl Route {
    /// Returns why the code is malformed, without repeating it.
    pub(crate) fn code_fault(&self, token: &CardToken) -> Option<&'static str> {
        let code = token.expose();
        if !self.code_lengths.contains(&(code.len() as u32)) {
            return Some("the code does not have the length that its issuer's codes have");
        }
        let fits = code.bytes().all(|byte| self.alphabet.has(byte));
        (!fits).then_some("the code has a character that its issuer's codes do not have")
    }

    /// Lists everything that is wrong with the route, as field and problem.
    pub(super) fn faults(&self) -> Vec<(&'static str, String)> {
        let mut faults = Vec::new();
        if !(1..=16).contains(&self.prefix.len()) || !self.prefix.bytes().all(|byte| Alphabet::Base64Url.has(byte)) {
            let problem = format!("is {:?}, must be 1 to 16 ASCII letters, digits, '-' or '_'", self.prefix);
            faults.push(("prefix", problem));
        }
        let shortest = self.prefix.len() as u32;
        let fits = |length: &u32| (shortest.max(1)..=CardToken::LEN_MAX as u32).contains(length);
        if self.code_lengths.is_empty() || !self.code_lengths.iter().all(fits) {
            let problem = format!("must be one or more lengths from {shortest} to {}", CardToken::LEN_MAX);
            faults.push(("code_lengths", problem));
        }
        if !self.prefix.bytes().all(|byte| self.alphabet.has(byte)) {
            faults.push(("alphabet", format!("does not have every character of the prefix {:?}", self.prefix)));
        }
        faults
    }
}
