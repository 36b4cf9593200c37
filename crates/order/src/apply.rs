//! One record applied to one order. Every pair of phase and command is decided in the file of its command.

mod due;
mod outcome;
mod pay;
mod query;

#[cfg(test)]
mod tests;

use twqr_types::UnixMs;

use crate::{
    Command, Effect, Evidence, Failure, Payment, Phase, Policy, Position, Record, ReplyBody, Subscriber,
    effect::Emitter,
};

/// What applying a record did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Applied {
    /// What happened, for logs and metrics.
    pub step: Step,
    /// Whether the state differs from before.
    pub changed: bool,
}

/// What happened to the order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Step {
    /// A payment was accepted and its task to charge is out.
    Accepted,
    /// A payment was refused by the policy.
    Refused,
    /// A payment came again.
    Repeated,
    /// A payment came again with other fields.
    Conflicted,
    /// Somebody asked.
    Queried,
    /// The payment is paid.
    Paid,
    /// The payment failed, by this evidence.
    Failed(Evidence),
    /// Nobody knows what came of it.
    Unresolved,
    /// The task to inquire is out.
    Asked,
    /// The issuer contradicted a final state.
    Contradicted,
    /// Nothing: not the order's turn, or known already.
    Ignored,
}

/// What every command's function needs beside the order.
struct Scene<'a> {
    cause: Position,
    at: UnixMs,
    policy: Option<&'a Policy>,
    out: Emitter<'a>,
}

/// Applies `record`, which stands at `cause`, to the order that it names: `order` becomes the new state, `effects` gets what is to
/// be done. `policy` is the version at `cause`. Claims and policy records name no order and change none.
pub fn apply(
    order: &mut Option<Payment>,
    record: &Record,
    cause: Position,
    policy: Option<&Policy>,
    effects: &mut Vec<Effect>,
) -> Applied {
    let scene = Scene { cause, at: record.at, policy, out: Emitter::new(cause, effects) };
    match &record.command {
        Command::Pay(pay) => pay::apply(order, pay, scene),
        Command::Query(query) => query::apply(order.as_mut(), query, scene),
        Command::Outcome(outcome) => order.as_mut().map_or(IGNORED, |payment| outcome::apply(payment, outcome, scene)),
        Command::Due(_) => order.as_mut().map_or(IGNORED, |payment| due::apply(payment, scene)),
        Command::Claim { .. } | Command::Policy(_) => IGNORED,
    }
}

const IGNORED: Applied = Applied { step: Step::Ignored, changed: false };

fn changed(step: Step) -> Applied {
    Applied { step, changed: true }
}

impl Payment {
    /// Goes to the next phase and tells every subscriber who still waits; after a final phase nobody is left to tell.
    fn enter(&mut self, phase: Phase, scene: &mut Scene<'_>) {
        self.phase = phase;
        self.changed_at = scene.at;
        self.drop_expired(scene.at);
        for Subscriber { to, repeat } in &self.subscribers {
            scene.out.reply(*to, *repeat, ReplyBody::Order);
        }
        if self.phase.is_final() {
            self.subscribers = Vec::new();
        }
    }

    fn fail(&mut self, evidence: Evidence, status_code: &str, status_desc: &str, scene: &mut Scene<'_>) -> Applied {
        let failure = Failure { evidence, status_code: status_code.into(), status_desc: status_desc.into() };
        self.enter(Phase::Failed(failure), scene);
        changed(Step::Failed(evidence))
    }

    /// Adds or renews a subscriber. False: there are too many.
    fn subscribe(&mut self, subscriber: Subscriber, now: UnixMs) -> bool {
        self.drop_expired(now);
        let same = |s: &&mut Subscriber| {
            (s.to.partition, s.to.correlation) == (subscriber.to.partition, subscriber.to.correlation)
        };
        if let Some(known) = self.subscribers.iter_mut().find(same) {
            *known = subscriber;
            return true;
        }
        let room = self.subscribers.len() < crate::SUBSCRIBERS_MAX;
        if room {
            self.subscribers.push(subscriber);
        }
        room
    }

    fn drop_expired(&mut self, now: UnixMs) {
        self.subscribers.retain(|subscriber| subscriber.to.until >= now);
    }
}
