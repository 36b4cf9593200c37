//! One record applied to one order. Every pair of phase and command is decided in the file of its
//! command.

mod cancel;
mod due;
mod lifecycle;
mod outcome;
mod pay;
mod query;
mod refund;
mod reserve;
mod signature;
mod task;

#[cfg(test)]
mod tests;

use twqr_types::UnixMs;

use crate::{
    CALLS_MAX, Command, Effect, Evidence, IssuerRules, Order, Payment, Policy, Position, Record, ReplyBody,
    StatusCodes, Subscriber, SubscriptionKind, WATCHES_MAX, effect::Emitter,
};

pub(crate) use pay::judge;
pub use reserve::refuse_unknown_payment;
pub(crate) use signature::is_refused;

/// What applying a record did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AppliedStep {
    /// What happened, for logs and metrics.
    pub step: Step,
    /// Whether the state differs from before.
    pub changed: bool,
}

/// What happened to the order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Step {
    /// A payment or a refund was accepted.
    Accepted,
    /// It was refused by the rules.
    Refused,
    /// A request came again.
    Repeated,
    /// A request came again with other fields.
    Conflicted,
    /// A request was signed with a key that does not count.
    KeyRefused,
    /// Somebody asked.
    Queried,
    /// The payment is paid.
    Paid,
    /// A movement failed, by this evidence.
    Failed(Evidence),
    /// Nobody knows what came of a movement.
    Unresolved,
    /// The task to inquire is out.
    Inquired,
    /// A part of the payment is reserved for a refund, and its task is out.
    Reserved,
    /// A refund took effect.
    Refunded,
    /// A cancel waits, or its reversal is out.
    Cancelling,
    /// The payment is taken back, or there was nothing to take back.
    Cancelled,
    /// The issuer contradicted a final state.
    Contradicted,
    /// Nothing: not the order's turn, or known already.
    Ignored,
}

/// What every command's function needs beside the order.
struct ApplyContext<'a> {
    cause: Position,
    at: UnixMs,
    policy: Option<&'a Policy>,
    out: Emitter<'a>,
}

/// Applies `record`, which stands at `cause`, to the order that it names: `order` becomes the new
/// state, `effects` gets what is to be done. `policy` is the version at `cause`. Claims and policy
/// records name no order and change none.
pub fn apply(
    order: &mut Option<Order>,
    record: &Record,
    cause: Position,
    policy: Option<&Policy>,
    effects: &mut Vec<Effect>,
) -> AppliedStep {
    let mut context = ApplyContext { cause, at: record.at, policy, out: Emitter::new(cause, effects) };
    if signature::refuse(record, &mut context) {
        return AppliedStep { step: Step::KeyRefused, changed: false };
    }
    match &record.command {
        Command::Pay(pay) => pay::apply(order, pay, context),
        Command::Refund(request) => refund::request(order, request, context),
        Command::Cancel(request) => cancel::request(order, request, context),
        Command::Reserve(reserve) => reserve::apply(order.as_mut(), reserve, context),
        Command::RefundResult(result) => refund::result(order, result, context),
        Command::Query(query) => query::apply(order.as_mut(), query, context),
        Command::Outcome(outcome) => with_payment(order, |payment| outcome::apply(payment, outcome, context)),
        Command::Due(_) => order.as_mut().map_or(IGNORED, |order| due::apply(order, context)),
        Command::Claim { .. } | Command::Policy(_) => IGNORED,
    }
}

const IGNORED: AppliedStep = AppliedStep { step: Step::Ignored, changed: false };

fn changed(step: Step) -> AppliedStep {
    AppliedStep { step, changed: true }
}

fn with_payment(order: &mut Option<Order>, apply: impl FnOnce(&mut Payment) -> AppliedStep) -> AppliedStep {
    match order {
        Some(Order::Payment(payment)) => apply(payment),
        Some(Order::Refund(_) | Order::EarlyCancel(_)) | None => IGNORED,
    }
}

impl ApplyContext<'_> {
    /// The StatusCodes that hold.
    fn codes(&self) -> StatusCodes {
        self.policy.map_or_else(StatusCodes::default, |policy| policy.status_codes)
    }

    /// The rules of the payment's issuer.
    fn rules(&self, payment: &Payment) -> IssuerRules {
        let issuer = payment.issuer.unwrap_or(twqr_types::Issuer::Wallet);
        self.policy.map_or_else(|| IssuerRules::default_of(issuer), |policy| policy.issuer(issuer))
    }

    /// Tells every subscriber that the order has changed, and drops those who have what they waited
    /// for, or wait no more.
    fn tell(&mut self, order: &mut Vec<Subscriber>, has_result: bool, at_rest: bool) {
        order.retain(|subscriber| subscriber.to.until >= self.at);
        for Subscriber { to, repeat, .. } in &*order {
            self.out.reply(*to, *repeat, ReplyBody::Order);
        }
        order.retain(|subscriber| match subscriber.kind {
            SubscriptionKind::Result => !has_result,
            SubscriptionKind::CancelResult | SubscriptionKind::UntilAtRest => !at_rest,
            SubscriptionKind::AllChanges => true,
        });
    }

    /// Tells those who wait for more than the result that something has begun.
    fn tell_watchers(&mut self, payment: &Payment) {
        let watches = |subscriber: &&Subscriber| subscriber.kind != SubscriptionKind::Result;
        for Subscriber { to, repeat, .. } in payment.subscribers.iter().filter(watches) {
            if to.until >= self.at {
                self.out.reply(*to, *repeat, ReplyBody::Order);
            }
        }
    }

    /// The same for a payment.
    fn tell_payment(&mut self, payment: &mut Payment) {
        let (has_result, at_rest) = (payment.charge.phase.is_final(), payment.is_at_rest());
        self.tell(&mut payment.subscribers, has_result, at_rest);
    }
}

/// Adds or renews a subscriber. False: there are too many.
fn subscribe(subscribers: &mut Vec<Subscriber>, subscriber: Subscriber, now: UnixMs) -> bool {
    subscribers.retain(|known| known.to.until >= now);
    let same = |known: &&mut Subscriber| {
        (known.to.partition, known.to.correlation) == (subscriber.to.partition, subscriber.to.correlation)
    };
    if let Some(known) = subscribers.iter_mut().find(same) {
        *known = subscriber;
        return true;
    }
    let is_watch = subscriber.kind.is_watch();
    let most = if is_watch { WATCHES_MAX } else { CALLS_MAX };
    let room = subscribers.iter().filter(|known| known.kind.is_watch() == is_watch).count() < most;
    if room {
        subscribers.push(subscriber);
    }
    room
}
