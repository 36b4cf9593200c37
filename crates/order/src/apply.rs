//! Applies one record to one order. Each command has its own file, which handles every phase of the
//! order.

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
    CALLS_MAX, Command, Effect, Evidence, IssuerRules, Order, Payment, Position, Record, ReplyBody, Rules, StatusCodes,
    Subscriber, SubscriptionKind, WATCHES_MAX, effect::Emitter,
};

pub(crate) use pay::route_payment;
pub use reserve::refuse_unknown_payment;
pub(crate) use signature::is_key_refused;

/// The result of applying a record to an order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AppliedStep {
    /// The step that the order took, for logs and metrics.
    pub step: Step,
    /// Whether the state differs from before.
    pub changed: bool,
}

/// The step that the order took.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Step {
    /// A payment or a refund was accepted.
    Accepted,
    /// The rules refused a request.
    Refused,
    /// A request was repeated with equal fields.
    Repeated,
    /// A request used a number that belongs to another request.
    Conflicted,
    /// The policy does not accept the key that signed the request.
    KeyRefused,
    /// The nonce of the request's signature was used before.
    Replayed,
    /// The order was inquired about.
    Queried,
    /// The charge took effect.
    Paid,
    /// A movement failed, with this evidence.
    Failed(Evidence),
    /// The result of a movement is unknown.
    Unresolved,
    /// The due work was done; mostly, inquiries were sent.
    Inquired,
    /// A part of the payment is reserved for a refund, and the refund is sent.
    Reserved,
    /// A refund took effect.
    Refunded,
    /// A cancel is blocked, or its reversal is sent.
    Cancelling,
    /// The payment is reversed, or there was nothing to reverse.
    Cancelled,
    /// An issuer contradicted a final state.
    Contradicted,
    /// Nothing: the record does not apply to the order, or repeats what is known.
    Ignored,
}

/// The context that every command needs besides the order.
struct ApplyContext<'a> {
    cause: Position,
    at: UnixMs,
    rules: Rules<'a>,
    out: Emitter<'a>,
}

/// Applies `record`, whose position is `cause`, to the order that it names: `order` becomes the new
/// state, and the effects are appended to `effects`. `rules` are those in force at `cause`. Claims,
/// changes of the rules and closings name no order and change none.
pub fn apply<'a>(
    order: &mut Option<Order>,
    record: &Record,
    cause: Position,
    rules: impl Into<Rules<'a>>,
    effects: &mut Vec<Effect>,
) -> AppliedStep {
    let (rules, out) = (rules.into(), Emitter::new(cause, effects));
    let mut context = ApplyContext { cause, at: record.at, rules, out };
    if signature::refuse_key(record, &mut context) {
        return AppliedStep { step: Step::KeyRefused, changed: false };
    }
    if signature::refuse_replay(order.as_ref(), record, &mut context) {
        return AppliedStep { step: Step::Replayed, changed: false };
    }
    let claimed = signature::nonce(record, context.protocol_version());
    let mut applied = apply_command(order, &record.command, context);
    if let Some((nonce, order)) = claimed.zip(order.as_mut()) {
        order.nonces_mut().keep(nonce, record.at);
        applied.changed = true;
    }
    applied
}

fn apply_command(order: &mut Option<Order>, command: &Command, context: ApplyContext<'_>) -> AppliedStep {
    match command {
        Command::Pay(pay) => pay::apply(order, pay, context),
        Command::Refund(request) => refund::request(order, request, context),
        Command::Cancel(request) => cancel::request(order, request, context),
        Command::Reserve(reserve) => reserve::apply(order.as_mut(), reserve, context),
        Command::RefundResult(result) => refund::result(order, result, context),
        Command::Query(query) => query::apply(order.as_mut(), query, context),
        Command::Outcome(outcome) => with_payment(order, |payment| outcome::apply(payment, outcome, context)),
        Command::Due(_) => order.as_mut().map_or(IGNORED, |order| due::apply(order, context)),
        Command::Hold(_) | Command::Policy(_) | Command::Listing(_) | Command::CloseBooks(_) => IGNORED,
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
    /// The policy's own StatusCodes; the defaults before the first policy.
    fn codes(&self) -> StatusCodes {
        self.rules.policy.map_or_else(StatusCodes::default, |policy| policy.status_codes)
    }

    /// The protocol version by which this record is decided; 0 before the first policy.
    fn protocol_version(&self) -> u32 {
        self.rules.policy.map_or(0, |policy| policy.protocol_version)
    }

    /// When a movement counts in the books that this record decides, if not at the record's time.
    fn late_booking(&self) -> Option<UnixMs> {
        self.rules.closed_until.filter(|closed| *closed > self.at)
    }

    /// The rules of the payment's issuer; the defaults where the policy has none.
    fn issuer_rules(&self, payment: &Payment) -> IssuerRules {
        let issuer = payment.issuer.unwrap_or(twqr_types::Issuer::Wallet);
        self.rules.policy.map_or_else(|| IssuerRules::default_of(issuer), |policy| policy.issuer(issuer))
    }

    /// Sends the order to every subscriber. Removes those whose time is over, and those that now
    /// have what they waited for.
    fn notify(&mut self, subscribers: &mut Vec<Subscriber>, has_result: bool, at_rest: bool) {
        subscribers.retain(|subscriber| subscriber.to.until >= self.at);
        for Subscriber { to, repeat, .. } in &*subscribers {
            self.out.reply(*to, *repeat, ReplyBody::Order);
        }
        subscribers.retain(|subscriber| match subscriber.kind {
            SubscriptionKind::Result => !has_result,
            SubscriptionKind::CancelResult | SubscriptionKind::UntilAtRest => !at_rest,
            SubscriptionKind::AllChanges => true,
        });
    }

    /// Sends the order to every subscriber that waits for more than the result, because a refund or
    /// a cancel began.
    fn notify_of_start(&mut self, payment: &Payment) {
        let watches = |subscriber: &&Subscriber| subscriber.kind != SubscriptionKind::Result;
        for Subscriber { to, repeat, .. } in payment.subscribers.iter().filter(watches) {
            if to.until >= self.at {
                self.out.reply(*to, *repeat, ReplyBody::Order);
            }
        }
    }

    /// Sends a payment to its subscribers.
    fn notify_payment(&mut self, payment: &mut Payment) {
        let (has_result, at_rest) = (payment.charge.phase.is_final(), payment.is_at_rest());
        self.notify(&mut payment.subscribers, has_result, at_rest);
    }
}

/// Adds a subscriber, or renews the one with the same call. Returns false if there are too many of
/// its kind.
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
