//! The end of a history: records arrive, tasks are answered truthfully, and time passes, until
//! every order is at rest.

use twqr_types::{OrderKey, UnixMs};

use super::{
    super::invariants::check_answers,
    ledger_check,
    player::{Player, Style},
};
use crate::{Command, Order};

/// More rounds than any order may need to come to rest.
const ROUNDS_MAX: u32 = 24;

impl Player<'_> {
    /// Plays until every order is at rest, within a bounded number of rounds, and checks the end.
    pub(super) fn settle(&mut self) {
        let mut rounds = 0;
        self.answer_every_task();
        while !self.is_at_rest() {
            assert!(rounds < ROUNDS_MAX, "I2: not at rest after {rounds} rounds: {:?}", self.open());
            rounds += 1;
            self.wake();
            self.answer_every_task();
            self.check();
        }
        self.check();
        self.check_the_end();
        if self.world.strict {
            self.world.check_replay();
        }
    }

    fn is_at_rest(&self) -> bool {
        self.world.forwards.is_empty() && self.world.orders().all(Order::is_at_rest)
    }

    fn open(&self) -> Vec<&Order> {
        self.world.orders().filter(|order| !order.is_at_rest()).collect()
    }

    /// The earliest time at which an order is due.
    fn wake(&mut self) {
        let due: Vec<(UnixMs, OrderKey)> =
            self.open().into_iter().filter_map(|order| Some((order.due_at()?, order.key().clone()))).collect();
        let Some(first) = due.iter().map(|(at, _)| at.0).min() else { return };
        self.world.at = self.world.at.max(first);
        self.calls.pass(self.world.at, &mut self.random);
        for (at, key) in due {
            if at.0 <= self.world.at {
                self.append(Command::Due(key));
            }
        }
    }

    pub(super) fn answer_every_task(&mut self) {
        loop {
            if !self.world.forwards.is_empty() {
                let step = self.world.deliver(0, false).step;
                self.note(step);
            } else if let Some(last) = self.calls.fresh.len().checked_sub(1) {
                match self.style {
                    Style::TrueReports { .. } => self.calls.succeed(last, self.world.at),
                    Style::AnyReport => self.calls.report_success(last),
                }
            } else if let Some(outcome) = self.calls.outcomes.pop() {
                self.tell(outcome);
            } else {
                return;
            }
        }
    }

    fn check_the_end(&self) {
        for order in self.world.orders() {
            match order {
                Order::Payment(payment) if self.style != Style::AnyReport => {
                    assert_eq!(payment.contradiction, None, "no issuer contradicted itself");
                    ledger_check::check_money(payment, &self.calls.account(payment.trade_no));
                }
                Order::Refund(refund) => {
                    let payments = self.world.orders().filter_map(Order::as_payment);
                    let mut payments = payments.filter(|payment| payment.key.merchant_id == refund.key.merchant_id);
                    if let Some(payment) = payments.find(|payment| payment.trade_no == refund.payment) {
                        check_answers(payment, refund);
                    }
                }
                Order::Payment(_) | Order::EarlyCancel(_) => {}
            }
        }
    }
}
