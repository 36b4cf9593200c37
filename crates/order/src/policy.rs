//! The policy: the rules by which orders are decided, in one document. It has the routes by prefix
//! of the payment code, the rules of each issuer, the merchants and their stores, and the
//! StatusCodes whose numbers are not public. A version takes effect at a record in the log, never
//! at a restart (protocol rule P7).

mod faults;
mod issuer;
mod merchant;
mod reader;
mod refund_rule;
mod replay;
mod route;
mod rules;
mod window;

use twqr_types::{CutOff, Issuer, MerchantId, RecordedToken, StatusCode, UnixMs};

pub use faults::PolicyFault;
use issuer::WINDOWS_MAX;
pub use issuer::{IssuerRules, Limits, Resolution};
pub use merchant::{Merchant, Store};
pub use reader::PolicyReader;
pub(crate) use refund_rule::RefundCheck;
pub use refund_rule::{RefundRule, RefundScope};
pub use replay::{Replay, ReplayedPayment, Routing};
pub use route::{Route, RouteTarget};
pub use rules::AcceptedMerchants;
pub use twqr_types::Alphabet;
pub use window::Window;

/// The newest protocol version that this build knows; see [`Policy::protocol_version`].
pub const PROTOCOL_VERSION_NEWEST: u32 = 3;

/// The protocol version from which on card tokens are written only under keys.
pub const PROTECTED_TOKENS_SINCE: u32 = 3;

/// One version of the rules.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Policy {
    /// The version's name, for people.
    pub name: String,
    /// At least one route; the longest prefix that matches decides.
    pub routes: Vec<Route>,
    /// The issuers that have rules of their own; the others have the defaults.
    pub issuers: Vec<IssuerRules>,
    /// The StatusCodes whose numbers are not public.
    pub status_codes: StatusCodes,
    /// How long after acceptance a payment, refund or reversal may still be sent, in ms: 100 to
    /// 60,000.
    pub send_within_ms: i64,
    /// When one business day ends and the next begins, for refund rules and accounting files alike.
    pub cut_off: CutOff,
    /// Which merchants may be paid. It counts from protocol version 2 on.
    pub accepted_merchants: AcceptedMerchants,
    /// The merchants that the policy itself lists. Empty, unless `accepted_merchants` is
    /// [`AcceptedMerchants::InPolicy`]: if it is empty then, every merchant may be paid.
    pub merchants: Vec<Merchant>,
    /// Which changes of decisions and of record kinds are in force: 0 for those of the first
    /// builds, up to [`PROTOCOL_VERSION_NEWEST`]. Operators raise it once every process runs a
    /// build that knows the higher version. It never falls: a later policy with a lower number
    /// keeps the higher one.
    pub protocol_version: u32,
}

/// The StatusCodes whose numbers are not public, so they are configured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StatusCodes {
    /// The issuer takes no credit card for this store.
    pub card_not_supported: StatusCode,
    /// FISC failed, or did not answer. Also the code of answers in progress.
    pub fisc_abnormal: StatusCode,
    /// The issuer failed the trade.
    pub issuer_declined: StatusCode,
    /// The issuer's refund rule refuses the refund.
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
    /// A policy without routes; they must be added.
    fn default() -> Self {
        Self {
            name: "default".into(),
            routes: Vec::new(),
            issuers: Vec::new(),
            status_codes: StatusCodes::default(),
            send_within_ms: 3_000,
            cut_off: CutOff::default(),
            accepted_merchants: AcceptedMerchants::default(),
            merchants: Vec::new(),
            protocol_version: PROTOCOL_VERSION_NEWEST,
        }
    }
}

impl Policy {
    /// Returns the fault of a protocol version that this build does not know. It is not among
    /// [`Policy::faults`], because a record with such a policy is valid: a newer build wrote it.
    pub fn unknown_protocol(&self) -> Option<PolicyFault> {
        (self.protocol_version > PROTOCOL_VERSION_NEWEST).then(|| PolicyFault {
            place: "protocol_version".to_owned(),
            problem: format!(
                "is {}, but this build knows only versions up to {PROTOCOL_VERSION_NEWEST}: use a newer build",
                self.protocol_version
            ),
        })
    }

    /// Lists what is wrong with a new policy, besides [`Policy::faults`]. A record with such a
    /// policy is valid, because earlier builds accepted it.
    pub fn faults_of_new(&self) -> Vec<PolicyFault> {
        let prefixes =
            if self.protocol_version < PROTECTED_TOKENS_SINCE { Vec::new() } else { self.prefixes_beyond_shown() };
        [self.foreign_years(), self.crowded_maintenance(), prefixes].concat()
    }

    /// Lists the maintenance windows with a year that is mistyped or of another calendar.
    fn foreign_years(&self) -> Vec<PolicyFault> {
        let (first, last) = (UnixMs::BUSINESS_YEARS.start(), UnixMs::BUSINESS_YEARS.end());
        let mut faults = Vec::new();
        for (i, rules) in self.issuers.iter().enumerate() {
            for (n, window) in rules.maintenance.iter().enumerate() {
                if !window.from.is_in_business_years() || !window.to.is_in_business_years() {
                    faults.push(PolicyFault {
                        place: format!("issuers[{i}].maintenance[{n}]"),
                        problem: format!(
                            "from and to must be of a Gregorian year from {first} to {last}, such as 2026 and not 115"
                        ),
                    });
                }
            }
        }
        faults
    }

    /// Lists the issuers with more maintenance windows than are searched for each payment.
    fn crowded_maintenance(&self) -> Vec<PolicyFault> {
        let fault = |(i, rules): (usize, &IssuerRules)| {
            let windows = rules.maintenance.len();
            (windows > WINDOWS_MAX).then(|| PolicyFault {
                place: format!("issuers[{i}].maintenance"),
                problem: format!("has {windows} windows, must have at most {WINDOWS_MAX}: take out past ones"),
            })
        };
        self.issuers.iter().enumerate().filter_map(fault).collect()
    }

    /// Lists the routes whose prefix is longer than what a protected card token shows, whatever the
    /// protocol version is.
    pub fn prefixes_beyond_shown(&self) -> Vec<PolicyFault> {
        let fault = |(i, route): (usize, &Route)| {
            route.prefix_fault().map(|problem| PolicyFault { place: format!("routes[{i}].prefix"), problem })
        };
        self.routes.iter().enumerate().filter_map(fault).collect()
    }

    /// The route with the longest matching prefix.
    pub fn route(&self, token: &RecordedToken) -> Option<&Route> {
        let matching = self.routes.iter().filter(|route| token.begins_with(&route.prefix));
        matching.max_by_key(|route| route.prefix.len())
    }

    /// The rules of an issuer; the defaults if it has none of its own.
    pub fn issuer(&self, issuer: Issuer) -> IssuerRules {
        let rules = self.issuers.iter().find(|rules| rules.issuer == issuer);
        rules.cloned().unwrap_or_else(|| {
            let resolution = Resolution::default_of_version(self.protocol_version);
            IssuerRules { resolution, ..IssuerRules::default_of(issuer) }
        })
    }

    /// The issuers that the policy names: those of its routes, then those with rules of their own.
    /// An issuer may come several times.
    pub fn named_issuers(&self) -> impl Iterator<Item = Issuer> {
        let routed = self.routes.iter().filter_map(|route| match route.target {
            RouteTarget::Issuer(issuer) => Some(issuer),
            RouteTarget::Refuse => None,
        });
        routed.chain(self.issuers.iter().map(|rules| rules.issuer))
    }

    /// The merchant with this number, if the policy lists it.
    pub fn merchant(&self, id: &MerchantId) -> Option<&Merchant> {
        self.merchants.iter().find(|merchant| merchant.id == *id)
    }
}

#[cfg(test)]
mod tests {
    use twqr_types::InstitutionCode;

    use super::*;

    #[test]
    fn a_policy_names_the_issuers_of_its_routes_and_of_its_rules() {
        let institution = |code| Issuer::Institution(InstitutionCode::parse(code).unwrap());
        let route = |prefix: &str, target| Route {
            prefix: prefix.into(),
            target,
            code_lengths: vec![18],
            alphabet: Alphabet::Printable,
        };
        let policy = Policy {
            routes: vec![
                route("22", RouteTarget::Issuer(Issuer::Wallet)),
                route("2299", RouteTarget::Refuse),
                route("P2", RouteTarget::Issuer(institution("389"))),
            ],
            issuers: vec![IssuerRules::default_of(institution("004"))],
            ..Policy::default()
        };
        let expected = [Issuer::Wallet, institution("389"), institution("004")];
        assert_eq!(policy.named_issuers().collect::<Vec<_>>(), expected);
    }
}
