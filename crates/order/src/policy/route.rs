//! Routes: which issuer a payment code belongs to.

use twqr_types::{Alphabet, CardToken, Issuer, RecordedToken, TokenShape};

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

impl Route {
    /// Returns why the code is malformed, without repeating it.
    pub(crate) fn code_fault(&self, token: &RecordedToken) -> Option<&'static str> {
        if !self.code_lengths.contains(&token.length()) {
            return Some("the code does not have the length that its issuer's codes have");
        }
        (!token.is_within(self.alphabet)).then_some("the code has a character that its issuer's codes do not have")
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

    /// The reason why protected codes cannot be matched with this route: its prefix is longer than
    /// what a record shows of them.
    pub(super) fn prefix_fault(&self) -> Option<String> {
        let shown = self.code_lengths.iter().copied().map(TokenShape::prefix_len_max).min()?;
        (self.prefix.len() > shown as usize).then(|| {
            format!("is {:?}, must be at most {shown} characters: a record shows no more of these codes", self.prefix)
        })
    }
}
