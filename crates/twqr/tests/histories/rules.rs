//! The rules of a history, and how they change in the middle of it.

use futures::future::join_all;
use rand::{Rng, seq::IndexedRandom};
use rand_chacha::ChaCha8Rng;
use twqr_journal::{Entry, Journal, Partition, Topic};
use twqr_journal_sim::Sim;
use twqr_loadgen::ISSUERS;
use twqr_order::{
    Alphabet, Command, IssuerRules, Limits, POLICY_SHARD, Policy, PolicyChange, Record, RefundScope, Resolution, Route,
    RouteTarget, StatusCodes,
};
use twqr_types::{Issuer, StatusCode};
use twqr_wire::convert::{decode_record, encode_record};

use crate::callers::Caller;

/// What the first rules of every history are: short enough for many of them, and W longer than what
/// a call can take.
pub fn policy() -> Policy {
    let route = |issuer: &twqr_loadgen::Issuer| Route {
        prefix: issuer.prefix.to_owned(),
        target: RouteTarget::Issuer(Issuer::from_wire(issuer.institution).unwrap()),
        code_lengths: vec![issuer.code_length as u32],
        alphabet: Alphabet::Printable,
    };
    let rules = |issuer: &twqr_loadgen::Issuer| IssuerRules {
        resolution: Resolution { window_ms: 5_000, first_delay_ms: 500, delay_max_ms: 8_000 },
        limits: Limits { in_flight_max: 4, queue_max: 8, ..Limits::default() },
        ..IssuerRules::default_of(Issuer::from_wire(issuer.institution).unwrap())
    };
    Policy {
        name: "histories".to_owned(),
        routes: ISSUERS.iter().map(route).collect(),
        issuers: ISSUERS.iter().map(rules).collect(),
        send_within_ms: 3_000,
        ..Policy::default()
    }
}

/// The newest version that this shard's log brings, by the rule: on the policy's shard the next
/// one, elsewhere any newer one.
pub fn newest_rules(sim: &Sim, shard: u32) -> Option<PolicyChange> {
    let mut newest: Option<PolicyChange> = None;
    for record in sim.records(Partition { topic: Topic::Orders, index: shard }) {
        let decoded = decode_record(record.entry.value.unwrap_or_default());
        let Ok(Record { command: Command::Policy(change), .. }) = decoded else { continue };
        let known = newest.as_ref().map_or(0, |newest| newest.version);
        let is_policy_shard = shard == u32::from(POLICY_SHARD.0);
        if change.version == known + 1 || (!is_policy_shard && change.version > known) {
            newest = Some(*change);
        }
    }
    newest
}

impl Caller {
    /// The next version, sometimes two of them at the same time; sometimes one whose turn it is
    /// not. Until one is acknowledged.
    pub async fn change_rules(&mut self) {
        let orders = Partition { topic: Topic::Orders, index: u32::from(POLICY_SHARD.0) };
        let Some(newest) = newest_rules(&self.sim, orders.index) else { return };
        let version = if self.random.random_bool(0.1) { newest.version + 4 } else { newest.version + 1 };
        let count = self.random.random_range(1..=2);
        let others: Vec<Policy> = (0..count).map(|_| self.other_rules(&newest.policy)).collect();
        let change = |policy: &Policy| PolicyChange {
            version,
            policy: policy.clone(),
            who: "a history".into(),
            why: "to see what changes".into(),
            at: self.clock.now(),
        };
        let changes: Vec<PolicyChange> = others.iter().map(change).collect();
        let append = |change: &PolicyChange| {
            let command = Command::Policy(Box::new(change.clone()));
            self.session
                .append(orders, vec![Entry::plain(encode_record(&Record { at: change.at, signed_by: None, command }))])
        };
        while join_all(changes.iter().map(append)).await.iter().all(Result::is_err) {}
    }

    /// Other refunds of an issuer, and other StatusCodes and times.
    fn other_rules(&mut self, policy: &Policy) -> Policy {
        let mut other = policy.clone();
        let number = self.random.random_range(0..1_000);
        let scopes = [RefundScope::Partial, RefundScope::Partial, RefundScope::Full, RefundScope::None];
        for rules in &mut other.issuers {
            if self.random.random_bool(0.3) {
                rules.refund.scope = *scopes.choose(&mut self.random).unwrap();
                rules.refund.min_amount = self.random.random_range(1..50);
            }
        }
        other.name = format!("histories {number}");
        let code = |codes: &[&str], random: &mut ChaCha8Rng| StatusCode::parse(codes.choose(random).unwrap()).unwrap();
        let (refund_refused, fisc_abnormal) =
            (code(&["951", "961", "962"], &mut self.random), code(&["982", "985"], &mut self.random));
        other.status_codes = StatusCodes { refund_refused, fisc_abnormal, ..other.status_codes };
        other.send_within_ms = self.random.random_range(2_500..=3_500);
        other
    }
}
