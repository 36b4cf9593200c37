//! The merchants' keys, and the check of a request's signature. A merchant may have several keys,
//! so that a new one can be in use before the old one is removed.

use std::{collections::HashMap, sync::Arc};

use arc_swap::ArcSwap;
use secrecy::{ExposeSecret, SecretString};
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;
use twqr_types::{KeyName, SignatureForm, UnixMs};

use super::{
    canonical,
    field_names::SIGN,
    json::{Json, Object},
    message_keys::MessageKeys,
    message_signature::{self, MessageSignature, SignatureFault},
    signature_base::RequestHead,
};

/// A key, and the name by which the policy and the log records refer to it.
#[derive(Debug)]
pub(super) struct Key {
    pub(super) name: KeyName,
    pub(super) secret: SecretString,
}

/// The keys of each MerchantID.
pub(super) type Keys = HashMap<String, Vec<Key>>;

/// The keys of all merchants, by what they sign.
#[derive(Debug, Default)]
pub(super) struct AllKeys {
    /// The keys for Sign.
    pub(super) sign: Keys,
    /// The keys for message signatures.
    pub(super) message: MessageKeys,
}

impl From<Keys> for AllKeys {
    fn from(sign: Keys) -> Self {
        Self { sign, ..Self::default() }
    }
}

/// The keys in force, and the forms of the signed text that are accepted. Clones share the keys, so
/// that a replacement takes effect everywhere.
#[derive(Clone)]
pub(super) struct MerchantKeys {
    keys: Arc<ArcSwap<AllKeys>>,
    forms: Vec<SignatureForm>,
}

/// How a request was signed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Signature {
    /// The name of the key.
    pub(super) key: KeyName,
    /// The form of the signed text.
    pub(super) form: SignatureForm,
}

impl MerchantKeys {
    /// Puts these keys in force.
    pub(super) fn new(keys: impl Into<AllKeys>, forms: Vec<SignatureForm>) -> Self {
        Self { keys: Arc::new(ArcSwap::from_pointee(keys.into())), forms }
    }

    /// Replaces all keys.
    pub(super) fn replace(&self, keys: impl Into<AllKeys>) {
        self.keys.store(Arc::new(keys.into()));
    }

    /// Whether this merchant has a key.
    pub(super) fn has_merchant(&self, merchant_id: &str) -> bool {
        let keys = self.keys.load();
        keys.sign.contains_key(merchant_id) || keys.message.contains_key(merchant_id)
    }

    /// Finds the key of the request's merchant with which the request is signed, and the form of
    /// the signed text (`proto/README.md`, section HTTP form). An unknown merchant, a wrong
    /// signature and a missing one are handled by the same steps. A form weakens nothing: each
    /// needs the key.
    pub(super) fn signature_of(&self, members: &Object) -> Option<Signature> {
        let text = |name| text(members, name);
        let keys = self.keys.load();
        let own = keys.sign.get(text("MerchantID")).map_or(&[][..], Vec::as_slice);
        // Without this candidate an unknown merchant would be refused without a hash, and so
        // measurably sooner.
        let no_key = SecretString::default();
        let candidates = || own.iter().map(|key| (Some(&key.name), &key.secret)).chain([(None, &no_key)]);
        let signature = text(SIGN).to_ascii_lowercase();
        let mut found = None;
        // Every form and every key is tried, even after one has matched.
        for form in &self.forms {
            let mut hash = Sha256::new();
            canonical::write(members, SIGN, *form, &mut hash);
            for (name, secret) in candidates() {
                let expected = format!("{:x}", hash.clone().chain_update(secret.expose_secret()).finalize());
                if bool::from(expected.as_bytes().ct_eq(signature.as_bytes())) {
                    found = found.or(name.map(|name| (name, *form)));
                }
            }
        }
        found.map(|(key, form)| Signature { key: key.clone(), form })
    }

    /// Checks the message signature of a request of this merchant, at this time.
    pub(super) fn message_signature_of(
        &self,
        members: &Object,
        request: RequestHead<'_>,
        body: &[u8],
        now: UnixMs,
    ) -> Result<MessageSignature, SignatureFault> {
        let keys = self.keys.load();
        let own = keys.message.get(text(members, "MerchantID")).map_or(&[][..], Vec::as_slice);
        message_signature::verify(request, body, own, now)
    }
}

/// A text among the members; empty if it is absent or not a text.
fn text<'a>(members: &'a Object, name: &str) -> &'a str {
    match members.get(name) {
        Some(Json::Text(text)) => text.as_str(),
        Some(Json::Null | Json::Bool(_) | Json::Number(_) | Json::List(_) | Json::Object(_)) | None => "",
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
        let merchants = MerchantKeys::new(
            Keys::from([
                ("M1".to_owned(), keys(&["current", "previous"])),
                ("M2".to_owned(), keys(&["other"])),
                ("M3".to_owned(), Vec::new()),
            ]),
            SignatureForm::ALL.to_vec(),
        );
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
            let signature_of = merchants.signature_of(&members);
            assert_eq!(signature_of.as_ref().map(|found| found.key.as_str()), expected, "{text} {signature}");
        }
        let members = parse(format!(r#"{{"MerchantID":"M1","Sign":"{}"}}"#, sign(one, "current")).as_bytes()).unwrap();
        assert!(merchants.signature_of(&members).is_some());
        merchants.replace(Keys::new());
        assert!(merchants.signature_of(&members).is_none(), "a removed key no longer signs");
    }

    #[test]
    fn only_configured_forms_of_the_signed_text_are_accepted() {
        let spaced = r#"{"MerchantID": "M1"}"#;
        for (forms, expected) in [
            (SignatureForm::ALL.to_vec(), Some(SignatureForm::Spaced)),
            (vec![SignatureForm::Plain, SignatureForm::Html], None),
        ] {
            let key = Key { name: KeyName::parse("a".to_owned()).unwrap(), secret: "key".into() };
            let merchants = MerchantKeys::new(Keys::from([("M1".to_owned(), vec![key])]), forms);
            let body = format!(r#"{{"MerchantID":"M1","Sign":"{}"}}"#, sign(spaced, "key"));
            let found = merchants.signature_of(&parse(body.as_bytes()).unwrap());
            assert_eq!(found.map(|found| found.form), expected);
        }
    }
}
