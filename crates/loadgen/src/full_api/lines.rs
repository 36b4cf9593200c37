//! The day as a file: one JSON object per line, with the POS document's field names and `Op`,
//! `Chain` and, if the result is certain, `Expect`. A refund names its payment by `PaymentTradeNo`,
//! the payment's MerchantTradeNo, because its TradeNo is known only once the payment is answered.

use serde_json::{Map, Value, json};
use twqr_wire::pos::{CancelRequest, InquiryType, PayRequest, QueryRequest, RefundRequest};

use super::{Call, Line, full_api_day};

/// The fault of an invalid line. The text names fields, but never repeats a value of the line.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct InvalidLine(String);

/// The day's lines, without line ends.
pub fn full_api_sample_day(seed: u64, chains: u32) -> Vec<String> {
    full_api_day(seed, "full", chains).iter().map(|line| Value::Object(fields(line)).to_string()).collect()
}

/// Reads and writes the fields that payments, refunds and cancels have in common.
macro_rules! common {
    ($($field:ident $name:literal;)*) => {
        fn common_fields(into: &mut Map<String, Value>, values: Common<'_>) {
            $(into.insert($name.to_owned(), json!(values.$field));)*
        }

        struct Common<'a> { $($field: &'a str),* }

        impl<'a> From<&'a PayRequest> for Common<'a> {
            fn from(request: &'a PayRequest) -> Self { Self { $($field: &request.$field),* } }
        }

        impl<'a> From<&'a RefundRequest> for Common<'a> {
            fn from(request: &'a RefundRequest) -> Self { Self { $($field: &request.$field),* } }
        }

        impl<'a> From<&'a CancelRequest> for Common<'a> {
            fn from(request: &'a CancelRequest) -> Self { Self { $($field: &request.$field),* } }
        }

        impl Fields {
            fn payment(&mut self) -> Result<PayRequest, InvalidLine> {
                Ok(PayRequest {
                    card_token: self.text("CardToken")?,
                    trade_amount: self.number("TradeAmount")?,
                    un_redeem: self.number("UnRedeem")?,
                    $($field: self.text($name)?,)*
                })
            }

            fn cancel(&mut self) -> Result<CancelRequest, InvalidLine> {
                Ok(CancelRequest {
                    card_token: self.text("CardToken")?,
                    trade_amount: self.number("TradeAmount")?,
                    un_redeem: self.number("UnRedeem")?,
                    $($field: self.text($name)?,)*
                })
            }

            fn refund(&mut self) -> Result<Call, InvalidLine> {
                let payment = self.text("PaymentTradeNo")?;
                let request = RefundRequest {
                    trade_no: self.text("TradeNo")?,
                    trade_amount: self.number("TradeAmount")?,
                    $($field: self.text($name)?,)*
                };
                Ok(Call::Refund { request, payment })
            }
        }
    };
}

common! {
    merchant_id "MerchantID";
    store_id "StoreID";
    store_name "StoreName";
    gateway_trade_no "GatewayTradeNo";
    merchant_trade_no "MerchantTradeNo";
    pos_id "PosID";
    pos_trade_time "PosTradeTime";
    remark "Remark";
    extra1 "Extra1";
    extra2 "Extra2";
    extra3 "Extra3";
    send_time "SendTime";
}

fn fields(line: &Line) -> Map<String, Value> {
    let mut fields = Map::new();
    fields.insert("Op".to_owned(), json!(line.call.name()));
    fields.insert("Chain".to_owned(), json!(line.chain));
    if let Some(expect) = &line.expect {
        fields.insert("Expect".to_owned(), json!(expect));
    }
    let mut add = |more: Vec<(&str, Value)>| more.into_iter().for_each(|(k, v)| drop(fields.insert(k.to_owned(), v)));
    match &line.call {
        Call::Payment(r) => {
            add(vec![
                ("CardToken", json!(r.card_token)),
                ("TradeAmount", json!(r.trade_amount)),
                ("UnRedeem", json!(r.un_redeem)),
            ]);
            common_fields(&mut fields, r.into());
        }
        Call::Cancel(r) => {
            add(vec![
                ("CardToken", json!(r.card_token)),
                ("TradeAmount", json!(r.trade_amount)),
                ("UnRedeem", json!(r.un_redeem)),
            ]);
            common_fields(&mut fields, r.into());
        }
        Call::Refund { request: r, payment } => {
            add(vec![
                ("PaymentTradeNo", json!(payment)),
                ("TradeNo", json!(r.trade_no)),
                ("TradeAmount", json!(r.trade_amount)),
            ]);
            common_fields(&mut fields, r.into());
        }
        Call::Inquiry(r) => {
            let inquiry_type = if r.inquiry_type() == InquiryType::Refund { "R" } else { "P" };
            add(vec![
                ("InquiryType", json!(inquiry_type)),
                ("MerchantID", json!(r.merchant_id)),
                ("MerchantTradeNo", json!(r.merchant_trade_no)),
            ]);
        }
    }
    fields
}

/// The fields of a line that are still to be parsed.
struct Fields(Map<String, Value>);

impl Fields {
    /// Takes a text field; empty if it is absent.
    fn text(&mut self, name: &str) -> Result<String, InvalidLine> {
        match self.0.remove(name) {
            None => Ok(String::new()),
            Some(Value::String(text)) => Ok(text),
            Some(_) => Err(InvalidLine(format!("{name} must be a string"))),
        }
    }

    /// Takes a number field; 0 if it is absent.
    fn number(&mut self, name: &str) -> Result<i64, InvalidLine> {
        match self.0.remove(name) {
            None => Ok(0),
            Some(value) => value.as_i64().ok_or_else(|| InvalidLine(format!("{name} must be a whole number"))),
        }
    }

    fn inquiry(&mut self) -> Result<QueryRequest, InvalidLine> {
        let inquiry_type = match self.text("InquiryType")?.as_str() {
            "P" => InquiryType::Payment,
            "R" => InquiryType::Refund,
            _ => return Err(InvalidLine("InquiryType must be P or R".to_owned())),
        };
        Ok(QueryRequest {
            inquiry_type: inquiry_type.into(),
            merchant_id: self.text("MerchantID")?,
            merchant_trade_no: self.text("MerchantTradeNo")?,
            ..QueryRequest::default()
        })
    }
}

/// Parses a line.
pub fn parse_line(line: &str) -> Result<Line, InvalidLine> {
    let value: Value = serde_json::from_str(line).map_err(|error| InvalidLine(format!("is not JSON: {error}")))?;
    let Value::Object(object) = value else { return Err(InvalidLine("is not a JSON object".to_owned())) };
    let mut fields = Fields(object);
    let chain = u32::try_from(fields.number("Chain")?);
    let chain = chain.map_err(|_| InvalidLine("Chain must be 0 to 4294967295".to_owned()))?;
    let expect = Some(fields.text("Expect")?).filter(|expect| !expect.is_empty());
    let call = match fields.text("Op")?.as_str() {
        "Payment" => Call::Payment(fields.payment()?),
        "Refund" => fields.refund()?,
        "Cancel" => Call::Cancel(fields.cancel()?),
        "Inquiry" => Call::Inquiry(fields.inquiry()?),
        _ => return Err(InvalidLine("Op must be Payment, Refund, Cancel or Inquiry".to_owned())),
    };
    match fields.0.keys().next() {
        None => Ok(Line { chain, call, expect }),
        Some(unknown) => Err(InvalidLine(format!("{unknown} is not a field of this operation"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: &str = include_str!("../../../../load-tests/samples/day-full-api.jsonl");

    #[test]
    fn the_file_agrees_with_its_generator_and_parses_back() {
        let generated = full_api_sample_day(7, 140);
        let lines: Vec<&str> = FILE.lines().collect();
        assert!(
            generated == lines,
            "day-full-api.jsonl differs from its generator; run `make sample` to write it again"
        );
        let parsed: Vec<Line> = lines.iter().map(|line| parse_line(line).unwrap()).collect();
        assert_eq!(parsed, full_api_day(7, "full", 140));
    }

    #[test]
    fn an_invalid_line_is_refused_with_its_fault() {
        for (line, expected) in [
            ("Payment;1", "is not JSON"),
            ("[]", "is not a JSON object"),
            (r#"{"Op":"Pay"}"#, "Op must be"),
            (r#"{"Op":"Payment","TradeAmount":"5"}"#, "TradeAmount must be a whole number"),
            (r#"{"Op":"Cancel","TradeAmmount":5}"#, "TradeAmmount is not a field"),
            (r#"{"Op":"Inquiry"}"#, "InquiryType must be P or R"),
            (r#"{"Op":"Payment","Chain":-1}"#, "Chain must be"),
        ] {
            let error = parse_line(line).unwrap_err().to_string();
            assert!(error.contains(expected), "{line}: {error}");
        }
    }
}
