//! The merchants' keys, and whether a request is signed with one of them. A merchant may have
//! several, so that a new one can come into use before the old one goes.

use std::{collections::HashMap, sync::Arc};

use arc_swap::ArcSwap;
use secrecy::{ExposeSecret, SecretString};
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;
use twqr_types::KeyName;

use super::{
    canonical,
    form::SIGN,
    json::{Json, Object},
};

/// A key, and the name by which rules and records know it.
#[derive(Debug)]
pub(super) struct Key {
    pub(super) name: KeyName,
    pub(super) secret: SecretString,
}

/// The keys of each MerchantID.
pub(super) type Keys = HashMap<String, Vec<Key>>;

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

    /// By which of its merchant's keys the request's Sign is (POS API, section 5). A merchant that
    /// is not known, a wrong signature and a missing one take the same way.
    pub(super) fn signed_by(&self, members: &Object) -> Option<KeyName> {
        let text = |name| match members.get(name) {
            Some(Json::Text(text)) => text.as_str(),
            Some(Json::Null | Json::Bool(_) | Json::Number(_) | Json::List(_) | Json::Object(_)) | None => "",
        };
        let keys = self.0.load();
        let known = keys.get(text("MerchantID")).map_or(&[][..], Vec::as_slice);
        let nobodys = SecretString::default();
        let known = known.iter().map(|key| (Some(&key.name), &key.secret)).chain([(None, &nobodys)]);
        let theirs = text(SIGN).to_ascii_lowercase();
        let mut hash = Sha256::new();
        canonical::write(members, SIGN, &mut hash);
        // Every key is tried, also after one has fitted.
        known
            .fold(None, |signer, (name, secret)| {
                let ours = format!("{:x}", hash.clone().chain_update(secret.expose_secret()).finalize());
                if bool::from(ours.as_bytes().ct_eq(theirs.as_bytes())) { signer.or(name) } else { signer }
            })
            .cloned()
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
        let key = |secret: &str| Key { name: KeyName::parse(format!("the {secret}")).unwrap(), secret: secret.into() };
        let keys = |list: &[&str]| list.iter().copied().map(key).collect::<Vec<_>>();
        let merchants = MerchantKeys::new(Keys::from([
            ("M1".to_owned(), keys(&["current", "previous"])),
            ("M2".to_owned(), keys(&["other"])),
            ("M3".to_owned(), Vec::new()),
        ]));
        let (one, two, three, none) =
            (r#"{"MerchantID":"M1"}"#, r#"{"MerchantID":"M2"}"#, r#"{"MerchantID":"M3"}"#, "{}");
        for (text, signature, expected) in [
            (one, sign(one, "current"), Some("the current")),
            (one, sign(one, "previous"), Some("the previous")),
            (one, sign(one, "current").to_uppercase(), Some("the current")),
            (one, sign(one, "other"), None),
            (one, sign(two, "current"), None),
            (one, sign(one, ""), None),
            (one, String::new(), None),
            (one, sign(one, "current")[..63].to_owned(), None),
            (one, format!("{} ", sign(one, "current")), None),
            (two, sign(two, "other"), Some("the other")),
            (three, sign(three, ""), None),
            (r#"{"MerchantID":"M9"}"#, sign(r#"{"MerchantID":"M9"}"#, ""), None),
            (none, sign(none, ""), None),
        ] {
            let mut members = parse(text.as_bytes()).unwrap();
            members.insert(SIGN.to_owned(), Json::Text(signature.clone()));
            let signer = merchants.signed_by(&members);
            assert_eq!(signer.as_ref().map(KeyName::as_str), expected, "{text} {signature}");
        }
        let members = parse(format!(r#"{{"MerchantID":"M1","Sign":"{}"}}"#, sign(one, "current")).as_bytes()).unwrap();
        assert!(merchants.signed_by(&members).is_some());
        merchants.replace(Keys::new());
        assert!(merchants.signed_by(&members).is_none(), "a key that is gone signs no more");
    }
}
