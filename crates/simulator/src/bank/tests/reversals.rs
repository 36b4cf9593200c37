//! Reversals: what is taken back, who refuses, and charges that come too late.

use twqr_wire::backend::declined::Kind as Whose;

use super::*;

fn asked(bank: &mut Bank, institution: &str) -> Vec<Reaction> {
    bank.handle(inquiry_about(Subject::Reversal, institution, "T1"), 0)
}

#[test]
fn faults_and_what_the_ledger_and_the_caller_see() {
    let all = Faults::default;
    let cases = [
        ("no fault", all(), "RV", "V"),
        ("request lost", Faults { lose_requests: 1.0, ..all() }, "", "U"),
        ("answer lost", Faults { lose_answers: 1.0, ..all() }, "R", "V"),
        ("late", Faults { answer_late: 1.0, late_ms: 9_000, ..all() }, "RV", "V"),
        ("held until an inquiry", Faults { land_after_inquiry: 1.0, ..all() }, "", "UL"),
        ("twice", Faults { answer_twice: 1.0, ..all() }, "RVV", "V"),
        ("maintenance", Faults { maintenance: true, ..all() }, "RD", "D"),
        ("refused by the issuer", Faults { refuse_reversals: 1.0, ..all() }, "RD", "D"),
        ("refused at first", Faults { refuse_reversals_once: 1.0, ..all() }, "RD", "D"),
    ];
    for (name, faults, taken, told) in cases {
        let mut bank = charged(faults);
        assert_eq!(shape(&asked(&mut bank, "391")), "U", "{name}, before");
        assert_eq!(shape(&bank.handle(reversal("391", "T1", 100), 0)), taken, "{name}");
        assert_eq!(shape(&asked(&mut bank, "391")), told, "{name}, asked");
    }
}

#[test]
fn what_is_left_goes_back_once() {
    for (institution, again) in [("", "=V"), ("391", "V")] {
        let mut bank = charged(Faults::default());
        bank.handle(refund(institution, "R1", "T1", 40), 0);
        let before = bank.payer(institution, "T1").1;
        let recorded = entries(bank.handle(reversal(institution, "T1", 60), 0));
        assert_eq!((recorded[0].kind(), recorded[0].trade_amount), (Kind::Reversed, 60), "{institution:?}");
        assert_eq!(recorded[0].balance, before + recorded[0].debit_amount, "{institution:?}");
        assert_eq!(recorded[0].balance, 1_000_000, "{institution:?}: all of it is back");
        assert_eq!(shape(&bank.handle(reversal(institution, "T1", 60), 0)), again, "{institution:?}");
        assert_eq!(shape(&bank.handle(reversal(institution, "T1", 0), 9_999)), again, "{institution:?}, late");
        assert_eq!(bank.payer(institution, "T1").1, 1_000_000, "{institution:?}: no money moves again");
    }
}

#[test]
fn what_is_refused_and_with_which_code() {
    let refusing = || Faults { refuse_reversals: 1.0, refuse_reversals_once: 1.0, ..Faults::default() };
    let cases = [
        ("other amount", Faults::default(), reversal("", "T1", 99), 0, "934"),
        ("other amount", Faults::default(), reversal("391", "T1", 101), 0, "V934"),
        ("too late", Faults::default(), reversal("", "T1", 100), 5_001, "906"),
        ("the issuer's rules", refusing(), reversal("391", "T1", 100), 0, "V051"),
    ];
    for (name, faults, call, now, code) in cases {
        let mut bank = charged(faults);
        let institution = call.institution.clone();
        let reactions = bank.handle(call, now);
        let refusal = declined(&reactions);
        let whose = if institution.is_empty() { Whose::Wallet } else { Whose::Issuer };
        assert_eq!((refusal.code.as_str(), refusal.kind()), (code, whose), "{name}");
        assert!(!refusal.reason.is_ascii(), "{name}: {}", refusal.reason);
        assert_eq!(entries(reactions)[0].kind(), Kind::ReversalDeclined, "{name}");
        assert_eq!(declined(&asked(&mut bank, &institution)), refusal, "{name}, asked");
    }
    for (institution, code) in [("", "934"), ("391", "V934")] {
        let mut bank = bank(Faults::default());
        bank.handle(charge(institution, "T1", "22D928"), 0);
        assert_eq!(declined(&bank.handle(reversal(institution, "T1", 100), 0)).code, code, "of a refused charge");
    }
    assert_eq!(shape(&charged(refusing()).handle(reversal("", "T1", 100), 0)), "RV", "the wallet always reverses");
    assert_eq!(shape(&charged(refusing()).handle(reversal("391", "T1", 100), 5_001)), "RD", "late is not why");
}

#[test]
fn nothing_is_left_and_the_wallet_reverses_all_the_same() {
    let mut bank = charged(Faults::default());
    bank.handle(refund("", "R1", "T1", 100), 0);
    let recorded = entries(bank.handle(reversal("", "T1", 0), 0));
    assert_eq!((recorded[0].kind(), recorded[0].debit_amount), (Kind::Reversed, 0));
}

#[test]
fn some_refuse_once_and_some_always() {
    for (name, faults, second) in [
        ("once", Faults { refuse_reversals_once: 1.0, ..Faults::default() }, "RV"),
        ("always", Faults { refuse_reversals: 1.0, ..Faults::default() }, "RD"),
    ] {
        let mut bank = charged(faults.clone());
        let first = bank.handle(reversal("391", "T1", 100), 0);
        assert_eq!(shape(&first), "RD", "{name}");
        assert_eq!(shape(&bank.handle(reversal_by("391", "T1", 100, 9_000), 0)), second, "{name}");
        let told = if second == "RV" { "V" } else { "D" };
        assert_eq!(shape(&asked(&mut bank, "391")), told, "{name}: the latest counts");
    }
}

#[test]
fn each_attempt_has_its_own_fate() {
    let mut bank = charged(Faults { lose_requests: 0.5, ..Faults::default() });
    let arrived = (0..40).find(|n| !bank.handle(reversal_by("391", "T1", 100, 5_000 + n), 0).is_empty());
    assert!(arrived.is_some(), "a reversal whose request was lost could never be tried again");
}

#[test]
fn a_charge_that_is_not_here_may_still_arrive() {
    for institution in ["", "391"] {
        let mut bank = bank(Faults::default());
        assert_eq!(shape(&bank.handle(reversal(institution, "T1", 100), 0)), "U", "{institution:?}");
        assert_eq!(shape(&asked(&mut bank, institution)), "U", "{institution:?}");
        assert_eq!(shape(&bank.handle(charge(institution, "T1", "22AB"), 0)), "RA", "{institution:?}");
    }
}

#[test]
fn a_charge_after_its_reversal_is_seen_and_the_wallet_refuses_it() {
    for (institution, shaped, kind) in [("", "=D", Kind::Repeated), ("391", "RA", Kind::Charged)] {
        let mut bank = charged(Faults::default());
        bank.handle(reversal(institution, "T1", 100), 0);
        let reactions = bank.handle(charge(institution, "T1", "22AB"), 0);
        assert_eq!(shape(&reactions), shaped, "{institution:?}");
        let recorded = entries(reactions);
        assert_eq!(recorded[0].kind(), kind, "{institution:?}");
        assert_eq!(recorded[0].declined.as_ref().map(|why| why.code.as_str()), institution.is_empty().then_some("812"));
        assert_eq!(shape(&asked(&mut bank, institution)), "V", "{institution:?}");
    }
}

#[test]
fn a_held_charge_lands_after_a_reversal_did_not_find_it() {
    let mut bank = bank(Faults { land_after_inquiry: 1.0, ..Faults::default() });
    bank.handle(charge("391", "T1", "IPAB"), 0);
    let reactions = bank.handle(inquiry("391", "T1"), 0);
    let Some(Reaction::Land { request, .. }) = reactions.last() else { panic!("not held") };
    let held = reversal("391", "T1", 100);
    assert_eq!(shape(&bank.handle(held, 0)), "", "the reversal is held too");
    let unfound = asked(&mut bank, "391");
    let Some(Reaction::Land { request: late_reversal, .. }) = unfound.last() else { panic!("not held") };
    assert_eq!(shape(&bank.land(late_reversal, 100)), "", "it finds nothing");
    assert_eq!(shape(&bank.land(request, 200)), "R", "and the charge takes effect");
    assert_eq!(shape(&bank.handle(inquiry("391", "T1"), 300)), "A");
}

#[test]
fn a_held_reversal_lands_within_its_window_only_and_the_wallet_refuses_what_is_late() {
    let cases = [
        ("391", 8_000, Some(Kind::Reversed)),
        ("391", 8_001, None),
        ("", 5_000, Some(Kind::Reversed)),
        ("", 5_001, Some(Kind::ReversalDeclined)),
    ];
    for (institution, now, landed) in cases {
        let mut bank = charged(Faults { land_after_inquiry: 1.0, ..Faults::default() });
        bank.handle(reversal(institution, "T1", 100), 0);
        let reactions = asked(&mut bank, institution);
        let Some(Reaction::Land { request, .. }) = reactions.last() else { panic!("not held") };
        let kinds: Vec<_> = entries(bank.land(request, now)).iter().map(LedgerEntry::kind).collect();
        assert_eq!(kinds, landed.into_iter().collect::<Vec<_>>(), "{institution:?} at {now}");
    }
}
