//! One answer, from gRPC or from the HTTP form, reduced to what is recorded.

use serde_json::Value;
use tonic::{Status, metadata::MetadataMap};
use twqr_wire::{
    hops::{HOPS_HEADER, HopReport},
    pos::{CancelResponse, PayResponse, QueryResponse, RefundResponse},
};

use super::record::Reply;
use crate::pay_streams::StreamAnswer;

/// The recorded part of an answer, and the TradeNo that later calls need.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct ReducedAnswer {
    pub(super) reply: Reply,
    pub(super) debit: i64,
    pub(super) is_in_progress: bool,
    pub(super) is_repeat: bool,
    pub(super) trade_no: String,
    /// Absent if the call did not ask for its hops, or the server knows no hops.
    pub(super) hops: Option<HopReport>,
}

impl ReducedAnswer {
    pub(super) const fn without_response(reply: Reply) -> Self {
        Self { reply, debit: 0, is_in_progress: false, is_repeat: false, trade_no: String::new(), hops: None }
    }

    fn response(code: &str, desc: &str) -> Self {
        let reply = code.as_bytes().first_chunk::<3>().map_or(Reply::Broken, |code| Reply::Status(*code));
        // The texts of all three kinds of answers begin alike: "the refund is in progress; …".
        let is_in_progress = code != "000" && desc.contains(" is in progress");
        Self { is_in_progress, ..Self::without_response(reply) }
    }

    /// The same answer with the hops in its metadata, if they are there.
    pub(super) fn with_metadata(self, metadata: &MetadataMap) -> Self {
        let text = metadata.get(HOPS_HEADER).and_then(|text| text.to_str().ok());
        Self { hops: text.and_then(|text| text.parse().ok()), ..self }
    }

    pub(super) fn refused(status: &Status) -> Self {
        Self::without_response(Reply::Grpc(status.code()))
    }

    pub(super) fn payment(answer: PayResponse) -> Self {
        Self {
            debit: answer.debit_amount,
            is_repeat: answer.is_rep,
            trade_no: answer.trade_no,
            ..Self::response(&answer.status_code, &answer.status_desc)
        }
    }

    pub(super) fn streamed(answer: StreamAnswer) -> Self {
        match answer {
            Ok((response, hops)) => Self { hops: hops.parse().ok(), ..Self::payment(response) },
            Err(code) => Self::without_response(Reply::Grpc(code)),
        }
    }

    pub(super) fn query(answer: &QueryResponse) -> Self {
        Self { is_in_progress: false, ..Self::response(&answer.status_code, "") }
    }

    pub(super) fn refund(answer: &RefundResponse) -> Self {
        Self {
            debit: answer.debit_amount,
            is_repeat: answer.is_rep,
            ..Self::response(&answer.status_code, &answer.status_desc)
        }
    }

    pub(super) fn cancel(answer: &CancelResponse) -> Self {
        Self::response(&answer.status_code, &answer.status_desc)
    }

    /// Reads the body of the HTTP form.
    pub(super) fn http(status: u16, body: &[u8]) -> Self {
        let Ok(Value::Object(fields)) = serde_json::from_slice(body) else {
            return Self::without_response(Reply::Http(status));
        };
        let text = |name: &str| fields.get(name).and_then(Value::as_str).unwrap_or_default();
        if status != 200 || text("StatusCode").len() != 3 {
            return Self::without_response(Reply::Http(status));
        }
        Self {
            debit: fields.get("DebitAmount").and_then(Value::as_i64).unwrap_or_default(),
            is_repeat: text("IsRep") == "1",
            trade_no: text("TradeNo").to_owned(),
            ..Self::response(text("StatusCode"), text("StatusDesc"))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_forms_of_an_answer_are_reduced_alike() {
        let response = PayResponse {
            status_code: "982".into(),
            status_desc: "the payment is in progress; query it".into(),
            debit_amount: 7,
            is_rep: true,
            trade_no: "T".into(),
            ..PayResponse::default()
        };
        let body = br#"{"StatusCode":"982","StatusDesc":"the payment is in progress; query it","DebitAmount":7,"IsRep":"1","TradeNo":"T"}"#;
        let reduced = ReducedAnswer::payment(response);
        assert_eq!(reduced, ReducedAnswer::http(200, body));
        assert!(reduced.is_in_progress && reduced.reply == Reply::Status(*b"982"));
        for (status, body) in [(500, &br#"{"StatusCode":"000"}"#[..]), (200, b"[]"), (200, b"{\"StatusCode\":\"0\"}")] {
            assert_eq!(ReducedAnswer::http(status, body).reply, Reply::Http(status));
        }
    }
}
