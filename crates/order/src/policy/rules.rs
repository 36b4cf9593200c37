//! The rules that decide one record: the version of the policy in force, and what the directory of
//! merchants says about the record's merchant and store.

use twqr_types::{KeyName, MerchantId, StatusCode, StoreId};

use super::{Policy, merchant::Conditions};
use crate::Rules;

/// Which merchants may be paid.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum AcceptedMerchants {
    /// The merchants that the policy itself lists; if it lists none, every merchant. Before
    /// protocol version 2, this is the only choice.
    #[default]
    InPolicy,
    /// Every merchant; those in the directory under the conditions of their listings.
    Any,
    /// The merchants in the directory, under the conditions of their listings.
    Listed,
}

impl AcceptedMerchants {
    /// Every choice with its name in the policy document.
    pub const ALL: [(Self, &'static str); 3] =
        [(Self::InPolicy, "in-policy"), (Self::Any, "any"), (Self::Listed, "listed")];
}

/// The protocol version from which on the directory of merchants is read and changed.
const DIRECTORY_SINCE: u32 = 2;

impl Policy {
    /// Whether changes of the directory of merchants are taken.
    pub fn takes_listings(&self) -> bool {
        self.protocol_version >= DIRECTORY_SINCE
    }

    /// Which merchants may be paid under the protocol version in force.
    fn merchants_in_force(&self) -> AcceptedMerchants {
        if self.takes_listings() { self.accepted_merchants } else { AcceptedMerchants::InPolicy }
    }

    /// Whether the directory of merchants decides about payments.
    pub fn uses_listings(&self) -> bool {
        self.merchants_in_force() != AcceptedMerchants::InPolicy
    }
}

impl Rules<'_> {
    /// Whether requests that were signed with the merchant's key of this name are accepted.
    pub(crate) fn accept_key(&self, merchant_id: &MerchantId, name: &KeyName) -> bool {
        let Some(policy) = self.policy else { return true };
        let keys = match policy.merchants_in_force() {
            AcceptedMerchants::InPolicy => policy.merchant(merchant_id).map(|merchant| &merchant.keys),
            AcceptedMerchants::Any | AcceptedMerchants::Listed => self.listings.merchant.map(|merchant| &merchant.keys),
        };
        keys.is_none_or(|keys| keys.is_empty() || keys.contains(name))
    }

    /// The StatusCode and StatusDesc of the refusal if the merchant or the store does not allow a
    /// payment of `amount` (whole TWD), or a refund (`amount` is `None`).
    pub(crate) fn merchant_refusal(
        &self,
        merchant_id: &MerchantId,
        store_id: &StoreId,
        amount: Option<i64>,
    ) -> Option<(StatusCode, &'static str)> {
        let policy = self.policy?;
        let (conditions, takes_any) = match policy.merchants_in_force() {
            AcceptedMerchants::InPolicy => {
                let merchant = policy.merchant(merchant_id);
                (merchant.map(|merchant| Conditions::of_merchant(merchant, store_id)), policy.merchants.is_empty())
            }
            accepted @ (AcceptedMerchants::Any | AcceptedMerchants::Listed) => {
                (Conditions::of_listings(self.listings), accepted == AcceptedMerchants::Any)
            }
        };
        match conditions {
            Some(conditions) => conditions.closed().or_else(|| conditions.over_limit(amount?)),
            None if takes_any => None,
            None => Some((StatusCode::NOT_A_PARTNER_STORE, "the merchant is not known")),
        }
    }
}
