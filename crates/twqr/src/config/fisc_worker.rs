//! `[fisc_worker]`: calls the other issuers through FISC, each in a lane of its own.

use std::collections::BTreeSet;

use twqr_fisc_worker::Settings;
use twqr_types::Issuer;
use twqr_worker::LaneSettings;

use super::{
    policy::{Institution, Policy},
    setting::{Any, Faults},
    table::table,
};

table! {
    /// The worker that calls the other issuers through FISC. Each issuer of [policy] has a lane of its own with these limits.
    FiscWorker {
        /// FISC's gRPC address.
        backend: String = "http://127.0.0.1:50062".to_owned(), Any("a URI such as \"http://127.0.0.1:50062\"");
        /// How long a call may take before its outcome is unknown, in ms.
        call_timeout_ms: u64 = 4_000, 10..=60_000;
        /// Charges in flight at one issuer; a fresh one beyond is not sent.
        in_flight_max: usize = 2_048, 1..=100_000;
        /// So many calls in a row without an answer open an issuer's circuit.
        failures_to_open: u32 = 20, 1..=10_000;
        /// How long an open circuit stays open before one call tries again, in ms.
        open_ms: i64 = 2_000, 10..=600_000;
        /// Issuers with other limits.
        lanes: Vec<LaneRow> = Vec::new(), Any("tables with these keys");
    }
}

table! {
    /// The limits of one issuer.
    LaneRow {
        /// The institution code.
        institution: Institution, Any("three ASCII letters or digits");
        /// As above, for this issuer.
        in_flight_max: usize = 2_048, 1..=100_000;
        /// As above, for this issuer.
        failures_to_open: u32 = 20, 1..=10_000;
        /// As above, for this issuer.
        open_ms: i64 = 2_000, 10..=600_000;
    }
}

impl FiscWorker {
    /// The worker's settings.
    pub(crate) fn settings(&self, member: &str, policy: &Policy) -> Settings {
        let general = LaneSettings {
            in_flight_max: self.in_flight_max,
            failures_to_open: self.failures_to_open,
            open_ms: self.open_ms,
        };
        let all = policy.routes.iter().map(|route| (route.institution.to_string(), general));
        let own = self.lanes.iter().map(|row| (row.institution.to_string(), row.limits()));
        Settings {
            member: member.to_owned(),
            fisc: self.backend.clone(),
            call_timeout_ms: self.call_timeout_ms,
            lanes: all.chain(own).collect(),
            other_lane: general,
        }
    }

    /// Notes lanes that nobody can be in.
    pub(crate) fn check(&self, policy: &Policy, faults: &mut Faults) {
        let mut seen = BTreeSet::new();
        for (i, row) in self.lanes.iter().enumerate() {
            let key = format!("fisc_worker.lanes[{i}].institution");
            let issuer = row.institution.0;
            if issuer == Issuer::Wallet || !policy.routes.iter().any(|route| route.institution.0 == issuer) {
                faults.add(
                    &key,
                    format!("is \"{issuer}\", must be an institution of policy.routes", issuer = row.institution),
                    None,
                );
            } else if !seen.insert(issuer) {
                faults.add(
                    &key,
                    format!("is \"{}\", which has a lane above already; one is allowed", row.institution),
                    None,
                );
            }
        }
    }
}

impl LaneRow {
    fn limits(&self) -> LaneSettings {
        LaneSettings {
            in_flight_max: self.in_flight_max,
            failures_to_open: self.failures_to_open,
            open_ms: self.open_ms,
        }
    }
}
