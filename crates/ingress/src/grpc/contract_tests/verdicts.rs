//! Writes the ingress' verdict about each value to a file. `make test-clients` lets the runtime of
//! Protovalidate check the same values by the annotations of the contract.

use std::{env, fs};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde_json::{Value as Json, json};

use super::*;

const FILE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../proto/contract-check/verdicts.json");

/// A text as the piece of which it consists, and how often; so long texts stay short in the file.
fn pieces(text: &str) -> (String, usize) {
    let first = text.chars().next().map(String::from).unwrap_or_default();
    let times = text.chars().count();
    if text == first.repeat(times) { (first, times) } else { (text.to_owned(), 1) }
}

/// The fields that have a limit.
fn limited(message: &MessageDescriptor) -> impl Iterator<Item = FieldDescriptor> {
    message.fields().filter(|field| !Annotations::of(field).rules.is_empty())
}

/// The values with which the fields of each kind are tried.
struct Tried {
    texts: Vec<Value>,
    numbers: Vec<Value>,
    enums: Vec<Value>,
}

impl Tried {
    /// All values with which the fields of all requests are tried.
    fn collect() -> Self {
        let mut tried = Self { texts: Vec::new(), numbers: Vec::new(), enums: Vec::new() };
        for message in requests().values() {
            for value in limited(message).flat_map(|field| Annotations::of(&field).candidates(&field)).flatten() {
                let Some(of_kind) = tried.of_kind(&value) else { continue };
                if !of_kind.contains(&value) {
                    of_kind.push(value);
                }
            }
        }
        tried
    }

    #[allow(clippy::wildcard_enum_match_arm, reason = "a field of another kind needs values here first")]
    fn of_kind(&mut self, value: &Value) -> Option<&mut Vec<Value>> {
        match value {
            Value::String(_) => Some(&mut self.texts),
            Value::I64(_) => Some(&mut self.numbers),
            Value::EnumNumber(_) => Some(&mut self.enums),
            Value::Message(_) => None,
            value => panic!("say here what fields like {value:?} are tried with"),
        }
    }

    fn values(&mut self, field: &FieldDescriptor) -> Vec<Option<Value>> {
        match self.of_kind(&field.default_value()) {
            Some(values) => values.iter().cloned().map(Some).collect(),
            None => vec![None],
        }
    }

    /// The verdict of the ingress about each value of a field, in an otherwise valid message.
    fn row(&mut self, base: &DynamicMessage, field: &FieldDescriptor) -> Json {
        let verdict = |value: Option<Value>| {
            let mut message = base.clone();
            match value {
                Some(value) => message.set_field(field, value),
                None => message.clear_field(field),
            }
            if refused_by_ingress(&message).is_empty() { '1' } else { '0' }
        };
        let allowed: String = self.values(field).into_iter().map(verdict).collect();
        let base_bytes = STANDARD.encode(base.encode_to_vec());
        json!({ "message": base.descriptor().name(), "field": field.name(), "base": base_bytes, "allowed": allowed })
    }
}

fn rows(tried: &mut Tried) -> Vec<Json> {
    let mut rows = Vec::new();
    for message in requests().values() {
        for field in limited(message) {
            rows.push(tried.row(&valid(message), &field));
        }
        if let Some(field) = message.get_field_by_name("un_redeem") {
            let mut base = valid(message);
            base.set_field_by_name("trade_amount", Value::I64(10));
            rows.push(tried.row(&base, &field));
        }
    }
    rows
}

/// A line for each value and row, so that changes are seen line by line.
fn file() -> String {
    let mut tried = Tried::collect();
    let rows = rows(&mut tried);
    let texts = tried.texts.iter().map(|text| {
        let (piece, times) = pieces(text.as_str().unwrap());
        json!({ "piece": piece, "times": times })
    });
    let numbers = tried.numbers.iter().map(|number| json!(number.as_i64().unwrap()));
    let enums = tried.enums.iter().map(|number| json!(number.as_enum_number().unwrap()));
    let list = |values: Vec<Json>| values.iter().map(|value| format!("  {value}")).collect::<Vec<_>>().join(",\n");
    let [texts, numbers, enums] = [texts.collect(), numbers.collect(), enums.collect()].map(list);
    let rows = list(rows);
    format!(
        "{{\n\"texts\": [\n{texts}\n],\n\"numbers\": [\n{numbers}\n],\n\"enums\": [\n{enums}\n],\n\"rows\": [\n{rows}\n]\n}}\n"
    )
}

#[test]
fn the_file_of_verdicts_is_what_the_ingress_says() {
    let file = file();
    if env::var_os("TWQR_WRITE_VERDICTS").is_some() {
        fs::write(FILE, &file).unwrap();
    }
    assert!(fs::read_to_string(FILE).unwrap_or_default() == file, "run make proto-verdicts");
}
