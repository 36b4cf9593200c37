//! Parses one line of a request file: a Payment request as JSON, with the POS document's field
//! names. No error repeats a value, since a malformed line may contain a card token anywhere.

use std::fmt;

use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde_json::Value;
use twqr_types::Field;
use twqr_wire::pos::PayRequest;

/// A fault of a line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// The POS document's name of the field; absent if the fault is about the line as a whole.
    pub field: Option<String>,
    /// The fault, and the allowed values.
    pub text: String,
}

impl Problem {
    fn whole(text: impl Into<String>) -> Self {
        Self { field: None, text: text.into() }
    }
}

/// The signature of the HTTP form; gRPC has none, so it is ignored.
const SIGN: &str = "Sign";

/// Parses a line. Missing fields stay empty; the server checks the values.
pub fn parse(line: &[u8]) -> Result<PayRequest, Vec<Problem>> {
    let text = std::str::from_utf8(line).map_err(|_| vec![Problem::whole("is not UTF-8")])?;
    let Members(members) = serde_json::from_str(text).map_err(|error| {
        vec![Problem::whole(if error.is_data() {
            "is not a JSON object; the fields of a Payment request are allowed".to_owned()
        } else {
            format!("is not JSON at column {}; one JSON object a line is allowed", error.column())
        })]
    })?;
    let mut fields = Fields { members: (1..).zip(members).collect(), problems: Vec::new() };
    let request = PayRequest {
        merchant_id: fields.text(Field::MerchantId),
        store_id: fields.text(Field::StoreId),
        store_name: fields.text(Field::StoreName),
        gateway_trade_no: fields.text(Field::GatewayTradeNo),
        merchant_trade_no: fields.text(Field::MerchantTradeNo),
        pos_id: fields.text(Field::PosId),
        pos_trade_time: fields.text(Field::PosTradeTime),
        card_token: fields.text(Field::CardToken),
        trade_amount: fields.integer(Field::TradeAmount),
        un_redeem: fields.integer(Field::UnRedeem),
        remark: fields.text(Field::Remark),
        extra1: fields.text(Field::Extra1),
        extra2: fields.text(Field::Extra2),
        extra3: fields.text(Field::Extra3),
        send_time: fields.text(Field::SendTime),
    };
    drop(fields.take(SIGN));
    let unknown = fields.members.iter().map(|(place, _)| {
        Problem::whole(format!(
            "has an unknown or repeated field in place {place}; only the fields of a Payment request are allowed"
        ))
    });
    let problems: Vec<Problem> = fields.problems.into_iter().chain(unknown).collect();
    if problems.is_empty() { Ok(request) } else { Err(problems) }
}

/// The members of a JSON object in their order. An unknown name may be a misplaced card token, so
/// errors do not repeat names either.
struct Members(Vec<(String, Value)>);

impl<'de> Deserialize<'de> for Members {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Each;
        impl<'de> Visitor<'de> for Each {
            type Value = Members;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Members, A::Error> {
                let mut members = Vec::new();
                while let Some(member) = map.next_entry()? {
                    members.push(member);
                }
                Ok(Members(members))
            }
        }
        deserializer.deserialize_map(Each)
    }
}

/// The fields of a line that are still to be read, each with its position from 1, and the faults
/// found so far.
struct Fields {
    members: Vec<(usize, (String, Value))>,
    problems: Vec<Problem>,
}

impl Fields {
    fn take(&mut self, name: &str) -> Option<Value> {
        let at = self.members.iter().position(|(_, (known, _))| known == name)?;
        let (_, (_, value)) = self.members.remove(at);
        Some(value)
    }

    fn text(&mut self, field: Field) -> String {
        match self.take(field.pos_name()) {
            None => String::new(),
            Some(Value::String(text)) => text,
            Some(Value::Null | Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_)) => {
                self.add_fault(field, "must be a string");
                String::new()
            }
        }
    }

    fn integer(&mut self, field: Field) -> i64 {
        let Some(value) = self.take(field.pos_name()) else { return 0 };
        value.as_i64().unwrap_or_else(|| {
            self.add_fault(field, "must be a whole number (TWD)");
            0
        })
    }

    fn add_fault(&mut self, field: Field, text: &str) {
        self.problems.push(Problem { field: Some(field.pos_name().to_owned()), text: text.to_owned() });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_parsed_by_the_pos_documents_names() {
        let line = br#"{"MerchantID":"M1","MerchantTradeNo":"T1","CardToken":"22X","TradeAmount":120,"Sign":"ab"}"#;
        let request = parse(line).unwrap();
        assert_eq!((request.merchant_id.as_str(), request.trade_amount, request.un_redeem), ("M1", 120, 0));
    }

    #[test]
    fn every_problem_names_its_field_and_none_shows_a_value() {
        for (line, expected) in [
            (&b"{\"TradeAmount\":\"22SECRET\"}"[..], &["TradeAmount"][..]),
            (
                b"{\"TradeAmount\":1.5,\"CardToken\":[\"22SECRET\"],\"Amount\":\"22SECRET\"}",
                &["CardToken", "TradeAmount", ""],
            ),
            (b"{\"22SECRET\":1}", &[""]),
            (b"{\"TradeAmount\":1,\"TradeAmount\":2}", &[""]),
            (b"{\"CardToken\":\"22SECRET\"", &[""]),
            (b"[\"22SECRET\"]", &[""]),
            (b"\"22SECRET", &[""]),
            (b"\xff22SECRET", &[""]),
        ] {
            let problems = parse(line).unwrap_err();
            let named: Vec<&str> = problems.iter().map(|problem| problem.field.as_deref().unwrap_or("")).collect();
            assert_eq!(named, expected, "{problems:?}");
            assert!(!format!("{problems:?}").contains("SECRET"), "{problems:?}");
        }
        let problems = parse(b"{\"MerchantID\":\"M1\",\"22SECRET\":1,\"Sign\":\"\"}").unwrap_err();
        assert!(problems[0].text.contains("in place 2;"), "{problems:?}");
    }
}
