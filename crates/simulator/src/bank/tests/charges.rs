//! Charges: each fault, and who charges twice.

use super::*;

#[test]
fn faults_and_what_the_ledger_and_the_caller_see() {
    let all = Faults::default;
    let cases = [
        ("no fault", all(), "RA", "A"),
        ("request lost", Faults { lose_requests: 1.0, ..all() }, "", "U"),
        ("answer lost", Faults { lose_answers: 1.0, ..all() }, "R", "A"),
        ("late", Faults { answer_late: 1.0, late_ms: 9_000, ..all() }, "RA", "A"),
        ("held until an inquiry", Faults { land_after_inquiry: 1.0, ..all() }, "", "UL"),
        ("twice", Faults { answer_twice: 1.0, ..all() }, "RAA", "A"),
        ("maintenance", Faults { maintenance: true, ..all() }, "RD", "D"),
        ("balance too low", Faults { balance: 99, ..all() }, "RD", "D"),
    ];
    for (name, faults, charged, asked) in cases {
        let mut bank = bank(faults);
        assert_eq!(shape(&bank.handle(charge("391", "T1", "IP12"), 0)), charged, "{name}");
        assert_eq!(shape(&bank.handle(inquiry("391", "T1"), 0)), asked, "{name}, asked");
    }
}

#[test]
fn the_wallet_is_idempotent_and_other_issuers_charge_twice() {
    let mut bank = bank(Faults::default());
    assert_eq!(shape(&bank.handle(charge("", "T1", "22AB"), 0)), "RA");
    assert_eq!(shape(&bank.handle(charge("", "T1", "22AB"), 0)), "=A");
    assert_eq!(shape(&bank.handle(charge("391", "T1", "IPAB"), 0)), "RA");
    assert_eq!(shape(&bank.handle(charge("391", "T1", "IPAB"), 0)), "RA");
}

#[test]
fn an_account_is_debited_until_it_has_too_little_also_after_a_restart() {
    let faults = Faults { accounts: 1, balance: 250, ..Faults::default() };
    let mut first = bank(faults.clone());
    let mut recorded = Vec::new();
    for (n, expected) in [(1, "RA"), (2, "RA"), (3, "RD")] {
        let reactions = first.handle(charge("391", &format!("T{n}"), "IPAB"), 0);
        assert_eq!(shape(&reactions), expected, "{n}");
        recorded.extend(entries(reactions));
    }
    assert_eq!(recorded.iter().map(|entry| entry.balance).collect::<Vec<_>>(), [150, 50, 50]);
    let mut second = Bank::new(script(faults), recorded);
    assert_eq!(shape(&second.handle(charge("391", "T4", "IPAB"), 0)), "RD");
    assert_eq!(declined(&second.handle(inquiry("391", "T3"), 0)).code, "928", "the reason is kept");
}

#[test]
fn codes_provoke_declines_and_the_wallet_refuses_late_arrivals() {
    for (token, now, code) in
        [("22xxD911", 0, "911"), ("22D9D928", 0, "928"), ("22NOCARD", 0, "K001"), ("22xx", 5_001, "906")]
    {
        let reactions = bank(Faults::default()).handle(charge("", "T1", token), now);
        assert_eq!(declined(&reactions).code, code, "{token}");
    }
}

#[test]
fn a_held_charge_lands_within_its_window_only() {
    for (now, landed) in [(8_000, "R"), (8_001, "")] {
        let mut bank = bank(Faults { land_after_inquiry: 1.0, ..Faults::default() });
        bank.handle(charge("391", "T1", "IPAB"), 0);
        let reactions = bank.handle(inquiry("391", "T1"), 0);
        let Some(Reaction::Land { request, .. }) = reactions.last() else { panic!("not held") };
        assert_eq!(shape(&bank.land(request, now)), landed, "{now}");
    }
}

#[test]
fn the_ledger_restores_the_verdicts_and_has_no_code_in_it() {
    let mut first = bank(Faults::default());
    let reactions = first.handle(charge("", "T1", "22SECRET"), 0);
    let recorded = entries(reactions);
    assert!(!format!("{recorded:?}").contains("SECRET"));
    let mut second = Bank::new(script(Faults::default()), recorded);
    assert_eq!(shape(&second.handle(charge("", "T1", "22SECRET"), 0)), "=A");
}

#[test]
fn where_the_wallet_does_not_know_an_inquiry_tells_what_happened() {
    let mut bank = bank(Faults::default());
    let mut seen = std::collections::BTreeSet::new();
    for n in 0..40 {
        let trade_no = format!("T{n}");
        let charged = shape(&bank.handle(charge("", &trade_no, "22D909abcdefghijkl"), 0));
        seen.insert((charged, shape(&bank.handle(inquiry("", &trade_no), 0))));
    }
    let expected = [("D", "U"), ("RD", "A")].map(|(charged, asked)| (charged.to_owned(), asked.to_owned()));
    assert_eq!(seen, expected.into());
}

#[test]
fn a_charge_that_takes_effect_after_a_refusal_is_what_an_inquiry_tells() {
    let mut bank = bank(Faults::default());
    assert_eq!(shape(&bank.handle(charge("391", "T1", "IPD928"), 0)), "RD");
    assert_eq!(shape(&bank.handle(charge("391", "T1", "IPAB"), 0)), "RA");
    assert_eq!(shape(&bank.handle(inquiry("391", "T1"), 0)), "A");
}

#[test]
fn amounts_of_nothing_are_refused() {
    for (institution, amount) in [("", 0), ("391", 0), ("391", -5)] {
        let reactions = bank(Faults::default()).handle(charge_of(institution, "T1", "22AB", amount), 0);
        assert_eq!(declined(&reactions).code, "940", "{institution:?} {amount}");
    }
}

#[test]
fn a_contradiction_comes_after_its_approval_or_alone_where_it_is_late() {
    let contradict = || Faults { contradict: 1.0, ..Faults::default() };
    let due = |reactions: &[Reaction]| -> Vec<u64> {
        let after = |reaction: &Reaction| match reaction {
            Reaction::Answer { after_ms, .. } => Some(*after_ms),
            Reaction::Record(_) | Reaction::Land { .. } => None,
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
        let reactions = bank.handle(charge("391", "T1", "IPAB"), 0);
        assert_eq!((shape(&reactions).as_str(), due(&reactions)), (shaped, times), "{name}");
        if name != "refused anyway" {
            assert_eq!(shape(&bank.handle(inquiry("391", "T1"), 0)), "A", "{name}");
        }
    }
}

#[test]
fn an_inquiry_about_nothing_known_and_an_empty_call_are_undecided() {
    let odd = Inquiry { trade_no: "T1".into(), subject: 9 };
    let empty = ExchangeRequest { call_id: 9, institution: String::new(), call: None };
    for call in [request("", Call::Inquiry(odd)), empty] {
        assert_eq!(shape(&bank(Faults::default()).handle(call, 0)), "?");
    }
}
