//! HTTP message signatures (RFC 9421) of requests, with the digest of the body (RFC 9530). A
//! signature covers method, path and body, must be recent, and has a unique nonce, which the
//! machine claims in the log (`order/src/nonce.rs`).

use aws_lc_rs::digest::{SHA256, SHA512, digest};
use sfv::{Dictionary, InnerList, ListEntry, Parser};
use subtle::ConstantTimeEq;
use twqr_order::Nonce;
use twqr_types::{KeyName, UnixMs};

use super::{message_keys::MessageKey, signature_base::RequestHead};

/// The age up to which a signature is accepted, and how far the caller's clock may be ahead, in ms.
const AGE_MS_MAX: i64 = 300_000;
const AHEAD_MS_MAX: i64 = 30_000;
/// How much longer than the greatest age a nonce is kept, in ms. The clocks of two ingresses must
/// not differ by more (`clock_skew_max_ms`, at most 10,000).
const KEPT_LONGER_MS: i64 = 60_000;
/// The lengths of a nonce in characters.
const NONCE_LEN: std::ops::RangeInclusive<usize> = 16..=128;
/// How many signatures a request may have: proxies may add some.
const SIGNATURES_MAX: usize = 4;
/// The components that a signature must cover.
const COVERED: [&str; 3] = ["@method", "@path", "content-digest"];

/// A valid signature.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct MessageSignature {
    /// The name of the key.
    pub(super) key: KeyName,
    /// The nonce, for the machine.
    pub(super) nonce: Nonce,
}

/// The reason why a request is not accepted by its message signature.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum SignatureFault {
    /// There is no signature of the merchant, or it is wrong.
    NotSigned,
    /// The signature is the merchant's, but does not cover what it must, or lacks a parameter, or
    /// has one of a wrong type. Without `alg` no signature is looked at.
    Incomplete,
    /// There are more than [`SIGNATURES_MAX`] signatures. None is looked at, since the one that
    /// counts may be any of them.
    TooMany,
    /// There are several valid signatures of the merchant. Without one of them the request would be
    /// another one, with another nonce, so that a replay of it would not be recognised.
    Several,
    /// The digest is missing, of no known algorithm, or not the body's.
    Digest,
    /// It is too old or expired, or its time is in the future.
    Untimely,
}

/// Checks a request's message signature with the keys of its merchant, at this time. Everything
/// but a wrong signature, that `alg` is missing, and that there are too many signatures, is only
/// said to a caller that has a key.
pub(super) fn verify(
    request: RequestHead<'_>,
    body: &[u8],
    keys: &[MessageKey],
    now: UnixMs,
) -> Result<MessageSignature, SignatureFault> {
    let signatures = signatures(request)?;
    let valid = valid(request, &signatures, keys, MessageKey::signed);
    let (input, key) = *valid.first().ok_or_else(|| {
        let has_algorithm = signatures.iter().any(|(input, _)| text(input, "alg").is_some());
        if signatures.is_empty() || has_algorithm { SignatureFault::NotSigned } else { SignatureFault::Incomplete }
    })?;
    if valid.len() > 1 {
        return Err(SignatureFault::Several);
    }
    let covers = |name: &str| {
        input.items.iter().any(|item| item.bare_item.as_string().is_some_and(|covered| covered.as_str() == name))
    };
    let nonce = text(input, "nonce").filter(|nonce| NONCE_LEN.contains(&nonce.len()));
    let (created, expires) = (seconds(input, "created"), seconds(input, "expires"));
    let is_typed = expires.is_some() || !input.params.contains_key("expires");
    let (Some(nonce), Some(created), true, true) = (nonce, created, is_typed, COVERED.into_iter().all(covers)) else {
        return Err(SignatureFault::Incomplete);
    };
    if !has_digest(request, body) {
        return Err(SignatureFault::Digest);
    }
    let is_expired = expires.is_some_and(|expires| now > expires);
    if is_expired || !(-AHEAD_MS_MAX..=AGE_MS_MAX).contains(&now.since(created)) {
        return Err(SignatureFault::Untimely);
    }
    let until = created.plus(AGE_MS_MAX + KEPT_LONGER_MS);
    Ok(MessageSignature { key: key.name.clone(), nonce: Nonce { digest: nonce_digest(&key.name, nonce), until } })
}

/// The signatures of a request: the input of each, and its bytes.
fn signatures(request: RequestHead<'_>) -> Result<Vec<(InnerList, Vec<u8>)>, SignatureFault> {
    let dictionary = |name| Parser::new(&request.header(name)?).parse::<Dictionary>().ok();
    let Some((inputs, signatures)) = dictionary("signature-input").zip(dictionary("signature")) else {
        return Ok(Vec::new());
    };
    if inputs.len().max(signatures.len()) > SIGNATURES_MAX {
        return Err(SignatureFault::TooMany);
    }
    let signature = |(label, input)| {
        let ListEntry::InnerList(input) = input else { return None };
        let Some(ListEntry::Item(signature)) = signatures.get(&label) else { return None };
        Some((input, signature.bare_item.as_byte_sequence()?.to_vec()))
    };
    Ok(inputs.into_iter().filter_map(signature).collect())
}

/// The signatures that are valid, and the keys of the merchant that signed them. Each signature is
/// checked by `signed`, also without a key of the merchant: otherwise the time would say which keys
/// there are.
fn valid<'a>(
    request: RequestHead<'_>,
    signatures: &'a [(InnerList, Vec<u8>)],
    keys: &'a [MessageKey],
    mut signed: impl FnMut(&MessageKey, &[u8], &[u8]) -> bool,
) -> Vec<(&'a InnerList, &'a MessageKey)> {
    let mut found = Vec::new();
    for (input, signature) in signatures {
        let Some(algorithm) = text(input, "alg") else { continue };
        let is_named =
            |key: &&MessageKey| text(input, "keyid") == Some(key.name.as_str()) && key.algorithm() == algorithm;
        let own = keys.iter().find(is_named);
        let Some(key) = own.or_else(|| MessageKey::of_no_merchant(algorithm)) else { continue };
        let Some(base) = request.signature_base(input) else { continue };
        if signed(key, base.as_bytes(), signature) {
            found.extend(own.map(|key| (input, key)));
        }
    }
    found
}

fn text<'a>(input: &'a InnerList, name: &str) -> Option<&'a str> {
    input.params.get(name)?.as_string().map(sfv::StringRef::as_str)
}

fn seconds(input: &InnerList, name: &str) -> Option<UnixMs> {
    Some(UnixMs(i64::from(input.params.get(name)?.as_integer()?).saturating_mul(1_000)))
}

/// Whether the request has a digest of this body, and no other one of an algorithm that is known.
fn has_digest(request: RequestHead<'_>, body: &[u8]) -> bool {
    let header = request.header("content-digest");
    let Some(given) = header.and_then(|text| Parser::new(&text).parse::<Dictionary>().ok()) else { return false };
    let known = [("sha-256", &SHA256), ("sha-512", &SHA512)];
    let mut matches = known.into_iter().filter_map(|(name, algorithm)| {
        let ListEntry::Item(given) = given.get(name)? else { return Some(false) };
        let given = given.bare_item.as_byte_sequence().unwrap_or_default();
        Some(bool::from(digest(algorithm, body).as_ref().ct_eq(given)))
    });
    matches.next().is_some_and(|first| first && matches.all(|further| further))
}

/// The digest by which the log knows the nonce. A name has no line break, so no two pairs of name
/// and nonce are one text.
fn nonce_digest(key: &KeyName, nonce: &str) -> [u8; Nonce::LEN] {
    let hash = digest(&SHA256, format!("{}\n{nonce}", key.as_str()).as_bytes());
    let mut short = [0; Nonce::LEN];
    short.copy_from_slice(&hash.as_ref()[..Nonce::LEN]);
    short
}

#[cfg(test)]
mod tests;
