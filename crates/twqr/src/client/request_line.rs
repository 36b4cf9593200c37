//! One line of a request file: a Payment request as JSON, in the POS document's field names. No error repeats a value, since a
//! payment code may stand anywhere in a line that is wrong.

use serde_json::{Map, Value};
use twqr_types::Field;
use twqr_wire::pos::PayRequest;

/// What is wrong with a line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Problem {
    /// The POS document's name; none where the line as a whole is wrong.
    pub(crate) field: Option<String>,
    /// What is wrong, and what is allowed.
    pub(crate) text: String,
}

impl Problem {
    fn whole(text: impl Into<String>) -> Self {
        Self { field: None, text: text.into() }
    }
}

/// Of the HTTP form only; without meaning here.
const SIGN: &str = "Sign";

/// Reads a line; what is not there stays empty, and the server judges the values.
pub(crate) fn parse(line: &[u8]) -> Result<PayRequest, Vec<Problem>> {
    let text = std::str::from_utf8(line).map_err(|_| vec![Problem::whole("is not UTF-8")])?;
    let value: Value = serde_json::from_str(text).map_err(|error| {
        vec![Problem::whole(format!("is not JSON at column {}; one JSON object a line is allowed", error.column()))]
    })?;
    let Value::Object(object) = value else {
        return Err(vec![Problem::whole("is not a JSON object; the fields of a Payment request are allowed")]);
    };
    let mut fields = Fields { object, problems: Vec::new() };
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
    fields.object.remove(SIGN);
    let unknown = fields.object.iter().map(|(name, _)| Problem {
        field: Some(name.chars().take(FIELD_NAME_CHARS_MAX).collect()),
        text: "is no field of a Payment request".to_owned(),
    });
    let problems: Vec<Problem> = fields.problems.into_iter().chain(unknown).collect();
    if problems.is_empty() { Ok(request) } else { Err(problems) }
}

/// How much of an unknown field's name an error shows.
const FIELD_NAME_CHARS_MAX: usize = 32;

/// The fields of a line that nobody has taken yet, and what was wrong with those that were.
struct Fields {
    object: Map<String, Value>,
    problems: Vec<Problem>,
}

impl Fields {
    fn text(&mut self, field: Field) -> String {
        match self.object.remove(field.pos_name()) {
            None => String::new(),
            Some(Value::String(text)) => text,
            Some(Value::Null | Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_)) => {
                self.wrong(field, "must be a string");
                String::new()
            }
        }
    }

    fn integer(&mut self, field: Field) -> i64 {
        let Some(value) = self.object.remove(field.pos_name()) else { return 0 };
        value.as_i64().unwrap_or_else(|| {
            self.wrong(field, "must be a whole number (TWD)");
            0
        })
    }

    fn wrong(&mut self, field: Field, text: &str) {
        self.problems.push(Problem { field: Some(field.pos_name().to_owned()), text: text.to_owned() });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_read_in_the_pos_documents_names() {
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
                &["CardToken", "TradeAmount", "Amount"],
            ),
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
    }
}
