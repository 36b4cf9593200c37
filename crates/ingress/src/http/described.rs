//! Whether `openapi.json` describes what is served: every field of the four operations, both ways,
//! with its type; and its examples.

use std::collections::BTreeSet;

use serde_json::{Map, Value, json};
use twqr_types::{KeyName, TradeNo};
use twqr_wire::pos::{CancelResponse, PayResponse, QueryResponse, RefundResponse};

use super::{
    OPENAPI, Operation,
    answers::{self, Answer},
    form::{Echoes, FIELDS, Form, SIGN},
    json::{Fault, parse},
    keys::{Key, Keys, MerchantKeys},
    refusal,
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

/// What an operation answers: to what it did, and to what it refused.
fn served(operation: Operation) -> Vec<Value> {
    let ok = || "000".to_owned();
    let done: Vec<Answer> = match operation {
        Operation::Payment => {
            vec![answers::payment(Echoes::default(), PayResponse { status_code: ok(), ..PayResponse::default() })]
        }
        Operation::Refund => {
            vec![answers::refund(Echoes::default(), RefundResponse { status_code: ok(), ..RefundResponse::default() })]
        }
        Operation::Cancel => vec![answers::cancel(Echoes::default(), CancelResponse::default())],
        Operation::Inquiry => {
            let known = QueryResponse { status_code: ok(), order_status: Some(0), ..QueryResponse::default() };
            let payment = QueryResponse { payment: Some(PayResponse::default()), ..known.clone() };
            let refund = QueryResponse { refund: Some(RefundResponse::default()), ..known };
            vec![answers::inquiry(Echoes::default(), payment), answers::inquiry(Echoes::default(), refund)]
        }
    };
    let refused = answers::refused(operation, Echoes::default(), 0, &refusal::not_signed());
    done.iter().chain([&refused]).map(|answer| serde_json::to_value(answer).unwrap()).collect()
}

/// `string` or `integer`, through the one reference that the document has.
fn type_of(field: &Value) -> Value {
    if field.get("$ref").is_some() { json!("string") } else { field["type"].clone() }
}

#[test]
fn every_field_of_every_answer_is_described_with_its_type_and_none_else() {
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

/// What is wrong with a request that has this one field.
fn fault(operation: Operation, field: &str, value: &Value) -> Option<String> {
    let members = parse(json!({ field: value }).to_string().as_bytes()).unwrap();
    let form = Form::new(members);
    let read = match operation {
        Operation::Payment => form.pay().err(),
        Operation::Inquiry => form.query().err(),
        Operation::Refund => form.refund().err(),
        Operation::Cancel => form.cancel().err(),
    };
    read.map(|Fault(what)| what)
}

#[test]
fn every_field_that_is_read_is_described_with_its_type_and_none_else() {
    for operation in Operation::ALL {
        let schema = schema(operation, "Request");
        let described = &schema["properties"];
        for field in FIELDS.iter().filter(|field| **field != SIGN) {
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
        let known: BTreeSet<String> = FIELDS.iter().map(|field| (*field).to_owned()).collect();
        assert!(keys(described).is_subset(&known), "{operation:?}");
        assert!(described.get(SIGN).is_some(), "{operation:?}");
    }
}

#[test]
fn the_examples_are_signed_and_have_described_fields_only() {
    let document = document();
    let merchant = ("M1".to_owned(), vec![Key { name: KeyName::parse("K".into()).unwrap(), secret: KEY.into() }]);
    let signed = MerchantKeys::new(Keys::from([merchant]));
    for operation in Operation::ALL {
        let post = &document["paths"][operation.path()]["post"];
        let example = &post["requestBody"]["content"]["application/json"]["example"];
        assert!(signed.signed_by(&parse(example.to_string().as_bytes()).unwrap()).is_some(), "{operation:?}");
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
