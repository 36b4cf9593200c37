//! A POS that signs its requests with HTTP message signatures (RFC 9421), written without the
//! product's code.

#![allow(
    dead_code,
    unreachable_pub,
    clippy::unwrap_used,
    clippy::missing_panics_doc,
    reason = "a test fails by panicking; not every test needs all of it"
)]

use std::time::{SystemTime, UNIX_EPOCH};

use base64::{Engine, prelude::BASE64_STANDARD};
use sha2::{Digest, Sha256};

/// The entry of M1 in a file with keys: the name of the key is `K`.
pub const KEY_ENTRY: &str = "K = { alg = \"hmac-sha256\", key = \"MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=\" }";
/// The same key, as its bytes.
const SECRET: &[u8; 32] = b"0123456789abcdef0123456789abcdef";

/// The headers of a request that is signed with this nonce, at a time that differs from now by so
/// many seconds. They are the same each time within a second.
pub fn headers(path: &str, body: &str, nonce: &str, created_s: i64) -> String {
    let digest = format!("sha-256=:{}:", BASE64_STANDARD.encode(Sha256::digest(body)));
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs().cast_signed() + created_s;
    let parameters =
        format!(r#"("@method" "@path" "content-digest");created={now};keyid="K";alg="hmac-sha256";nonce="{nonce}""#);
    let base = format!(
        "\"@method\": POST\n\"@path\": {path}\n\"content-digest\": {digest}\n\"@signature-params\": {parameters}"
    );
    let signature = BASE64_STANDARD.encode(hmac(base.as_bytes()));
    format!("Content-Digest: {digest}\r\nSignature-Input: pos={parameters}\r\nSignature: pos=:{signature}:\r\n")
}

/// HMAC by RFC 2104.
fn hmac(text: &[u8]) -> Vec<u8> {
    let pad = |byte: u8| (0..64).map(|at| SECRET.get(at).unwrap_or(&0) ^ byte).collect::<Vec<u8>>();
    let inner = Sha256::digest([pad(0x36), text.to_vec()].concat());
    Sha256::digest([pad(0x5c), inner.to_vec()].concat()).to_vec()
}
