//! The requests and policies of the histories, parsed once for many of them.

use std::sync::Arc;

use twqr_types::{PayForm, RefundForm, ShardId, TradeNo, UnixMs};

use super::super::fixtures::{
    self, OTHER, WALLET, maintenance, pay_form, policy, policy_with, raw_pay, raw_refund, refund_form, refund_rule,
};
use crate::{Policy, PolicyChange, RefundRule, RefundScope};

/// How many sets of numbers there are; the orders of different sets live on different shards.
pub(super) const SETS: usize = 4;
/// How many refund numbers a history has; the last one belongs to another merchant.
pub(super) const REFUNDS: usize = 4;

/// Everything that a history may send.
pub(super) struct Requests {
    payments: Vec<[PayForm; 2]>,
    refunds: Vec<RefundForm>,
    policies: [Vec<Arc<PolicyChange>>; 2],
}

impl Requests {
    pub(super) fn new() -> Self {
        let unknown = TradeNo::new(ShardId(1), 999, UnixMs(fixtures::NOON));
        let payment = |number: String| [WALLET, OTHER].map(|code| pay_form(raw_pay(&number, code, 100)));
        let refund = |set: usize, n: usize| {
            let mut raw = raw_refund(&format!("R{n}-{set}"), unknown, 30);
            if n + 1 == REFUNDS {
                raw.merchant_id = "N".into();
            }
            refund_form(raw)
        };
        Self {
            payments: (0..SETS).flat_map(|set| [format!("P-{set}"), format!("Q-{set}")].map(payment)).collect(),
            refunds: (0..SETS).flat_map(|set| (0..REFUNDS).map(move |n| (set, n))).map(|(s, n)| refund(s, n)).collect(),
            policies: [false, true].map(versions),
        }
    }

    /// Version 1 of the policy, and the versions that may follow. With `is_idempotent` every second
    /// version calls the wallet idempotent, the first one among them.
    pub(super) fn policies(&self, is_idempotent: bool) -> &[Arc<PolicyChange>] {
        &self.policies[usize::from(is_idempotent)]
    }

    /// The first or the second payment of a set.
    pub(super) fn payment(&self, set: usize, n: usize, wallet: bool) -> &PayForm {
        &self.payments[set * 2 + n][usize::from(!wallet)]
    }

    /// A refund of a set; it does not name its payment yet.
    pub(super) fn refund(&self, set: usize, n: usize) -> &RefundForm {
        &self.refunds[set * REFUNDS + n]
    }
}

fn versions(is_idempotent: bool) -> Vec<Arc<PolicyChange>> {
    let version = |(mut policy, version): (Policy, u64)| {
        let wallet = &mut policy.issuers[0];
        wallet.idempotent_charges = is_idempotent && version % 2 == 1;
        wallet.idempotent_refunds = wallet.idempotent_charges;
        change(version, policy)
    };
    policies().into_iter().zip(1..).map(version).collect()
}

fn change(version: u64, policy: Policy) -> Arc<PolicyChange> {
    assert_eq!(policy.faults(), []);
    Arc::new(PolicyChange { version, policy, who: "test".into(), why: "".into(), at: UnixMs(fixtures::NOON) })
}

fn policies() -> Vec<Policy> {
    let rule = |rule: RefundRule| refund_rule(rule);
    vec![
        policy(),
        maintenance(5_000, 40_000),
        rule(RefundRule { scope: RefundScope::Full, ..RefundRule::default() }),
        policy_with(|policy| {
            policy.send_within_ms = 500;
            policy.issuers[0].resolution.window_ms = 20_000;
            policy.status_codes.fisc_abnormal = twqr_types::StatusCode::parse("712").unwrap();
        }),
        rule(RefundRule { scope: RefundScope::None, ..RefundRule::default() }),
        maintenance(0, 3_000_000),
        rule(RefundRule { min_amount: 50, ..RefundRule::default() }),
    ]
}
