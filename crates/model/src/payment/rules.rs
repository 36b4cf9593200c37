//! The settings of the payment model.

use crate::settings::settings;

settings! {
    /// Faults are counts: how often each may happen. Rules are switches: switched off, or a wrong
    /// one switched on, the model must find what breaks.
    PaymentRules {
        // What happens without faults.
        /// The clock goes from 0 to here. The issuer's window is one tick.
        ticks: u8 = 2,
        pays: u8 = 1,
        cancels: u8 = 0,
        /// Refunds of the whole amount, each with a number of its own.
        refunds: u8 = 0,
        /// Begins with a payment that is paid, and its charge in the ledger.
        starts_paid: bool = false,
        /// Issuers may decline a charge or a refund.
        declines: bool = false,
        /// Change of the policy from which on payments are refused.
        refuses_by_policy: u8 = 0,
        /// Changes of the property "idempotent" in the policy.
        switches: u8 = 0,
        /// Records of another order, whose tasks share the partition.
        other_orders: u8 = 0,

        /// One router without faults, instead of two with theirs.
        steady_router: bool = false,

        // Faults.
        router_crashes: u8 = 0,
        /// A router claims while another one still runs.
        router_takeovers: u8 = 0,
        router_releases: u8 = 0,
        worker_crashes: u8 = 0,
        /// A worker claims while another one still runs.
        worker_takeovers: u8 = 0,
        worker_releases: u8 = 0,
        /// Claimants that die while their claim is under way; it lands at any time.
        dead_claimants: u8 = 0,
        /// Appends of tasks that fail: lost, landed, or landing later.
        failed_appends: u8 = 0,
        lost_requests: u8 = 0,
        /// Answers of the issuer that are lost or late.
        lost_answers: u8 = 0,
        repeated_outcomes: u8 = 0,
        /// Inquiries before an answer can be final.
        early_inquiries: u8 = 0,
        /// Requests that the issuer receives after its window.
        overdue_requests: u8 = 0,
        refused_reversals: u8 = 0,
        /// A crash may keep the local store.
        keeps_store: bool = false,
        /// Writes of a dead owner may land later.
        late_writes: bool = true,
        /// A worker may refuse a task before it sends it.
        full_queue: bool = false,

        // Issuers.
        /// The issuer is idempotent, and the policy says so.
        idempotent: bool = false,
        /// Wrong: an idempotent issuer forgets that it declined.
        forgets_declines: bool = false,
        /// Wrong: an idempotent issuer forgets a charge once it is reversed.
        forgets_reversed: bool = false,

        // Rules for workers.
        /// A task that moves money has a latest time at which it is sent.
        send_by: bool = true,
        /// Which tasks a new worker must take for possibly sent: 0 none, 1 those before the end
        /// that it saw when it started, 2 those that do not belong to its claim.
        fence: u8 = 2,
        /// A possibly sent task is inquired about, not sent.
        inquires_first: bool = true,
        /// A task whose identity is not above the highest one read is a repeat.
        identity_rule: bool = true,
        /// The highest identity is committed with the position.
        commits_identity: bool = true,
        /// The newest claim is committed with the position. Without it, a claim that names another
        /// one may count or not: its tasks are taken for possibly sent, and a worker whose own
        /// claim is of that kind claims again without a name.
        commits_claim: bool = true,
        /// Wrong: such a claim is taken for valid, also by its own worker.
        trusts_unknown: bool = false,
        /// "Not sent" is evidence only for a fresh task.
        guards_not_sent: bool = true,
        /// Wrong: "unknown" is taken as proof of absence at once.
        early_absence: bool = false,
        /// Wrong: a possibly sent task is sent again after proof of absence.
        resends_absent: bool = false,
        /// A possibly sent task of an idempotent issuer is sent again.
        resends: bool = true,
        /// Wrong: it is sent again after `send_by` too.
        resends_late: bool = false,
        /// Wrong: whether an issuer is idempotent is read when the task is read.
        reads_property_late: bool = false,
        /// Wrong: a worker commits what it has read, not what it has finished.
        commits_early: bool = false,
        /// Wrong: a worker drops every repeat.
        drops_repeats: bool = false,
        /// A release counts only if it names the newest claim.
        strict_release: bool = true,
        /// A claim names the claim that it replaces.
        conditional_claims: bool = false,
        /// Claims without such a name that arrive while another worker runs: a group's hints.
        hint_claims: u8 = 0,
        /// It names the newest claim that counts, not merely the newest one.
        names_counting: bool = true,
        /// Wrong: a claim counts whatever it names; for everyone, or for its claimant only.
        counts_all_claims: bool = false,
        claimant_counts_all: bool = false,
        /// Wrong: a holder ignores a valid claim.
        ignores_claims: bool = false,

        // Rules for routers.
        /// A state is written only after the effects up to its position are acknowledged.
        state_after_effects: bool = true,
        /// The position of the local store covers only acknowledged effects.
        store_after_effects: bool = true,
        marker_after_states: bool = true,
        /// States that are newer in the local store than in `order-states` are written again.
        rewrites_store: bool = true,
        /// The epoch belongs to the key of a state.
        epoch_in_key: bool = true,
        /// A router stops after a failed append.
        stops_on_failure: bool = true,
        /// Wrong: a failed append is repeated in place.
        retries_append: bool = false,
        /// A replay skips the records that a restored state reflects.
        skips_reflected: bool = true,
        /// A version of the policy holds from its own offset on.
        policy_versions: bool = true,

        // Rules of the machine.
        /// Wrong: a cancel goes to the issuer while the charge is unknown.
        eager_cancel: bool = false,
        /// "Not sent" and "absent" count only for the open task.
        matches_task: bool = true,
        /// "Not sent" is unknown for a movement that began as idempotent.
        not_sent_is_unknown: bool = true,
        /// Wrong: whether "not sent" is unknown is read from the newest policy.
        not_sent_by_policy: bool = false,
        /// A charge that took effect after it failed is reversed.
        reverses_late: bool = true,
        /// A refused reversal of that kind is tried again by a schedule.
        retries_reversal: bool = true,
        /// Wrong: a Query is answered from the memory of an owner.
        answers_from_memory: bool = false,
    }
}

impl PaymentRules {
    /// Whether a worker may start after another one has committed something.
    pub(super) fn can_restart_workers(&self) -> bool {
        let starts =
            [self.worker_crashes, self.worker_takeovers, self.worker_releases, self.dead_claimants, self.hint_claims];
        starts.iter().any(|limit| *limit > 0)
    }
}
