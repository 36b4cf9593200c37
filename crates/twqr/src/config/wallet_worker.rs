//! `[wallet_worker]`: calls the wallet.

use twqr_wallet_worker::Settings;
use twqr_worker::LaneSettings;

use super::{setting::Any, table::table};

table! {
    /// The worker that calls the JKOPAY wallet.
    WalletWorker {
        /// The wallet's gRPC address.
        backend: String = "http://127.0.0.1:50061".to_owned(), Any("a URI such as \"http://127.0.0.1:50061\"");
        /// How long a call may take before its outcome is unknown, in ms.
        call_timeout_ms: u64 = 4_000, 10..=60_000;
        /// Charges in flight; a fresh one beyond is not sent.
        in_flight_max: usize = 4_096, 1..=100_000;
        /// So many calls in a row without an answer open the circuit.
        failures_to_open: u32 = 20, 1..=10_000;
        /// How long an open circuit stays open before one call tries again, in ms.
        open_ms: i64 = 2_000, 10..=600_000;
    }
}

impl WalletWorker {
    /// The worker's settings.
    pub(crate) fn settings(&self, member: &str) -> Settings {
        Settings {
            member: member.to_owned(),
            wallet: self.backend.clone(),
            call_timeout_ms: self.call_timeout_ms,
            lane: LaneSettings {
                in_flight_max: self.in_flight_max,
                failures_to_open: self.failures_to_open,
                open_ms: self.open_ms,
            },
        }
    }
}
