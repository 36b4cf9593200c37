//! Refunds: who gives back twice, what is refused with which code, and each fault.

use twqr_wire::backend::{Refunded, declined::Kind as Whose};

use super::*;

fn refunded(reactions: &[Reaction]) -> Refunded {
    let Answer::Refunded(refunded) = answered(reactions) else { panic!("not refunded: {reactions:?}") };
    refunded
}

#[test]
fn faults_and_what_the_ledger_and_the_caller_see() {
    let all = Faults::default;
    let cases = [
        ("no fault", all(), "RB", "B"),
        ("request lost", Faults { lose_requests: 1.0, ..all() }, "", "U"),
        ("answer lost", Faults { lose_answers: 1.0, ..all() }, "R", "B"),
        ("late", Faults { answer_late: 1.0, late_ms: 9_000, ..all() }, "RB", "B"),
        ("held until an inquiry", Faults { land_after_inquiry: 1.0, ..all() }, "", "UL"),
        ("twice", Faults { answer_twice: 1.0, ..all() }, "RBB", "B"),
        ("maintenance", Faults { maintenance: true, ..all() }, "RD", "D"),
        ("refused by the issuer", Faults { refuse_refunds: 1.0, ..all() }, "RD", "D"),
    ];
    for (name, faults, given, asked) in cases {
        let mut bank = charged(faults);
        assert_eq!(shape(&bank.handle(refund("391", "R1", "T1", 40), 0)), given, "{name}");
        assert_eq!(shape(&bank.handle(inquiry_about(Subject::Refund, "391", "R1"), 0)), asked, "{name}, asked");
        assert_eq!(shape(&bank.handle(inquiry("391", "T1"), 0)), "A", "{name}: the charge stays what it was");
    }
}

#[test]
fn the_wallet_refunds_a_number_once_and_other_issuers_again() {
    for (institution, again, third) in [("", "=B", "=B"), ("391", "RB", "RD")] {
        let mut bank = charged(Faults::default());
        let first = bank.handle(refund(institution, "R1", "T1", 40), 0);
        let second = bank.handle(refund(institution, "R1", "T1", 40), 0);
        assert_eq!((shape(&first).as_str(), shape(&second).as_str()), ("RB", again), "{institution:?}");
        assert_eq!(answered(&first), answered(&second), "{institution:?}");
        assert_eq!(shape(&bank.handle(refund(institution, "R1", "T1", 40), 0)), third, "{institution:?}");
        let asked = bank.handle(inquiry_about(Subject::Refund, institution, "R1"), 0);
        assert_eq!(answered(&asked), answered(&first), "{institution:?}: what took effect counts");
    }
}

#[test]
fn the_ledger_says_what_went_back_to_whom() {
    let mut bank = charged(Faults::default());
    let recorded = entries(bank.handle(refund("391", "R1", "T1", 40), 7));
    let expected = LedgerEntry {
        sequence: 3,
        kind: Kind::Refunded.into(),
        institution: "391".into(),
        trade_no: "T1".into(),
        merchant_id: "M".into(),
        merchant_trade_no: "PR1".into(),
        trade_amount: 40,
        debit_amount: 40,
        at_ms: 7,
        account: recorded[0].account,
        balance: 1_000_000 - 100 + 40,
        declined: None,
        refund_trade_no: "R1".into(),
        store_id: "S2".into(),
    };
    assert_eq!(recorded, [expected]);
}

#[test]
fn what_is_refused_and_with_which_code() {
    let cases = [
        ("charge unknown", refund_with("", "R1", "T9", 1, ""), 0, "934"),
        ("charge unknown", refund_with("391", "R1", "T9", 1, ""), 0, "R934"),
        ("charge refused", refund_with("", "R1", "T3", 1, ""), 0, "934"),
        ("charge refused", refund_with("391", "R1", "T3", 1, ""), 0, "R934"),
        ("reversed", refund_with("", "R1", "T2", 1, ""), 0, "812"),
        ("reversed", refund_with("391", "R1", "T2", 1, ""), 0, "R812"),
        ("too much", refund_with("", "R1", "T1", 101, ""), 0, "922"),
        ("too much", refund_with("391", "R1", "T1", 101, ""), 0, "R922"),
        ("nothing", refund_with("", "R1", "T1", 0, ""), 0, "940"),
        ("less than nothing", refund_with("391", "R1", "T1", -1, ""), 0, "R940"),
        ("too late", refund_with("", "R1", "T1", 1, ""), 5_001, "906"),
        ("own rules", refund_with("", "R1", "T1", 1, "退貨 R951"), 0, "951"),
        ("own rules", refund_with("", "R1", "T1", 1, "RR975x"), 0, "975"),
        ("own rules", refund_with("391", "R1", "T1", 1, "R968"), 0, "968"),
        ("no ambiguity at other issuers", refund_with("391", "R1", "T1", 1, "R909"), 0, "909"),
    ];
    for (name, call, now, code) in cases {
        let mut bank = charged(Faults::default());
        for institution in ["", "391"] {
            bank.handle(charge(institution, "T2", "22AB"), 0);
            assert_eq!(shape(&bank.handle(reversal(institution, "T2", 100), 0)), "RV");
            bank.handle(charge(institution, "T3", "22D928"), 0);
        }
        let institution = call.institution.clone();
        let reactions = bank.handle(call, now);
        assert_eq!(shape(&reactions), "RD", "{name} {institution:?}");
        let refusal = declined(&reactions);
        let whose = if institution.is_empty() { Whose::Wallet } else { Whose::Issuer };
        assert_eq!((refusal.code.as_str(), refusal.kind()), (code, whose), "{name}");
        assert!(!refusal.reason.is_ascii(), "{name}: {}", refusal.reason);
        assert_eq!(entries(reactions)[0].kind(), Kind::RefundDeclined, "{name}");
        let asked = bank.handle(inquiry_about(Subject::Refund, &institution, "R1"), 0);
        assert_eq!(declined(&asked), refusal, "{name}, asked");
    }
    let late = charged(Faults::default()).handle(refund("391", "R1", "T1", 1), 5_001);
    assert_eq!(shape(&late), "RB", "other issuers take what comes late");
}

#[test]
fn where_the_wallet_does_not_know_an_inquiry_tells_what_happened() {
    for code in ["301", "801", "901", "909"] {
        let mut bank = charged(Faults::default());
        let mut seen = std::collections::BTreeSet::new();
        for n in 0..40 {
            let number = format!("R{n}");
            let reactions = bank.handle(refund_with("", &number, "T1", 1, &format!("R{code}")), 0);
            assert_eq!(declined(&reactions).code, code);
            let asked = shape(&bank.handle(inquiry_about(Subject::Refund, "", &number), 0));
            seen.insert((shape(&reactions), asked));
        }
        let expected = [("D", "U"), ("RD", "B")].map(|(given, asked)| (given.to_owned(), asked.to_owned()));
        assert_eq!(seen, expected.into(), "{code}");
    }
}

#[test]
fn a_held_refund_lands_within_its_window_only_and_the_wallet_refuses_what_is_late() {
    let cases = [
        ("391", 8_000, Some(Kind::Refunded)),
        ("391", 8_001, None),
        ("", 5_000, Some(Kind::Refunded)),
        ("", 5_001, Some(Kind::RefundDeclined)),
        ("", 8_001, None),
    ];
    for (institution, now, landed) in cases {
        let mut bank = charged(Faults { land_after_inquiry: 1.0, ..Faults::default() });
        assert_eq!(shape(&bank.handle(refund(institution, "R1", "T1", 40), 0)), "");
        assert_eq!(shape(&bank.handle(inquiry(institution, "T1"), 0)), "A", "of the charge: the refund stays held");
        let reactions = bank.handle(inquiry_about(Subject::Refund, institution, "R1"), 0);
        let Some(Reaction::Land { request, .. }) = reactions.last() else { panic!("not held") };
        let kinds: Vec<_> = entries(bank.land(request, now)).iter().map(LedgerEntry::kind).collect();
        assert_eq!(kinds, landed.into_iter().collect::<Vec<_>>(), "{institution:?} at {now}");
    }
}

#[test]
fn a_payments_fate_does_not_decide_its_refunds() {
    let mut bank = bank(Faults { lose_answers: 0.5, ..Faults::default() });
    let mut seen = std::collections::BTreeSet::new();
    for n in 0..60 {
        let (payment, number) = (format!("T{n}"), format!("R{n}"));
        let charged = shape(&bank.handle(charge("391", &payment, "IPAB"), 0));
        let given = shape(&bank.handle(refund("391", &number, &payment, 1), 0));
        let same_number = shape(&bank.handle(refund("391", &payment, &payment, 1), 0));
        seen.insert((charged.len(), given.len(), same_number.len()));
    }
    assert_eq!(seen.len(), 8, "all combinations occur: {seen:?}");
}

#[test]
fn what_was_redeemed_goes_back_to_the_last_dollar() {
    let mut split = 0;
    for n in 0..200 {
        let trade_no = format!("T{n}");
        for parts in [vec![100], vec![33, 33, 34], vec![1; 100], vec![99, 1], vec![7, 50, 43]] {
            let mut bank = bank(Faults::default());
            let paid = approved(&bank.handle(charge("", &trade_no, "22AB"), 0));
            let mut sums = (0, 0, 0);
            for (i, part) in parts.iter().enumerate() {
                let given = refunded(&bank.handle(refund("", &format!("R{i}"), &trade_no, *part), 0));
                assert_eq!(given.debit_amount + given.redeem_amount + given.store_redeem_amount, *part, "{trade_no}");
                assert!(given.debit_amount.min(given.redeem_amount).min(given.store_redeem_amount) >= 0, "{given:?}");
                sums.0 += given.debit_amount;
                sums.1 += given.redeem_amount;
                sums.2 += given.store_redeem_amount;
            }
            let expected = (paid.debit_amount, -paid.redeem_amount, -paid.store_redeem_amount);
            assert_eq!(sums, expected, "{trade_no} in {parts:?}");
            split += usize::from(sums.1 > 0 && sums.2 > 0);
        }
    }
    assert!(split > 0, "no payment redeemed both ways");
}
