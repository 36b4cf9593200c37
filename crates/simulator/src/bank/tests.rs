//! Tests of the bank's answers and of its ledger entries, for charges, refunds, reversals and
//! approvals; one module has the kinds of issuers as a table, and one checks the money over random
//! histories.

mod approvals;
mod charges;
mod kinds;
mod money;
mod refunds;
mod reversals;

use twqr_wire::backend::{Approved, Charge, Declined, Inquiry, Refund, Reversal, inquiry::Subject};

use super::*;
use crate::IssuerKind;

const WALLET: Issuer = Issuer::Wallet;

/// The other issuer of these tests: institution 391.
fn other() -> Issuer {
    Issuer::from_wire("391").unwrap()
}

/// A bank whose wallet and other issuer have the same faults.
fn bank(faults: Faults) -> Bank {
    Bank::new(script(faults), [])
}

/// A bank that has charged T1 for 100 TWD both at the wallet and at the other issuer.
fn charged(faults: Faults) -> Bank {
    let mut first = bank(Faults::default());
    let mut recorded = entries(first.handle(charge(WALLET, "T1", "22AB"), 0));
    recorded.extend(entries(first.handle(charge(other(), "T1", "IPAB"), 0)));
    Bank::new(script(faults), recorded)
}

fn script(faults: Faults) -> Script {
    Script { seed: 1, wallet: faults.clone(), issuers: [("391".to_owned(), faults)].into(), ..Script::default() }
}

fn request(issuer: Issuer, call: Call) -> ExchangeRequest {
    ExchangeRequest { call_id: 9, institution: issuer.as_wire().into(), call: Some(call) }
}

fn charge(issuer: Issuer, trade_no: &str, token: &str) -> ExchangeRequest {
    charge_of(issuer, trade_no, token, 100)
}

fn charge_of(issuer: Issuer, trade_no: &str, token: &str, trade_amount: i64) -> ExchangeRequest {
    let charge = Charge {
        trade_no: trade_no.into(),
        merchant_id: "M".into(),
        merchant_trade_no: format!("P{trade_no}"),
        store_id: "S1".into(),
        card_token: token.into(),
        trade_amount,
        send_by_ms: 5_000,
        ..Charge::default()
    };
    request(issuer, Call::Charge(charge))
}

fn refund(issuer: Issuer, number: &str, trade_no: &str, trade_amount: i64) -> ExchangeRequest {
    refund_with(issuer, number, trade_no, trade_amount, "")
}

fn refund_with(issuer: Issuer, number: &str, trade_no: &str, trade_amount: i64, remark: &str) -> ExchangeRequest {
    let refund = Refund {
        refund_trade_no: number.into(),
        trade_no: trade_no.into(),
        merchant_id: "M".into(),
        merchant_trade_no: format!("P{number}"),
        store_id: "S2".into(),
        trade_amount,
        remark: remark.into(),
        send_by_ms: 5_000,
        ..Refund::default()
    };
    request(issuer, Call::Refund(refund))
}

fn reversal(issuer: Issuer, trade_no: &str, trade_amount: i64) -> ExchangeRequest {
    reversal_by(issuer, trade_no, trade_amount, 5_000)
}

fn reversal_by(issuer: Issuer, trade_no: &str, trade_amount: i64, send_by_ms: i64) -> ExchangeRequest {
    let reversal = Reversal {
        trade_no: trade_no.into(),
        merchant_id: "M".into(),
        merchant_trade_no: format!("P{trade_no}"),
        store_id: "S1".into(),
        trade_amount,
        send_by_ms,
        ..Reversal::default()
    };
    request(issuer, Call::Reversal(reversal))
}

fn inquiry(issuer: Issuer, trade_no: &str) -> ExchangeRequest {
    inquiry_about(Subject::Unspecified, issuer, trade_no)
}

fn inquiry_about(subject: Subject, issuer: Issuer, number: &str) -> ExchangeRequest {
    request(issuer, Call::Inquiry(Inquiry { trade_no: number.into(), subject: subject.into() }))
}

/// The reactions as letters: R records an entry, = records a repeated call, L releases a held call
/// later. Answers: A approved, B refunded, V reversed, D declined, U trade unknown, ? undecided.
fn shape(reactions: &[Reaction]) -> String {
    let letter = |reaction: &Reaction| match reaction {
        Reaction::Record(entry) if entry.kind() == Kind::Repeated => '=',
        Reaction::Record(_) => 'R',
        Reaction::Release { .. } => 'L',
        Reaction::Answer { response, .. } => match &response.answer {
            Some(Answer::Approved(_)) => 'A',
            Some(Answer::Refunded(_)) => 'B',
            Some(Answer::Reversed(_)) => 'V',
            Some(Answer::Declined(_)) => 'D',
            Some(Answer::TradeUnknown(_)) => 'U',
            Some(Answer::Undecided(_)) | None => '?',
        },
    };
    reactions.iter().map(letter).collect()
}

/// The last answer among the reactions.
fn last_answer(reactions: &[Reaction]) -> Answer {
    let mut answers = reactions.iter().filter_map(|reaction| match reaction {
        Reaction::Answer { response, .. } => response.answer.clone(),
        Reaction::Record(_) | Reaction::Release { .. } => None,
    });
    answers.next_back().expect("no answer")
}

/// The delay in ms and the request, if the reaction releases a held call.
fn release_of(reaction: &Reaction) -> Option<(u64, &ExchangeRequest)> {
    match reaction {
        Reaction::Release { after_ms, request } => Some((*after_ms, request)),
        Reaction::Record(_) | Reaction::Answer { .. } => None,
    }
}

fn declined(reactions: &[Reaction]) -> Declined {
    let Answer::Declined(declined) = last_answer(reactions) else { panic!("not declined: {reactions:?}") };
    declined
}

fn approved(reactions: &[Reaction]) -> Approved {
    let Answer::Approved(approved) = last_answer(reactions) else { panic!("not approved: {reactions:?}") };
    approved
}

fn entries(reactions: Vec<Reaction>) -> Vec<LedgerEntry> {
    let entry = |reaction| match reaction {
        Reaction::Record(entry) => Some(entry),
        Reaction::Answer { .. } | Reaction::Release { .. } => None,
    };
    reactions.into_iter().filter_map(entry).collect()
}
