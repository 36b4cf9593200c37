//! `[ingress]`: the public gRPC API.

use std::net::SocketAddr;

use twqr_ingress::Settings;

use super::{policy::Policy, setting::Any, table::table};

table! {
    /// The public gRPC API (twqr.pos.v1), with health and reflection.
    Ingress {
        /// Where it listens.
        listen: SocketAddr = SocketAddr::from(([127, 0, 0, 1], 50051)), Any("an IP address and a port");
        /// Whether `listen` may be an address that other machines reach.
        expose: bool = false, Any("true or false");
        /// How long a caller waits for a result, in ms; then the answer is "in progress". The POS gives up after 15 s.
        answer_within_ms: u64 = 12_000, 100..=60_000;
        /// Calls that wait at once; further ones are shed with a retry hint.
        calls_max: usize = 16_384, 1..=1_000_000;
    }
}

impl Ingress {
    /// The ingress's settings.
    pub(crate) fn settings(&self, member: &str, policy: &Policy) -> Settings {
        Settings {
            member: member.to_owned(),
            listen: self.listen,
            answer_within_ms: self.answer_within_ms,
            in_progress_code: policy.fisc_abnormal.clone(),
            calls_max: self.calls_max,
        }
    }
}
