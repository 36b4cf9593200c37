//! Each fault, and who charges twice.

use twqr_wire::backend::Inquiry;

use super::*;

fn bank(faults: Faults) -> Bank {
    let issuers = [("391".to_owned(), faults.clone())].into();
    Bank::new(Script { seed: 1, wallet: faults, issuers }, [])
}

fn charge(institution: &str, trade_no: &str, token: &str) -> ExchangeRequest {
    let charge = Charge {
        trade_no: trade_no.into(),
        card_token: token.into(),
        trade_amount: 100,
        send_by_ms: 5_000,
        ..Charge::default()
    };
    ExchangeRequest { call_id: 9, institution: institution.into(), call: Some(Call::Charge(charge)) }
}

fn inquiry(institution: &str, trade_no: &str) -> ExchangeRequest {
    let inquiry = Inquiry { trade_no: trade_no.into(), ..Inquiry::default() };
    ExchangeRequest { call_id: 10, institution: institution.into(), call: Some(Call::Inquiry(inquiry)) }
}

/// R recorded, A approved, D declined, U unknown, L lands later.
fn shape(reactions: &[Reaction]) -> String {
    let letter = |reaction: &Reaction| match reaction {
        Reaction::Record(_) => 'R',
        Reaction::Land { .. } => 'L',
        Reaction::Answer { response, .. } => match &response.answer {
            Some(Answer::Approved(_)) => 'A',
            Some(Answer::Declined(_)) => 'D',
            Some(Answer::TradeUnknown(_)) => 'U',
            Some(Answer::Undecided(_) | Answer::Refunded(_) | Answer::Reversed(_)) | None => '?',
        },
    };
    reactions.iter().map(letter).collect()
}

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
    assert_eq!(shape(&bank.handle(charge("", "T1", "22AB"), 0)), "A");
    assert_eq!(shape(&bank.handle(charge("391", "T1", "IPAB"), 0)), "RA");
    assert_eq!(shape(&bank.handle(charge("391", "T1", "IPAB"), 0)), "RA");
}

#[test]
fn an_account_is_debited_until_it_has_too_little_also_after_a_restart() {
    let faults = Faults { accounts: 1, balance: 250, ..Faults::default() };
    let mut first = bank(faults.clone());
    let mut entries = Vec::new();
    for (n, expected) in [(1, "RA"), (2, "RA"), (3, "RD")] {
        let reactions = first.handle(charge("391", &format!("T{n}"), "IPAB"), 0);
        assert_eq!(shape(&reactions), expected, "{n}");
        entries.extend(reactions.into_iter().filter_map(|reaction| match reaction {
            Reaction::Record(entry) => Some(entry),
            Reaction::Answer { .. } | Reaction::Land { .. } => None,
        }));
    }
    assert_eq!(entries.iter().map(|entry| entry.balance).collect::<Vec<_>>(), [150, 50, 50]);
    let script = Script { seed: 1, wallet: faults.clone(), issuers: [("391".to_owned(), faults)].into() };
    let mut second = Bank::new(script, entries);
    assert_eq!(shape(&second.handle(charge("391", "T4", "IPAB"), 0)), "RD");
    let reactions = second.handle(inquiry("391", "T3"), 0);
    let Some(Reaction::Answer { response, .. }) = reactions.first() else { panic!("no answer") };
    let Some(Answer::Declined(declined)) = &response.answer else { panic!("not declined") };
    assert_eq!(declined.code, "928", "the reason is kept");
}

#[test]
fn codes_provoke_declines_and_the_wallet_refuses_late_arrivals() {
    for (token, now, code) in
        [("22xxD911", 0, "911"), ("22D9D928", 0, "928"), ("22NOCARD", 0, "K001"), ("22xx", 5_001, "906")]
    {
        let reactions = bank(Faults::default()).handle(charge("", "T1", token), now);
        let Some(Reaction::Answer { response, .. }) = reactions.last() else { panic!("{token}") };
        let Some(Answer::Declined(declined)) = &response.answer else { panic!("{token}") };
        assert_eq!(declined.code, code, "{token}");
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
    let Some(Reaction::Record(entry)) = reactions.first().cloned() else { panic!("not recorded") };
    assert!(!format!("{entry:?}").contains("SECRET"));
    let mut second = Bank::new(Script::default(), [entry]);
    assert_eq!(shape(&second.handle(charge("", "T1", "22SECRET"), 0)), "A");
}

#[test]
fn scripts_that_cannot_be_are_refused_by_key() {
    for (text, expected) in [
        ("[wallet]\nlatency = 3", "unknown field `latency`"),
        ("[issuers.391]\nlose_answers = 2.0", "issuers.391.lose_answers is 2, must be 0.0 to 1.0"),
        ("[wallet]\nlose_requests = 0.6\nlose_answers = 0.6", "more than 1.0"),
    ] {
        let error = Script::parse(text).unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
    }
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
