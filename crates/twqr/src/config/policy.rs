//! `[policy]`: routes, times of resolution and StatusCodes. It takes effect at a record in the log.

use std::{fmt, str::FromStr};

use twqr_order::{Policy as Rules, Resolution, Route as RouteRule, StatusCodes};
use twqr_types::Issuer;

use super::{
    setting::{Any, Faults, texts},
    table::table,
};

table! {
    /// The rules by which orders are decided. A change takes effect as a record in every shard's log, written when the router starts.
    Policy {
        /// Names this version of the rules for people.
        name: String = "default".to_owned(), Any("any text");
        /// After acceptance, how long a payment may still be sent to its issuer, in ms.
        send_within_ms: i64 = 5_000, 100..=60_000;
        /// StatusCode where the issuer says that the store takes no credit card. TWQR does not publish the number.
        card_not_supported: String = StatusCodes::default().card_not_supported, Any("three digits, not 000");
        /// StatusCode where FISC failed or did not answer. TWQR does not publish the number.
        fisc_abnormal: String = StatusCodes::default().fisc_abnormal, Any("three digits, not 000");
        /// StatusCode where the issuer failed the trade. TWQR does not publish the number.
        issuer_declined: String = StatusCodes::default().issuer_declined, Any("three digits, not 000");
        /// Which payment codes belong to whom; the longest prefix that matches decides.
        routes: Vec<Route> = default_routes(), Any("one or more tables with these keys");
    }
}

table! {
    /// Codes that begin with the prefix belong to the issuer.
    Route {
        /// How the codes begin.
        prefix: String, Any("1 to 16 ASCII letters, digits, - or _, compared as they are");
        /// The institution code; empty for the own wallet.
        institution: Institution, Any("three ASCII letters or digits, or empty");
        /// The lengths in characters that the codes may have.
        code_lengths: Vec<u32>, Any("lengths from that of the prefix to 64");
        /// How long a request may still take effect after its send_by, in ms: flight, clock skew, pauses.
        window_ms: i64 = 5_000, 1_000..=3_600_000;
        /// From an unknown outcome to the first inquiry, in ms.
        first_delay_ms: i64 = 1_000, 100..=600_000;
        /// The spacing of inquiries doubles up to this, in ms.
        delay_max_ms: i64 = 60_000, 100..=86_400_000;
    }
}

/// An issuer in the wire's form.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Institution(pub(crate) Issuer);

impl FromStr for Institution {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        Issuer::parse(text).map(Self).map_err(|_| ())
    }
}

impl fmt::Display for Institution {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0.institution())
    }
}

texts! {
    Institution, "an institution code of three ASCII letters or digits, or empty for the own wallet";
}

/// Prefix, institution, length of the codes, and window in ms. The wallet is our own, so its window is shorter.
const DEFAULT_ROUTES: [(&str, &str, u32, i64); 13] = [
    ("22", "", 18, 3_000),
    ("IC", "392", 20, 5_000),
    ("P2", "388", 20, 5_000),
    ("EW", "390", 20, 5_000),
    ("IP", "391", 20, 5_000),
    ("PX", "389", 20, 5_000),
    ("LP", "387", 22, 5_000),
    ("GA", "395", 20, 5_000),
    ("OP", "397", 20, 5_000),
    ("EZ", "398", 20, 5_000),
    ("B004", "004", 22, 5_000),
    ("B812", "812", 22, 5_000),
    ("B822", "822", 22, 5_000),
];

fn default_routes() -> Vec<Route> {
    let route = |&(prefix, institution, length, window_ms): &(&str, &str, u32, i64)| Route {
        prefix: prefix.to_owned(),
        institution: Institution(Issuer::parse(institution).unwrap_or(Issuer::Wallet)),
        code_lengths: vec![length],
        window_ms,
        first_delay_ms: 1_000,
        delay_max_ms: 60_000,
    };
    DEFAULT_ROUTES.iter().map(route).collect()
}

impl Policy {
    /// The rules as the order machine takes them.
    pub(crate) fn rules(&self) -> Rules {
        let route = |route: &Route| RouteRule {
            prefix: route.prefix.clone(),
            issuer: route.institution.0,
            code_lengths: route.code_lengths.clone(),
            resolution: Resolution {
                window_ms: route.window_ms,
                first_delay_ms: route.first_delay_ms,
                delay_max_ms: route.delay_max_ms,
            },
        };
        Rules {
            name: self.name.clone(),
            routes: self.routes.iter().map(route).collect(),
            status_codes: StatusCodes {
                card_not_supported: self.card_not_supported.clone(),
                fisc_abnormal: self.fisc_abnormal.clone(),
                issuer_declined: self.issuer_declined.clone(),
            },
            send_within_ms: self.send_within_ms,
        }
    }

    /// Notes what the machine would refuse, under the keys of the file.
    pub(crate) fn check(&self, faults: &mut Faults) {
        for fault in self.rules().faults() {
            let key = fault.place.replace("status_codes.", "").replace("resolution.", "");
            faults.add(&format!("policy.{key}"), fault.problem, None);
        }
    }
}
