//! The workers, and the requests on their way to the issuers. A task that moves money is sent at
//! most once, and arrives at most once, before its window ends; answers are lost, late, or
//! repeated. A task of an idempotent movement is sent any number of times, by workers that do not
//! know of each other, and its issuer remembers the first result.

use std::collections::BTreeMap;

use twqr_types::{Issuer, TradeNo};

use super::{
    super::{
        fixtures::{approved, declined, not_sent, refunded_result, reversed, unknown},
        vocabulary::subject_of,
    },
    ledger::{Account, Decision},
    random::Random,
};
use crate::{MovementOutcome, Outcome, Subject, Task, TaskKind, TaskResult};

/// A request that may still arrive.
struct InFlight {
    task: Task,
    takes: bool,
}

/// The workers, the requests on their way, and the issuers.
#[derive(Default)]
pub(super) struct Calls {
    /// Tasks that no worker has read yet.
    pub(super) fresh: Vec<Task>,
    flights: Vec<InFlight>,
    /// Outcomes that are not in the log yet.
    pub(super) outcomes: Vec<Outcome>,
    /// Outcomes that are in the log; they may be repeated.
    pub(super) delivered: Vec<Outcome>,
    pub(super) accounts: BTreeMap<TradeNo, Account>,
}

impl Calls {
    pub(super) fn account(&self, number: TradeNo) -> Account {
        self.accounts.get(&number).cloned().unwrap_or_default()
    }

    /// Whether a request for this movement may still arrive.
    pub(super) fn may_still_arrive(&self, payment: TradeNo, subject: &Subject) -> bool {
        let is = |task: &Task| task.trade_no == payment && subject_of(&task.kind) == *subject;
        self.flights.iter().any(|flight| is(&flight.task) && !self.is_remembered(&flight.task))
    }

    /// Whether the issuer would answer this call with the result that it remembers.
    fn is_remembered(&self, task: &Task) -> bool {
        let account = self.account(task.trade_no);
        let is_known = match &task.kind {
            TaskKind::Charge(_) => account.charge.is_some(),
            TaskKind::Refund(call) => account.refunds.contains_key(&call.trade_no),
            TaskKind::Reverse(_) | TaskKind::Inquire(_) => false,
        };
        task.is_idempotent && is_known
    }

    /// A worker reads a task, with any possible result.
    pub(super) fn process_task(&mut self, n: usize, now: i64, random: &mut Random) {
        let task = self.fresh.swap_remove(n);
        if let TaskKind::Inquire(subject) = &task.kind {
            match random.below(8) {
                0 => {}
                1 => self.lost(&task, subject),
                _ => self.ask(&task, subject, now),
            }
            return;
        }
        if task.is_idempotent && random.one_in(3) {
            self.fresh.push(task.clone());
        }
        if now > task.send_by.0 || random.one_in(8) {
            return self.not_sent(&task);
        }
        let takes = random.below(4) > 0 || is_reversal_of_wallet(&task);
        let subject = subject_of(&task.kind);
        match random.below(9) {
            0 => self.lost(&task, &subject),
            1 => self.flights.push(InFlight { task, takes }),
            2 => {
                self.lost(&task, &subject);
                self.flights.push(InFlight { task, takes });
            }
            3 => {
                self.land(&task, takes);
                self.lost(&task, &subject);
            }
            4 => {
                self.flights.push(InFlight { task: task.clone(), takes });
                self.inquire_instead(&task, &subject, now);
            }
            5 if task.issuer == Issuer::Wallet => {
                self.land(&task, takes);
                self.outcomes.push(outcome(&task, &subject, Report::Ambiguous));
            }
            _ => {
                self.land(&task, takes);
                self.ask(&task, &subject, now);
            }
        }
    }

    /// A worker reads a task, and its call succeeds at once.
    pub(super) fn succeed(&mut self, n: usize, now: i64) {
        let task = self.fresh.swap_remove(n);
        let subject = subject_of(&task.kind);
        match &task.kind {
            TaskKind::Inquire(_) => self.ask(&task, &subject, now),
            _ if now > task.send_by.0 => self.not_sent(&task),
            _ => {
                self.land(&task, true);
                self.ask(&task, &subject, now);
            }
        }
    }

    /// A worker reads a task, and reports any result at all, or that it took effect.
    pub(super) fn report_anything(&mut self, n: usize, random: &mut Random) {
        let task = if random.one_in(2) { self.fresh.swap_remove(n) } else { self.fresh[n].clone() };
        let subject = subject_of(&task.kind);
        let words = [Report::Unknown, Report::NotSent, Report::Absent, Report::Ambiguous, Report::Declined];
        let said = match words.get(random.below(8)) {
            Some(word) => outcome(&task, &subject, *word),
            None => took_effect(&task),
        };
        self.outcomes.push(said);
    }

    pub(super) fn report_success(&mut self, n: usize) {
        let task = self.fresh.swap_remove(n);
        self.outcomes.push(took_effect(&task));
    }

    /// A request arrives late, and its answer may reach a worker.
    pub(super) fn arrive_late(&mut self, now: i64, random: &mut Random) {
        if let Some(n) = random.index(&self.flights) {
            let InFlight { task, takes } = self.flights.swap_remove(n);
            self.land(&task, takes);
            if random.one_in(2) {
                self.ask(&task, &subject_of(&task.kind), now);
            }
        }
    }

    /// Ends the requests whose window is over: each one either counts as arrived in time, or never
    /// arrives.
    pub(super) fn pass(&mut self, now: i64, random: &mut Random) {
        while let Some(n) = self.flights.iter().position(|flight| now > flight.task.absent_after.0) {
            let InFlight { task, takes } = self.flights.swap_remove(n);
            if random.one_in(2) {
                self.land(&task, takes);
            }
        }
    }

    fn land(&mut self, task: &Task, takes: bool) {
        if self.is_remembered(task) {
            return;
        }
        let account = self.accounts.entry(task.trade_no).or_default();
        match &task.kind {
            TaskKind::Charge(call) => account.charge(call.trade_amount.twd(), takes),
            TaskKind::Refund(call) => account.refund(call.trade_no, call.trade_amount.twd(), takes),
            TaskKind::Reverse(call) => account.reverse(call.amount, takes),
            TaskKind::Inquire(_) => {}
        }
    }

    fn not_sent(&mut self, task: &Task) {
        self.outcomes.push(outcome(task, &subject_of(&task.kind), Report::NotSent));
    }

    fn lost(&mut self, task: &Task, subject: &Subject) {
        self.outcomes.push(outcome(task, subject, Report::Unknown));
    }

    /// A new owner of the task inquires, since the task may have been sent. A refusal that it finds
    /// may be an earlier reversal's, as long as this one can still arrive.
    fn inquire_instead(&mut self, task: &Task, subject: &Subject, now: i64) {
        let refused = self.account(task.trade_no).reversal == Some(Decision::Refused);
        if *subject == Subject::Reversal && refused && now <= task.absent_after.0 {
            self.lost(task, subject);
        } else {
            self.ask(task, subject, now);
        }
    }

    /// The issuer's answer to an inquiry. That it does not know the number proves absence only
    /// after the window.
    fn ask(&mut self, task: &Task, subject: &Subject, now: i64) {
        let account = self.account(task.trade_no);
        let word = if now > task.absent_after.0 { Report::Absent } else { Report::Unknown };
        let is_reversed_before = matches!(task.kind, TaskKind::Charge(_)) && account.reversed() > 0;
        let movement = match subject {
            Subject::Charge if is_reversed_before => Some(MovementOutcome::Charge(declined("812"))),
            Subject::Charge => account.of_charge().map(MovementOutcome::Charge),
            Subject::Refund { number, trade_no } => {
                account.of_refund(*trade_no).map(|result| MovementOutcome::Refund(number.clone(), result))
            }
            Subject::Reversal => account.of_reversal().map(MovementOutcome::Reversal),
        };
        let known = movement.map(|movement| Outcome { key: task.key.clone(), task: task.id, movement });
        self.outcomes.push(known.unwrap_or_else(|| outcome(task, subject, word)));
    }
}

fn is_reversal_of_wallet(task: &Task) -> bool {
    task.issuer == Issuer::Wallet && matches!(task.kind, TaskKind::Reverse(_))
}

fn took_effect(task: &Task) -> Outcome {
    let movement = match subject_of(&task.kind) {
        Subject::Charge => MovementOutcome::Charge(approved(100)),
        Subject::Refund { number, .. } => MovementOutcome::Refund(number, refunded_result(30)),
        Subject::Reversal => MovementOutcome::Reversal(reversed()),
    };
    Outcome { key: task.key.clone(), task: task.id, movement }
}

/// A result that is the same for every movement.
#[derive(Clone, Copy)]
enum Report {
    Unknown,
    NotSent,
    Absent,
    Ambiguous,
    Declined,
}

impl Report {
    fn result<A>(self) -> TaskResult<A> {
        match self {
            Self::Unknown => unknown(),
            Self::NotSent => not_sent(),
            Self::Absent => TaskResult::Absent,
            Self::Ambiguous => declined("901"),
            Self::Declined => declined("934"),
        }
    }
}

fn outcome(task: &Task, subject: &Subject, word: Report) -> Outcome {
    let movement = match subject {
        Subject::Charge => MovementOutcome::Charge(word.result()),
        Subject::Refund { number, .. } => MovementOutcome::Refund(number.clone(), word.result()),
        Subject::Reversal => MovementOutcome::Reversal(word.result()),
    };
    Outcome { key: task.key.clone(), task: task.id, movement }
}
