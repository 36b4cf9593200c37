//! A preview: how another policy would have routed the payments in a shard's log. It calls the same
//! function as the machine, once with each policy.
//!
//! Records from before protocol version 3 have payment codes in the clear. The other policy sees no
//! more of them than later records show: otherwise whoever sends policies could find a code out,
//! character by character.

use std::{collections::BTreeMap, fmt, sync::Arc};

use twqr_types::{Issuer, OrderKey, PayForm, ShardId, StatusCode, UnixMs};

use super::Policy;
use crate::{
    Command, Directory, Listings, PolicyVersions, Record, Rules,
    apply::{is_key_refused, route_payment},
};

/// The routing of a payment request by a policy.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Routing {
    /// The payment is sent to this issuer.
    Issuer(Issuer),
    /// The payment is refused with this StatusCode.
    Refused(StatusCode),
}

impl Routing {
    /// Decides about a payment that is the first request under its key. Without a policy every
    /// payment is refused.
    pub fn of<'a>(form: &PayForm, rules: impl Into<Rules<'a>>, at: UnixMs) -> Self {
        match route_payment(form, rules.into(), at).1 {
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

/// A payment in the log, with the decisions of both policies.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReplayedPayment {
    /// When the payment was requested.
    pub at: UnixMs,
    /// The merchant, and its own number for the payment.
    pub key: OrderKey,
    /// The decision by the version in force at its record; `None` if that version is no longer
    /// kept.
    pub before: Option<Routing>,
    /// The decision by the other policy.
    pub after: Routing,
}

/// The first request that was read under a key: its offset, and its decisions if it was a payment.
type First = (u64, Option<ReplayedPayment>);

/// The replay of one shard. Records may be taken in any sequence. Only the first request under a
/// key counts, as in the machine.
pub struct Replay {
    shard: ShardId,
    policy: Arc<Policy>,
    versions: PolicyVersions,
    /// The directory of merchants by which both policies decide: that of the present, because
    /// earlier listings are not kept.
    directory: Arc<Directory>,
    /// The offset of the newest version that the caller gave; later ones are taken from the log.
    known_to: Option<u64>,
    orders: BTreeMap<OrderKey, First>,
    payments: usize,
}

impl Replay {
    /// Compares `policy` with the versions that the shard has had; the directory is empty.
    pub fn new(shard: ShardId, versions: PolicyVersions, policy: Arc<Policy>) -> Self {
        let known_to = versions.iter().map(|(offset, _)| offset).last();
        let directory = Arc::default();
        Self { shard, policy, versions, directory, known_to, orders: BTreeMap::new(), payments: 0 }
    }

    /// Lets both policies decide by this directory of merchants.
    #[must_use]
    pub fn with_directory(self, directory: Arc<Directory>) -> Self {
        Self { directory, ..self }
    }

    /// Takes the record at `offset` of the shard's log.
    pub fn take(&mut self, offset: u64, record: Record) {
        let directory = self.directory.clone();
        let listed = record.command.listed();
        let listings = listed.map_or_else(Listings::default, |(merchant, store)| directory.listings(merchant, store));
        // A request whose signing key the policy did not accept created no order.
        if is_key_refused(&record, Rules { policy: self.versions.at(offset), listings, ..Rules::default() }) {
            return;
        }
        let key_refused = is_key_refused(&record, Rules { policy: Some(&self.policy), listings, ..Rules::default() });
        match record.command {
            Command::Pay(pay) => {
                let mut replayed = self.replay(offset, record.at, pay.form, listings);
                if key_refused {
                    replayed.after = Routing::Refused(StatusCode::BAD_SIGNATURE);
                }
                self.first(replayed.key.clone(), offset, Some(replayed));
            }
            Command::Refund(refund) => self.first(refund.form.key, offset, None),
            Command::Cancel(cancel) => self.first(cancel.form.key, offset, None),
            Command::Policy(change) if self.known_to.is_none_or(|known| offset > known) => {
                self.versions.take(self.shard, offset, (*change).into());
            }
            Command::Policy(_)
            | Command::CloseBooks(_)
            | Command::Listing(_)
            | Command::Hold(_)
            | Command::Reserve(_)
            | Command::RefundResult(_)
            | Command::Query(_)
            | Command::Outcome(_)
            | Command::Due(_) => {}
        }
    }

    fn replay(&self, offset: u64, at: UnixMs, form: PayForm, listings: Listings<'_>) -> ReplayedPayment {
        let policy = self.versions.at(offset);
        // Before version 1, every payment was refused. If older versions are no longer kept, what
        // they decided is unknown.
        let is_known = policy.is_some() || self.versions.iter().next().is_some_and(|(_, oldest)| oldest.version == 1);
        let before = is_known.then(|| Routing::of(&form, Rules { policy, listings, ..Rules::default() }, at));
        let form = PayForm { card_token: form.card_token.shape_only(), ..form };
        let after = Routing::of(&form, Rules { policy: Some(&self.policy), listings, ..Rules::default() }, at);
        ReplayedPayment { at, key: form.key, before, after }
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

    /// The newest payments, at most `max`, the newest first.
    pub fn finish(self, max: usize) -> Vec<ReplayedPayment> {
        let payments = self.orders.into_values().filter_map(|(offset, replayed)| Some((offset, replayed?)));
        let mut payments: Vec<(u64, ReplayedPayment)> = payments.collect();
        payments.sort_by_key(|(offset, _)| std::cmp::Reverse(*offset));
        payments.into_iter().take(max).map(|(_, replayed)| replayed).collect()
    }
}
