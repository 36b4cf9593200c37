//! What callers see and what the ledger says: by charges, refunds, reversals, approvals, and by the
//! money.

mod approvals;
mod charges;
mod money;
mod refunds;
mod reversals;

use twqr_wire::backend::{Approved, Charge, Declined, Inquiry, Refund, Reversal, inquiry::Subject};

use super::*;

/// The wallet and one issuer, 391, with the same faults.
fn bank(faults: Faults) -> Bank {
    Bank::new(script(faults), [])
}

/// A bank that has charged T1 for 100 at the wallet and at 391.
fn charged(faults: Faults) -> Bank {
    let mut first = bank(Faults::default());
    let mut recorded = entries(first.handle(charge("", "T1", "22AB"), 0));
    recorded.extend(entries(first.handle(charge("391", "T1", "IPAB"), 0)));
    Bank::new(script(faults), recorded)
}

fn script(faults: Faults) -> Script {
    Script { seed: 1, wallet: faults.clone(), issuers: [("391".to_owned(), faults)].into() }
}

fn request(institution: &str, call: Call) -> ExchangeRequest {
    ExchangeRequest { call_id: 9, institution: institution.into(), call: Some(call) }
}

fn charge(institution: &str, trade_no: &str, token: &str) -> ExchangeRequest {
    charge_of(institution, trade_no, token, 100)
}

fn charge_of(institution: &str, trade_no: &str, token: &str, trade_amount: i64) -> ExchangeRequest {
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
    request(institution, Call::Charge(charge))
}

fn refund(institution: &str, number: &str, trade_no: &str, trade_amount: i64) -> ExchangeRequest {
    refund_with(institution, number, trade_no, trade_amount, "")
}

fn refund_with(institution: &str, number: &str, trade_no: &str, trade_amount: i64, remark: &str) -> ExchangeRequest {
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
    request(institution, Call::Refund(refund))
}

fn reversal(institution: &str, trade_no: &str, trade_amount: i64) -> ExchangeRequest {
    reversal_by(institution, trade_no, trade_amount, 5_000)
}

fn reversal_by(institution: &str, trade_no: &str, trade_amount: i64, send_by_ms: i64) -> ExchangeRequest {
    let reversal = Reversal {
        trade_no: trade_no.into(),
        merchant_id: "M".into(),
        merchant_trade_no: format!("P{trade_no}"),
        store_id: "S1".into(),
        trade_amount,
        send_by_ms,
        ..Reversal::default()
    };
    request(institution, Call::Reversal(reversal))
}

fn inquiry(institution: &str, trade_no: &str) -> ExchangeRequest {
    inquiry_about(Subject::Unspecified, institution, trade_no)
}

fn inquiry_about(subject: Subject, institution: &str, number: &str) -> ExchangeRequest {
    request(institution, Call::Inquiry(Inquiry { trade_no: number.into(), subject: subject.into() }))
}

/// R recorded, = recorded as repeated, L lands later; answers: A approved, B refunded (given back),
/// V reversed, D declined, U unknown.
fn shape(reactions: &[Reaction]) -> String {
    let letter = |reaction: &Reaction| match reaction {
        Reaction::Record(entry) if entry.kind() == Kind::Repeated => '=',
        Reaction::Record(_) => 'R',
        Reaction::Land { .. } => 'L',
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

/// The last answer among them.
fn answered(reactions: &[Reaction]) -> Answer {
    let mut answers = reactions.iter().filter_map(|reaction| match reaction {
        Reaction::Answer { response, .. } => response.answer.clone(),
        Reaction::Record(_) | Reaction::Land { .. } => None,
    });
    answers.next_back().expect("no answer")
}

fn declined(reactions: &[Reaction]) -> Declined {
    let Answer::Declined(declined) = answered(reactions) else { panic!("not declined: {reactions:?}") };
    declined
}

fn approved(reactions: &[Reaction]) -> Approved {
    let Answer::Approved(approved) = answered(reactions) else { panic!("not approved: {reactions:?}") };
    approved
}

fn entries(reactions: Vec<Reaction>) -> Vec<LedgerEntry> {
    let entry = |reaction| match reaction {
        Reaction::Record(entry) => Some(entry),
        Reaction::Answer { .. } | Reaction::Land { .. } => None,
    };
    reactions.into_iter().filter_map(entry).collect()
}
