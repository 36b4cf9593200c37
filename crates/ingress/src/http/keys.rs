//! The merchants' keys, and the check of a request's signature. A merchant may have several keys,
//! so that a new one can be in use before the old one is removed.

use std::{collections::HashMap, sync::Arc};

use arc_swap::ArcSwap;
use secrecy::{ExposeSecret, SecretString};
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;
use twqr_types::KeyName;

use super::{
    canonical,
    field_names::SIGN,
    json::{Json, Object},
};

/// A key, and the name by which the policy and the log records refer to it.
#[derive(Debug)]
pub(super) struct Key {
    pub(super) name: KeyName,
    pub(super) secret: SecretString,
}

/// The keys of each MerchantID.
pub(super) type Keys = HashMap<String, Vec<Key>>;

/// The keys in force. Clones share them, so that a replacement takes effect everywhere.
#[derive(Clone)]
pub(super) struct MerchantKeys(Arc<ArcSwap<Keys>>);

impl MerchantKeys {
    /// Puts these keys in force.
    pub(super) fn new(keys: Keys) -> Self {
        Self(Arc::new(ArcSwap::from_pointee(keys)))
    }

    /// Replaces all keys.
    pub(super) fn replace(&self, keys: Keys) {
        self.0.store(Arc::new(keys));
    }

    /// Finds the key of the request's merchant with which the request is signed, and returns its
    /// name (`proto/README.md`, section HTTP form). An unknown merchant, a wrong signature and a
    /// missing one are handled by the same steps.
    pub(super) fn signer_of(&self, members: &Object) -> Option<KeyName> {
        let text = |name| match members.get(name) {
            Some(Json::Text(text)) => text.as_str(),
            Some(Json::Null | Json::Bool(_) | Json::Number(_) | Json::List(_) | Json::Object(_)) | None => "",
        };
        let keys = self.0.load();
        let own = keys.get(text("MerchantID")).map_or(&[][..], Vec::as_slice);
        // Without this candidate an unknown merchant would be refused without a hash, and so
        // measurably sooner.
        let no_key = SecretString::default();
        let candidates = own.iter().map(|key| (Some(&key.name), &key.secret)).chain([(None, &no_key)]);
        let signature = text(SIGN).to_ascii_lowercase();
        let mut hash = Sha256::new();
        canonical::write(members, SIGN, &mut hash);
        // Every key is tried, even after one has matched.
        candidates
            .fold(None, |signer, (name, secret)| {
                let expected = format!("{:x}", hash.clone().chain_update(secret.expose_secret()).finalize());
                if bool::from(expected.as_bytes().ct_eq(signature.as_bytes())) { signer.or(name) } else { signer }
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
            let signer = merchants.signer_of(&members);
            assert_eq!(signer.as_ref().map(KeyName::as_str), expected, "{text} {signature}");
        }
        let members = parse(format!(r#"{{"MerchantID":"M1","Sign":"{}"}}"#, sign(one, "current")).as_bytes()).unwrap();
        assert!(merchants.signer_of(&members).is_some());
        merchants.replace(Keys::new());
        assert!(merchants.signer_of(&members).is_none(), "a removed key no longer signs");
    }
}
