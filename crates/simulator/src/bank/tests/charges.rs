//! Tests of charges: each fault, and which issuer charges twice.

use super::*;

#[test]
fn each_fault_has_its_entries_and_answers() {
    let all = Faults::default;
    let cases = [
        ("no fault", all(), "RA", "A"),
        ("request lost", Faults { lose_requests: 1.0, ..all() }, "", "U"),
        ("answer lost", Faults { lose_answers: 1.0, ..all() }, "R", "A"),
        ("late", Faults { answer_late: 1.0, late_ms: 9_000, ..all() }, "RA", "A"),
        ("held until an inquiry", Faults { land_after_inquiry: 1.0, ..all() }, "L", "UL"),
        ("twice", Faults { answer_twice: 1.0, ..all() }, "RAA", "A"),
        ("maintenance", Faults { maintenance: true, ..all() }, "RD", "D"),
        ("balance too low", Faults { balance: 99, ..all() }, "RD", "D"),
    ];
    for (name, faults, charged, inquired) in cases {
        let mut bank = bank(faults);
        assert_eq!(shape(&bank.handle(charge(other(), "T1", "IP12"), 0)), charged, "{name}");
        assert_eq!(shape(&bank.handle(inquiry(other(), "T1"), 0)), inquired, "{name}: inquiry");
    }
}

#[test]
fn the_wallet_is_idempotent_and_other_issuers_charge_twice() {
    let mut bank = bank(Faults::default());
    assert_eq!(shape(&bank.handle(charge(WALLET, "T1", "22AB"), 0)), "RA");
    assert_eq!(shape(&bank.handle(charge(WALLET, "T1", "22AB"), 0)), "=A");
    assert_eq!(shape(&bank.handle(charge(other(), "T1", "IPAB"), 0)), "RA");
    assert_eq!(shape(&bank.handle(charge(other(), "T1", "IPAB"), 0)), "RA");
}

#[test]
fn an_account_is_debited_until_it_has_too_little_also_after_a_restart() {
    let faults = Faults { accounts: 1, balance: 250, ..Faults::default() };
    let mut first = bank(faults.clone());
    let mut recorded = Vec::new();
    for (n, expected) in [(1, "RA"), (2, "RA"), (3, "RD")] {
        let reactions = first.handle(charge(other(), &format!("T{n}"), "IPAB"), 0);
        assert_eq!(shape(&reactions), expected, "{n}");
        recorded.extend(entries(reactions));
    }
    assert_eq!(recorded.iter().map(|entry| entry.balance).collect::<Vec<_>>(), [150, 50, 50]);
    let mut second = Bank::new(script(faults), recorded);
    assert_eq!(shape(&second.handle(charge(other(), "T4", "IPAB"), 0)), "RD");
    assert_eq!(declined(&second.handle(inquiry(other(), "T3"), 0)).code, "928", "the reason is kept");
}

#[test]
fn codes_provoke_refusals_and_the_wallet_refuses_late_charges() {
    for (token, now, code) in
        [("22xxD911", 0, "911"), ("22D9D928", 0, "928"), ("22NOCARD", 0, "K001"), ("22xx", 5_001, "906")]
    {
        let reactions = bank(Faults::default()).handle(charge(WALLET, "T1", token), now);
        assert_eq!(declined(&reactions).code, code, "{token}");
    }
}

#[test]
fn a_held_charge_takes_effect_once_after_an_inquiry_or_when_its_window_ends() {
    let mut bank = bank(Faults { land_after_inquiry: 1.0, ..Faults::default() });
    let held = bank.handle(charge(other(), "T1", "IPAB"), 1_000);
    let inquired = bank.handle(inquiry(other(), "T1"), 2_000);
    let releases: Vec<_> = held.iter().chain(&inquired).filter_map(release_of).collect();
    assert_eq!(releases.iter().map(|(after_ms, _)| *after_ms).collect::<Vec<_>>(), [5_000 + 3_000 - 1_000, 200]);
    assert_eq!(shape(&bank.release(releases[1].1, 2_200)), "R");
    assert_eq!(shape(&bank.release(releases[0].1, 8_000)), "", "it has already taken effect");
}

#[test]
fn only_an_issuer_that_refuses_late_calls_refuses_a_held_charge_after_its_time() {
    for (kind, expected) in [(IssuerKind::Plain, Kind::Charged), (IssuerKind::RefusesLate, Kind::Declined)] {
        let mut bank = bank(Faults { land_after_inquiry: 1.0, kind: Some(kind), ..Faults::default() });
        let held = bank.handle(charge(other(), "T1", "IPAB"), 0);
        let (_, request) = release_of(&held[0]).unwrap();
        let recorded = entries(bank.release(request, 60_000));
        assert_eq!(recorded[0].kind(), expected, "{kind:?}");
    }
}

#[test]
fn a_repeat_has_a_fate_of_its_own() {
    let mut bank = bank(Faults { lose_requests: 0.5, ..Faults::default() });
    for n in 0..40 {
        let arrived = (0..40).any(|_| !bank.handle(charge(WALLET, &format!("T{n}"), "22AB"), 0).is_empty());
        assert!(arrived, "every repeat of T{n} was lost");
    }
}

#[test]
fn the_ledger_restores_verdicts_and_contains_no_code() {
    let mut first = bank(Faults::default());
    let reactions = first.handle(charge(WALLET, "T1", "22SECRET"), 0);
    let recorded = entries(reactions);
    assert!(!format!("{recorded:?}").contains("SECRET"));
    let mut second = Bank::new(script(Faults::default()), recorded);
    assert_eq!(shape(&second.handle(charge(WALLET, "T1", "22SECRET"), 0)), "=A");
}

#[test]
fn after_an_ambiguous_code_an_inquiry_answers_the_truth() {
    let mut bank = bank(Faults::default());
    let mut seen = std::collections::BTreeSet::new();
    for n in 0..40 {
        let trade_no = format!("T{n}");
        let charged = shape(&bank.handle(charge(WALLET, &trade_no, "22D909abcdefghijkl"), 0));
        seen.insert((charged, shape(&bank.handle(inquiry(WALLET, &trade_no), 0))));
    }
    let expected = [("D", "U"), ("RD", "A")].map(|(charged, inquired)| (charged.to_owned(), inquired.to_owned()));
    assert_eq!(seen, expected.into());
}

#[test]
fn an_inquiry_prefers_a_charge_over_an_earlier_refusal() {
    let mut bank = bank(Faults::default());
    assert_eq!(shape(&bank.handle(charge(other(), "T1", "IPD928"), 0)), "RD");
    assert_eq!(shape(&bank.handle(charge(other(), "T1", "IPAB"), 0)), "RA");
    assert_eq!(shape(&bank.handle(inquiry(other(), "T1"), 0)), "A");
}

#[test]
fn amounts_that_are_not_positive_are_refused() {
    for (issuer, amount) in [(WALLET, 0), (other(), 0), (other(), -5)] {
        let reactions = bank(Faults::default()).handle(charge_of(issuer, "T1", "22AB", amount), 0);
        assert_eq!(declined(&reactions).code, "940", "{issuer:?} {amount}");
    }
}

#[test]
fn a_contradiction_follows_its_approval_or_is_the_only_answer_if_late() {
    let contradict = || Faults { contradict: 1.0, ..Faults::default() };
    let delays = |reactions: &[Reaction]| -> Vec<u64> {
        let after = |reaction: &Reaction| match reaction {
            Reaction::Answer { after_ms, .. } => Some(*after_ms),
            Reaction::Record(_) | Reaction::Release { .. } => None,
        };
        reactions.iter().filter_map(after).collect()
    };
    for (name, faults, shaped, times) in [
        ("in time", contradict(), "RAD", vec![0, 50]),
        ("late", Faults { answer_late: 1.0, late_ms: 4_000, ..contradict() }, "RD", vec![4_050]),
        ("lost", Faults { lose_answers: 1.0, ..contradict() }, "R", vec![]),
        ("refused anyway", Faults { maintenance: true, ..contradict() }, "RD", vec![0]),
    ] {
        let mut bank = bank(faults);
        let reactions = bank.handle(charge(other(), "T1", "IPAB"), 0);
        assert_eq!((shape(&reactions).as_str(), delays(&reactions)), (shaped, times), "{name}");
        if name != "refused anyway" {
            assert_eq!(shape(&bank.handle(inquiry(other(), "T1"), 0)), "A", "{name}");
        }
    }
}

#[test]
fn malformed_calls_are_undecided() {
    let odd = Inquiry { trade_no: "T1".into(), subject: 9 };
    let empty = ExchangeRequest { call_id: 9, institution: String::new(), call: None };
    let unknown_institution = ExchangeRequest { institution: "3911".into(), ..inquiry(WALLET, "T1") };
    for call in [request(WALLET, Call::Inquiry(odd)), empty, unknown_institution] {
        assert_eq!(shape(&bank(Faults::default()).handle(call, 0)), "?");
    }
}
