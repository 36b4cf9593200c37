//! What the wallet and the issuers say of a charge that took effect. It follows from the ledger's
//! entry and the script alone, so that it is the same after a restart.

use twqr_wire::{
    backend::{Approved, Refunded, inquiry::Subject},
    pos::PaymentType,
};

use super::{
    books::{Charged, GivenBack},
    draws::{Draws, FNV_START, Purpose, fnv},
};
use crate::Script;

/// An approval: of the wallet by stored value, bank account or credit card in turn, with a
/// redemption now and then.
pub(super) fn approval(script: &Script, institution: &str, trade_no: &str, charged: &Charged) -> Approved {
    let wallet = institution.is_empty();
    let faults = script.faults(institution);
    let draws = Draws::of_number(script.seed, Subject::Charge, trade_no);
    let redemption = charged.redemption(trade_no);
    let payment_type = if wallet { payment_type(trade_no) } else { PaymentType::OtherIssuer };
    let card = payment_type == PaymentType::CreditCard;
    let unmasked = draws.hits(Purpose::UnmaskedCard, faults.unmasked_card);
    let invoice_vehicle = if draws.hits(Purpose::BadCarrier, faults.bad_carrier) {
        BAD_CARRIERS[charged.account as usize % BAD_CARRIERS.len()].to_owned()
    } else if wallet || faults.carrier {
        carrier(institution, charged.account)
    } else {
        String::new()
    };
    Approved {
        payment_type: payment_type.into(),
        debit_amount: charged.debit_amount,
        redeem_name: redeem_name(redemption.customer),
        redeem_amount: -redemption.customer,
        store_redeem_amount: -redemption.store,
        invoice_vehicle,
        mer_mem_token: if wallet { member(charged.account) } else { String::new() },
        card_name: if card { "測試銀行".to_owned() } else { String::new() },
        card_no_masked: match (card, unmasked) {
            (false, _) => String::new(),
            (true, false) => "411111******1111".to_owned(),
            (true, true) => "4111111111111111".to_owned(),
        },
        issuer_trade_no: format!("S{trade_no}"),
    }
}

/// What is said of a refund that took effect.
pub(super) fn refunded(refund_trade_no: &str, given: &GivenBack) -> Refunded {
    Refunded {
        debit_amount: given.debit,
        redeem_name: redeem_name(given.redemption.customer),
        redeem_amount: given.redemption.customer,
        store_redeem_amount: given.redemption.store,
        issuer_trade_no: format!("S{refund_trade_no}"),
    }
}

/// The name of what customers redeem.
fn redeem_name(redeemed: i64) -> String {
    if redeemed > 0 { "街口幣".to_owned() } else { String::new() }
}

fn payment_type(trade_no: &str) -> PaymentType {
    let turn = trade_no.bytes().map(usize::from).sum::<usize>();
    [PaymentType::StoredValue, PaymentType::BankAccount, PaymentType::CreditCard][turn % 3]
}

/// What no carrier may be: lower case, no slash, too long.
const BAD_CARRIERS: [&str; 3] = ["/abc+123", "ABC+1234", "/ABC+1234567"];
/// What a mobile barcode is made of.
const CARRIER: &[u8; 39] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ.+-";

/// The carrier of an account, a mobile barcode; every fourth account has none.
fn carrier(institution: &str, account: u32) -> String {
    if account % 4 == 3 {
        return String::new();
    }
    let mut rest = fnv(fnv(FNV_START, institution.bytes()), account.to_be_bytes()) >> 8;
    let mut next = || {
        let at = (rest % CARRIER.len() as u64) as usize;
        rest /= CARRIER.len() as u64;
        char::from(CARRIER[at])
    };
    std::iter::once('/').chain((0..7).map(|_| next())).collect()
}

/// Every fifth account is a member at the merchant.
fn member(account: u32) -> String {
    if account.is_multiple_of(5) { format!("MM{account:08}") } else { String::new() }
}
