//! The entry points of the fuzz targets: a request of the POS HTTP form, from its bytes to the
//! request's fields, with both kinds of signatures.

use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, Uri};
use twqr_types::{KeyName, PayForm, QueryForm, RefundForm, SignatureForm, UnixMs};

use super::{
    canonical,
    field_names::SIGN,
    json,
    json_request::JsonRequest,
    keys::{AllKeys, CheckPlace, Key, Keys, MerchantKeys},
    message_keys::{MessageKey, MessageKeys},
    signature_base::RequestHead,
};

/// The secret of the merchant M1 for message signatures, in base64.
const SECRET: &str = "MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=";

/// Takes header lines, an empty line, and a body. No input may cause a panic, and the signed text
/// of a body must be JSON with the same signed text. Returns whether the body is a request within
/// all limits.
///
/// # Panics
///
/// If that does not hold: then there is a fault.
pub fn http_form(input: &[u8]) -> bool {
    let (head, body) = split(input);
    let Ok(members) = json::parse(body) else { return false };
    let text = plain_text(&members);
    let again = json::parse(&text).map(|again| plain_text(&again));
    assert!(again.is_ok_and(|again| again == text), "the signed text is not the same when it is read again");
    let (uri, headers) = (Uri::from_static("/Pos/Payment"), headers(head));
    let request = RequestHead { method: &Method::POST, uri: &uri, headers: &headers };
    let keys = keys();
    drop(keys.signature_of(&members, CheckPlace::SMALL));
    drop(keys.message_signature_of(&members, request, body, UnixMs(1_790_000_000_000)));
    let request = || json::parse(body).map(JsonRequest::new);
    let is_payment = request().and_then(JsonRequest::into_payment).is_ok_and(|raw| PayForm::parse(raw).is_ok());
    let is_inquiry = request().and_then(JsonRequest::into_inquiry).is_ok_and(|(raw, _)| QueryForm::parse(raw).is_ok());
    let is_refund = request().and_then(JsonRequest::into_refund).is_ok_and(|raw| RefundForm::parse(raw).is_ok());
    drop(request().map(|request| (request.echoes(), request.trade_amount(), request.send_time())));
    is_payment || is_inquiry || is_refund
}

fn split(input: &[u8]) -> (&[u8], &[u8]) {
    let end = input.windows(2).position(|pair| pair == b"\n\n");
    end.map_or((&[], input), |end| (&input[..end], &input[end + 2..]))
}

fn headers(lines: &[u8]) -> HeaderMap {
    let header = |line: &[u8]| {
        let colon = line.iter().position(|byte| *byte == b':')?;
        let name = HeaderName::from_bytes(&line[..colon]).ok()?;
        Some((name, HeaderValue::from_bytes(line[colon + 1..].trim_ascii()).ok()?))
    };
    let mut headers = HeaderMap::new();
    for (name, value) in lines.split(|byte| *byte == b'\n').take(100).filter_map(header) {
        headers.append(name, value);
    }
    headers
}

fn plain_text(members: &json::Object) -> Vec<u8> {
    let mut text = Text::default();
    canonical::write(members, SIGN, SignatureForm::Plain, &mut text);
    text.0
}

#[derive(Default)]
struct Text(Vec<u8>);

impl canonical::Sink for Text {
    fn put(&mut self, piece: &[u8]) {
        self.0.extend_from_slice(piece);
    }
}

fn keys() -> MerchantKeys {
    let name = || KeyName::parse("K".to_owned());
    let sign = name().map(|name| Key { name, secret: "key".into() });
    let message = name().and_then(|name| MessageKey::new(name, "hmac-sha256", SECRET));
    let keys = AllKeys {
        sign: Keys::from([("M1".to_owned(), sign.into_iter().collect())]),
        message: MessageKeys::from([("M1".to_owned(), message.into_iter().collect())]),
    };
    MerchantKeys::new(keys, SignatureForm::ALL.to_vec())
}
