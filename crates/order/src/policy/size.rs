//! How large a policy may be: all versions of a shard are one record of `order-states`, and a
//! journal takes 1 MiB at the most.

use super::{IssuerRules, Merchant, Policy, Route};

/// The largest policy, in bytes of [`Policy::size`]: some 6,000 stores.
pub const POLICY_BYTES_MAX: usize = 256 * 1024;

/// Numbers, tags and lengths of a route, an issuer, a window, a code, a merchant or store, a key,
/// and of the rest, in bytes at the most.
const ROUTE: usize = 24;
const CODE_LENGTH: usize = 6;
const ISSUER: usize = 192;
const WINDOW: usize = 32;
const CODE: usize = 12;
const MERCHANT: usize = 24;
const KEY: usize = 4;
const REST: usize = 128;

impl Policy {
    /// How much it takes in the log at the most, in bytes.
    pub fn size(&self) -> usize {
        let codes = &self.status_codes;
        let codes = [&codes.card_not_supported, &codes.fisc_abnormal, &codes.issuer_declined, &codes.refund_refused];
        let texts = self.name.len() + codes.iter().map(|code| code.len()).sum::<usize>();
        let routes: usize = self.routes.iter().map(route).sum();
        let issuers: usize = self.issuers.iter().map(issuer).sum();
        let merchants: usize = self.merchants.iter().map(merchant).sum();
        REST + texts + routes + issuers + merchants
    }
}

fn route(route: &Route) -> usize {
    ROUTE + route.prefix.len() + CODE_LENGTH * route.code_lengths.len()
}

fn issuer(rules: &IssuerRules) -> usize {
    let codes: usize = rules.status_codes.iter().map(|(theirs, code)| CODE + theirs.len() + code.len()).sum();
    ISSUER + WINDOW * rules.maintenance.len() + codes
}

fn merchant(merchant: &Merchant) -> usize {
    let stores: usize = merchant.stores.iter().map(|store| MERCHANT + store.id.as_str().len()).sum();
    let keys: usize = merchant.keys.iter().map(|key| KEY + key.as_str().len()).sum();
    MERCHANT + merchant.id.as_str().len() + stores + keys
}
