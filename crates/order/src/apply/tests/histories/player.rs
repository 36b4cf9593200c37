//! Plays one history: picks the next operation, and checks every order against the issuers' ledger.

use std::{collections::BTreeMap, sync::Arc};

use twqr_types::{Amount, OrderKey, PayForm, StoreId, TradeNo};

use super::{
    super::{
        fixtures::{OTHER, WALLET},
        world::World,
    },
    calls::Calls,
    random::Random,
    requests::{REFUNDS, Requests, SETS},
};
use crate::{CancelRequest, Command, Order, Outcome, Pay, PolicyChange, Query, RefundRequest, ReplyBody, Step};

/// How workers and issuers behave in a history.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Style {
    /// Every report is true. With `strict`, each record is applied twice, and its effects are
    /// compared.
    TrueReports { strict: bool },
    /// Any report is possible; only what does not depend on true reports is checked.
    AnyReport,
}

pub(super) struct Player<'a> {
    pub(super) world: World,
    pub(super) calls: Calls,
    pub(super) random: Random,
    pub(super) style: Style,
    requests: &'a Requests,
    set: usize,
    wallet: bool,
    policies: &'a [Arc<PolicyChange>],
    versions: [usize; 3],
    cancelled_before: Vec<OrderKey>,
    steps: BTreeMap<Step, u64>,
}

impl<'a> Player<'a> {
    pub(super) fn new(mut random: Random, style: Style, requests: &'a Requests) -> Self {
        let mut world = World::without_policy();
        world.strict = style == Style::TrueReports { strict: true };
        let policies = requests.policies(random.one_in(2));
        for shard in 0..3 {
            assert!(world.take_policy(shard, &policies[0]));
        }
        let (set, wallet) = (random.below(SETS), random.one_in(2));
        let calls = Calls::default();
        Self {
            world,
            calls,
            random,
            style,
            requests,
            set,
            wallet,
            policies,
            versions: [1; 3],
            cancelled_before: Vec::new(),
            steps: BTreeMap::new(),
        }
    }

    /// How many times each step was taken.
    pub(super) fn steps(self) -> BTreeMap<Step, u64> {
        self.steps
    }

    /// Performs one random operation.
    pub(super) fn operation(&mut self) {
        self.world.at += match self.random.below(24) {
            0..16 => 0,
            16..23 => self.random.between(0..=1_500).cast_signed(),
            _ => self.random.between(0..=30_000).cast_signed(),
        };
        self.calls.pass(self.world.at, &mut self.random);
        if self.world.orders().next().is_none() && !self.random.one_in(16) {
            self.pay();
            if self.style != Style::AnyReport && self.random.one_in(2) {
                self.answer_every_task();
            }
            return;
        }
        match self.random.below(24) {
            0 => self.pay(),
            1..3 => self.cancel(),
            3..7 => self.refund(),
            7 => self.query(),
            8 => self.due(),
            9..13 => self.deliver(),
            13..18 => self.process_task(),
            18..21 => self.answer(),
            21 => self.answer_again(),
            22 => self.calls.arrive_late(self.world.at, &mut self.random),
            _ => self.change_policy(),
        }
    }

    pub(super) fn append(&mut self, command: Command) -> Step {
        let step = self.world.append(command).step;
        self.note(step);
        step
    }

    /// Counts the step, and gives the new tasks to the workers.
    pub(super) fn note(&mut self, step: Step) {
        *self.steps.entry(step).or_default() += 1;
        for task in &self.world.tasks {
            assert!(
                !self.cancelled_before.contains(&task.key),
                "a task for a payment that was cancelled before it arrived: {task:?}"
            );
        }
        self.calls.fresh.append(&mut self.world.tasks);
        self.world.replies.clear();
    }

    /// A form of the set, mostly of the first payment and mostly unchanged.
    fn form(&mut self) -> PayForm {
        let n = usize::from(self.random.one_in(6));
        let mut form = self.requests.payment(self.set, n, self.wallet).clone();
        match self.random.below(24) {
            0 => form.trade_amount = Amount::parse(101).unwrap(),
            1 => form.store_id = StoreId::parse("S2".into()).unwrap(),
            2 => {
                form.card_token =
                    twqr_types::CardToken::parse(if self.wallet { OTHER } else { WALLET }.into()).unwrap().into();
            }
            _ => {}
        }
        form
    }

    fn pay(&mut self) {
        let form = self.form();
        let reply_to = (!self.random.one_in(8)).then(|| self.world.next_caller());
        self.append(Command::Pay(Box::new(Pay { form, reply_to })));
    }

    fn cancel(&mut self) {
        let form = self.form();
        if self.world.order_of(&form.key).is_none() {
            self.cancelled_before.push(form.key.clone());
        }
        let reply_to = (!self.random.one_in(8)).then(|| self.world.next_caller());
        self.append(Command::Cancel(Box::new(CancelRequest { form, reply_to })));
    }

    fn refund(&mut self) {
        let mut form = self.requests.refund(self.set, self.random.below(REFUNDS)).clone();
        let numbers: Vec<TradeNo> = self.world.orders().filter_map(Order::trade_no).collect();
        if let Some(n) = self.random.index(&numbers).filter(|_| !self.random.one_in(16)) {
            form.trade_no = numbers[n];
        }
        form.trade_amount = Amount::parse([1, 30, 30, 70, 100, 101][self.random.below(6)]).unwrap();
        let reply_to = (!self.random.one_in(8)).then(|| self.world.next_caller());
        self.append(Command::Refund(Box::new(RefundRequest { form, reply_to })));
    }

    fn any_key(&mut self) -> OrderKey {
        let keys: Vec<OrderKey> = self.world.orders().map(|order| order.key().clone()).collect();
        match self.random.index(&keys) {
            Some(n) => keys[n].clone(),
            None => self.requests.payment(self.set, 0, true).key.clone(),
        }
    }

    /// I5: an accepted order is found.
    fn query(&mut self) {
        let (key, watch) = (self.any_key(), self.random.one_in(2));
        let is_there = self.world.order_of(&key).is_some();
        let reply_to = self.world.next_caller();
        let step = self
            .world
            .append(Command::Query(Query {
                key,
                reply_to,
                watch,
                keep: watch && reply_to.correlation.is_multiple_of(2),
            }))
            .step;
        let received = self.world.replies.last().map(|reply| reply.body != ReplyBody::NotFound);
        assert_eq!(received, Some(is_there), "I5");
        self.note(step);
    }

    fn due(&mut self) {
        let key = self.any_key();
        let due = self.world.order_of(&key).and_then(Order::due_at);
        if let Some(due) = due.filter(|_| self.random.one_in(2)) {
            self.world.at = self.world.at.max(due.0);
            self.calls.pass(self.world.at, &mut self.random);
        }
        self.append(Command::Due(key));
    }

    fn deliver(&mut self) {
        if let Some(n) = self.random.index(&self.world.forwards) {
            let again = self.random.one_in(4);
            let step = self.world.deliver(n, again).step;
            self.note(step);
        }
    }

    fn process_task(&mut self) {
        let Some(n) = self.random.index(&self.calls.fresh) else { return self.answer() };
        match self.style {
            Style::TrueReports { .. } => self.calls.process_task(n, self.world.at, &mut self.random),
            Style::AnyReport => self.calls.report_anything(n, &mut self.random),
        }
        if self.random.one_in(2) {
            self.answer();
        }
    }

    fn answer(&mut self) {
        if let Some(n) = self.random.index(&self.calls.outcomes) {
            let outcome = self.calls.outcomes.swap_remove(n);
            self.calls.delivered.push(outcome.clone());
            self.tell(outcome);
        }
    }

    fn answer_again(&mut self) {
        if let Some(n) = self.random.index(&self.calls.delivered) {
            self.tell(self.calls.delivered[n].clone());
        }
    }

    pub(super) fn tell(&mut self, outcome: Outcome) {
        self.append(Command::Outcome(Box::new(outcome)));
    }

    /// Changes the policy on one shard, so that the others still decide by an older version.
    fn change_policy(&mut self) {
        let shard = self.random.below(3);
        let next = self.versions[shard];
        let is_decided = shard == 0 || next < self.versions[0];
        if let Some(change) = self.policies.get(next).filter(|_| is_decided) {
            assert!(self.world.take_policy(shard as u16, change));
            assert!(!self.world.take_policy(shard as u16, change), "a repeated change must not be taken");
            self.versions[shard] += 1;
        }
    }

    /// Checks every order against the issuers' ledger.
    pub(super) fn check(&self) {
        if self.style != Style::AnyReport {
            let payments = self.world.orders().filter_map(Order::as_payment);
            payments.for_each(|payment| super::ledger_check::check(payment, &self.calls));
        }
    }
}
