//! Tests of refunds: each fault, which issuer refunds twice, and the code of each refusal.

use twqr_wire::backend::{Refunded, declined::Kind as DeclinedBy};

use super::*;

/// The refund among the answers; panics if the last answer is another one.
fn refunded(reactions: &[Reaction]) -> Refunded {
    let Answer::Refunded(refunded) = last_answer(reactions) else { panic!("not refunded: {reactions:?}") };
    refunded
}

#[test]
fn each_fault_has_its_entries_and_answers() {
    let all = Faults::default;
    let cases = [
        ("no fault", all(), "RB", "B"),
        ("request lost", Faults { lose_requests: 1.0, ..all() }, "", "U"),
        ("answer lost", Faults { lose_answers: 1.0, ..all() }, "R", "B"),
        ("late", Faults { answer_late: 1.0, late_ms: 9_000, ..all() }, "RB", "B"),
        ("held until an inquiry", Faults { land_after_inquiry: 1.0, ..all() }, "L", "UL"),
        ("twice", Faults { answer_twice: 1.0, ..all() }, "RBB", "B"),
        ("maintenance", Faults { maintenance: true, ..all() }, "RD", "D"),
        ("refused by the issuer", Faults { refuse_refunds: 1.0, ..all() }, "RD", "D"),
    ];
    for (name, faults, refunded, inquired) in cases {
        let mut bank = charged(faults);
        assert_eq!(shape(&bank.handle(refund(other(), "R1", "T1", 40), 0)), refunded, "{name}");
        assert_eq!(shape(&bank.handle(inquiry_about(Subject::Refund, other(), "R1"), 0)), inquired, "{name}: inquiry");
        assert_eq!(shape(&bank.handle(inquiry(other(), "T1"), 0)), "A", "{name}: the charge is unchanged");
    }
}

#[test]
fn the_wallet_refunds_a_number_once_and_other_issuers_again() {
    for (issuer, again, third) in [(WALLET, "=B", "=B"), (other(), "RB", "RD")] {
        let mut bank = charged(Faults::default());
        let first = bank.handle(refund(issuer, "R1", "T1", 40), 0);
        let second = bank.handle(refund(issuer, "R1", "T1", 40), 0);
        assert_eq!((shape(&first).as_str(), shape(&second).as_str()), ("RB", again), "{issuer:?}");
        assert_eq!(last_answer(&first), last_answer(&second), "{issuer:?}");
        assert_eq!(shape(&bank.handle(refund(issuer, "R1", "T1", 40), 0)), third, "{issuer:?}");
        let inquired = bank.handle(inquiry_about(Subject::Refund, issuer, "R1"), 0);
        assert_eq!(
            last_answer(&inquired),
            last_answer(&first),
            "{issuer:?}: the refund that took effect is the answer"
        );
    }
}

#[test]
fn the_ledger_entry_names_account_amount_and_store() {
    let mut bank = charged(Faults::default());
    let recorded = entries(bank.handle(refund(other(), "R1", "T1", 40), 7));
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
fn each_refusal_has_its_code() {
    let cases = [
        ("charge unknown", refund_with(WALLET, "R1", "T9", 1, ""), 0, "934"),
        ("charge unknown", refund_with(other(), "R1", "T9", 1, ""), 0, "R934"),
        ("charge refused", refund_with(WALLET, "R1", "T3", 1, ""), 0, "934"),
        ("charge refused", refund_with(other(), "R1", "T3", 1, ""), 0, "R934"),
        ("reversed", refund_with(WALLET, "R1", "T2", 1, ""), 0, "812"),
        ("reversed", refund_with(other(), "R1", "T2", 1, ""), 0, "R812"),
        ("too much", refund_with(WALLET, "R1", "T1", 101, ""), 0, "922"),
        ("too much", refund_with(other(), "R1", "T1", 101, ""), 0, "R922"),
        ("zero", refund_with(WALLET, "R1", "T1", 0, ""), 0, "940"),
        ("negative", refund_with(other(), "R1", "T1", -1, ""), 0, "R940"),
        ("too late", refund_with(WALLET, "R1", "T1", 1, ""), 5_001, "906"),
        ("provoked", refund_with(WALLET, "R1", "T1", 1, "退貨 R951"), 0, "951"),
        ("provoked", refund_with(WALLET, "R1", "T1", 1, "RR975x"), 0, "975"),
        ("provoked", refund_with(other(), "R1", "T1", 1, "R968"), 0, "968"),
        ("only the wallet is ambiguous", refund_with(other(), "R1", "T1", 1, "R909"), 0, "909"),
    ];
    for (name, call, now, code) in cases {
        let mut bank = charged(Faults::default());
        for issuer in [WALLET, other()] {
            bank.handle(charge(issuer, "T2", "22AB"), 0);
            assert_eq!(shape(&bank.handle(reversal(issuer, "T2", 100), 0)), "RV");
            bank.handle(charge(issuer, "T3", "22D928"), 0);
        }
        let issuer = Issuer::from_wire(&call.institution).unwrap();
        let reactions = bank.handle(call, now);
        assert_eq!(shape(&reactions), "RD", "{name} {issuer:?}");
        let refusal = declined(&reactions);
        let declined_by = if issuer == WALLET { DeclinedBy::Wallet } else { DeclinedBy::Issuer };
        assert_eq!((refusal.code.as_str(), refusal.kind()), (code, declined_by), "{name}");
        assert!(!refusal.reason.is_ascii(), "{name}: {}", refusal.reason);
        assert_eq!(entries(reactions)[0].kind(), Kind::RefundDeclined, "{name}");
        let inquired = bank.handle(inquiry_about(Subject::Refund, issuer, "R1"), 0);
        assert_eq!(declined(&inquired), refusal, "{name}: inquiry");
    }
    let late = charged(Faults::default()).handle(refund(other(), "R1", "T1", 1), 5_001);
    assert_eq!(shape(&late), "RB", "other issuers accept late refunds");
}

#[test]
fn after_an_ambiguous_code_an_inquiry_answers_the_truth() {
    for code in ["301", "801", "901", "909"] {
        let mut bank = charged(Faults::default());
        let mut seen = std::collections::BTreeSet::new();
        for n in 0..40 {
            let number = format!("R{n}");
            let reactions = bank.handle(refund_with(WALLET, &number, "T1", 1, &format!("R{code}")), 0);
            assert_eq!(declined(&reactions).code, code);
            let inquired = shape(&bank.handle(inquiry_about(Subject::Refund, WALLET, &number), 0));
            seen.insert((shape(&reactions), inquired));
        }
        let expected = [("D", "U"), ("RD", "B")].map(|(refunded, inquired)| (refunded.to_owned(), inquired.to_owned()));
        assert_eq!(seen, expected.into(), "{code}");
    }
}

#[test]
fn a_held_refund_takes_effect_or_is_refused_for_lateness() {
    let cases = [
        (other(), 8_001, Some(Kind::Refunded)),
        (WALLET, 5_000, Some(Kind::Refunded)),
        (WALLET, 5_001, Some(Kind::RefundDeclined)),
    ];
    for (issuer, now, released) in cases {
        let mut bank = charged(Faults { land_after_inquiry: 1.0, ..Faults::default() });
        assert_eq!(shape(&bank.handle(refund(issuer, "R1", "T1", 40), 0)), "L");
        assert_eq!(
            shape(&bank.handle(inquiry(issuer, "T1"), 0)),
            "A",
            "an inquiry about the charge does not release the refund"
        );
        let reactions = bank.handle(inquiry_about(Subject::Refund, issuer, "R1"), 0);
        let Some(Reaction::Release { request, .. }) = reactions.last() else { panic!("not held") };
        let kinds: Vec<_> = entries(bank.release(request, now)).iter().map(LedgerEntry::kind).collect();
        assert_eq!(kinds, released.into_iter().collect::<Vec<_>>(), "{issuer:?} at {now}");
    }
}

#[test]
fn a_payment_and_its_refund_have_independent_fates() {
    let mut bank = bank(Faults { lose_answers: 0.5, ..Faults::default() });
    let mut seen = std::collections::BTreeSet::new();
    for n in 0..60 {
        let (payment, number) = (format!("T{n}"), format!("R{n}"));
        let charged = shape(&bank.handle(charge(other(), &payment, "IPAB"), 0));
        let refunded = shape(&bank.handle(refund(other(), &number, &payment, 1), 0));
        let same_number = shape(&bank.handle(refund(other(), &payment, &payment, 1), 0));
        seen.insert((charged.len(), refunded.len(), same_number.len()));
    }
    assert_eq!(seen.len(), 8, "all combinations occur: {seen:?}");
}

#[test]
fn refunds_return_all_redemption_to_the_last_dollar() {
    let mut returned_both_ways = 0;
    for n in 0..200 {
        let trade_no = format!("T{n}");
        for parts in [vec![100], vec![33, 33, 34], vec![1; 100], vec![99, 1], vec![7, 50, 43]] {
            let mut bank = bank(Faults::default());
            let paid = approved(&bank.handle(charge(WALLET, &trade_no, "22AB"), 0));
            let mut sums = (0, 0, 0);
            for (i, part) in parts.iter().enumerate() {
                let refund = refunded(&bank.handle(refund(WALLET, &format!("R{i}"), &trade_no, *part), 0));
                assert_eq!(
                    refund.debit_amount + refund.redeem_amount + refund.store_redeem_amount,
                    *part,
                    "{trade_no}"
                );
                assert!(
                    refund.debit_amount.min(refund.redeem_amount).min(refund.store_redeem_amount) >= 0,
                    "{refund:?}"
                );
                sums.0 += refund.debit_amount;
                sums.1 += refund.redeem_amount;
                sums.2 += refund.store_redeem_amount;
            }
            let expected = (paid.debit_amount, -paid.redeem_amount, -paid.store_redeem_amount);
            assert_eq!(sums, expected, "{trade_no} in {parts:?}");
            returned_both_ways += usize::from(sums.1 > 0 && sums.2 > 0);
        }
    }
    assert!(returned_both_ways > 0, "no payment redeemed both ways");
}
