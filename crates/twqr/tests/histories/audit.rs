//! The money of a history: what the orders say against the ledger, entry by entry (I1, I4, I6).

use std::collections::BTreeMap;

use twqr_order::{CancelStage, Evidence, Failure, Order, Payment, Phase, Refund, RefundEntry, RefundPhase};
use twqr_types::{Carrier, StatusCode};
use twqr_wire::backend::{LedgerEntry, ledger_entry::Kind};

use crate::verdict::Orders;

/// What the ledger says of one payment, and what is wrong with it.
struct Book<'a> {
    payment: &'a Payment,
    entries: Vec<&'a LedgerEntry>,
    found: &'a mut Vec<String>,
}

pub fn money_agrees(orders: &Orders, ledger: &[LedgerEntry], found: &mut Vec<String>) {
    arrived_once(ledger, found);
    let mut by_trade: BTreeMap<&str, Vec<&LedgerEntry>> = BTreeMap::new();
    for entry in ledger {
        by_trade.entry(&entry.trade_no).or_default().push(entry);
    }
    let payments: Vec<&Payment> = orders.values().filter_map(Order::as_payment).collect();
    for payment in &payments {
        let entries = by_trade.remove(payment.trade_no.as_str()).unwrap_or_default();
        let mut book = Book { payment, entries, found };
        book.charge();
        book.refunds();
        book.cancel();
        book.sums();
    }
    found.extend(by_trade.keys().map(|number| format!("I4: the ledger has {number}, which is no payment")));
    for order in orders.values() {
        if let Order::Refund(refund) = order {
            let payment = payments.iter().find(|payment| payment.trade_no == refund.payment);
            refund_agrees(refund, payment.copied(), found);
        }
    }
}

/// I1: an order is charged once at the most, a refund number and a reversal take effect once, and
/// none of them was ever sent twice.
fn arrived_once(ledger: &[LedgerEntry], found: &mut Vec<String>) {
    let mut arrived: BTreeMap<(&str, &str, &str), usize> = BTreeMap::new();
    for entry in ledger {
        let of_trade = |what| (what, entry.merchant_id.as_str(), entry.trade_no.as_str());
        let reversed = arrived.contains_key(&of_trade("reversal"));
        let what = match entry.kind() {
            Kind::Charged => {
                let order = ("order", entry.merchant_id.as_str(), entry.merchant_trade_no.as_str());
                *arrived.entry(order).or_default() += 1;
                of_trade("charge")
            }
            Kind::Declined => of_trade("charge"),
            Kind::Refunded | Kind::RefundDeclined => ("refund", "", entry.refund_trade_no.as_str()),
            Kind::Reversed => of_trade("reversal"),
            Kind::Repeated if !entry.refund_trade_no.is_empty() => ("refund", "", entry.refund_trade_no.as_str()),
            Kind::Repeated if !reversed => of_trade("charge"),
            // A reversal may be tried again.
            Kind::Repeated | Kind::ReversalDeclined => continue,
            Kind::Unspecified => ("entry of no kind", "", entry.trade_no.as_str()),
        };
        *arrived.entry(what).or_default() += 1;
    }
    found.extend(arrived.iter().filter(|(_, n)| **n > 1).map(|(what, n)| format!("I1: {what:?} arrived {n} times")));
}

impl Book<'_> {
    fn wrong(&mut self, what: &str) {
        let (key, entries) = (&self.payment.key, &self.entries);
        self.found.push(format!("{key}: {what}: {:?}, the ledger says {entries:?}", self.payment));
    }

    fn entry(&self, kind: Kind, refund: &str) -> Option<&LedgerEntry> {
        let found = self.entries.iter().find(|entry| entry.kind() == kind && entry.refund_trade_no == refund);
        found.copied()
    }

    /// Paid is charged with that amount; failed is not charged, and its evidence is true.
    fn charge(&mut self) {
        let charged = self.entry(Kind::Charged, "");
        match &self.payment.charge.phase {
            Phase::Done(approval) => {
                let amounts = (self.payment.terms.trade_amount.twd(), approval.debit_amount);
                if charged.map(|entry| (entry.trade_amount, entry.debit_amount)) != Some(amounts) {
                    self.wrong("I4: the charge");
                }
                if !approval.card_no_masked.is_empty() && !approval.card_no_masked.contains('*') {
                    self.wrong("the card number is whole");
                }
                let carrier = &approval.invoice_vehicle;
                if !carrier.is_empty() && Carrier::parse(carrier).is_none() {
                    self.wrong("the carrier is none");
                }
            }
            Phase::Failed(failure) => self.failed(failure, (Kind::Charged, Kind::Declined), ""),
            Phase::Sent { .. } | Phase::Unresolved { .. } | Phase::Inquiring { .. } => {}
        }
        if self.payment.contradiction.is_some() {
            self.wrong("I6: an issuer contradicted it");
        }
    }

    /// I6: what failed did not take effect, and was declined if and only if that is the evidence.
    fn failed(&mut self, failure: &Failure, (done, declined): (Kind, Kind), refund: &str) {
        if self.entry(done, refund).is_some() {
            self.wrong("I6: it failed, and took effect");
        }
        if self.entry(declined, refund).is_some() != (failure.evidence == Evidence::Declined) {
            self.wrong("I6: the evidence is not true");
        }
    }

    fn refunds(&mut self) {
        for RefundEntry { trade_no, amount, refund, .. } in &self.payment.refunds {
            match &refund.phase {
                Phase::Done(refunded) => {
                    let entry = self.entry(Kind::Refunded, trade_no.as_str());
                    let amounts = (amount.twd(), refunded.debit_amount);
                    if entry.map(|entry| (entry.trade_amount, entry.debit_amount)) != Some(amounts) {
                        self.wrong(&format!("I4: refund {trade_no}"));
                    }
                }
                Phase::Failed(failure) => {
                    self.failed(failure, (Kind::Refunded, Kind::RefundDeclined), trade_no.as_str());
                }
                Phase::Sent { .. } | Phase::Unresolved { .. } | Phase::Inquiring { .. } => {}
            }
        }
        let known = |number: &str| self.payment.refunds.iter().any(|entry| entry.trade_no.as_str() == number);
        if self.entries.iter().any(|entry| !entry.refund_trade_no.is_empty() && !known(&entry.refund_trade_no)) {
            self.wrong("I4: a refund that the payment does not know");
        }
    }

    /// Taken back with that amount if and only if it is said so; refused only if the issuer
    /// refused.
    fn cancel(&mut self) {
        let cancel = self.payment.cancel.as_ref();
        let taken_back = cancel.and_then(|cancel| match &cancel.stage {
            CancelStage::Reversing(reversal) => reversal.done().map(|_| cancel.amount),
            CancelStage::Blocked | CancelStage::Retry { .. } | CancelStage::NothingToReverse => None,
        });
        if self.entry(Kind::Reversed, "").map(|entry| entry.trade_amount) != taken_back {
            self.wrong("I4: the reversal");
        }
        let refusal = cancel.and_then(|cancel| cancel.refusal());
        let refused = self.entry(Kind::ReversalDeclined, "").is_some();
        if refusal.is_some_and(|failure| failure.evidence != Evidence::Declined || !refused) {
            self.wrong("I6: the cancel is refused by nobody");
        }
    }

    /// I4: what the customer has paid is what the order says, and never less than nothing.
    fn sums(&mut self) {
        let sum = |kind: Kind| -> i64 {
            let of_kind = self.entries.iter().filter(|entry| entry.kind() == kind);
            of_kind.map(|entry| entry.trade_amount).sum()
        };
        let left = sum(Kind::Charged) - sum(Kind::Refunded) - sum(Kind::Reversed);
        let charged = if self.payment.is_paid() { self.payment.terms.trade_amount.twd() } else { 0 };
        let cancelled = match &self.payment.cancel {
            Some(cancel) if cancel.is_complete() => cancel.amount,
            Some(_) | None => 0,
        };
        let said = charged - self.payment.refunded() - cancelled;
        if left != said || left < 0 {
            self.wrong(&format!("I4: {left} TWD are left of it, the order says {said}"));
        }
    }
}

/// I4: the refund order says what its payment says, and a payment keeps every number that asked.
fn refund_agrees(refund: &Refund, payment: Option<&Payment>, found: &mut Vec<String>) {
    let payment = payment.filter(|payment| payment.key.merchant_id == refund.key.merchant_id);
    let entry = payment.and_then(|payment| {
        let mut entries = payment.refunds.iter();
        entries.find(|entry| entry.trade_no == refund.trade_no && entry.number == refund.key.merchant_trade_no)
    });
    let agrees = match (payment, entry, &refund.phase) {
        (None, _, RefundPhase::Failed(failure)) => {
            failure.evidence == Evidence::Refused && failure.status_code == StatusCode::NO_SUCH_ORDER
        }
        (Some(_), Some(entry), RefundPhase::Failed(failure)) => entry.refund.failure() == Some(failure),
        (Some(_), Some(entry), RefundPhase::Succeeded(success)) => {
            entry.amount == refund.terms.trade_amount && entry.refund.done() == Some(&success.refunded)
        }
        (_, _, RefundPhase::Requested { .. }) => true,
        (None, _, RefundPhase::Succeeded(_)) | (Some(_), None, _) => false,
    };
    if !agrees {
        found.push(format!("I4: {}: {refund:?}, its payment says {entry:?}", refund.key));
    }
}
