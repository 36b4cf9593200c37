//! What another policy would have made of the payments that stand in a shard's log: the function
//! that the machine decides by, asked twice.

use std::{collections::BTreeMap, fmt};

use twqr_types::{Issuer, OrderKey, PayForm, ShardId, StatusCode, UnixMs};

use super::Policy;
use crate::{
    Command, PolicyVersions, Record,
    apply::{is_refused, judge},
};

/// What becomes of a payment request.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Routing {
    /// This issuer is charged.
    Issuer(Issuer),
    /// It is refused with this StatusCode.
    Refused(StatusCode),
}

impl Routing {
    /// Of the first request under its key, by a policy; none: there are no rules yet.
    pub fn of(form: &PayForm, policy: Option<&Policy>, at: UnixMs) -> Self {
        match judge(form, policy, at).1 {
            Ok(rules) => Self::Issuer(rules.issuer),
            Err(failure) => Self::Refused(failure.status_code),
        }
    }
}

impl fmt::Display for Routing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Issuer(issuer) => f.write_str(issuer.label()),
            Self::Refused(code) => write!(f, "refused {code}"),
        }
    }
}

/// A payment of the log under both policies.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReplayedPayment {
    /// When it was asked for.
    pub at: UnixMs,
    /// Its identity.
    pub key: OrderKey,
    /// By the version that held at its record; none: that version is not kept any more.
    pub before: Option<Routing>,
    /// By the other policy.
    pub after: Routing,
}

/// The first request that was read under a key: its offset, and if it was a payment, what comes of
/// it.
type First = (u64, Option<ReplayedPayment>);

/// The replay of one shard. Records may come in any order; of each order only the first one counts,
/// as for the machine.
pub struct Replay<'a> {
    shard: ShardId,
    policy: &'a Policy,
    versions: PolicyVersions,
    /// From here on the log may bring versions that `versions` did not have.
    known_to: Option<u64>,
    orders: BTreeMap<OrderKey, First>,
    payments: usize,
}

impl<'a> Replay<'a> {
    /// Compares `policy` with the versions that the shard has had.
    pub fn new(shard: ShardId, versions: PolicyVersions, policy: &'a Policy) -> Self {
        let known_to = versions.iter().map(|(offset, _)| offset).last();
        Self { shard, policy, versions, known_to, orders: BTreeMap::new(), payments: 0 }
    }

    /// Takes the record at `offset`.
    pub fn take(&mut self, offset: u64, record: Record) {
        // What was refused for its signature was no order's first record.
        if is_refused(&record, self.versions.at(offset)) {
            return;
        }
        let key_refused = is_refused(&record, Some(self.policy));
        match record.command {
            Command::Pay(pay) => {
                let mut replayed = self.replay(offset, record.at, &pay.form);
                if key_refused {
                    replayed.after = Routing::Refused(StatusCode::BAD_SIGNATURE);
                }
                self.first(pay.form.key, offset, Some(replayed));
            }
            Command::Refund(refund) => self.first(refund.form.key, offset, None),
            Command::Cancel(cancel) => self.first(cancel.form.key, offset, None),
            Command::Policy(change) if self.known_to.is_none_or(|known| offset > known) => {
                self.versions.take(self.shard, offset, (*change).into());
            }
            Command::Policy(_)
            | Command::Claim { .. }
            | Command::Reserve(_)
            | Command::RefundResult(_)
            | Command::Query(_)
            | Command::Outcome(_)
            | Command::Due(_) => {}
        }
    }

    fn replay(&self, offset: u64, at: UnixMs, form: &PayForm) -> ReplayedPayment {
        let policy = self.versions.at(offset);
        // Before the very first version there were no rules; before the oldest that is kept nobody
        // knows.
        let is_known = policy.is_some() || self.versions.iter().next().is_some_and(|(_, oldest)| oldest.version == 1);
        let before = is_known.then(|| Routing::of(form, policy, at));
        ReplayedPayment { at, key: form.key.clone(), before, after: Routing::of(form, Some(self.policy), at) }
    }

    fn first(&mut self, key: OrderKey, offset: u64, replayed: Option<ReplayedPayment>) {
        if self.orders.get(&key).is_some_and(|(known, _)| *known < offset) {
            return;
        }
        self.payments += usize::from(replayed.is_some());
        if let Some((_, Some(_))) = self.orders.insert(key, (offset, replayed)) {
            self.payments -= 1;
        }
    }

    /// How many payments have been replayed.
    pub fn payments(&self) -> usize {
        self.payments
    }

    /// The payments, newest first, at most `max`.
    pub fn finish(self, max: usize) -> Vec<ReplayedPayment> {
        let payments = self.orders.into_values().filter_map(|(offset, replayed)| Some((offset, replayed?)));
        let mut payments: Vec<(u64, ReplayedPayment)> = payments.collect();
        payments.sort_by_key(|(offset, _)| std::cmp::Reverse(*offset));
        payments.into_iter().take(max).map(|(_, replayed)| replayed).collect()
    }
}
