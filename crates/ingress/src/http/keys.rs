//! The merchants' keys, and the check of a request's signature. A merchant may have several keys,
//! so that a new one can be in use before the old one is removed.

use std::{collections::HashMap, sync::Arc, time::Duration};

use arc_swap::ArcSwap;
use secrecy::{ExposeSecret, SecretString};
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use twqr_types::{KeyName, SignatureForm, UnixMs};

use super::{
    canonical,
    field_names::SIGN,
    json::{Json, Object},
    message_keys::MessageKeys,
    message_signature::{self, MessageSignature, SignatureFault},
    signature_base::RequestHead,
};
use crate::refusal::Refusal;

/// A body up to this length, in bytes, is small. A request is larger only if most of its long
/// fields are full.
const SMALL_BODY_BYTES: usize = 8 * 1024;
/// How many signatures of larger bodies are checked at once. Anyone may send such bodies, and each
/// is hashed in every form; so all together cost at most one core.
const LARGE_BODIES_MAX: usize = 1;
/// How long a larger body may wait for its check.
const LARGE_BODY_WAIT: Duration = Duration::from_secs(1);

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
    /// The places for checks of large bodies.
    large_bodies: Arc<Semaphore>,
}

/// The right to check the signature of one body; the check frees its place.
pub(super) struct CheckPlace {
    _permit: Option<OwnedSemaphorePermit>,
}

impl CheckPlace {
    /// The place for a small body.
    pub(super) const SMALL: Self = Self { _permit: None };
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
        let large_bodies = Arc::new(Semaphore::new(LARGE_BODIES_MAX));
        Self { keys: Arc::new(ArcSwap::from_pointee(keys.into())), forms, large_bodies }
    }

    /// Waits for the place that [`Self::signature_of`] needs for a body of this length: a small one
    /// does not wait. A large one is refused if others take too long.
    pub(super) async fn place_for(&self, body_bytes: usize) -> Result<CheckPlace, Refusal> {
        if body_bytes <= SMALL_BODY_BYTES {
            return Ok(CheckPlace::SMALL);
        }
        let place = tokio::time::timeout(LARGE_BODY_WAIT, self.large_bodies.clone().acquire_owned()).await;
        let permit = place.ok().and_then(Result::ok).ok_or(Refusal::TooManyCalls)?;
        Ok(CheckPlace { _permit: Some(permit) })
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
    /// the signed text (`proto/README.md`, section HTTP form). An unknown merchant and a wrong
    /// signature are handled by the same steps; only a text that is no signature at all is refused
    /// at once. A form weakens nothing: each needs the key.
    pub(super) fn signature_of(&self, members: &Object, _place: CheckPlace) -> Option<Signature> {
        let signature = digest_from_hex(text(members, SIGN))?;
        let keys = self.keys.load();
        let own = keys.sign.get(text(members, "MerchantID")).map_or(&[][..], Vec::as_slice);
        // Without this candidate an unknown merchant would be refused without a hash, and so
        // measurably sooner.
        let no_key = SecretString::default();
        let candidates = || own.iter().map(|key| (Some(&key.name), &key.secret)).chain([(None, &no_key)]);
        let mut found = None;
        // Every form and every key is tried, even after one has matched.
        for form in &self.forms {
            let mut hash = Sha256::new();
            canonical::write(members, SIGN, *form, &mut hash);
            for (name, secret) in candidates() {
                let expected = hash.clone().chain_update(secret.expose_secret()).finalize();
                if bool::from(expected[..].ct_eq(&signature[..])) {
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

/// The 32 bytes of a signature from its 64 hexadecimal digits.
fn digest_from_hex(text: &str) -> Option<[u8; 32]> {
    let (pairs, rest) = text.as_bytes().as_chunks::<2>();
    if !rest.is_empty() {
        return None;
    }
    let digit = |byte: u8| char::from(byte).to_digit(16);
    let bytes = pairs.iter().map(|[high, low]| u8::try_from(digit(*high)? << 4 | digit(*low)?).ok());
    bytes.collect::<Option<Vec<u8>>>()?.try_into().ok()
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
            let signature_of = merchants.signature_of(&members, CheckPlace::SMALL);
            assert_eq!(signature_of.as_ref().map(|found| found.key.as_str()), expected, "{text} {signature}");
        }
        let members = parse(format!(r#"{{"MerchantID":"M1","Sign":"{}"}}"#, sign(one, "current")).as_bytes()).unwrap();
        assert!(merchants.signature_of(&members, CheckPlace::SMALL).is_some());
        merchants.replace(Keys::new());
        assert!(merchants.signature_of(&members, CheckPlace::SMALL).is_none(), "a removed key no longer signs");
    }

    #[tokio::test(start_paused = true)]
    async fn large_bodies_are_checked_one_after_another_and_delay_no_small_one() {
        let keys = MerchantKeys::new(Keys::new(), SignatureForm::ALL.to_vec());
        let first = keys.place_for(SMALL_BODY_BYTES + 1).await.ok().unwrap();
        let same_keys = keys.clone();
        assert!(matches!(same_keys.place_for(SMALL_BODY_BYTES + 1).await, Err(Refusal::TooManyCalls)));
        assert!(same_keys.place_for(SMALL_BODY_BYTES).await.is_ok());
        drop(first);
        assert!(same_keys.place_for(SMALL_BODY_BYTES + 1).await.is_ok());
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
            let found = merchants.signature_of(&parse(body.as_bytes()).unwrap(), CheckPlace::SMALL);
            assert_eq!(found.map(|found| found.form), expected);
        }
    }
}
