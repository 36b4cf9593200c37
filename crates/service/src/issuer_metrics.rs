//! The metrics of each issuer, looked up once.

use std::{
    collections::HashMap,
    sync::{Arc, PoisonError, RwLock},
};

use twqr_types::Issuer;

/// How many issuers have series of their own. A policy may name more institutions than any system
/// has; those beyond this number share the label [`OTHER_ISSUERS`].
pub const ISSUERS_MAX: usize = 64;
/// How many issuers have series before they have payments. The rest of [`ISSUERS_MAX`] is left to
/// those that do.
const TOUCHED_MAX: usize = 48;
/// The label of the issuers beyond [`ISSUERS_MAX`].
pub const OTHER_ISSUERS: &str = "other";

/// The metrics `T` of each issuer.
#[derive(Debug)]
pub struct IssuerMetrics<T> {
    known: RwLock<HashMap<Issuer, Arc<T>>>,
    look_up: fn(&str) -> T,
}

impl<T> IssuerMetrics<T> {
    /// `look_up` returns the metrics of the issuer with this label.
    pub fn new(look_up: fn(&str) -> T) -> Self {
        Self { known: RwLock::default(), look_up }
    }

    /// Makes the series of these issuers exist, so that their first increase is seen. Of many
    /// issuers, the last ones begin with their first payment.
    pub fn touch(&self, issuers: impl IntoIterator<Item = Issuer>) {
        for issuer in issuers {
            if self.known.read().unwrap_or_else(PoisonError::into_inner).len() >= TOUCHED_MAX {
                return;
            }
            drop(self.of(issuer));
        }
    }

    /// The metrics of an issuer.
    pub fn of(&self, issuer: Issuer) -> Arc<T> {
        let known = self.known.read().unwrap_or_else(PoisonError::into_inner).get(&issuer).cloned();
        known.unwrap_or_else(|| {
            let mut known = self.known.write().unwrap_or_else(PoisonError::into_inner);
            let label = if known.len() < ISSUERS_MAX { issuer.label() } else { OTHER_ISSUERS };
            known.entry(issuer).or_insert_with(|| Arc::new((self.look_up)(label))).clone()
        })
    }
}

#[cfg(test)]
mod tests {
    use twqr_types::InstitutionCode;

    use super::*;

    #[test]
    fn issuers_beyond_the_bound_share_a_label() {
        let labels = IssuerMetrics::new(str::to_owned);
        let issuer = |number: usize| Issuer::Institution(InstitutionCode::parse(&format!("{number:03}")).unwrap());
        for number in 0..1_000 {
            let expected = if number < ISSUERS_MAX { format!("{number:03}") } else { OTHER_ISSUERS.to_owned() };
            assert_eq!(*labels.of(issuer(number)), expected);
        }
        assert_eq!(*labels.of(issuer(3)), "003");
        let touched = IssuerMetrics::new(str::to_owned);
        touched.touch((0..ISSUERS_MAX).map(issuer));
        assert_eq!(
            *touched.of(issuer(ISSUERS_MAX)),
            issuer(ISSUERS_MAX).label(),
            "an issuer with payments has a place"
        );
        assert_eq!(*IssuerMetrics::new(str::to_owned).of(Issuer::Wallet), "wallet");
    }
}
