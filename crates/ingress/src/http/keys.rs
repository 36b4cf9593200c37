//! The merchants' keys, and whether a request is signed with one of them. A merchant may have several, so that a new one can come into use
//! before the old one goes.

use std::{collections::HashMap, sync::Arc};

use arc_swap::ArcSwap;
use secrecy::{ExposeSecret, SecretString};
use sha2::{Digest, Sha256};
use subtle::{Choice, ConstantTimeEq};

use super::{
    canonical,
    form::SIGN,
    json::{Json, Object},
};

/// The keys of each MerchantID.
pub(super) type Keys = HashMap<String, Vec<SecretString>>;

/// The keys that count now; whoever holds one sees changes.
#[derive(Clone)]
pub(super) struct MerchantKeys(Arc<ArcSwap<Keys>>);

impl MerchantKeys {
    /// These keys.
    pub(super) fn new(keys: Keys) -> Self {
        Self(Arc::new(ArcSwap::from_pointee(keys)))
    }

    /// From now on these.
    pub(super) fn replace(&self, keys: Keys) {
        self.0.store(Arc::new(keys));
    }

    /// Whether the request's Sign is by one of its merchant's keys (POS API, section 5). A merchant that is not known, a wrong signature
    /// and a missing one take the same way.
    pub(super) fn have_signed(&self, members: &Object) -> bool {
        let text = |name| match members.get(name) {
            Some(Json::Text(text)) => text.as_str(),
            Some(Json::Null | Json::Bool(_) | Json::Number(_) | Json::List(_) | Json::Object(_)) | None => "",
        };
        let keys = self.0.load();
        let nobodys = [SecretString::default()];
        let known = keys.get(text("MerchantID")).filter(|keys| !keys.is_empty());
        let theirs = text(SIGN).to_ascii_lowercase();
        let mut hash = Sha256::new();
        canonical::write(members, SIGN, &mut hash);
        let signed = known.map_or(&nobodys[..], Vec::as_slice).iter().fold(Choice::from(0), |signed, key| {
            let ours = format!("{:x}", hash.clone().chain_update(key.expose_secret()).finalize());
            signed | ours.as_bytes().ct_eq(theirs.as_bytes())
        });
        bool::from(signed & Choice::from(u8::from(known.is_some())))
    }
}

#[cfg(test)]
mod tests {
    use super::{super::json::parse, *};

    fn sign(text: &str, key: &str) -> String {
        format!("{:x}", Sha256::digest(format!("{text}{key}")))
    }

    #[test]
    fn only_a_key_of_the_merchant_signs_for_it() {
        let keys = |list: &[&str]| list.iter().copied().map(SecretString::from).collect::<Vec<_>>();
        let merchants = MerchantKeys::new(Keys::from([
            ("M1".to_owned(), keys(&["current", "previous"])),
            ("M2".to_owned(), keys(&["other"])),
            ("M3".to_owned(), Vec::new()),
        ]));
        let (one, two, three, none) =
            (r#"{"MerchantID":"M1"}"#, r#"{"MerchantID":"M2"}"#, r#"{"MerchantID":"M3"}"#, "{}");
        for (text, signature, expected) in [
            (one, sign(one, "current"), true),
            (one, sign(one, "previous"), true),
            (one, sign(one, "current").to_uppercase(), true),
            (one, sign(one, "other"), false),
            (one, sign(two, "current"), false),
            (one, sign(one, ""), false),
            (one, String::new(), false),
            (one, sign(one, "current")[..63].to_owned(), false),
            (one, format!("{} ", sign(one, "current")), false),
            (two, sign(two, "other"), true),
            (three, sign(three, ""), false),
            (r#"{"MerchantID":"M9"}"#, sign(r#"{"MerchantID":"M9"}"#, ""), false),
            (none, sign(none, ""), false),
        ] {
            let mut members = parse(text.as_bytes()).unwrap();
            members.insert(SIGN.to_owned(), Json::Text(signature.clone()));
            assert_eq!(merchants.have_signed(&members), expected, "{text} {signature}");
        }
        let members = parse(format!(r#"{{"MerchantID":"M1","Sign":"{}"}}"#, sign(one, "current")).as_bytes()).unwrap();
        assert!(merchants.have_signed(&members));
        merchants.replace(Keys::new());
        assert!(!merchants.have_signed(&members), "a key that is gone signs no more");
    }
}
