//! The examples in `proto/twqr/backend/README.md` are messages of the contract: each parses, has no
//! field that the contract does not have, and every kind of call and answer has one.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::{collections::BTreeSet, path::PathBuf};

use prost::Message;
use prost_reflect::{DescriptorPool, DynamicMessage};
use twqr_wire::{
    backend::{ExchangeRequest, ExchangeResponse, exchange_request::Call, exchange_response::Answer},
    convert::{BackendAnswer, backend_answer_from},
};

/// The examples of a message: the texts of the blocks that begin with its name.
fn examples(message: &str) -> Vec<String> {
    let file = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../proto/twqr/backend/README.md");
    let page = std::fs::read_to_string(file).unwrap();
    let opening = format!("```json {message}\n");
    let blocks = page.split(opening.as_str()).skip(1);
    blocks.map(|rest| rest.split("```").next().unwrap().to_owned()).collect()
}

/// Parses every example of a message, by the contract as it is compiled now.
fn parse<M: Message + Default>(name: &str) -> Vec<M> {
    let root = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../proto");
    let files = protox::compile(["twqr/backend/v1/backend.proto"], [root]).unwrap();
    let pool = DescriptorPool::from_file_descriptor_set(files).unwrap();
    let descriptor = pool.get_message_by_name(&format!("twqr.backend.v1.{name}")).unwrap();
    let mut messages = Vec::new();
    for block in examples(name) {
        for value in serde_json::Deserializer::from_str(&block).into_iter::<serde_json::Value>() {
            let value = value.map_err(|error| format!("{error}: {block}")).unwrap();
            let parsed = DynamicMessage::deserialize(descriptor.clone(), &value);
            let parsed = parsed.map_err(|error| format!("{error}: {value}")).unwrap();
            messages.push(M::decode(parsed.encode_to_vec().as_slice()).unwrap());
        }
    }
    messages
}

#[test]
fn every_call_of_the_contract_has_an_example() {
    let kind = |request: ExchangeRequest| match request.call.unwrap() {
        Call::Charge(charge) => {
            assert!(charge.send_by_ms > 0 && charge.trade_amount > 0 && charge.trade_no.len() == 25);
            "charge"
        }
        Call::Refund(refund) => {
            assert!(refund.send_by_ms > 0 && refund.trade_amount > 0 && refund.refund_trade_no.len() == 25);
            "refund"
        }
        Call::Reversal(reversal) => {
            assert!(reversal.send_by_ms > 0 && reversal.trade_amount > 0 && reversal.trade_no.len() == 25);
            "reversal"
        }
        Call::Inquiry(inquiry) => inquiry.subject().as_str_name(),
    };
    let kinds: BTreeSet<&str> = parse("ExchangeRequest").into_iter().map(kind).collect();
    assert_eq!(kinds, ["charge", "refund", "reversal", "SUBJECT_CHARGE", "SUBJECT_REFUND", "SUBJECT_REVERSAL"].into());
}

#[test]
fn every_answer_of_the_contract_has_an_example_that_workers_accept() {
    let kind = |response: ExchangeResponse| {
        let kind = match response.answer.clone().unwrap() {
            Answer::Approved(_) => "approved".to_owned(),
            Answer::Declined(declined) => format!("declined {}", declined.kind),
            Answer::TradeUnknown(_) => "trade_unknown".to_owned(),
            Answer::Undecided(_) => "undecided".to_owned(),
            Answer::Refunded(_) => "refunded".to_owned(),
            Answer::Reversed(_) => "reversed".to_owned(),
        };
        let (_, answer) = backend_answer_from(response);
        assert!(!matches!(answer, BackendAnswer::Malformed(_)), "{answer:?}");
        kind
    };
    let kinds: BTreeSet<String> = parse("ExchangeResponse").into_iter().map(kind).collect();
    let declined = (1..=4).map(|kind| format!("declined {kind}"));
    let others = ["approved", "trade_unknown", "undecided", "refunded", "reversed"].map(str::to_owned);
    assert_eq!(kinds, others.into_iter().chain(declined).collect());
}
