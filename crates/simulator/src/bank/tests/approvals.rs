//! Tests of an approval's other fields than amounts: carriers, members, cards; and of redemptions.

use std::collections::BTreeSet;

use twqr_wire::pos::PaymentType;

use super::*;

/// The approvals of 300 charges of 100 TWD, each with another code.
fn approvals(issuer: Issuer, faults: Faults) -> Vec<Approved> {
    let mut bank = bank(faults);
    (0..300).map(|n| approved(&bank.handle(charge(issuer, &format!("T{n}"), &format!("22code{n}x")), 0))).collect()
}

/// Whether the text is a mobile barcode: a slash and seven of 0-9, A-Z, `.`, `+`, `-`.
fn is_carrier(text: &str) -> bool {
    let good = |b: u8| b.is_ascii_digit() || b.is_ascii_uppercase() || b".+-".contains(&b);
    text.len() == 8 && text.starts_with('/') && text.bytes().skip(1).all(good)
}

#[test]
fn carriers_are_valid_and_different_and_some_accounts_have_none() {
    let carrier = || Faults { carrier: true, ..Faults::default() };
    for (issuer, faults, given) in
        [(WALLET, Faults::default(), true), (other(), Faults::default(), false), (other(), carrier(), true)]
    {
        let all = approvals(issuer, faults);
        let carriers: Vec<_> = all.iter().map(|a| a.invoice_vehicle.as_str()).filter(|text| !text.is_empty()).collect();
        assert!(carriers.iter().all(|text| is_carrier(text)), "{issuer:?}: {carriers:?}");
        let distinct: BTreeSet<_> = carriers.iter().collect();
        assert_eq!(distinct.len() > 100, given, "{issuer:?}: {}", distinct.len());
        assert!(carriers.len() < all.len(), "{issuer:?}: some accounts have no carrier");
    }
}

#[test]
fn the_script_turns_on_bad_carriers_and_full_card_numbers() {
    let bad = approvals(other(), Faults { bad_carrier: 1.0, ..Faults::default() });
    assert!(bad.iter().all(|a| !a.invoice_vehicle.is_empty() && !is_carrier(&a.invoice_vehicle)));
    for (share, length, stars) in [(0.0, 16, true), (1.0, 16, false)] {
        let all = approvals(WALLET, Faults { unmasked_card: share, ..Faults::default() });
        let cards: Vec<_> = all.iter().filter(|a| a.payment_type() == PaymentType::CreditCard).collect();
        assert!(!cards.is_empty());
        assert!(cards.iter().all(|a| !a.card_name.is_empty() && a.card_no_masked.len() == length));
        assert!(cards.iter().all(|a| a.card_no_masked.contains('*') == stars), "{share}");
        let others = all.iter().filter(|a| a.payment_type() != PaymentType::CreditCard);
        assert!(others.into_iter().all(|a| a.card_name.is_empty() && a.card_no_masked.is_empty()));
    }
}

#[test]
fn some_customers_are_members_and_some_redeem() {
    let all = approvals(WALLET, Faults::default());
    let members = all.iter().filter(|a| !a.mer_mem_token.is_empty()).count();
    assert!(members > 0 && members < all.len(), "{members}");
    let ways: BTreeSet<_> = all.iter().map(|a| (a.redeem_amount < 0, a.store_redeem_amount < 0)).collect();
    assert_eq!(ways.len(), 4, "{ways:?}");
    for a in &all {
        assert_eq!(100 + a.redeem_amount + a.store_redeem_amount, a.debit_amount);
        assert_eq!(a.redeem_name.is_empty(), a.redeem_amount == 0);
    }
    for a in approvals(other(), Faults::default()) {
        let expected = (PaymentType::OtherIssuer, 100, 0, 0, "");
        let is = (a.payment_type(), a.debit_amount, a.redeem_amount, a.store_redeem_amount, a.mer_mem_token.as_str());
        assert_eq!(is, expected);
    }
}

#[test]
fn at_least_un_redeem_is_paid_in_money() {
    let mut bound = 0;
    for un_redeem in [0, 95, 98, 99, 100, 1_000, -7] {
        for n in 0..30 {
            let mut call = charge(WALLET, &format!("T{n}"), "22AB");
            let Some(Call::Charge(charge)) = &mut call.call else { unreachable!() };
            charge.un_redeem = un_redeem;
            let redeemed = 100 - approved(&bank(Faults::default()).handle(call, 0)).debit_amount;
            assert!((0..=(100 - un_redeem).max(0)).contains(&redeemed), "{redeemed} at {un_redeem}");
            bound += usize::from(redeemed > 0 && redeemed == 100 - un_redeem);
        }
    }
    assert!(bound > 0, "the limit was never reached");
}
