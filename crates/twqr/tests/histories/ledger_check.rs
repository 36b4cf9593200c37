//! Compares the orders with the entries of the issuers' ledger: each movement was sent once, has
//! the amount of its order, and failed only with evidence that is true (I1, I4, I6).

use std::collections::{BTreeMap, BTreeSet};

use twqr_order::{CancelStage, Evidence, Failure, Order, Payment, Phase, Refund, RefundEntry, RefundPhase};
use twqr_types::{Carrier, StatusCode};
use twqr_wire::backend::{LedgerEntry, ledger_entry::Kind};

use crate::{log_reader::Orders, simulated_issuers::SimulatedIssuers};

/// One payment with its ledger entries, and the violations found so far.
struct PaymentCheck<'a> {
    payment: &'a Payment,
    entries: Vec<&'a LedgerEntry>,
    /// Whether the issuer answers inquiries about calls that it refused.
    remembers_refusals: bool,
    violations: &'a mut Vec<String>,
}

/// Adds a violation for each disagreement between orders and ledger.
pub fn check_ledger(orders: &Orders, issuers: &SimulatedIssuers, violations: &mut Vec<String>) {
    let ledger = &issuers.ledger();
    check_arrived_once(ledger, &idempotent_numbers(orders), violations);
    let mut by_trade: BTreeMap<&str, Vec<&LedgerEntry>> = BTreeMap::new();
    for entry in ledger {
        by_trade.entry(&entry.trade_no).or_default().push(entry);
    }
    let payments: Vec<&Payment> = orders.values().filter_map(Order::as_payment).collect();
    for payment in &payments {
        let entries = by_trade.remove(payment.trade_no.as_str()).unwrap_or_default();
        let remembers_refusals = payment.issuer.is_none_or(|issuer| issuers.kind(issuer).remembers_refusals());
        let mut check = PaymentCheck { payment, entries, remembers_refusals, violations };
        check.check_charge();
        check.check_refunds();
        check.check_cancel();
        check.check_sums();
    }
    violations
        .extend(by_trade.keys().map(|number| format!("I4: the ledger has the TradeNo {number}, which no payment has")));
    for order in orders.values() {
        if let Order::Refund(refund) = order {
            let payment = payments.iter().find(|payment| payment.trade_no == refund.payment);
            check_refund_order(refund, payment.copied(), violations);
        }
    }
}

/// The TradeNos of idempotent charges and refunds.
fn idempotent_numbers(orders: &Orders) -> BTreeSet<String> {
    let of_payment = |payment: &Payment| {
        let refunds = payment.refunds.iter().map(|entry| (entry.refund.is_idempotent, entry.trade_no));
        std::iter::once((payment.charge.is_idempotent, payment.trade_no)).chain(refunds).collect::<Vec<_>>()
    };
    let all = orders.values().filter_map(Order::as_payment).flat_map(of_payment);
    all.filter(|(is_idempotent, _)| *is_idempotent).map(|(_, number)| number.as_str().to_owned()).collect()
}

/// I1: an order is charged at most once, a refund and a reversal take effect at most once, and no
/// charge or refund was sent twice. Only idempotent ones may be sent again, and a reversal after a
/// refusal.
fn check_arrived_once(ledger: &[LedgerEntry], idempotent: &BTreeSet<String>, violations: &mut Vec<String>) {
    let mut arrived: BTreeMap<(&str, &str, &str), usize> = BTreeMap::new();
    for entry in ledger {
        let for_trade = |movement| (movement, entry.merchant_id.as_str(), entry.trade_no.as_str());
        let reversed = arrived.contains_key(&for_trade("reversal"));
        let movement = match entry.kind() {
            Kind::Charged => {
                let order = ("order", entry.merchant_id.as_str(), entry.merchant_trade_no.as_str());
                *arrived.entry(order).or_default() += 1;
                for_trade("charge")
            }
            Kind::Declined => for_trade("charge"),
            Kind::Refunded | Kind::RefundDeclined => ("refund", "", entry.refund_trade_no.as_str()),
            Kind::Reversed => for_trade("reversal"),
            Kind::Repeated if idempotent.contains(number_of(entry)) => continue,
            Kind::Repeated if !entry.refund_trade_no.is_empty() => ("refund", "", entry.refund_trade_no.as_str()),
            Kind::Repeated if !reversed => for_trade("charge"),
            // A reversal may be sent again.
            Kind::Repeated | Kind::ReversalDeclined => continue,
            Kind::Unspecified => ("entry without a kind", "", entry.trade_no.as_str()),
        };
        *arrived.entry(movement).or_default() += 1;
    }
    violations.extend(
        arrived.iter().filter(|(_, n)| **n > 1).map(|(movement, n)| format!("I1: {movement:?} arrived {n} times")),
    );
}

/// The number of the charge or refund that an entry is about.
fn number_of(entry: &LedgerEntry) -> &str {
    if entry.refund_trade_no.is_empty() { &entry.trade_no } else { &entry.refund_trade_no }
}

impl PaymentCheck<'_> {
    fn report(&mut self, what: &str) {
        let (key, entries) = (&self.payment.key, &self.entries);
        self.violations.push(format!("{key}: {what}: {:?}, the ledger has {entries:?}", self.payment));
    }

    /// The entry of this kind for the refund with this TradeNo; empty for the payment itself.
    fn entry(&self, kind: Kind, refund: &str) -> Option<&LedgerEntry> {
        self.entries.iter().find(|entry| entry.kind() == kind && entry.refund_trade_no == refund).copied()
    }

    /// A paid payment was charged with its amount, and a failed one was not charged.
    fn check_charge(&mut self) {
        let charged = self.entry(Kind::Charged, "");
        match &self.payment.charge.phase {
            Phase::Done(approval) => {
                let amounts = (self.payment.terms.trade_amount.twd(), approval.debit_amount);
                if charged.map(|entry| (entry.trade_amount, entry.debit_amount)) != Some(amounts) {
                    self.report("I4: the charge differs");
                }
                if !approval.card_no_masked.is_empty() && !approval.card_no_masked.contains('*') {
                    self.report("the card number is not masked");
                }
                let carrier = &approval.invoice_vehicle;
                if !carrier.is_empty() && Carrier::parse(carrier).is_none() {
                    self.report("the carrier is malformed");
                }
            }
            Phase::Failed(failure) => self.check_failure(failure, (Kind::Charged, Kind::Declined), ""),
            Phase::Sent { .. } | Phase::Unresolved { .. } | Phase::Inquiring { .. } => {}
        }
        if self.payment.contradiction.is_some() {
            self.report("I6: an issuer contradicted its final state");
        }
    }

    /// I6: a failed movement did not take effect, and the issuer declined it if and only if that is
    /// the evidence.
    fn check_failure(&mut self, failure: &Failure, (done, declined): (Kind, Kind), refund: &str) {
        if self.entry(done, refund).is_some() {
            self.report("I6: a failed movement took effect");
        }
        let is_declined = self.entry(declined, refund).is_some();
        let is_forgotten = is_declined && !self.remembers_refusals && failure.evidence == Evidence::Absent;
        if is_declined != (failure.evidence == Evidence::Declined) && !is_forgotten {
            self.report("I6: the evidence of a failure is false");
        }
    }

    fn check_refunds(&mut self) {
        for RefundEntry { trade_no, amount, refund, .. } in &self.payment.refunds {
            match &refund.phase {
                Phase::Done(refunded) => {
                    let entry = self.entry(Kind::Refunded, trade_no.as_str());
                    let amounts = (amount.twd(), refunded.debit_amount);
                    if entry.map(|entry| (entry.trade_amount, entry.debit_amount)) != Some(amounts) {
                        self.report(&format!("I4: refund {trade_no} differs"));
                    }
                }
                Phase::Failed(failure) => {
                    self.check_failure(failure, (Kind::Refunded, Kind::RefundDeclined), trade_no.as_str());
                }
                Phase::Sent { .. } | Phase::Unresolved { .. } | Phase::Inquiring { .. } => {}
            }
        }
        let is_known = |number: &str| self.payment.refunds.iter().any(|entry| entry.trade_no.as_str() == number);
        if self.entries.iter().any(|entry| !entry.refund_trade_no.is_empty() && !is_known(&entry.refund_trade_no)) {
            self.report("I4: the ledger has a refund that the payment does not have");
        }
    }

    /// The ledger has a reversal of this amount if and only if the payment has one, and a refused
    /// cancel was refused by the issuer.
    fn check_cancel(&mut self) {
        let cancel = self.payment.cancel.as_ref();
        let reversed = cancel.and_then(|cancel| match &cancel.stage {
            CancelStage::Reversing(reversal) => reversal.done().map(|_| cancel.amount),
            CancelStage::Blocked | CancelStage::Retry { .. } | CancelStage::NothingToReverse => None,
        });
        if self.entry(Kind::Reversed, "").map(|entry| entry.trade_amount) != reversed {
            self.report("I4: the reversal differs");
        }
        let refusal = cancel.and_then(|cancel| cancel.refusal());
        let is_declined = self.entry(Kind::ReversalDeclined, "").is_some();
        if refusal.is_some_and(|failure| failure.evidence != Evidence::Declined || !is_declined) {
            self.report("I6: the cancel is refused, but no issuer declined it");
        }
    }

    /// I4: the amount that the customer has paid in the end equals that of the order, and is never
    /// negative.
    fn check_sums(&mut self) {
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
        let expected = charged - self.payment.refunded() - cancelled;
        if left != expected || left < 0 {
            self.report(&format!("I4: the ledger leaves {left} TWD charged, the order says {expected}"));
        }
    }
}

/// I4: a refund order agrees with its payment's entry, and the payment keeps an entry for every
/// refund that requested one.
fn check_refund_order(refund: &Refund, payment: Option<&Payment>, violations: &mut Vec<String>) {
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
        violations.push(format!("I4: {}: {refund:?}, its payment has {entry:?}", refund.key));
    }
}
