//! What customers have. A payment code belongs to one of the issuer's accounts; which one is drawn
//! from the code, and only its number is kept.

use std::collections::HashMap;

use super::draws::{FNV_START, fnv};

/// Balances by institution and account number, in whole TWD; an account in which nothing moved yet
/// has the opening balance.
#[derive(Debug, Default)]
pub(super) struct Accounts(HashMap<(String, u32), i64>);

/// The account of a code among `accounts`, 1 at least.
pub(super) fn account_of(card_token: &str, accounts: u32) -> u32 {
    ((fnv(FNV_START, card_token.bytes()) >> 16) % u64::from(accounts.max(1))) as u32
}

impl Accounts {
    /// What is left.
    pub(super) fn balance(&self, institution: &str, account: u32, opening: i64) -> i64 {
        self.0.get(&(institution.to_owned(), account)).copied().unwrap_or(opening)
    }

    /// What is left from now on.
    pub(super) fn set(&mut self, institution: &str, account: u32, balance: i64) {
        self.0.insert((institution.to_owned(), account), balance);
    }
}
