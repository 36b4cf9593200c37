//! The inputs that fuzzing begins with: valid ones of each kind for each target, from which
//! libFuzzer makes others. A test writes them to `corpus/`.

mod records;

use bytes::Bytes;
use prost::Message as _;
use twqr_journal::{
    Entry,
    embedded::stored_form,
    kafka::{Layout, stored_layout},
};
use twqr_wire::{
    backend::{self, ExchangeResponse, exchange_response::Answer},
    convert::{
        DeadLetter, HeldTopic, TaskRecord, WorkerPosition, encode_caller_change, encode_dead_letter,
        encode_listing_change, encode_order, encode_policy_versions, encode_record, encode_reply_record, encode_state,
        encode_task_record, encode_worker_position, listing_change_out, policy_out,
    },
    pos::{CancelRequest, InquiryType, PayRequest, QueryRequest, RefundRequest},
};

use records::{AT, Seeds};

/// Valid inputs of a target; none for a name that no target has, and for those whose inputs are
/// only files.
pub fn seeds(target: &str) -> Vec<Bytes> {
    let Some(seeds) = Seeds::make() else { return Vec::new() };
    match target {
        "grpc_requests" => requests(&seeds),
        "operators" => {
            let listings = seeds.listings.iter().map(|change| listing_change_out(change).encode_to_vec().into());
            listings.chain([policy_out(&records::policy()).encode_to_vec().into()]).collect()
        }
        "backend_answers" => backend_answers(),
        "orders" => seeds.records.iter().map(encode_record).collect(),
        "replies" => seeds.replies().iter().map(encode_reply_record).collect(),
        "states" => seeds.states().iter().map(|entry| encode_state(entry).1).collect(),
        "tasks" => {
            let holds = records::holds().into_iter().map(|hold| HeldTopic::Tasks.encode_hold(AT, hold));
            let tasks = seeds.tasks().into_iter().map(|task| encode_task_record(&TaskRecord::Task(Box::new(task))));
            let position =
                WorkerPosition { highest: vec![records::TASK], holder: Some(3), newest: Some(4), witness: None };
            holds.chain(tasks).chain([encode_worker_position(&position)]).collect()
        }
        "callers" => seeds.callers().iter().map(encode_caller_change).collect(),
        "stored" => {
            let orders = seeds.order.iter().map(|order| encode_order(order).into());
            let listings = seeds.listings.iter().map(|change| encode_listing_change(change).into());
            orders.chain(listings).chain([encode_policy_versions(&seeds.versions).into()]).collect()
        }
        "dead_letters" => {
            let [topic, reason] = ["orders", "not protobuf"].map(str::to_owned);
            let payload = Bytes::from_static(b"\xff");
            vec![encode_dead_letter(&DeadLetter { topic, partition: 1, offset: 2, payload, reason, at: AT })]
        }
        "journal" => {
            let entries = [
                Entry::plain(Bytes::from_static(b"value")),
                Entry::plain(Bytes::new()),
                Entry { key: Bytes::from_static(b"key"), value: None },
            ];
            entries.iter().map(|entry| stored_form(entry).into()).collect()
        }
        "layout" => [64, 1_024].map(|shards| stored_layout(&layout(shards)).into()).into(),
        _ => Vec::new(),
    }
}

/// The layout of a deployment with this number of shards.
fn layout(shards: u32) -> Layout {
    Layout { shards, task_partitions: 16, replies_partitions: 32, replication: 3, min_insync: 2, retention_hours: 72 }
}

/// A request of each unary method.
fn requests(seeds: &Seeds) -> Vec<Bytes> {
    let [merchant_id, payment, refund, card_token] = ["M1", "T1", "R1", "22abcdefghijklmnop"].map(str::to_owned);
    let pay = PayRequest {
        merchant_id: merchant_id.clone(),
        merchant_trade_no: payment.clone(),
        card_token: card_token.clone(),
        trade_amount: 120,
        ..PayRequest::default()
    };
    let cancel = CancelRequest {
        merchant_id: merchant_id.clone(),
        merchant_trade_no: payment.clone(),
        card_token,
        trade_amount: 120,
        ..CancelRequest::default()
    };
    let refund = RefundRequest {
        merchant_id: merchant_id.clone(),
        merchant_trade_no: refund,
        trade_no: seeds.trade_no.to_string(),
        trade_amount: 20,
        ..RefundRequest::default()
    };
    let query = QueryRequest {
        inquiry_type: InquiryType::Payment.into(),
        merchant_id,
        merchant_trade_no: payment,
        ..QueryRequest::default()
    };
    vec![
        pay.encode_to_vec().into(),
        cancel.encode_to_vec().into(),
        refund.encode_to_vec().into(),
        query.encode_to_vec().into(),
    ]
}

/// An answer of each kind that a worker can use.
fn backend_answers() -> Vec<Bytes> {
    let approved = backend::Approved {
        payment_type: 4,
        debit_amount: 120,
        invoice_vehicle: "/ABC+123".to_owned(),
        ..backend::Approved::default()
    };
    let declined = backend::Declined {
        kind: backend::declined::Kind::Issuer.into(),
        code: "928".to_owned(),
        reason: "no money".to_owned(),
    };
    let answers = [
        Answer::Approved(approved),
        Answer::Refunded(backend::Refunded { debit_amount: 20, ..backend::Refunded::default() }),
        Answer::Reversed(backend::Reversed::default()),
        Answer::Declined(declined),
        Answer::TradeUnknown(backend::TradeUnknown::default()),
        Answer::Undecided(backend::Undecided::default()),
    ];
    let response = |answer| ExchangeResponse { call_id: 7, answer: Some(answer) };
    answers.map(|answer| response(answer).encode_to_vec().into()).into()
}
