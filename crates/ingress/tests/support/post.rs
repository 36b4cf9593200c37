//! A POS over a bare TCP connection: it sends any bytes, valid HTTP or not, and reads the whole
//! answer.

#![allow(
    dead_code,
    unreachable_pub,
    clippy::unwrap_used,
    clippy::missing_panics_doc,
    reason = "a test fails by panicking; not every test needs all of it"
)]

use std::net::SocketAddr;

use serde_json::Value;
use sha2::{Digest, Sha256};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

/// The key of merchant M1 in these tests.
pub const KEY: &str = "key of M1, 街";

/// The answer to a POS: HTTP status, head in lower case, and body.
#[derive(Debug)]
pub struct PosAnswer {
    pub status: u16,
    pub head: String,
    pub body: String,
}

impl PosAnswer {
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap()
    }

    /// A text field of the body; empty if it is absent or not a text.
    pub fn text(&self, field: &str) -> String {
        self.json()[field].as_str().unwrap_or_default().to_owned()
    }

    pub fn status_code(&self) -> String {
        self.text("StatusCode")
    }
}

/// Sends these bytes.
pub async fn raw(address: SocketAddr, bytes: &[u8]) -> PosAnswer {
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(bytes).await.unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await.unwrap();
    let answer = String::from_utf8(answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    PosAnswer { status, head: head.to_lowercase(), body: body.to_owned() }
}

/// Sends a body; `headers` are further header lines.
pub async fn send(address: SocketAddr, path: &str, headers: &str, body: &[u8]) -> PosAnswer {
    let length = body.len();
    let head =
        format!("POST {path} HTTP/1.1\r\nHost: pos\r\nConnection: close\r\nContent-Length: {length}\r\n{headers}\r\n");
    raw(address, &[head.as_bytes(), body].concat()).await
}

/// Sends JSON with the headers that most POS send.
pub async fn post(address: SocketAddr, path: &str, body: &str) -> PosAnswer {
    send(address, path, "Content-Type: application/json; charset=utf-8\r\n", body.as_bytes()).await
}

/// The signature over a canonical text.
pub fn sign(text: &str, key: &str) -> String {
    format!("{:x}", Sha256::digest(format!("{text}{key}")))
}

/// A canonical text with its signature as the last field.
pub fn signed(text: &str, key: &str) -> String {
    let sign = sign(text, key);
    format!("{},\"Sign\":\"{sign}\"}}", text.strip_suffix('}').unwrap())
}

/// The canonical text of a payment of M1.
pub fn payment_text(number: &str) -> String {
    format!(
        r#"{{"CardToken":"22abcdefghijklmnop","Extra1":"","Extra2":"","Extra3":"","GatewayTradeNo":"G1","MerchantID":"M1","MerchantTradeNo":"{number}","PosID":"P1","PosTradeTime":"2025/03/10 09:08:07","Remark":"","SendTime":"20250310090807","StoreID":"S1","StoreName":"測試店","TradeAmount":120,"UnRedeem":0}}"#
    )
}

/// The canonical text of an inquiry of M1; `kind` is the InquiryType.
pub fn inquiry_text(number: &str, kind: &str) -> String {
    format!(
        r#"{{"GatewayTradeNo":"G1","InquiryType":"{kind}","MerchantID":"M1","MerchantTradeNo":"{number}","PosID":"P1","PosTradeTime":"2025/03/10 09:08:07","SendTime":"20250310090807","StoreID":"S1"}}"#
    )
}

/// The canonical text of a refund of M1.
pub fn refund_text(number: &str) -> String {
    format!(
        r#"{{"Extra1":"","Extra2":"","Extra3":"","GatewayTradeNo":"G1","MerchantID":"M1","MerchantTradeNo":"{number}","PosID":"P1","PosTradeTime":"2025/03/10 09:08:07","Remark":"","SendTime":"20250310090807","StoreID":"S1","StoreName":"測試店","TradeAmount":20,"TradeNo":"T0000000000000071KWWEVR61"}}"#
    )
}
