//! The policy with which every history begins, and the newest policy in a shard's log.

use twqr_journal::{Partition, Topic};
use twqr_journal_sim::Sim;
use twqr_loadgen::{ISSUERS, IssuerCodes};
use twqr_order::{
    Alphabet, Command, IssuerRules, Limits, POLICY_SHARD, PROTECTED_TOKENS_SINCE, Policy, PolicyChange, Record,
    Resolution, Route, RouteTarget,
};
use twqr_types::StatusCode;
use twqr_wire::convert::decode_record;

use crate::{callers::TokenForm, simulated_issuers::SimulatedIssuers};

/// The policy that calls every issuer idempotent that is. Its times are short, so that many
/// histories can run, but the window is longer than a call to an issuer can take.
pub fn true_policy(issuers: &SimulatedIssuers) -> Policy {
    let route = |codes: &IssuerCodes| Route {
        prefix: codes.prefix.to_owned(),
        target: RouteTarget::Issuer(codes.issuer),
        code_lengths: vec![codes.length as u32],
        alphabet: Alphabet::Printable,
    };
    let rules = |codes: &IssuerCodes| {
        let kind = issuers.kind(codes.issuer);
        let forgets = !kind.remembers_refusals() || !kind.remembers_reversed();
        IssuerRules {
            resolution: Resolution { window_ms: 5_000, first_delay_ms: 500, delay_max_ms: 8_000 },
            limits: Limits { in_flight_max: 4, queue_max: 8, ..Limits::default() },
            idempotent_charges: kind.remembers_charges() && !forgets,
            idempotent_refunds: kind.remembers_refunds() && !forgets,
            // What an idempotent issuer answers to a charge that arrives again after its reversal.
            status_codes: [("812".to_owned(), StatusCode::CANCELLED)].into(),
            ..IssuerRules::default_of(codes.issuer)
        }
    };
    Policy {
        name: "histories".to_owned(),
        routes: ISSUERS.iter().map(route).collect(),
        issuers: ISSUERS.iter().map(rules).collect(),
        send_within_ms: 3_000,
        ..Policy::default()
    }
}

/// The policy as it is before card tokens are protected, if the history of this seed raises the
/// protocol version.
pub fn before_raise(policy: Policy, seed: u64) -> Policy {
    match TokenForm::of_seed(seed) {
        TokenForm::AsShardsTake => Policy { protocol_version: PROTECTED_TOKENS_SINCE - 1, ..policy },
        TokenForm::Clear | TokenForm::Protected => policy,
    }
}

/// The policy that calls every issuer idempotent, whatever they are.
pub fn credulous_policy(issuers: &SimulatedIssuers) -> Policy {
    let mut policy = true_policy(issuers);
    for rules in &mut policy.issuers {
        (rules.idempotent_charges, rules.idempotent_refunds) = (true, true);
    }
    policy
}

/// The policy that calls no issuer idempotent, whatever they are.
pub fn cautious_policy(issuers: &SimulatedIssuers) -> Policy {
    let mut policy = true_policy(issuers);
    for rules in &mut policy.issuers {
        (rules.idempotent_charges, rules.idempotent_refunds) = (false, false);
    }
    policy
}

/// The newest policy that a shard has taken from its log: the policy's own shard takes only the
/// next version, other shards take any newer one.
pub fn newest_policy(sim: &Sim, shard: u32) -> Option<PolicyChange> {
    let mut newest: Option<PolicyChange> = None;
    for record in sim.records(Partition { topic: Topic::Orders, index: shard }) {
        let decoded = decode_record(record.entry.value.unwrap_or_default());
        let Ok(Record { command: Command::Policy(change), .. }) = decoded else { continue };
        let version = newest.as_ref().map_or(0, |newest| newest.version);
        let is_policy_shard = shard == u32::from(POLICY_SHARD.0);
        if change.version == version + 1 || (!is_policy_shard && change.version > version) {
            newest = Some(*change);
        }
    }
    newest
}
