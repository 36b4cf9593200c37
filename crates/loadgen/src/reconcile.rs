//! Reconciles a run: every payment and refund of it is inquired about, and its answers are compared
//! with the inquiry and with the simulator's ledger. All are compared, not only a sample.

mod evidence;

use std::{
    collections::{BTreeMap, HashMap},
    hash::BuildHasher,
};

use serde::Serialize;
use twqr_wire::pos::OrderStatus;

pub use evidence::{InquiredOrder, Ledger, LedgerCount, inquire, read_ledger};

use crate::{
    generator::{CallRecord, Reply},
    traffic::CallKind,
};

/// How many faults of each kind the report names.
const NAMED_MAX: usize = 20;

/// The result of a reconciliation. A run passes only if every order matches.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Reconciliation {
    /// Payments and refunds that were compared.
    pub orders: u64,
    /// The orders whose answers, inquiry and ledger agree.
    pub matched: u64,
    /// The orders for which two of these differ.
    pub mismatched: u64,
    /// The orders that were accepted or moved money but are not found, or never became final.
    pub missing: u64,
    /// The orders that moved money more than once.
    pub twice: u64,
    /// Entries of the ledger under a number of the run that no call used.
    pub unexpected_entries: u64,
    /// Whether the ledger was compared too; false if its address is not known.
    pub with_ledger: bool,
    /// The first faults, in words.
    pub faults: Vec<String>,
}

impl Reconciliation {
    /// Whether no fault was found.
    pub const fn is_clean(&self) -> bool {
        self.mismatched == 0 && self.missing == 0 && self.twice == 0 && self.unexpected_entries == 0
    }

    fn fault(&mut self, text: impl FnOnce() -> String) {
        if self.faults.len() < NAMED_MAX {
            self.faults.push(text());
        }
    }
}

/// The fault of an order.
enum OrderFault {
    Mismatch(String),
    Missing(String),
    Twice(String),
}

use OrderFault::{Mismatch, Missing, Twice};

/// Compares all records with the inquiries, by the order's or refund's number, and with the ledger
/// if it is known. `name` gives a number's MerchantTradeNo.
pub fn reconcile<S: BuildHasher>(
    records: &[CallRecord],
    inquiries: &HashMap<u64, InquiredOrder, S>,
    ledger: Option<&Ledger>,
    name: impl Fn(u64) -> String,
) -> Reconciliation {
    let mut found = Reconciliation { with_ledger: ledger.is_some(), ..Reconciliation::default() };
    let mut orders: BTreeMap<u64, Vec<&CallRecord>> = BTreeMap::new();
    let mut refunds: BTreeMap<u64, &CallRecord> = BTreeMap::new();
    for record in records {
        match record.kind {
            CallKind::Refund => drop(refunds.insert(record.refund, record)),
            CallKind::Pay | CallKind::Repeat | CallKind::Invalid | CallKind::Cancel => {
                orders.entry(record.order).or_default().push(record);
            }
            CallKind::Conflict | CallKind::Inquiry => {}
        }
    }
    let count = |number: &u64| ledger.map(|ledger| ledger.counts.get(number).copied().unwrap_or_default());
    for (number, calls) in &orders {
        found.note(&name, *number, payment(calls, inquiries.get(number), count(number)));
    }
    for (number, call) in &refunds {
        found.note(&name, *number, refund(call, inquiries.get(number), count(number)));
    }
    for number in ledger.iter().flat_map(|ledger| ledger.counts.keys()) {
        if !orders.contains_key(number) && !refunds.contains_key(number) {
            found.unexpected_entries += 1;
            found.fault(|| format!("{}: in the ledger, but no call used this number", name(*number)));
        }
    }
    found
}

impl Reconciliation {
    fn note(&mut self, name: impl Fn(u64) -> String, number: u64, result: Result<(), OrderFault>) {
        self.orders += 1;
        let Err(fault) = result else {
            self.matched += 1;
            return;
        };
        let text = match fault {
            Mismatch(text) => {
                self.mismatched += 1;
                format!("mismatch: {text}")
            }
            Missing(text) => {
                self.missing += 1;
                format!("missing: {text}")
            }
            Twice(text) => {
                self.twice += 1;
                format!("twice: {text}")
            }
        };
        self.fault(|| format!("{}: {text}", name(number)));
    }
}

/// Compares a payment: its answers and those of its repeats and cancels.
fn payment(
    calls: &[&CallRecord],
    inquired: Option<&InquiredOrder>,
    ledger: Option<LedgerCount>,
) -> Result<(), OrderFault> {
    if let Some(count) = ledger.filter(|count| count.charges > 1) {
        return Err(Twice(format!("charged {} times", count.charges)));
    }
    let inquired = inquired.ok_or_else(|| Missing("the inquiry has no answer".into()))?;
    let accepted: Vec<&&CallRecord> = calls.iter().filter(|call| call.is_accepted()).collect();
    let is_charged = ledger.map(|count| count.charges == 1);
    match inquired.status {
        None if is_charged == Some(true) => return Err(Missing("charged, but there is no order".into())),
        None if accepted.iter().any(|call| call.kind != CallKind::Cancel) => {
            return Err(Missing("accepted, but there is no order".into()));
        }
        None => return Ok(()),
        Some(OrderStatus::InProgress) => return Err(Missing("never became final".into())),
        Some(OrderStatus::Paid | OrderStatus::FullyRefunded | OrderStatus::PartlyRefunded) => {
            if is_charged == Some(false) {
                return Err(Mismatch("paid, but not in the ledger".into()));
            }
            if ledger.is_some_and(|count| count.charged != inquired.debit) {
                return Err(Mismatch(format!("debit {}, but not in the ledger", inquired.debit)));
            }
        }
        Some(OrderStatus::Failed) => {
            if is_charged == Some(true) {
                return Err(Mismatch("failed, but charged".into()));
            }
        }
        Some(OrderStatus::RefundSucceeded) => return Err(Mismatch("the inquiry answers a refund's state".into())),
    }
    for call in accepted.iter().filter(|call| call.kind == CallKind::Cancel) {
        cancel(call, inquired, ledger)?;
    }
    for call in accepted.iter().filter(|call| call.kind != CallKind::Cancel && !call.is_in_progress) {
        // Once a payment is cancelled, its repeats and inquiries say so; its first answer was true.
        let has_cancel = calls.iter().any(|call| call.kind == CallKind::Cancel);
        if has_cancel && call.reply == Reply::Status(*b"812") {
            continue;
        }
        let is_cancelled = has_cancel && &inquired.code == b"812" && call.is_success();
        if !is_cancelled && call.reply != Reply::Status(inquired.code) {
            return Err(Mismatch(format!("answered {}, the inquiry says {}", call.result(), inquired.code_text())));
        }
        if call.is_success() && call.debit != inquired.debit {
            return Err(Mismatch(format!("answered debit {}, the inquiry says {}", call.debit, inquired.debit)));
        }
    }
    Ok(())
}

/// Compares a cancel with the inquiry about its payment.
fn cancel(call: &CallRecord, inquired: &InquiredOrder, ledger: Option<LedgerCount>) -> Result<(), OrderFault> {
    let reply = call.known_reply().ok_or_else(|| Missing("the cancel never became final".into()))?;
    let is_cancelled = inquired.status == Some(OrderStatus::FullyRefunded);
    let is_reversed = ledger.map_or(is_cancelled, |count| count.reversals == 1);
    if let Some(count) = ledger.filter(|count| count.reversals == 1 && count.reversed != count.charged) {
        return Err(Mismatch(format!("charged {}, but {} was reversed", count.charged, count.reversed)));
    }
    match (reply == Reply::Status(*b"000"), is_cancelled && is_reversed, is_cancelled || is_reversed) {
        (true, false, _) => Err(Mismatch("cancelled, but not reversed".into())),
        (false, _, true) => Err(Mismatch(format!("the cancel answered {}, but it is reversed", call.result()))),
        (true, true, _) | (false, _, false) => Ok(()),
    }
}

/// Compares a refund with the inquiry about it.
fn refund(call: &CallRecord, inquired: Option<&InquiredOrder>, ledger: Option<LedgerCount>) -> Result<(), OrderFault> {
    if let Some(count) = ledger.filter(|count| count.refunds > 1) {
        return Err(Twice(format!("refunded {} times", count.refunds)));
    }
    let inquired = inquired.ok_or_else(|| Missing("the inquiry has no answer".into()))?;
    let is_refunded = ledger.map(|count| count.refunds == 1);
    match inquired.status {
        Some(OrderStatus::InProgress) => Err(Missing("the refund never became final".into())),
        Some(OrderStatus::RefundSucceeded) if is_refunded == Some(false) => {
            Err(Mismatch("refunded, but not in the ledger".into()))
        }
        Some(OrderStatus::RefundSucceeded) if ledger.is_some_and(|count| count.refunded != call.amount) => {
            let refunded = ledger.unwrap_or_default().refunded;
            Err(Mismatch(format!("a refund of {}, but {refunded} in the ledger", call.amount)))
        }
        Some(OrderStatus::RefundSucceeded) if call.is_accepted() && !call.is_in_progress && !call.is_success() => {
            Err(Mismatch(format!("answered {}, the inquiry says refunded", call.result())))
        }
        Some(OrderStatus::RefundSucceeded) => Ok(()),
        Some(OrderStatus::Failed | OrderStatus::Paid | OrderStatus::FullyRefunded | OrderStatus::PartlyRefunded)
        | None => {
            if is_refunded == Some(true) {
                Err(Mismatch("in the ledger, but the inquiry does not say refunded".into()))
            } else if call.is_success() {
                Err(Mismatch("answered 000, but the inquiry does not say refunded".into()))
            } else {
                Ok(())
            }
        }
    }
}

#[cfg(test)]
mod tests;
