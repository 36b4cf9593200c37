//! The customers' balances. A payment code belongs to one of the issuer's accounts. The account is
//! drawn from the code, and only its number is kept, so that no code reaches the ledger.

use std::collections::HashMap;

use twqr_types::Issuer;

use super::draws::{FNV_START, fnv};

/// Balances in whole TWD by issuer and account number. An account without any movement has the
/// opening balance.
#[derive(Debug, Default)]
pub(super) struct Accounts(HashMap<(Issuer, u32), i64>);

/// The account number of a code, below `accounts`, which is at least 1.
pub(super) fn account_of(card_token: &str, accounts: u32) -> u32 {
    ((fnv(FNV_START, card_token.bytes()) >> 16) % u64::from(accounts.max(1))) as u32
}

impl Accounts {
    pub(super) fn balance(&self, issuer: Issuer, account: u32, opening: i64) -> i64 {
        self.0.get(&(issuer, account)).copied().unwrap_or(opening)
    }

    pub(super) fn set(&mut self, issuer: Issuer, account: u32, balance: i64) {
        self.0.insert((issuer, account), balance);
    }
}
