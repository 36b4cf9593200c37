//! Callers that change the policy while a history runs.

use futures::future::join_all;
use rand::{Rng, seq::IndexedRandom};
use rand_chacha::ChaCha8Rng;
use twqr_journal::{Entry, Journal, Partition, Topic};
use twqr_order::{
    Command, POLICY_SHARD, PROTECTED_TOKENS_SINCE, Policy, PolicyChange, Record, RefundScope, StatusCodes,
};
use twqr_types::StatusCode;
use twqr_wire::convert::encode_record;

use super::{Caller, RequestKinds};
use crate::policies::newest_policy;

impl Caller {
    /// Appends a changed policy as the next version, and repeats it until an append is
    /// acknowledged. Sometimes two callers change the same version at once, and sometimes the
    /// number skips versions.
    pub async fn change_policy(&mut self) {
        let orders = Partition { topic: Topic::Orders, index: u32::from(POLICY_SHARD.0) };
        let Some(newest) = newest_policy(&self.sim, orders.index) else { return };
        let version = if self.random.random_bool(0.1) { newest.version + 4 } else { newest.version + 1 };
        let count = self.random.random_range(1..=2);
        let policies: Vec<Policy> = (0..count).map(|_| self.changed_policy(&newest.policy)).collect();
        let change = |policy: &Policy| PolicyChange {
            version,
            policy: policy.clone(),
            who: "a history".into(),
            why: "to see what changes".into(),
            at: self.clock.now(),
        };
        let changes: Vec<PolicyChange> = policies.iter().map(change).collect();
        let append = |change: &PolicyChange| {
            let command = Command::Policy(Box::new(change.clone()));
            self.session.append(
                orders,
                vec![Entry::plain(encode_record(&Record { at: change.at, signed_by: None, nonce: None, command }))],
            )
        };
        while join_all(changes.iter().map(append)).await.iter().all(Result::is_err) {}
    }

    /// Returns the policy with other refund rules of some issuers, StatusCodes and times. Some
    /// issuers begin or cease to be called idempotent.
    fn changed_policy(&mut self, policy: &Policy) -> Policy {
        let mut changed = policy.clone();
        let number = self.random.random_range(0..1_000);
        let scopes = [RefundScope::Partial, RefundScope::Partial, RefundScope::Full, RefundScope::None];
        for (rules, true_rules) in changed.issuers.iter_mut().zip(&self.true_policy.issuers) {
            if self.random.random_bool(0.3) {
                let is_told = self.random.random_bool(0.5) || self.kinds == RequestKinds::Harmless;
                rules.idempotent_charges = is_told && true_rules.idempotent_charges;
                rules.idempotent_refunds = is_told && true_rules.idempotent_refunds;
            }
            if self.random.random_bool(0.3) {
                rules.refund.scope = *scopes.choose(&mut self.random).unwrap();
                rules.refund.min_amount = self.random.random_range(1..50);
            }
        }
        changed.name = format!("histories {number}");
        if self.raises_protocol {
            changed.protocol_version = PROTECTED_TOKENS_SINCE;
        }
        let code = |codes: &[&str], random: &mut ChaCha8Rng| StatusCode::parse(codes.choose(random).unwrap()).unwrap();
        let (refund_refused, fisc_abnormal) =
            (code(&["951", "961", "962"], &mut self.random), code(&["982", "985"], &mut self.random));
        changed.status_codes = StatusCodes { refund_refused, fisc_abnormal, ..changed.status_codes };
        changed.send_within_ms = self.true_policy.send_within_ms + self.random.random_range(-500..=500);
        changed
    }
}
