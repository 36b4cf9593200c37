//! Tests of reversals: what they return, who refuses them, and charges that arrive after them.

use twqr_wire::backend::declined::Kind as DeclinedBy;

use super::*;

/// Inquires about the reversal of T1.
fn inquire_reversal(bank: &mut Bank, issuer: Issuer) -> Vec<Reaction> {
    bank.handle(inquiry_about(Subject::Reversal, issuer, "T1"), 0)
}

#[test]
fn each_fault_has_its_entries_and_answers() {
    let all = Faults::default;
    let cases = [
        ("no fault", all(), "RV", "V"),
        ("request lost", Faults { lose_requests: 1.0, ..all() }, "", "U"),
        ("answer lost", Faults { lose_answers: 1.0, ..all() }, "R", "V"),
        ("late", Faults { answer_late: 1.0, late_ms: 9_000, ..all() }, "RV", "V"),
        ("held until an inquiry", Faults { land_after_inquiry: 1.0, ..all() }, "L", "UL"),
        ("twice", Faults { answer_twice: 1.0, ..all() }, "RVV", "V"),
        ("maintenance", Faults { maintenance: true, ..all() }, "RD", "D"),
        ("refused by the issuer", Faults { refuse_reversals: 1.0, ..all() }, "RD", "D"),
        ("refused at first", Faults { refuse_reversals_once: 1.0, ..all() }, "RD", "D"),
    ];
    for (name, faults, reversed, inquired) in cases {
        let mut bank = charged(faults);
        assert_eq!(shape(&inquire_reversal(&mut bank, other())), "U", "{name}: inquiry before the reversal");
        assert_eq!(shape(&bank.handle(reversal(other(), "T1", 100), 0)), reversed, "{name}");
        assert_eq!(shape(&inquire_reversal(&mut bank, other())), inquired, "{name}: inquiry");
    }
}

#[test]
fn a_reversal_returns_the_remaining_amount_once() {
    for (issuer, again) in [(WALLET, "=V"), (other(), "V")] {
        let mut bank = charged(Faults::default());
        bank.handle(refund(issuer, "R1", "T1", 40), 0);
        let before = bank.payer(issuer, "T1").1;
        let recorded = entries(bank.handle(reversal(issuer, "T1", 60), 0));
        assert_eq!((recorded[0].kind(), recorded[0].trade_amount), (Kind::Reversed, 60), "{issuer:?}");
        assert_eq!(recorded[0].balance, before + recorded[0].debit_amount, "{issuer:?}");
        assert_eq!(recorded[0].balance, 1_000_000, "{issuer:?}: the whole charge was returned");
        assert_eq!(shape(&bank.handle(reversal(issuer, "T1", 60), 0)), again, "{issuer:?}");
        assert_eq!(shape(&bank.handle(reversal(issuer, "T1", 0), 9_999)), again, "{issuer:?}, late");
        assert_eq!(bank.payer(issuer, "T1").1, 1_000_000, "{issuer:?}: no money moves again");
    }
}

#[test]
fn each_refusal_has_its_code() {
    let refusing = || Faults { refuse_reversals: 1.0, refuse_reversals_once: 1.0, ..Faults::default() };
    let cases = [
        ("other amount", Faults::default(), reversal(WALLET, "T1", 99), 0, "934"),
        ("other amount", Faults::default(), reversal(other(), "T1", 101), 0, "V934"),
        ("too late", Faults::default(), reversal(WALLET, "T1", 100), 5_001, "906"),
        ("the issuer's rules", refusing(), reversal(other(), "T1", 100), 0, "V051"),
    ];
    for (name, faults, call, now, code) in cases {
        let mut bank = charged(faults);
        let issuer = Issuer::from_wire(&call.institution).unwrap();
        let reactions = bank.handle(call, now);
        let refusal = declined(&reactions);
        let declined_by = if issuer == WALLET { DeclinedBy::Wallet } else { DeclinedBy::Issuer };
        assert_eq!((refusal.code.as_str(), refusal.kind()), (code, declined_by), "{name}");
        assert!(!refusal.reason.is_ascii(), "{name}: {}", refusal.reason);
        assert_eq!(entries(reactions)[0].kind(), Kind::ReversalDeclined, "{name}");
        assert_eq!(declined(&inquire_reversal(&mut bank, issuer)), refusal, "{name}: inquiry");
    }
    for (issuer, code) in [(WALLET, "934"), (other(), "V934")] {
        let mut bank = bank(Faults::default());
        bank.handle(charge(issuer, "T1", "22D928"), 0);
        assert_eq!(declined(&bank.handle(reversal(issuer, "T1", 100), 0)).code, code, "reversal of a refused charge");
    }
    assert_eq!(shape(&charged(refusing()).handle(reversal(WALLET, "T1", 100), 0)), "RV", "the wallet always reverses");
    assert_eq!(
        shape(&charged(refusing()).handle(reversal(other(), "T1", 100), 5_001)),
        "RD",
        "the refusal is not about lateness"
    );
}

#[test]
fn the_wallet_reverses_a_fully_refunded_charge() {
    let mut bank = charged(Faults::default());
    bank.handle(refund(WALLET, "R1", "T1", 100), 0);
    let recorded = entries(bank.handle(reversal(WALLET, "T1", 0), 0));
    assert_eq!((recorded[0].kind(), recorded[0].debit_amount), (Kind::Reversed, 0));
}

#[test]
fn an_issuer_refuses_once_or_always() {
    for (name, faults, second) in [
        ("once", Faults { refuse_reversals_once: 1.0, ..Faults::default() }, "RV"),
        ("always", Faults { refuse_reversals: 1.0, ..Faults::default() }, "RD"),
    ] {
        let mut bank = charged(faults.clone());
        let first = bank.handle(reversal(other(), "T1", 100), 0);
        assert_eq!(shape(&first), "RD", "{name}");
        assert_eq!(shape(&bank.handle(reversal_by(other(), "T1", 100, 9_000), 0)), second, "{name}");
        let inquired = if second == "RV" { "V" } else { "D" };
        assert_eq!(shape(&inquire_reversal(&mut bank, other())), inquired, "{name}: the latest verdict is the answer");
    }
}

#[test]
fn each_attempt_has_its_own_fate() {
    let mut bank = charged(Faults { lose_requests: 0.5, ..Faults::default() });
    let arrived = (0..40).find(|n| !bank.handle(reversal_by(other(), "T1", 100, 5_000 + n), 0).is_empty());
    assert!(arrived.is_some(), "every attempt of the reversal was lost");
}

#[test]
fn an_unknown_charge_is_not_reversed_and_may_arrive_later() {
    for issuer in [WALLET, other()] {
        let mut bank = bank(Faults::default());
        assert_eq!(shape(&bank.handle(reversal(issuer, "T1", 100), 0)), "U", "{issuer:?}");
        assert_eq!(shape(&inquire_reversal(&mut bank, issuer)), "U", "{issuer:?}");
        assert_eq!(shape(&bank.handle(charge(issuer, "T1", "22AB"), 0)), "RA", "{issuer:?}");
    }
}

#[test]
fn a_charge_after_its_reversal_is_recorded_and_the_wallet_refuses_it() {
    for (issuer, shaped, kind) in [(WALLET, "=D", Kind::Repeated), (other(), "RA", Kind::Charged)] {
        let mut bank = charged(Faults::default());
        bank.handle(reversal(issuer, "T1", 100), 0);
        let reactions = bank.handle(charge(issuer, "T1", "22AB"), 0);
        assert_eq!(shape(&reactions), shaped, "{issuer:?}");
        let recorded = entries(reactions);
        assert_eq!(recorded[0].kind(), kind, "{issuer:?}");
        assert_eq!(recorded[0].declined.as_ref().map(|why| why.code.as_str()), (issuer == WALLET).then_some("812"));
        assert_eq!(shape(&inquire_reversal(&mut bank, issuer)), "V", "{issuer:?}");
    }
}

#[test]
fn a_held_charge_takes_effect_after_a_reversal_did_not_find_it() {
    let mut bank = bank(Faults { land_after_inquiry: 1.0, ..Faults::default() });
    bank.handle(charge(other(), "T1", "IPAB"), 0);
    let reactions = bank.handle(inquiry(other(), "T1"), 0);
    let Some(Reaction::Release { request, .. }) = reactions.last() else { panic!("not held") };
    let held = reversal(other(), "T1", 100);
    assert_eq!(shape(&bank.handle(held, 0)), "L", "the reversal is held too");
    let not_found = inquire_reversal(&mut bank, other());
    let Some(Reaction::Release { request: late_reversal, .. }) = not_found.last() else { panic!("not held") };
    assert_eq!(shape(&bank.release(late_reversal, 100)), "", "the released reversal finds no charge");
    assert_eq!(shape(&bank.release(request, 200)), "R", "the charge takes effect after it");
    assert_eq!(shape(&bank.handle(inquiry(other(), "T1"), 300)), "A");
}

#[test]
fn a_held_reversal_takes_effect_or_is_refused_for_lateness() {
    let cases = [
        (other(), 8_001, Some(Kind::Reversed)),
        (WALLET, 5_000, Some(Kind::Reversed)),
        (WALLET, 5_001, Some(Kind::ReversalDeclined)),
    ];
    for (issuer, now, released) in cases {
        let mut bank = charged(Faults { land_after_inquiry: 1.0, ..Faults::default() });
        bank.handle(reversal(issuer, "T1", 100), 0);
        let reactions = inquire_reversal(&mut bank, issuer);
        let Some(Reaction::Release { request, .. }) = reactions.last() else { panic!("not held") };
        let kinds: Vec<_> = entries(bank.release(request, now)).iter().map(LedgerEntry::kind).collect();
        assert_eq!(kinds, released.into_iter().collect::<Vec<_>>(), "{issuer:?} at {now}");
    }
}
