//! How the adapter treats its streams: many calls at once, odd call ids, calls and fields that it
//! does not know, answers that come twice, and a stream that breaks.

use std::{collections::BTreeSet, time::Duration};

use prost::Message;
use twqr_types::StatusCode;
use twqr_wire::backend::{
    Charge, ExchangeRequest, Inquiry, Refund, exchange_request::Call, exchange_response::Answer, inquiry::Subject,
};

use super::{
    conversation::Answers,
    examiner::{Examiner, REUSED_ID, now_ms},
    findings::{Findings, Question, contract, property},
    settled::Settled,
};

const MANY: Question = contract("many-at-once", "Every call of many at once on one stream has its own answer.");
const CALL_IDS: Question = contract("call-ids", "The call ids 0 and 2^64 - 1 come back unchanged.");
const SAME_ID: Question = contract("call-id-again", "A call id that is used again does not end the stream.");
const UNKNOWN_CALL: Question =
    contract("unknown-call", "A call of a later contract is answered with Undecided, or not at all.");
const UNKNOWN_SUBJECT: Question = contract(
    "unknown-subject",
    "An inquiry about an unknown kind of movement is answered with Undecided, or not at all.",
);
const UNKNOWN_FIELD: Question = contract("unknown-field", "Fields of a later contract are ignored.");
const LONGEST: Question = contract("longest-texts", "Texts of the greatest length do not end the stream.");
const BROKEN: Question =
    contract("broken-stream", "What a broken stream left behind is decided after the window, and stays so.");
const CONTRADICTION: Question = contract("one-result", "No call has two results that differ.");
const DOUBLE: Question = property("one-answer", "No call is answered twice.");
const NO_TOKEN: Question =
    contract("no-card-token", "No text of an answer, or with which a stream ends, repeats a card token.");
const ENDED: Question = contract("stream-stays", "The adapter ends no stream that is in use.");

/// A field number that no message of this contract has, and its wire type for texts.
const UNKNOWN_TEXT: u64 = 1_500 << 3 | 2;

/// Asks the questions.
pub(super) async fn examine(at: &mut Examiner, found: &mut Findings) {
    many_at_once(at, found).await;
    call_ids(at, found).await;
    unknown_calls(at, found).await;
    longest_texts(at, found).await;
    broken_stream(at, found).await;
}

async fn many_at_once(at: &mut Examiner, found: &mut Findings) {
    let charge = at.charge();
    let paid = at.settle(Call::Charge(charge.clone())).await;
    let known = |number: &str| Call::Inquiry(Inquiry { trade_no: number.to_owned(), subject: Subject::Charge.into() });
    // Every second number is known, so that an answer to another call is noticed.
    let calls: Vec<Call> = (0..at.options.concurrency)
        .map(|index| if index % 2 == 0 { known(&charge.trade_no) } else { known(&at.number()) })
        .collect();
    let answers = at.ask_all(calls).await;
    let right = answers.into_iter().enumerate().filter(|(index, answer)| {
        let settled = Settled::of(answer.clone(), Subject::Charge);
        if index % 2 == 0 { settled.is_same_as(&paid) } else { settled == Settled::Absent }
    });
    let right = right.count();
    found.add(MANY, right == at.options.concurrency, format!("{right} of {} are right", at.options.concurrency));
}

async fn call_ids(at: &mut Examiner, found: &mut Findings) {
    let mut missing = Vec::new();
    for call_id in [0, u64::MAX] {
        let message = unknown_inquiry(at, call_id);
        if at.ask_raw(call_id, message, 1).await.is_none() {
            missing.push(call_id.to_string());
        }
    }
    let seen = if missing.is_empty() { "answered".to_owned() } else { format!("no answer to {}", missing.join(", ")) };
    found.add(CALL_IDS, missing.is_empty(), seen);
    let message = unknown_inquiry(at, REUSED_ID);
    at.ask_raw(REUSED_ID, message.clone(), 1).await;
    at.ask_raw(REUSED_ID, message, 2).await;
    let was_open = at.is_open();
    let number = at.number();
    let answer = at.inquire(Subject::Charge, &number).await;
    found.add(SAME_ID, was_open && answer == Settled::Absent, answer.to_string());
}

/// The message of an inquiry about a number that was never used.
fn unknown_inquiry(at: &mut Examiner, call_id: u64) -> Vec<u8> {
    let trade_no = at.number();
    at.encode(call_id, Call::Inquiry(Inquiry { trade_no, subject: Subject::Refund.into() }))
}

async fn unknown_calls(at: &mut Examiner, found: &mut Findings) {
    let call_id = at.next_id();
    let institution = at.options.institution.clone();
    let mut message = ExchangeRequest { call_id, institution, call: None }.encode_to_vec();
    add_unknown_field(&mut message);
    let answer = at.ask_raw(call_id, message, 1).await;
    undecided(at, found, UNKNOWN_CALL, answer);
    let number = at.number();
    let answer = at.ask(Call::Inquiry(Inquiry { trade_no: number, subject: 99 })).await;
    undecided(at, found, UNKNOWN_SUBJECT, answer);
    let call_id = at.next_id();
    let mut message = unknown_inquiry(at, call_id);
    add_unknown_field(&mut message);
    let answer = Settled::of(at.ask_raw(call_id, message, 1).await, Subject::Refund);
    found.add(UNKNOWN_FIELD, answer == Settled::Absent, answer.to_string());
}

async fn longest_texts(at: &mut Examiner, found: &mut Findings) {
    let charge = at.charge();
    let remark = "備".repeat(1_000);
    let charge = Charge { store_name: "店".repeat(100), pos_id: "9".repeat(20), remark: remark.clone(), ..charge };
    let paid = at.settle(Call::Charge(charge.clone())).await;
    let Call::Refund(refund) = at.long_refund(&charge, 1) else { return };
    let refunded = at.settle(Call::Refund(Refund { store_name: "店".repeat(100), remark, ..refund })).await;
    let holds = paid.is_decided() && refunded.is_decided() && at.is_open();
    found.add(LONGEST, holds, format!("{paid}, {refunded}"));
}

/// Leaves a charge behind on a stream that breaks. After its window it is either done, refused, or
/// unknown permanently.
async fn broken_stream(at: &mut Examiner, found: &mut Findings) {
    let send_by = now_ms() + 1_000;
    let charge = at.charge_of(at.options.amount, send_by);
    at.abandon(&charge).await;
    let window = i64::try_from(at.options.window_ms).unwrap_or(i64::MAX);
    at.wait_past(send_by + window).await;
    let first = at.inquire(Subject::Charge, &charge.trade_no).await;
    tokio::time::sleep(Duration::from_millis(300)).await;
    let second = at.inquire(Subject::Charge, &charge.trade_no).await;
    let is_clear = |settled: &Settled| settled.is_decided() || *settled == Settled::Absent;
    let holds = is_clear(&first) && (first.is_same_as(&second) || first == second);
    found.add(BROKEN, holds, format!("{first}, later {second}"));
}

/// An answer to a call that the adapter cannot know must decide nothing, and the stream must stay.
fn undecided(at: &Examiner, found: &mut Findings, question: Question, answer: Option<Answer>) {
    let decides_nothing = matches!(answer, None | Some(Answer::Undecided(_)));
    let seen = Settled::of(answer, Subject::Charge).to_string();
    found.add(question, decides_nothing && at.is_open(), seen);
}

/// Appends a text under a field number that this contract does not have.
fn add_unknown_field(message: &mut Vec<u8>) {
    prost::encoding::encode_varint(UNKNOWN_TEXT, message);
    prost::encoding::encode_varint(3, message);
    message.extend(b"new");
}

/// The findings over all streams: streams that the adapter ended, double answers, and results that
/// contradict each other.
pub(super) fn examine_answers(streams: &[Answers], broken: &[String], found: &mut Findings) {
    found.add(ENDED, broken.is_empty(), if broken.is_empty() { "none".to_owned() } else { broken.join("; ") });
    let (mut twice, mut contradicted) = (0, 0);
    let asked_once = |(call_id, _): &(u64, _)| *call_id != REUSED_ID;
    for (_, answers) in streams.iter().flat_map(Answers::iter).filter(asked_once) {
        let results: BTreeSet<bool> = answers.iter().filter_map(|answer| took_effect(answer.as_ref())).collect();
        twice += usize::from(answers.len() > 1);
        contradicted += usize::from(results.len() > 1);
    }
    found.add(CONTRADICTION, contradicted == 0, format!("{contradicted} calls with two results"));
    found.add(DOUBLE, twice == 0, format!("{twice} calls were answered more than once"));
}

/// Looks for the card tokens of the check in everything that the adapter answered.
pub(super) fn examine_texts(streams: &[Answers], broken: &[String], card_tokens: &[String], found: &mut Findings) {
    let repeats = |text: &str| {
        let text = text.to_ascii_lowercase();
        card_tokens.iter().any(|token| text.contains(&token.to_ascii_lowercase()))
    };
    let answers = streams.iter().flat_map(Answers::iter).flat_map(|(_, answers)| answers.iter().flatten());
    let count = answers.filter(|answer| repeats(&format!("{answer:?}"))).count();
    let ended = broken.iter().filter(|why| repeats(why)).count();
    let seen = format!("{count} answers and {ended} ends of streams with a card token");
    found.add(NO_TOKEN, count + ended == 0, seen);
}

/// Whether the movement took effect by this answer, if it says so.
fn took_effect(answer: Option<&Answer>) -> Option<bool> {
    match answer? {
        Answer::Approved(_) | Answer::Refunded(_) | Answer::Reversed(_) => Some(true),
        Answer::Declined(declined) => {
            let is_ambiguous = StatusCode::parse(&declined.code).is_ok_and(StatusCode::is_ambiguous);
            (!is_ambiguous).then_some(false)
        }
        Answer::TradeUnknown(_) | Answer::Undecided(_) => None,
    }
}
