//! Compares `openapi.json` with what the form serves: every field of requests and answers with its
//! type, and the examples.

use std::collections::BTreeSet;

use serde_json::{Map, Value, json};
use twqr_types::{KeyName, SignatureForm, StatusCode, TradeNo};

use super::{
    OPENAPI, Operation,
    field_names::{REQUEST_FIELDS, SIGN},
    json::{JsonFault, parse},
    json_answer::{self, JsonAnswer},
    json_request::JsonRequest,
    keys::{CheckPlace, Key, Keys, MerchantKeys},
    pos_refusal::PosRefusal,
};
use crate::answers::{
    CancelAnswer, Details, Echoes, InquiredOrder, InquiryAnswer, OrderStatus, PaymentAnswer, RefundAnswer, Status,
};

const KEY: &str = "example-key";

fn document() -> Value {
    serde_json::from_str(OPENAPI).unwrap()
}

fn name(operation: Operation) -> &'static str {
    operation.path().trim_start_matches("/{system}/")
}

fn schema(operation: Operation, what: &str) -> Value {
    document()["components"]["schemas"][format!("{}{what}", name(operation))].clone()
}

fn keys(object: &Value) -> BTreeSet<String> {
    object.as_object().unwrap().keys().cloned().collect()
}

/// The answers of an operation to a request that it performed, and to one that it refused.
fn served(operation: Operation) -> Vec<Value> {
    let echoes = Echoes::default;
    let status = || Status::new(StatusCode::SUCCESS, "");
    let payment = || PaymentAnswer {
        echoes: echoes(),
        status: status(),
        is_repeat: false,
        trade_no: String::new(),
        trade_time: String::new(),
        details: Details::default(),
    };
    let refund = || RefundAnswer {
        echoes: echoes(),
        status: status(),
        is_repeat: false,
        trade_no: String::new(),
        refund_trade_no: String::new(),
        refund_trade_time: String::new(),
        details: Details::default(),
    };
    let done: Vec<JsonAnswer> = match operation {
        Operation::Payment => vec![json_answer::payment(echoes(), payment())],
        Operation::Refund => vec![json_answer::refund(echoes(), refund())],
        Operation::Cancel => {
            let cancel = CancelAnswer { echoes: echoes(), status: status(), trade_amount: 0 };
            vec![json_answer::cancel(echoes(), &cancel)]
        }
        Operation::Inquiry => {
            let inquiry = |order| {
                let answer = InquiryAnswer { status: status(), order: Some(order) };
                json_answer::inquiry(echoes(), answer)
            };
            vec![
                inquiry(InquiredOrder::Payment(OrderStatus::InProgress, payment())),
                inquiry(InquiredOrder::Refund(OrderStatus::InProgress, refund())),
            ]
        }
    };
    let refused = json_answer::refused(operation, echoes(), 0, &PosRefusal::not_signed());
    done.iter().chain([&refused]).map(|answer| serde_json::to_value(answer).unwrap()).collect()
}

/// The type of a field: `string` or `integer`. A reference always leads to a string.
fn type_of(field: &Value) -> Value {
    if field.get("$ref").is_some() { json!("string") } else { field["type"].clone() }
}

#[test]
fn exactly_the_fields_of_answers_are_described_with_their_types() {
    for operation in Operation::ALL {
        let (schema, answers) = (schema(operation, "Answer"), served(operation));
        let described = &schema["properties"];
        let all: BTreeSet<String> = answers.iter().flat_map(keys).collect();
        assert_eq!(all, keys(described), "{operation:?}");
        let always = answers.iter().map(keys).reduce(|a, b| &a & &b).unwrap();
        let required: BTreeSet<String> = serde_json::from_value(schema["required"].clone()).unwrap();
        assert_eq!(always, required, "{operation:?}");
        for (field, value) in answers.iter().flat_map(|answer| answer.as_object().unwrap()) {
            let kind = if value.is_i64() { "integer" } else { "string" };
            assert_eq!(type_of(&described[field]), json!(kind), "{operation:?} {field}");
        }
    }
}

/// The fault of a request that has this one field.
fn fault(operation: Operation, field: &str, value: &Value) -> Option<String> {
    let members = parse(json!({ field: value }).to_string().as_bytes()).unwrap();
    let request = JsonRequest::new(members);
    let fault = match operation {
        Operation::Payment | Operation::Cancel => request.into_payment().err(),
        Operation::Inquiry => request.into_inquiry().err(),
        Operation::Refund => request.into_refund().err(),
    };
    fault.map(|JsonFault(what)| what)
}

#[test]
fn exactly_the_fields_that_are_read_are_described_with_their_types() {
    for operation in Operation::ALL {
        let schema = schema(operation, "Request");
        let described = &schema["properties"];
        for field in REQUEST_FIELDS.iter().filter(|field| **field != SIGN) {
            let read = fault(operation, field, &json!([])).is_some();
            assert_eq!(read, described.get(field).is_some(), "{operation:?} {field}");
            if read {
                let (good, wrong) = if type_of(&described[field]) == json!("integer") {
                    (json!(1), json!("1"))
                } else {
                    (json!("1"), json!(1))
                };
                assert_eq!(fault(operation, field, &good), None, "{operation:?} {field}");
                assert!(fault(operation, field, &wrong).is_some_and(|what| what.starts_with(field)), "{operation:?}");
            }
        }
        let known: BTreeSet<String> = REQUEST_FIELDS.iter().map(|field| (*field).to_owned()).collect();
        assert!(keys(described).is_subset(&known), "{operation:?}");
        assert!(described.get(SIGN).is_some(), "{operation:?}");
    }
}

#[test]
fn the_examples_are_signed_and_have_only_described_fields() {
    let document = document();
    let merchant = ("M1".to_owned(), vec![Key { name: KeyName::parse("K".into()).unwrap(), secret: KEY.into() }]);
    let merchant_keys = MerchantKeys::new(Keys::from([merchant]), vec![SignatureForm::Plain]);
    for operation in Operation::ALL {
        let post = &document["paths"][operation.path()]["post"];
        let example = &post["requestBody"]["content"]["application/json"]["example"];
        let members = parse(example.to_string().as_bytes()).unwrap();
        assert!(merchant_keys.signature_of(&members, CheckPlace::SMALL).is_some(), "{operation:?}");
        assert_eq!(keys(example), keys(&schema(operation, "Request")["properties"]), "{operation:?}");
        let examples: &Map<String, Value> =
            post["responses"]["200"]["content"]["application/json"]["examples"].as_object().unwrap();
        for example in examples.values() {
            let described = keys(&schema(operation, "Answer")["properties"]);
            assert!(keys(&example["value"]).is_subset(&described), "{operation:?} {example}");
            for number in ["TradeNo", "RefundTradeNo"].iter().filter_map(|field| example["value"].get(field)) {
                assert!(TradeNo::parse(number.as_str().unwrap()).is_ok(), "{operation:?} {number}");
            }
        }
    }
}
