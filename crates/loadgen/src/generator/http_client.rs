//! The signed HTTP form (`proto/README.md`, section HTTP form), over kept-alive connections of one
//! sending thread.

use std::{cell::RefCell, fmt::Write, net::SocketAddr};

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::{Request, client::conn::http1, http::response::Parts};
use hyper_util::rt::TokioIo;
use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};
use tokio::net::TcpStream;
use twqr_wire::hops::HOPS_HEADER;

use super::{answer::ReducedAnswer, record::Reply};
use crate::traffic::BuiltRequest;

type Connection = http1::SendRequest<Full<Bytes>>;

/// Connections that wait for a next request; each carries one at a time.
pub(super) struct HttpPool {
    address: SocketAddr,
    idle: RefCell<Vec<Connection>>,
}

/// The connection failed.
struct BrokenConnection;

impl From<std::io::Error> for BrokenConnection {
    fn from(_: std::io::Error) -> Self {
        Self
    }
}

impl From<hyper::Error> for BrokenConnection {
    fn from(_: hyper::Error) -> Self {
        Self
    }
}

impl HttpPool {
    pub(super) fn new(address: SocketAddr) -> Self {
        Self { address, idle: RefCell::new(Vec::new()) }
    }

    /// Sends a request that is signed with `key`, and asks for its hops if `asks`.
    pub(super) async fn call(&self, request: &BuiltRequest, key: &str, asks: bool) -> ReducedAnswer {
        let (path, body) = signed_request(request, key);
        match self.post(path, body, asks).await {
            Ok((head, body)) => {
                let hops = head.headers.get(HOPS_HEADER).and_then(|text| text.to_str().ok()?.parse().ok());
                ReducedAnswer { hops, ..ReducedAnswer::http(head.status.as_u16(), &body) }
            }
            Err(BrokenConnection) => ReducedAnswer::without_response(Reply::Broken),
        }
    }

    async fn post(&self, path: &str, body: String, asks: bool) -> Result<(Parts, Bytes), BrokenConnection> {
        let idle = self.idle.borrow_mut().pop();
        let mut connection = match idle {
            Some(connection) if !connection.is_closed() => connection,
            Some(_) | None => self.connect().await?,
        };
        connection.ready().await?;
        let mut request =
            Request::post(path).header("host", self.address.to_string()).header("content-type", "application/json");
        if asks {
            request = request.header(HOPS_HEADER, "1");
        }
        let request = request.body(Full::new(Bytes::from(body))).map_err(|_| BrokenConnection)?;
        let response = connection.send_request(request).await?;
        let (head, body) = response.into_parts();
        let body = body.collect().await?.to_bytes();
        self.idle.borrow_mut().push(connection);
        Ok((head, body))
    }

    async fn connect(&self) -> Result<Connection, BrokenConnection> {
        let stream = TcpStream::connect(self.address).await?;
        stream.set_nodelay(true)?;
        let (connection, driver) = http1::handshake(TokioIo::new(stream)).await?;
        // It ends with the connection; its error reaches the request that waits.
        tokio::spawn(async move { drop(driver.await) });
        Ok(connection)
    }
}

/// The path and the body of a request in the HTTP form, signed with the merchant's key.
pub fn signed_request(request: &BuiltRequest, key: &str) -> (&'static str, String) {
    let (path, mut fields) = match request {
        BuiltRequest::Pay(r) => (
            "/Load/Payment",
            fields(&[
                ("MerchantID", &r.merchant_id),
                ("StoreID", &r.store_id),
                ("MerchantTradeNo", &r.merchant_trade_no),
                ("PosID", &r.pos_id),
                ("PosTradeTime", &r.pos_trade_time),
                ("CardToken", &r.card_token),
            ]),
        ),
        BuiltRequest::Query(r) => (
            "/Load/Inquiry",
            fields(&[("InquiryType", "P"), ("MerchantID", &r.merchant_id), ("MerchantTradeNo", &r.merchant_trade_no)]),
        ),
        BuiltRequest::Refund(r) => (
            "/Load/Refund",
            fields(&[
                ("MerchantID", &r.merchant_id),
                ("StoreID", &r.store_id),
                ("MerchantTradeNo", &r.merchant_trade_no),
                ("PosID", &r.pos_id),
                ("TradeNo", &r.trade_no),
            ]),
        ),
        BuiltRequest::Cancel(r) => (
            "/Load/Cancel",
            fields(&[
                ("MerchantID", &r.merchant_id),
                ("StoreID", &r.store_id),
                ("GatewayTradeNo", &r.gateway_trade_no),
                ("MerchantTradeNo", &r.merchant_trade_no),
                ("PosID", &r.pos_id),
                ("CardToken", &r.card_token),
            ]),
        ),
    };
    match request {
        BuiltRequest::Pay(r) => fields.extend(amounts(r.trade_amount, r.un_redeem)),
        BuiltRequest::Cancel(r) => fields.extend(amounts(r.trade_amount, r.un_redeem)),
        BuiltRequest::Refund(r) => fields.extend([("TradeAmount".to_owned(), json!(r.trade_amount))]),
        BuiltRequest::Query(_) => {}
    }
    // serde_json keeps keys sorted and writes no blanks, which is the signed text.
    let text = Value::Object(fields).to_string();
    let digest = Sha256::new().chain_update(&text).chain_update(key).finalize();
    let mut body = text;
    body.pop();
    body.push_str(",\"Sign\":\"");
    for byte in digest {
        let _ = write!(body, "{byte:02x}");
    }
    body.push_str("\"}");
    (path, body)
}

fn fields(texts: &[(&str, &str)]) -> Map<String, Value> {
    let given = texts.iter().filter(|(_, text)| !text.is_empty());
    given.map(|(name, text)| ((*name).to_owned(), json!(text))).collect()
}

fn amounts(trade: i64, un_redeem: i64) -> [(String, Value); 2] {
    [("TradeAmount".to_owned(), json!(trade)), ("UnRedeem".to_owned(), json!(un_redeem))]
}

#[cfg(test)]
mod tests {
    use twqr_wire::pos::PayRequest;

    use super::*;

    /// The example of `proto/README.md`, with UnRedeem; the digest is that of `sha256sum`.
    #[test]
    fn the_signature_covers_the_sorted_compact_text_and_the_key() {
        let request = PayRequest {
            merchant_id: "M1".into(),
            merchant_trade_no: "T2".into(),
            card_token: "22abcdefghijklmnop".into(),
            trade_amount: 120,
            ..PayRequest::default()
        };
        let (path, body) = signed_request(&BuiltRequest::Pay(request), "new key");
        assert_eq!(path, "/Load/Payment");
        assert_eq!(
            body,
            "{\"CardToken\":\"22abcdefghijklmnop\",\"MerchantID\":\"M1\",\"MerchantTradeNo\":\"T2\",\
             \"TradeAmount\":120,\"UnRedeem\":0,\
             \"Sign\":\"37b8867c58fc9bd76696024181b7b1aecb2dc9c75883d00ebb6c157ccdaf04c9\"}"
        );
    }
}
