//! The rules by which orders are decided: routes by prefix of the payment code, times of resolution, StatusCodes whose numbers
//! are not public. A policy takes effect at a record in the log, never at a restart.

use twqr_types::{CardToken, Issuer};

/// One version of the rules.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Policy {
    /// Names this version for people.
    pub name: String,
    /// At least one; the longest prefix that matches decides.
    pub routes: Vec<Route>,
    /// The numbers of the StatusCodes that TWQR adds.
    pub status_codes: StatusCodes,
    /// After acceptance, how long a payment may still be sent, in ms: 100 to 60,000.
    pub send_within_ms: i64,
}

/// Codes that begin with the prefix belong to the issuer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Route {
    /// 1 to 16 ASCII letters, digits, `-` or `_`, compared as they are.
    pub prefix: String,
    /// Whose customer it is.
    pub issuer: Issuer,
    /// The lengths in characters that the issuer's codes may have, each 1 to 64.
    pub code_lengths: Vec<u32>,
    /// How the issuer is asked.
    pub resolution: Resolution,
}

/// How an issuer is asked about a payment without an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Resolution {
    /// How long a request may still take effect after its `send_by`, in ms: flight, clock skew, pauses. 1,000 to 3,600,000.
    pub window_ms: i64,
    /// From the unknown outcome to the first inquiry, in ms: 100 to 600,000.
    pub first_delay_ms: i64,
    /// The spacing of inquiries doubles up to this, in ms: `first_delay_ms` to 86,400,000.
    pub delay_max_ms: i64,
}

/// The StatusCodes that TWQR adds; their numbers are not public, hence configuration (POS API, section 3).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StatusCodes {
    /// The issuer says that this store takes no credit card.
    pub card_not_supported: String,
    /// FISC failed, or did not answer.
    pub fisc_abnormal: String,
    /// The issuer failed the trade.
    pub issuer_declined: String,
}

impl Default for StatusCodes {
    fn default() -> Self {
        Self { card_not_supported: "981".into(), fisc_abnormal: "982".into(), issuer_declined: "983".into() }
    }
}

/// Why a policy cannot be used: where, and what is allowed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{place}: {problem}")]
pub struct PolicyFault {
    /// Such as `routes[2].prefix`.
    pub place: String,
    /// What was wrong, and what is allowed.
    pub problem: String,
}

impl Policy {
    /// The route of the longest matching prefix.
    pub fn route(&self, token: &CardToken) -> Option<&Route> {
        let matching = self.routes.iter().filter(|route| token.expose().starts_with(&route.prefix));
        matching.max_by_key(|route| route.prefix.len())
    }

    /// The resolution of an issuer's orders: that of its first route.
    pub fn resolution(&self, issuer: Issuer) -> Resolution {
        let route = self.routes.iter().find(|route| route.issuer == issuer);
        route.map_or(Resolution::DEFAULT, |route| route.resolution)
    }

    /// Everything that is wrong with it; empty means that it can be used.
    pub fn faults(&self) -> Vec<PolicyFault> {
        let mut faults = Vec::new();
        let mut fault = |bad: bool, place: String, problem: String| {
            if bad {
                faults.push(PolicyFault { place, problem });
            }
        };
        fault(self.routes.is_empty(), "routes".into(), "at least one route is needed".into());
        let send_within = !(100..=60_000).contains(&self.send_within_ms);
        fault(send_within, "send_within_ms".into(), format!("is {}, must be 100 to 60000", self.send_within_ms));
        let codes = &self.status_codes;
        for (name, code) in [
            ("card_not_supported", &codes.card_not_supported),
            ("fisc_abnormal", &codes.fisc_abnormal),
            ("issuer_declined", &codes.issuer_declined),
        ] {
            let bad = code.len() != 3 || !code.bytes().all(|b| b.is_ascii_digit()) || code == "000";
            fault(bad, format!("status_codes.{name}"), format!("is {code:?}, must be three digits, not 000"));
        }
        for (i, route) in self.routes.iter().enumerate() {
            let twice = self.routes[..i].iter().any(|other| other.prefix == route.prefix);
            let place = |field: &str| format!("routes[{i}].{field}");
            fault(twice, place("prefix"), format!("{:?} stands in an earlier route already", route.prefix));
            for (field, problem) in route.faults() {
                fault(true, place(field), problem);
            }
        }
        faults
    }
}

impl Route {
    /// Field and problem of everything that is wrong with it.
    fn faults(&self) -> Vec<(&'static str, String)> {
        let mut faults = Vec::new();
        let allowed = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_');
        if !(1..=16).contains(&self.prefix.len()) || !self.prefix.bytes().all(allowed) {
            let problem = format!("is {:?}, must be 1 to 16 ASCII letters, digits, '-' or '_'", self.prefix);
            faults.push(("prefix", problem));
        }
        let shortest = self.prefix.len() as u32;
        let fits = |length: &u32| (shortest.max(1)..=CardToken::LEN_MAX as u32).contains(length);
        if self.code_lengths.is_empty() || !self.code_lengths.iter().all(fits) {
            let problem = format!("must be one or more lengths from {shortest} to {}", CardToken::LEN_MAX);
            faults.push(("code_lengths", problem));
        }
        let r = self.resolution;
        for (field, value, range) in [
            ("resolution.window_ms", r.window_ms, 1_000..=3_600_000),
            ("resolution.first_delay_ms", r.first_delay_ms, 100..=600_000),
            ("resolution.delay_max_ms", r.delay_max_ms, r.first_delay_ms..=86_400_000),
        ] {
            if !range.contains(&value) {
                faults.push((field, format!("is {value}, must be {} to {}", range.start(), range.end())));
            }
        }
        faults
    }
}

impl Resolution {
    /// For issuers that no route names any more.
    pub const DEFAULT: Self = Self { window_ms: 10_000, first_delay_ms: 1_000, delay_max_ms: 60_000 };
}
