//! Protects card tokens for records, and decrypts them for the call to the issuer.

use aws_lc_rs::{
    aead::{Aad, Nonce, RandomizedNonceKey},
    error::Unspecified,
    hmac,
};
use twqr_types::{CardToken, KeyName, OrderKey, ProtectedToken, SealedToken, TokenMac, TokenShape, UnixMs};
use zeroize::Zeroizing;

use crate::{CannotOpen, CardKeys, Hour, KeySet};

/// The reason why a token cannot be protected: this key is missing.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("card tokens cannot be protected: {0}; see `twqr keys list`")]
pub struct NoKey(String);

impl CardKeys {
    /// Protects the token of a payment that is requested at `now`.
    pub fn protect(&self, token: &CardToken, key: &OrderKey, now: UnixMs) -> Result<ProtectedToken, NoKey> {
        let (keys, hour) = (self.loaded(), Hour::of(now));
        let lacking = || NoKey(keys.lacks(hour).unwrap_or_default());
        let mut protected = compared(&keys, token, key).ok_or_else(lacking)?;
        let (name, sealing) = keys.sealing_in(hour).ok_or_else(lacking)?;
        let sealed = seal(sealing, name, token, key).map_err(|Unspecified| NoKey(format!("{name} does not seal")))?;
        protected.sealed = Some(sealed);
        Ok(protected)
    }

    /// Protects the token of a cancel, which is only compared.
    pub fn protect_compared(&self, token: &CardToken, key: &OrderKey) -> Result<ProtectedToken, NoKey> {
        let keys = self.loaded();
        compared(&keys, token, key).ok_or_else(|| NoKey("there is no comparison key".to_owned()))
    }

    /// Opens a token that was sealed for the order with this key. From the first time on, this
    /// process counts as one that needs keys.
    pub fn open(&self, sealed: &SealedToken, key: &OrderKey, now: UnixMs) -> Result<CardToken, CannotOpen> {
        self.need();
        let keys = self.loaded();
        let opening = keys.sealing_named(&sealed.key).ok_or_else(|| self.missing(&sealed.key, now))?;
        let mut text = Zeroizing::new(sealed.ciphertext.to_vec());
        let nonce = Nonce::try_assume_unique_for_key(&sealed.nonce).map_err(|Unspecified| CannotOpen::Forged)?;
        let opened = opening.open_in_place(nonce, Aad::from(associated(key)), &mut text);
        let opened = opened.map_err(|Unspecified| CannotOpen::Forged)?;
        let code = std::str::from_utf8(opened).map_err(|_| CannotOpen::Forged)?;
        CardToken::parse(code.to_owned()).map_err(|_| CannotOpen::Forged)
    }
}

/// The token's shape, and its MAC under each comparison key; `None` if there is none.
fn compared(keys: &KeySet, token: &CardToken, key: &OrderKey) -> Option<ProtectedToken> {
    let macs: Vec<TokenMac> = keys.comparison().map(|(name, mac_key)| mac(name, mac_key, token, key)).collect();
    (!macs.is_empty()).then(|| ProtectedToken { shape: TokenShape::of(token), macs, sealed: None })
}

fn mac(name: &KeyName, mac_key: &hmac::Key, token: &CardToken, key: &OrderKey) -> TokenMac {
    let mut context = hmac::Context::with_key(mac_key);
    context.update(&associated(key));
    context.update(&[0]);
    context.update(token.expose().as_bytes());
    let mut bytes = [0; TokenMac::LEN];
    bytes.copy_from_slice(context.sign().as_ref());
    TokenMac { key: name.clone(), bytes }
}

fn seal(
    sealing: &RandomizedNonceKey,
    name: &str,
    token: &CardToken,
    key: &OrderKey,
) -> Result<SealedToken, Unspecified> {
    // With room for the tag, so that no copy of the token is left behind.
    let mut text = Zeroizing::new(Vec::with_capacity(CardToken::LEN_MAX + 16));
    text.extend_from_slice(token.expose().as_bytes());
    let nonce = sealing.seal_in_place_append_tag(Aad::from(associated(key)), &mut *text)?;
    let nonce: &[u8; 12] = nonce.as_ref();
    Ok(SealedToken { key: name.to_owned(), nonce: nonce.as_slice().into(), ciphertext: text.as_slice().into() })
}

/// The order's key as bytes. No MerchantID contains a zero byte, so no two orders share them.
fn associated(key: &OrderKey) -> Vec<u8> {
    let (merchant, number) = (key.merchant_id.as_str(), key.merchant_trade_no.as_str());
    [merchant.as_bytes(), &[0], number.as_bytes()].concat()
}

#[cfg(test)]
mod tests {
    use twqr_types::{ComparedToken, MerchantId, MerchantTradeNo, RecordedToken};

    use super::*;

    const NOW: UnixMs = UnixMs(1_795_941_599_000);

    fn key(number: &str) -> OrderKey {
        OrderKey {
            merchant_id: MerchantId::parse("M1".to_owned()).unwrap(),
            merchant_trade_no: MerchantTradeNo::parse(number.to_owned()).unwrap(),
        }
    }

    fn token(code: &str) -> CardToken {
        CardToken::parse(code.to_owned()).unwrap()
    }

    /// Comparison keys with these names; a key's bytes follow from its name.
    fn ingress(names: &[&str]) -> CardKeys {
        let mut keys = KeySet::default();
        for name in names {
            keys.add_comparison(KeyName::parse((*name).to_owned()).unwrap(), &[name.as_bytes()[0]; 32]);
        }
        keys.add_sealing(Hour::of(NOW).name(), Hour::of(NOW), &[1; 32]);
        CardKeys::new(keys)
    }

    fn recorded(keys: &CardKeys, code: &str) -> RecordedToken {
        RecordedToken::Protected(Box::new(keys.protect(&token(code), &key("1"), NOW).unwrap()))
    }

    #[test]
    fn only_the_order_itself_opens_a_sealed_token() {
        let keys = ingress(&["a"]);
        let sealed = keys.protect(&token("22SECRETSECRETSECR"), &key("1"), NOW).unwrap().sealed.unwrap();
        let open = |sealed: &SealedToken, number: &str| keys.open(sealed, &key(number), NOW);
        assert_eq!(open(&sealed, "1").unwrap().expose(), "22SECRETSECRETSECR");
        assert_eq!(open(&sealed, "2").unwrap_err(), CannotOpen::Forged, "it was moved to another order");
        for at in 0..sealed.ciphertext.len() {
            let mut changed = sealed.clone();
            changed.ciphertext[at] ^= 1;
            assert_eq!(open(&changed, "1").unwrap_err(), CannotOpen::Forged, "byte {at}");
        }
        let other = SealedToken { nonce: Box::new([]), ..sealed.clone() };
        assert_eq!(open(&other, "1").unwrap_err(), CannotOpen::Forged);
        keys.replace(KeySet::default());
        let missing = CannotOpen::MissingKey(Hour::of(NOW).name());
        assert_eq!(open(&sealed, "1").unwrap_err(), missing);
    }

    #[test]
    fn equal_tokens_are_sealed_to_different_bytes() {
        let keys = ingress(&["a"]);
        let sealed = || keys.protect(&token("22SECRETSECRETSECR"), &key("1"), NOW).unwrap().sealed.unwrap();
        assert_ne!(sealed(), sealed());
    }

    /// Every ingress has its own moment in a rotation, and a payment may be requested by one and
    /// repeated or cancelled by another.
    #[test]
    fn no_order_of_a_rotation_makes_a_repeat_another_request() {
        let stages: [&[&str]; 4] = [&["a"], &["a", "b"], &["b"], &["b", "c"]];
        for first in stages {
            for then in stages {
                let kept = recorded(&ingress(first), "22SECRETSECRETSECR").compared(&key("1"));
                let repeat = recorded(&ingress(then), "22SECRETSECRETSECR");
                assert!(!kept.differs_from(&repeat, &key("1")), "{first:?}, then {then:?}");
                let other = recorded(&ingress(then), "22OTHEROTHEROTHERO");
                let share_a_key = first.iter().any(|name| then.contains(name));
                assert_eq!(kept.differs_from(&other, &key("1")), share_a_key, "{first:?}, then {then:?}");
            }
        }
    }

    #[test]
    fn a_token_from_before_protected_ones_is_compared_with_its_own_kind() {
        let clear = |code| RecordedToken::Clear(token(code));
        let kept = clear("22SECRETSECRETSECR").compared(&key("1"));
        assert!(matches!(kept, ComparedToken::Digest(_)));
        assert!(!kept.differs_from(&clear("22SECRETSECRETSECR"), &key("1")));
        assert!(kept.differs_from(&clear("22OTHEROTHEROTHERO"), &key("1")));
        assert!(!kept.differs_from(&recorded(&ingress(&["a"]), "22SECRETSECRETSECR"), &key("1")));
    }

    #[test]
    fn a_missing_key_is_named() {
        let none = CardKeys::default();
        let error = none.protect(&token("22SECRET"), &key("1"), NOW).unwrap_err().to_string();
        assert!(error.contains("no comparison key") && !error.contains("SECRET"), "{error}");
        let keys = ingress(&["a"]);
        let late = NOW.plus(2 * 3_600_000);
        assert!(keys.protect(&token("22SECRET"), &key("1"), NOW.plus(3_600_000)).is_ok(), "an hour late");
        let error = keys.protect(&token("22SECRET"), &key("1"), late).unwrap_err().to_string();
        assert!(error.contains(&Hour::of(late).name()), "{error}");
        assert!(keys.protect_compared(&token("22SECRET"), &key("1")).unwrap().sealed.is_none());
    }
}
