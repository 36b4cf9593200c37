//! The audit of the second day: what callers were told, what orders say, and what must have come of
//! each call, against the ledger of wallet and issuers.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;
use twqr_types::{Carrier, StatusCode};
use twqr_wire::{
    backend::{LedgerEntry, ledger_entry::Kind},
    pos::{OrderStatus, PayResponse, PaymentType, QueryResponse, RefundResponse},
};

use super::{Call, Played};
use crate::TradeKey;

/// What the audit found; each list should be empty.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct WholeAudit {
    /// Charged, given back or taken back more than once, or sent to the wallet twice.
    pub twice: Vec<String>,
    /// More was given back than was charged.
    pub over_refunded: Vec<String>,
    /// Accepted, and there is no order; or an order that never ended; or money that moved for no
    /// order.
    pub lost: Vec<String>,
    /// The caller, the order and the ledger do not say the same.
    pub contradicted: Vec<String>,
    /// A call came to something else than its line says.
    pub unexpected: Vec<String>,
    /// A field that an answer may not have so: signs and sums of amounts, carriers, card numbers,
    /// institution codes.
    pub malformed: Vec<String>,
}

impl WholeAudit {
    /// Nothing was found.
    pub fn is_clean(&self) -> bool {
        *self == Self::default()
    }
}

/// What the ledger says of one charge.
#[derive(Default)]
struct Account {
    charged: Vec<i64>,
    refunded: BTreeMap<String, Vec<i64>>,
    reversed: Vec<i64>,
    repeated: usize,
}

fn accounts(entries: &[LedgerEntry]) -> BTreeMap<&str, Account> {
    let mut accounts: BTreeMap<&str, Account> = BTreeMap::new();
    for entry in entries {
        let account = accounts.entry(entry.trade_no.as_str()).or_default();
        match entry.kind() {
            Kind::Charged => account.charged.push(entry.trade_amount),
            Kind::Refunded => {
                account.refunded.entry(entry.refund_trade_no.clone()).or_default().push(entry.trade_amount);
            }
            Kind::Reversed => account.reversed.push(entry.trade_amount),
            Kind::Repeated => account.repeated += 1,
            Kind::Unspecified | Kind::Declined | Kind::RefundDeclined | Kind::ReversalDeclined => {}
        }
    }
    accounts
}

/// Compares. `orders` holds the last answer about each payment (false) and refund (true) of the
/// day, `entries` the day's part of the ledger.
pub fn audit_whole(
    played: &[Played],
    orders: &BTreeMap<(TradeKey, bool), QueryResponse>,
    entries: &[LedgerEntry],
) -> WholeAudit {
    let mut found = WholeAudit::default();
    let accounts = accounts(entries);
    for (trade_no, account) in &accounts {
        found.check_account(trade_no, account);
    }
    let mut known = BTreeSet::new();
    for ((key, is_refund), order) in orders {
        let name = format!("{}/{}", key.0, key.1);
        match (&order.payment, &order.refund) {
            (Some(payment), _) if !is_refund => {
                known.insert(payment.trade_no.as_str());
                found.check_payment(&name, order, payment, accounts.get(payment.trade_no.as_str()));
            }
            (_, Some(refund)) if *is_refund => {
                found.check_refund(&name, order, refund, accounts.get(refund.trade_no.as_str()));
            }
            _ => {}
        }
    }
    let orphans = accounts.iter().filter(|(number, account)| !known.contains(*number) && !account.charged.is_empty());
    found.lost.extend(orphans.map(|(number, _)| format!("{number}: charged without an order")));
    for call in played {
        found.check_call(call, orders);
    }
    found
}

impl WholeAudit {
    fn check_account(&mut self, trade_no: &str, account: &Account) {
        if account.charged.len() > 1 || account.reversed.len() > 1 {
            self.twice.push(format!("{trade_no}: charged {:?}, reversed {:?}", account.charged, account.reversed));
        }
        for (number, amounts) in account.refunded.iter().filter(|(_, amounts)| amounts.len() > 1) {
            self.twice.push(format!("{trade_no}: refund {number} gave back {amounts:?}"));
        }
        // Reversing again is the same result, and may be tried again.
        if account.repeated > 0 && account.reversed.is_empty() {
            self.twice.push(format!("{trade_no}: sent to the wallet again"));
        }
        let back: i64 = account.refunded.values().flatten().sum::<i64>() + account.reversed.iter().sum::<i64>();
        let charged: i64 = account.charged.iter().sum();
        if back > charged {
            self.over_refunded.push(format!("{trade_no}: charged {charged}, given back {back}"));
        }
    }

    fn check_payment(&mut self, name: &str, order: &QueryResponse, payment: &PayResponse, account: Option<&Account>) {
        let none = Account::default();
        let account = account.unwrap_or(&none);
        let charged: i64 = account.charged.iter().sum();
        let refunded: i64 = account.refunded.values().flatten().sum();
        let reversed: i64 = account.reversed.iter().sum();
        let (is, says) = (order.order_status(), (charged, refunded, reversed));
        let amount = payment.trade_amount;
        let agrees = match is {
            OrderStatus::Paid => says == (amount, 0, 0),
            OrderStatus::Failed => says == (0, 0, 0),
            OrderStatus::PartlyRefunded => charged == amount && (1..amount).contains(&refunded) && reversed == 0,
            OrderStatus::FullyRefunded => charged == amount && refunded + reversed == amount,
            OrderStatus::InProgress | OrderStatus::RefundSucceeded => {
                self.lost.push(format!("{name}: never ended"));
                return;
            }
        };
        if !agrees {
            let (is, (charged, refunded, reversed)) = (is.as_str_name(), says);
            self.contradicted.push(format!(
                "{name}: {is}, of {amount} the ledger charged {charged}, gave back {refunded}, took back {reversed}"
            ));
        }
        self.check_fields(name, payment, charged > 0);
    }

    fn check_refund(&mut self, name: &str, order: &QueryResponse, refund: &RefundResponse, account: Option<&Account>) {
        let gave = account.and_then(|account| account.refunded.get(&refund.refund_trade_no));
        let gave: i64 = gave.into_iter().flatten().sum();
        match order.order_status() {
            OrderStatus::RefundSucceeded if gave == refund.trade_amount => {}
            OrderStatus::Failed if gave == 0 => {}
            OrderStatus::InProgress => self.lost.push(format!("{name}: the refund never ended")),
            is @ (OrderStatus::RefundSucceeded
            | OrderStatus::Failed
            | OrderStatus::Paid
            | OrderStatus::FullyRefunded
            | OrderStatus::PartlyRefunded) => {
                self.contradicted.push(format!(
                    "{name}: {}, of {} the ledger gave back {gave}",
                    is.as_str_name(),
                    refund.trade_amount
                ));
            }
        }
        let parts = [refund.debit_amount, refund.redeem_amount, refund.store_redeem_amount];
        if gave > 0 && (parts.iter().any(|part| *part < 0) || parts.iter().sum::<i64>() != refund.trade_amount) {
            self.malformed.push(format!("{name}: refund of {} in {parts:?}", refund.trade_amount));
        }
    }

    /// Signs, sums and forms of the POS API, section 2.
    fn check_fields(&mut self, name: &str, payment: &PayResponse, is_charged: bool) {
        let mut malformed = |bad: bool, what: &str| {
            if bad {
                self.malformed.push(format!("{name}: {what}"));
            }
        };
        let (redeem, store_redeem) = (payment.redeem_amount, payment.store_redeem_amount);
        malformed(redeem > 0 || store_redeem > 0, "a redemption is positive");
        let sum = payment.trade_amount + redeem + store_redeem;
        malformed(is_charged && sum != payment.debit_amount, "amounts do not add up");
        let carrier = payment.invoice_vehicle.as_str();
        malformed(!carrier.is_empty() && Carrier::parse(carrier).is_none(), "InvoiceVehicle is no carrier");
        match payment.payment_type() {
            PaymentType::OtherIssuer => malformed(payment.extra3.len() != 3, "Extra3 is no institution code"),
            PaymentType::CreditCard => {
                let digits = payment.extra3.split("CardNo").nth(1).unwrap_or_default();
                let shown = digits.chars().filter(char::is_ascii_digit).count();
                malformed(shown > 10, "Extra3 shows a card number");
            }
            PaymentType::Unspecified | PaymentType::StoredValue | PaymentType::BankAccount => {
                malformed(!payment.extra3.is_empty(), "Extra3 is not empty");
            }
        }
    }

    /// What a caller was told stays so, and is what its line says.
    fn check_call(&mut self, call: &Played, orders: &BTreeMap<(TradeKey, bool), QueryResponse>) {
        let key = call.line.call.key();
        let name = format!("{} {}/{}", call.line.call.name(), key.0, key.1);
        if let Some(expect) = call.line.expect.as_ref().filter(|expect| **expect != call.result) {
            self.unexpected.push(format!("{name}: {}, must be {expect}", call.result));
        }
        let of = |is_refund| orders.get(&(key.clone(), is_refund)).and_then(|order| order.order_status);
        let is = |status: OrderStatus| Some(i32::from(status));
        match &call.line.call {
            Call::Payment(_) => {
                let told_paid = call.payment.as_ref().is_some_and(|payment| payment.status_code == StatusCode::SUCCESS);
                if told_paid && [is(OrderStatus::Failed), None].contains(&of(false)) {
                    self.contradicted.push(format!("{name}: told paid, the order is {:?}", of(false)));
                }
            }
            Call::Refund { .. } => {
                let Some(told) = call.refund.as_ref().filter(|refund| !refund.refund_trade_no.is_empty()) else {
                    return;
                };
                let expected = if told.status_code == StatusCode::SUCCESS {
                    OrderStatus::RefundSucceeded
                } else {
                    OrderStatus::Failed
                };
                if of(true) != is(expected) {
                    self.contradicted.push(format!("{name}: told {}, the order is {:?}", told.status_code, of(true)));
                }
            }
            Call::Cancel(_) => {
                let kept = [is(OrderStatus::Paid), is(OrderStatus::PartlyRefunded), is(OrderStatus::InProgress)];
                if call.result == StatusCode::SUCCESS && kept.contains(&of(false)) {
                    self.contradicted.push(format!("{name}: told cancelled, the order is {:?}", of(false)));
                }
            }
            Call::Inquiry(_) => {}
        }
    }
}

#[cfg(test)]
mod tests;
