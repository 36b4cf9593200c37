//! The rules by which orders are decided, one document: routes by prefix of the payment code, what
//! each issuer allows and when it is asked, merchants and their stores, StatusCodes whose numbers
//! are not public. A version takes effect at a record in the log, never at a restart.

mod faults;
mod issuer;
mod merchant;
mod reading;
mod refund_rule;
mod replay;
mod route;
mod window;

use twqr_types::{CardToken, CutOff, Issuer, MerchantId, StatusCode};

pub use faults::PolicyFault;
pub use issuer::{IssuerRules, Limits, Resolution};
pub use merchant::{Merchant, Store};
pub use reading::PolicyReader;
pub(crate) use refund_rule::Asked;
pub use refund_rule::{RefundRule, RefundScope};
pub use replay::{Replay, ReplayedPayment, Routing};
pub use route::{Alphabet, Route, RouteTarget};
pub use window::Window;

/// One version of the rules.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Policy {
    /// Names this version for people.
    pub name: String,
    /// At least one; the longest prefix that matches decides.
    pub routes: Vec<Route>,
    /// One for each issuer that has rules of its own.
    pub issuers: Vec<IssuerRules>,
    /// The numbers of the StatusCodes that are not public.
    pub status_codes: StatusCodes,
    /// After acceptance, how long a payment, refund or reversal may still be sent, in ms: 100 to
    /// 60,000.
    pub send_within_ms: i64,
    /// When one business day ends and the next begins, for refund rules and accounting files alike.
    pub cut_off: CutOff,
    /// Who may be paid; empty: everybody.
    pub merchants: Vec<Merchant>,
}

/// StatusCodes whose numbers are not public, hence configuration (POS API, section 3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StatusCodes {
    /// The issuer says that this store takes no credit card.
    pub card_not_supported: StatusCode,
    /// FISC failed, or did not answer.
    pub fisc_abnormal: StatusCode,
    /// The issuer failed the trade.
    pub issuer_declined: StatusCode,
    /// The issuer's rules, as configured, do not allow the refund.
    pub refund_refused: StatusCode,
}

impl Default for StatusCodes {
    fn default() -> Self {
        Self {
            card_not_supported: StatusCode::CARD_NOT_SUPPORTED,
            fisc_abnormal: StatusCode::FISC_ABNORMAL,
            issuer_declined: StatusCode::ISSUER_DECLINED,
            refund_refused: StatusCode::REFUND_REFUSED,
        }
    }
}

impl Default for Policy {
    /// Without routes, which must be added.
    fn default() -> Self {
        Self {
            name: "default".into(),
            routes: Vec::new(),
            issuers: Vec::new(),
            status_codes: StatusCodes::default(),
            send_within_ms: 5_000,
            cut_off: CutOff::default(),
            merchants: Vec::new(),
        }
    }
}

impl Policy {
    /// The route of the longest matching prefix.
    pub fn route(&self, token: &CardToken) -> Option<&Route> {
        let matching = self.routes.iter().filter(|route| token.expose().starts_with(&route.prefix));
        matching.max_by_key(|route| route.prefix.len())
    }

    /// The rules of an issuer; the defaults for one without any.
    pub fn issuer(&self, issuer: Issuer) -> IssuerRules {
        let rules = self.issuers.iter().find(|rules| rules.issuer == issuer);
        rules.cloned().unwrap_or_else(|| IssuerRules::default_of(issuer))
    }

    /// The merchant, if there is a list of them.
    pub fn merchant(&self, id: &MerchantId) -> Option<&Merchant> {
        self.merchants.iter().find(|merchant| merchant.id == *id)
    }
}
