//! Workers and what is on the way to the issuers: a task that moves money is sent once at most, and
//! lands once at most, before its window is over; answers are lost, late, or come twice.

use std::collections::BTreeMap;

use twqr_types::{Issuer, TradeNo};

use super::{
    super::{
        given::{approved, declined, given_back, not_sent, reversed, unknown},
        script::subject_of,
    },
    ledger::{Account, Decided},
    random::Random,
};
use crate::{MovementOutcome, Outcome, Subject, Task, TaskKind, TaskResult};

/// A request that may still land.
struct Flight {
    task: Task,
    takes: bool,
}

/// Workers, the way, and issuers.
#[derive(Default)]
pub(super) struct Calls {
    /// Tasks that nobody has read yet.
    pub(super) fresh: Vec<Task>,
    flights: Vec<Flight>,
    /// Outcomes that have not reached the log yet.
    pub(super) outcomes: Vec<Outcome>,
    /// Outcomes that have: they may come again.
    pub(super) delivered: Vec<Outcome>,
    pub(super) accounts: BTreeMap<TradeNo, Account>,
}

impl Calls {
    pub(super) fn account(&self, number: TradeNo) -> Account {
        self.accounts.get(&number).cloned().unwrap_or_default()
    }

    /// Whether a request for this movement may still land.
    pub(super) fn is_on_its_way(&self, payment: TradeNo, subject: &Subject) -> bool {
        let is = |task: &Task| task.trade_no == payment && subject_of(&task.kind) == *subject;
        self.flights.iter().any(|flight| is(&flight.task))
    }

    /// A worker reads a task, and anything may happen to it.
    pub(super) fn work(&mut self, n: usize, now: i64, random: &mut Random) {
        let task = self.fresh.swap_remove(n);
        if let TaskKind::Inquire(subject) = &task.kind {
            match random.below(8) {
                0 => {}
                1 => self.lost(&task, subject),
                _ => self.ask(&task, subject, now),
            }
            return;
        }
        if now > task.send_by.0 || random.one_in(8) {
            return self.not_sent(&task);
        }
        let takes = random.below(4) > 0 || is_reversal_of_wallet(&task);
        let subject = subject_of(&task.kind);
        match random.below(9) {
            0 => self.lost(&task, &subject),
            1 => self.flights.push(Flight { task, takes }),
            2 => {
                self.lost(&task, &subject);
                self.flights.push(Flight { task, takes });
            }
            3 => {
                self.land(&task, takes);
                self.lost(&task, &subject);
            }
            4 => {
                self.flights.push(Flight { task: task.clone(), takes });
                self.ask_instead(&task, &subject, now);
            }
            5 if task.issuer == Issuer::Wallet => {
                self.land(&task, takes);
                self.outcomes.push(outcome(&task, &subject, Word::Ambiguous));
            }
            _ => {
                self.land(&task, takes);
                self.ask(&task, &subject, now);
            }
        }
    }

    /// A worker reads a task, and everything goes well.
    pub(super) fn work_well(&mut self, n: usize, now: i64) {
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

    /// A worker reads a task, and says anything about it; or says that it took effect.
    pub(super) fn lie(&mut self, n: usize, random: &mut Random) {
        let task = if random.one_in(2) { self.fresh.swap_remove(n) } else { self.fresh[n].clone() };
        let subject = subject_of(&task.kind);
        let words = [Word::Unknown, Word::NotSent, Word::Absent, Word::Ambiguous, Word::Declined];
        let said = match words.get(random.below(8)) {
            Some(word) => outcome(&task, &subject, *word),
            None => took_effect(&task),
        };
        self.outcomes.push(said);
    }

    pub(super) fn say_that_it_took_effect(&mut self, n: usize) {
        let task = self.fresh.swap_remove(n);
        self.outcomes.push(took_effect(&task));
    }

    /// A request arrives late, and perhaps somebody hears of it.
    pub(super) fn land_late(&mut self, now: i64, random: &mut Random) {
        if let Some(n) = random.index(&self.flights) {
            let Flight { task, takes } = self.flights.swap_remove(n);
            self.land(&task, takes);
            if random.one_in(2) {
                self.ask(&task, &subject_of(&task.kind), now);
            }
        }
    }

    /// After its window nothing lands any more: it landed before, or never does.
    pub(super) fn pass(&mut self, now: i64, random: &mut Random) {
        while let Some(n) = self.flights.iter().position(|flight| now > flight.task.absent_after.0) {
            let Flight { task, takes } = self.flights.swap_remove(n);
            if random.one_in(2) {
                self.land(&task, takes);
            }
        }
    }

    fn land(&mut self, task: &Task, takes: bool) {
        let account = self.accounts.entry(task.trade_no).or_default();
        match &task.kind {
            TaskKind::Charge(call) => account.charge(call.trade_amount.twd(), takes),
            TaskKind::Refund(call) => account.refund(call.trade_no, call.trade_amount.twd(), takes),
            TaskKind::Reverse(call) => account.reverse(call.amount, takes),
            TaskKind::Inquire(_) => {}
        }
    }

    fn not_sent(&mut self, task: &Task) {
        self.outcomes.push(outcome(task, &subject_of(&task.kind), Word::NotSent));
    }

    fn lost(&mut self, task: &Task, subject: &Subject) {
        self.outcomes.push(outcome(task, subject, Word::Unknown));
    }

    /// The owner of the task is gone, and the next one asks, since it may have been sent. A refusal
    /// that it finds may be an earlier reversal's, as long as this one can land.
    fn ask_instead(&mut self, task: &Task, subject: &Subject, now: i64) {
        let refused = self.account(task.trade_no).reversal == Some(Decided::Refused);
        if *subject == Subject::Reversal && refused && now <= task.absent_after.0 {
            self.lost(task, subject);
        } else {
            self.ask(task, subject, now);
        }
    }

    /// The issuer says what it knows; not to know a number proves absence only after the window.
    fn ask(&mut self, task: &Task, subject: &Subject, now: i64) {
        let account = self.account(task.trade_no);
        let word = if now > task.absent_after.0 { Word::Absent } else { Word::Unknown };
        let movement = match subject {
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
        Subject::Refund { number, .. } => MovementOutcome::Refund(number, given_back(30)),
        Subject::Reversal => MovementOutcome::Reversal(reversed()),
    };
    Outcome { key: task.key.clone(), task: task.id, movement }
}

/// What a worker or an issuer says that is the same for every movement.
#[derive(Clone, Copy)]
enum Word {
    Unknown,
    NotSent,
    Absent,
    Ambiguous,
    Declined,
}

impl Word {
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

fn outcome(task: &Task, subject: &Subject, word: Word) -> Outcome {
    let movement = match subject {
        Subject::Charge => MovementOutcome::Charge(word.result()),
        Subject::Refund { number, .. } => MovementOutcome::Refund(number.clone(), word.result()),
        Subject::Reversal => MovementOutcome::Reversal(word.result()),
    };
    Outcome { key: task.key.clone(), task: task.id, movement }
}
