//! What customers have. A payment code belongs to one of the issuer's accounts; which one is drawn from the code, and only its number is
//! kept.

use std::collections::HashMap;

/// Balances by institution and account number, in whole TWD; an account that was never debited has the opening balance.
#[derive(Debug, Default)]
pub(crate) struct Accounts(HashMap<(String, u32), i64>);

/// The account of a code among `accounts`, 1 at least (FNV-1a).
pub(crate) fn account_of(card_token: &str, accounts: u32) -> u32 {
    let hash = card_token
        .bytes()
        .fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3));
    ((hash >> 16) % u64::from(accounts.max(1))) as u32
}

impl Accounts {
    /// What is left.
    pub(crate) fn balance(&self, institution: &str, account: u32, opening: i64) -> i64 {
        self.0.get(&(institution.to_owned(), account)).copied().unwrap_or(opening)
    }

    /// What is left from now on.
    pub(crate) fn set(&mut self, institution: &str, account: u32, balance: i64) {
        self.0.insert((institution.to_owned(), account), balance);
    }
}
