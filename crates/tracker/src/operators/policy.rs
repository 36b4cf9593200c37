//! `GetPolicy` and `ApplyPolicy`. A change of the policy is a record on shard 0, whose router
//! decides whether to apply it. The tracker reads the decision when that router writes the shard's
//! versions to `order-states`.

use std::{sync::Arc, time::Duration};

use tokio::time::{Instant, timeout_at};
use tonic::Status;
use tonic_types::FieldViolation;
use tracing::info;
use twqr_journal::{Entry, Journal, Topic};
use twqr_order::{AcceptedMerchants, Command, Policy, PolicyChange, PolicyFault, PolicyVersions, Record};
use twqr_wire::{
    convert::{encode_record, policy_change_out, policy_checked},
    ops::{ApplyPolicyRequest, GetPolicyResponse, OperatorRefusalReason, PolicyHistoryEntry, ShardPolicy},
};

use super::{
    change::{Actor, ChangeTimes, append_changes, conflict, text_violations},
    older_builds,
    refusal::{invalid_arguments, refuse, refuse_with_metadata},
};
use crate::policies::{Policies, newest, version};

/// Reads and changes the policy.
pub(super) struct PolicyEditor {
    policies: Arc<Policies>,
    journal: Arc<dyn Journal>,
    times: Arc<ChangeTimes>,
    wait: Duration,
}

impl PolicyEditor {
    /// `wait` is how long a change may take to be written and decided.
    pub(super) fn new(
        policies: Arc<Policies>,
        journal: Arc<dyn Journal>,
        times: Arc<ChangeTimes>,
        wait: Duration,
    ) -> Self {
        Self { policies, journal, times, wait }
    }

    /// A version of the policy (0 for the newest), the history, and the version that each shard
    /// has.
    pub(super) fn get(&self, wanted: u64) -> Result<GetPolicyResponse, Status> {
        let versions = deciding(&self.policies)?;
        let newest_version = newest(&versions);
        let wanted = if wanted == 0 { newest_version } else { wanted };
        let change = version(&versions, wanted).ok_or_else(|| {
            let oldest = versions.iter().next().map_or(0, |(_, oldest)| oldest.version);
            let text = format!("version {wanted} is not stored; versions {oldest} to {newest_version} are");
            refuse(OperatorRefusalReason::NotFound, text)
        })?;
        let shard = |shard: u32| {
            let version = self.policies.of(shard).map_or(0, |versions| newest(&versions));
            ShardPolicy { shard, version }
        };
        Ok(GetPolicyResponse {
            change: Some(policy_change_out(&change)),
            newest_version,
            shards: (0..self.journal.partitions(Topic::Orders)).map(shard).collect(),
            history: history(&versions),
        })
    }

    /// Writes a change and waits for the decision; returns the new version.
    pub(super) async fn apply(&self, request: ApplyPolicyRequest, actor: &Actor) -> Result<u64, Status> {
        let mut change = self.change(request, actor)?;
        let versions = deciding(&self.policies)?;
        let newest_version = newest(&versions);
        if change.version != newest_version.saturating_add(1) {
            return Err(conflict(change.version.saturating_sub(1), newest_version));
        }
        let protocol_in_force = versions.newest().map_or(0, |newest| newest.policy.protocol_version);
        if change.policy.protocol_version > protocol_in_force {
            older_builds::refuse_if_any(&self.journal, change.policy.protocol_version).await?;
        }
        change.policy.protocol_version = change.policy.protocol_version.max(protocol_in_force);
        if change.policy.accepted_merchants != AcceptedMerchants::InPolicy && !change.policy.takes_listings() {
            let problem = "needs protocol_version = 2: raise it in the same change, or before";
            return Err(invalid_arguments(vec![FieldViolation::new("policy.accepted_merchants", problem)]));
        }
        let record = encode_record(&Record {
            at: change.at,
            signed_by: None,
            nonce: None,
            command: Command::Policy(Box::new(change.clone())),
        });
        info!(version = change.version, policy = change.policy.name, who = %change.who, why = %change.why, "writing a change of the policy");
        let deadline = Instant::now() + self.wait;
        if !append_changes(&*self.journal, vec![Entry::plain(record)], deadline).await? {
            return Err(undecided(change.version));
        }
        let decided = timeout_at(deadline, self.policies.wait_for(change.version)).await;
        let versions = decided.ok().flatten().ok_or_else(|| undecided(change.version))?;
        match version(&versions, change.version) {
            Some(taken) if *taken == change => Ok(change.version),
            Some(_) | None => Err(conflict(change.version.saturating_sub(1), newest(&versions))),
        }
    }

    /// Returns the change that a request asks for; the error lists every fault.
    fn change(&self, request: ApplyPolicyRequest, actor: &Actor) -> Result<PolicyChange, Status> {
        let violations = text_violations(&request.who, &request.why);
        let policy = checked(request.policy.map(policy_checked), violations)?;
        Ok(PolicyChange {
            version: request.expected_version.saturating_add(1),
            policy,
            who: actor.named(&request.who),
            why: request.why.into(),
            at: self.times.next(),
        })
    }
}

/// Returns the policy of a request, if it is valid and `violations` is empty. `policy` is `None` if
/// the request has no policy. The error lists the `violations` and the faults of the policy.
pub(super) fn checked(
    policy: Option<Result<Policy, Vec<PolicyFault>>>,
    mut violations: Vec<FieldViolation>,
) -> Result<Policy, Status> {
    let checked = match policy {
        Some(policy) => policy.and_then(known_protocol).and_then(valid_as_new).map_err(|faults| {
            faults
                .into_iter()
                .map(|fault| FieldViolation::new(format!("policy.{}", fault.place), fault.problem))
                .collect()
        }),
        None => Err(vec![FieldViolation::new("policy", "is required")]),
    };
    match checked {
        Ok(policy) if violations.is_empty() => return Ok(policy),
        Ok(_) => {}
        Err(faults) => violations.extend(faults),
    }
    Err(invalid_arguments(violations))
}

fn known_protocol(policy: Policy) -> Result<Policy, Vec<PolicyFault>> {
    policy.unknown_protocol().map_or(Ok(policy), |fault| Err(vec![fault]))
}

fn valid_as_new(policy: Policy) -> Result<Policy, Vec<PolicyFault>> {
    let faults = policy.faults_of_new();
    if faults.is_empty() { Ok(policy) } else { Err(faults) }
}

/// Returns the versions of the policy's shard; fails with `UNAVAILABLE` until they have been read.
pub(super) fn deciding(policies: &Policies) -> Result<Arc<PolicyVersions>, Status> {
    policies.deciding().ok_or_else(|| {
        let text =
            "the policy has not been read yet; check that a router is running and the tracker is ready (/readyz)";
        refuse(OperatorRefusalReason::PolicyNotRead, text)
    })
}

fn history(versions: &PolicyVersions) -> Vec<PolicyHistoryEntry> {
    let entry = |(_, change): (u64, &Arc<PolicyChange>)| PolicyHistoryEntry {
        version: change.version,
        name: change.policy.name.clone(),
        who: change.who.to_string(),
        why: change.why.to_string(),
        at_ms: change.at.0,
        day_begins_min: Some(change.policy.cut_off.minutes()),
    };
    versions.iter().map(entry).collect()
}

fn undecided(version: u64) -> Status {
    let text = format!(
        "it is not known yet whether version {version} was applied; it may still be applied later. Check with \
         `twqr policy get --history` before you try again"
    );
    refuse_with_metadata(OperatorRefusalReason::PolicyUndecided, text, ("version", version))
}
