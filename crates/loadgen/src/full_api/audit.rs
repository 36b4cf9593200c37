//! The audit of the full-API day: compares the answers to callers, the orders and the expected
//! results with the ledger of the wallet and the issuers.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;
use twqr_types::{Carrier, StatusCode};
use twqr_wire::{
    backend::{LedgerEntry, ledger_entry::Kind},
    pos::{OrderStatus, PayResponse, PaymentType, QueryResponse, RefundResponse},
};

use super::{Call, PlayedCall};
use crate::TradeKey;

/// The faults that an audit found. Each list should be empty.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct FullApiAudit {
    /// Charges, refunds and reversals that took effect more than once.
    pub twice: Vec<String>,
    /// Charges of which refunds and reversals returned more than was charged.
    pub over_refunded: Vec<String>,
    /// Orders that never became final, and charges without an order.
    pub lost: Vec<String>,
    /// Calls and orders that differ from each other or from the ledger.
    pub contradicted: Vec<String>,
    /// Calls whose result is not the expected one.
    pub unexpected: Vec<String>,
    /// Answers with an invalid field: signs and sums of amounts, carriers, card numbers,
    /// institution codes.
    pub malformed: Vec<String>,
}

impl FullApiAudit {
    /// Whether no fault was found.
    pub fn is_clean(&self) -> bool {
        *self == Self::default()
    }
}

/// The ledger's entries about one charge, in whole TWD.
#[derive(Default)]
struct ChargeEntries {
    charged: Vec<i64>,
    /// By the refund's TradeNo.
    refunded: BTreeMap<String, Vec<i64>>,
    reversed: Vec<i64>,
}

/// The ledger's entries by the TradeNo of their charge.
fn by_charge(entries: &[LedgerEntry]) -> BTreeMap<&str, ChargeEntries> {
    let mut charges: BTreeMap<&str, ChargeEntries> = BTreeMap::new();
    for entry in entries {
        let charge = charges.entry(entry.trade_no.as_str()).or_default();
        match entry.kind() {
            Kind::Charged => charge.charged.push(entry.trade_amount),
            Kind::Refunded => {
                charge.refunded.entry(entry.refund_trade_no.clone()).or_default().push(entry.trade_amount);
            }
            Kind::Reversed => charge.reversed.push(entry.trade_amount),
            // An idempotent issuer may be sent the same number again.
            Kind::Repeated | Kind::Unspecified | Kind::Declined | Kind::RefundDeclined | Kind::ReversalDeclined => {}
        }
    }
    charges
}

impl ChargeEntries {
    fn charged(&self) -> i64 {
        self.charged.iter().sum()
    }

    fn refunded(&self) -> i64 {
        self.refunded.values().flatten().sum()
    }

    fn reversed(&self) -> i64 {
        self.reversed.iter().sum()
    }
}

/// Compares calls, orders and ledger. `orders` holds the last answer about each payment (false) and
/// refund (true) of the day, `entries` the day's part of the ledger.
pub fn audit_full_api(
    played: &[PlayedCall],
    orders: &BTreeMap<(TradeKey, bool), QueryResponse>,
    entries: &[LedgerEntry],
) -> FullApiAudit {
    let mut found = FullApiAudit::default();
    let charges = by_charge(entries);
    for (trade_no, charge) in &charges {
        found.check_charge(trade_no, charge);
    }
    let mut with_order = BTreeSet::new();
    for ((key, is_refund), order) in orders {
        let name = format!("{}/{}", key.0, key.1);
        match (&order.payment, &order.refund) {
            (Some(payment), _) if !is_refund => {
                with_order.insert(payment.trade_no.as_str());
                found.check_payment(&name, order, payment, charges.get(payment.trade_no.as_str()));
            }
            (_, Some(refund)) if *is_refund => {
                found.check_refund(&name, order, refund, charges.get(refund.trade_no.as_str()));
            }
            _ => {}
        }
    }
    let orphans = charges.iter().filter(|(number, charge)| !with_order.contains(*number) && !charge.charged.is_empty());
    found.lost.extend(orphans.map(|(number, _)| format!("{number}: charged without an order")));
    for call in played {
        found.check_call(call, orders);
    }
    found
}

impl FullApiAudit {
    fn check_charge(&mut self, trade_no: &str, charge: &ChargeEntries) {
        if charge.charged.len() > 1 || charge.reversed.len() > 1 {
            self.twice.push(format!("{trade_no}: charged {:?}, reversed {:?}", charge.charged, charge.reversed));
        }
        for (number, amounts) in charge.refunded.iter().filter(|(_, amounts)| amounts.len() > 1) {
            self.twice.push(format!("{trade_no}: refund {number} returned {amounts:?}"));
        }
        let returned = charge.refunded() + charge.reversed();
        if returned > charge.charged() {
            self.over_refunded.push(format!("{trade_no}: charged {}, returned {returned}", charge.charged()));
        }
    }

    fn check_payment(
        &mut self,
        name: &str,
        order: &QueryResponse,
        payment: &PayResponse,
        charge: Option<&ChargeEntries>,
    ) {
        let empty = ChargeEntries::default();
        let charge = charge.unwrap_or(&empty);
        let (charged, refunded, reversed) = (charge.charged(), charge.refunded(), charge.reversed());
        let amount = payment.trade_amount;
        let status = order.order_status();
        let agrees = match status {
            OrderStatus::Paid => (charged, refunded, reversed) == (amount, 0, 0),
            OrderStatus::Failed => (charged, refunded, reversed) == (0, 0, 0),
            OrderStatus::PartlyRefunded => charged == amount && (1..amount).contains(&refunded) && reversed == 0,
            OrderStatus::FullyRefunded => charged == amount && refunded + reversed == amount,
            OrderStatus::InProgress | OrderStatus::RefundSucceeded => {
                self.lost.push(format!("{name}: never ended"));
                return;
            }
        };
        if !agrees {
            self.contradicted.push(format!(
                "{name}: {}, but of {amount} the ledger charged {charged}, refunded {refunded}, reversed {reversed}",
                status.as_str_name()
            ));
        }
        self.check_fields(name, payment, charged > 0);
    }

    fn check_refund(
        &mut self,
        name: &str,
        order: &QueryResponse,
        refund: &RefundResponse,
        charge: Option<&ChargeEntries>,
    ) {
        let refunded = charge.and_then(|charge| charge.refunded.get(&refund.refund_trade_no));
        let refunded: i64 = refunded.into_iter().flatten().sum();
        match order.order_status() {
            OrderStatus::RefundSucceeded if refunded == refund.trade_amount => {}
            OrderStatus::Failed if refunded == 0 => {}
            OrderStatus::InProgress => self.lost.push(format!("{name}: the refund never ended")),
            status @ (OrderStatus::RefundSucceeded
            | OrderStatus::Failed
            | OrderStatus::Paid
            | OrderStatus::FullyRefunded
            | OrderStatus::PartlyRefunded) => {
                self.contradicted.push(format!(
                    "{name}: {}, but of {} the ledger refunded {refunded}",
                    status.as_str_name(),
                    refund.trade_amount
                ));
            }
        }
        let parts = [refund.debit_amount, refund.redeem_amount, refund.store_redeem_amount];
        if refunded > 0 && (parts.iter().any(|part| *part < 0) || parts.iter().sum::<i64>() != refund.trade_amount) {
            self.malformed.push(format!("{name}: refund of {} in {parts:?}", refund.trade_amount));
        }
    }

    /// Checks signs, sums and forms of the fields (`proto/README.md`, section Fields).
    fn check_fields(&mut self, name: &str, payment: &PayResponse, is_charged: bool) {
        let mut refuse_if = |is_invalid: bool, what: &str| {
            if is_invalid {
                self.malformed.push(format!("{name}: {what}"));
            }
        };
        let (redeem, store_redeem) = (payment.redeem_amount, payment.store_redeem_amount);
        refuse_if(redeem > 0 || store_redeem > 0, "a redemption is positive");
        let sum = payment.trade_amount + redeem + store_redeem;
        refuse_if(is_charged && sum != payment.debit_amount, "amounts do not add up");
        let carrier = payment.invoice_vehicle.as_str();
        refuse_if(!carrier.is_empty() && Carrier::parse(carrier).is_none(), "InvoiceVehicle is not a carrier");
        match payment.payment_type() {
            PaymentType::OtherIssuer => refuse_if(payment.extra3.len() != 3, "Extra3 is not an institution code"),
            PaymentType::CreditCard => {
                let digits = payment.extra3.split("CardNo").nth(1).unwrap_or_default();
                let shown = digits.chars().filter(char::is_ascii_digit).count();
                refuse_if(shown > 10, "Extra3 shows a card number");
            }
            PaymentType::Unspecified | PaymentType::StoredValue | PaymentType::BankAccount => {
                refuse_if(!payment.extra3.is_empty(), "Extra3 is not empty");
            }
        }
    }

    /// Checks that the result is the expected one, and that the order agrees with it.
    fn check_call(&mut self, call: &PlayedCall, orders: &BTreeMap<(TradeKey, bool), QueryResponse>) {
        let key = call.line.call.key();
        let name = format!("{} {}/{}", call.line.call.name(), key.0, key.1);
        if let Some(expect) = call.line.expect.as_ref().filter(|expect| **expect != call.outcome.result) {
            self.unexpected.push(format!("{name}: {}, must be {expect}", call.outcome.result));
        }
        let status_of = |is_refund| orders.get(&(key.clone(), is_refund)).and_then(|order| order.order_status);
        let code = |status: OrderStatus| Some(i32::from(status));
        match &call.line.call {
            Call::Payment(_) => {
                let is_paid =
                    call.outcome.payment.as_ref().is_some_and(|payment| payment.status_code == StatusCode::SUCCESS);
                if is_paid && [code(OrderStatus::Failed), None].contains(&status_of(false)) {
                    self.contradicted.push(format!("{name}: answered paid, the order is {:?}", status_of(false)));
                }
            }
            Call::Refund { .. } => {
                let Some(answer) = call.outcome.refund.as_ref().filter(|refund| !refund.refund_trade_no.is_empty())
                else {
                    return;
                };
                let expected = if answer.status_code == StatusCode::SUCCESS {
                    OrderStatus::RefundSucceeded
                } else {
                    OrderStatus::Failed
                };
                if status_of(true) != code(expected) {
                    self.contradicted.push(format!(
                        "{name}: answered {}, the order is {:?}",
                        answer.status_code,
                        status_of(true)
                    ));
                }
            }
            Call::Cancel(_) => {
                let uncancelled =
                    [code(OrderStatus::Paid), code(OrderStatus::PartlyRefunded), code(OrderStatus::InProgress)];
                if call.outcome.result == StatusCode::SUCCESS && uncancelled.contains(&status_of(false)) {
                    self.contradicted.push(format!("{name}: answered cancelled, the order is {:?}", status_of(false)));
                }
            }
            Call::Inquiry(_) => {}
        }
    }
}

#[cfg(test)]
mod tests;
