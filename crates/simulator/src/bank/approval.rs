//! What the wallet and the issuers answer to charges and refunds that took effect. The answers
//! follow from the ledger's entry and the fault script alone, so a restart does not change them.

use twqr_types::Issuer;
use twqr_wire::{
    backend::{Approved, Refunded, inquiry::Subject},
    pos::PaymentType,
};

use super::{
    applied_charge::{AppliedCharge, RefundParts},
    draws::{Draws, FNV_START, Purpose, fnv},
};
use crate::Script;

/// The approval of a charge. At the wallet, the TradeNo determines whether the customer pays from
/// stored value, a bank account or a credit card, and whether points or offers are redeemed.
pub(super) fn charge_answer(script: &Script, issuer: Issuer, trade_no: &str, charge: &AppliedCharge) -> Approved {
    let is_wallet = issuer == Issuer::Wallet;
    let faults = script.faults(issuer);
    let draws = Draws::of_number(script.seed, Subject::Charge, trade_no);
    let redemption = charge.redemption(trade_no);
    let payment_type = if is_wallet { payment_type(trade_no) } else { PaymentType::OtherIssuer };
    let is_card = payment_type == PaymentType::CreditCard;
    let unmasked = draws.is_hit(Purpose::UnmaskedCard, faults.unmasked_card);
    let invoice_vehicle = if draws.is_hit(Purpose::BadCarrier, faults.bad_carrier) {
        BAD_CARRIERS[charge.account as usize % BAD_CARRIERS.len()].to_owned()
    } else if is_wallet || faults.carrier {
        carrier(issuer, charge.account)
    } else {
        String::new()
    };
    Approved {
        payment_type: payment_type.into(),
        debit_amount: charge.debit_amount,
        redeem_name: redeem_name(redemption.customer),
        redeem_amount: -redemption.customer,
        store_redeem_amount: -redemption.store,
        invoice_vehicle,
        mer_mem_token: if is_wallet { member(charge.account) } else { String::new() },
        card_name: if is_card { "測試銀行".to_owned() } else { String::new() },
        card_no_masked: match (is_card, unmasked) {
            (false, _) => String::new(),
            (true, false) => "411111******1111".to_owned(),
            (true, true) => "4111111111111111".to_owned(),
        },
        issuer_trade_no: format!("S{trade_no}"),
    }
}

/// The answer to a refund that took effect.
pub(super) fn refund_answer(refund_trade_no: &str, parts: &RefundParts) -> Refunded {
    Refunded {
        debit_amount: parts.debit,
        redeem_name: redeem_name(parts.redemption.customer),
        redeem_amount: parts.redemption.customer,
        store_redeem_amount: parts.redemption.store,
        issuer_trade_no: format!("S{refund_trade_no}"),
    }
}

/// The name of the points that customers redeem; empty if none were redeemed.
fn redeem_name(redeemed: i64) -> String {
    if redeemed > 0 { "街口幣".to_owned() } else { String::new() }
}

fn payment_type(trade_no: &str) -> PaymentType {
    let turn = trade_no.bytes().map(usize::from).sum::<usize>();
    [PaymentType::StoredValue, PaymentType::BankAccount, PaymentType::CreditCard][turn % 3]
}

/// Invalid carriers: lower case, no slash, too long.
const BAD_CARRIERS: [&str; 3] = ["/abc+123", "ABC+1234", "/ABC+1234567"];
/// The characters of a mobile barcode after its slash.
const CARRIER: &[u8; 39] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ.+-";

/// The carrier of an account, a mobile barcode; every fourth account has none.
fn carrier(issuer: Issuer, account: u32) -> String {
    if account % 4 == 3 {
        return String::new();
    }
    let mut rest = fnv(fnv(FNV_START, issuer.as_wire().bytes()), account.to_be_bytes()) >> 8;
    let mut next = || {
        let at = (rest % CARRIER.len() as u64) as usize;
        rest /= CARRIER.len() as u64;
        char::from(CARRIER[at])
    };
    std::iter::once('/').chain((0..7).map(|_| next())).collect()
}

/// The merchant's member token of an account; every fifth account has one.
fn member(account: u32) -> String {
    if account.is_multiple_of(5) { format!("MM{account:08}") } else { String::new() }
}
