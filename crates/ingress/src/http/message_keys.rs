//! The merchants' keys for HTTP message signatures (RFC 9421), and the check of a signature with
//! one of them.

use std::{collections::HashMap, fmt, sync::LazyLock};

use aws_lc_rs::{
    hmac,
    signature::{ECDSA_P256_SHA256_FIXED, ED25519, ParsedPublicKey, VerificationAlgorithm},
};
use base64::{Engine, prelude::BASE64_STANDARD};
use twqr_types::KeyName;
use zeroize::Zeroizing;

/// The least length of an HMAC key in bytes: that of its hash.
const HMAC_BYTES_MIN: usize = 32;
/// The names of the algorithms, by RFC 9421, section 6.2.
const HMAC: &str = "hmac-sha256";
const EDWARDS: &str = "ed25519";
const ECDSA: &str = "ecdsa-p256-sha256";

/// A merchant's key for message signatures. Its name is the signature's `keyid`.
pub(super) struct MessageKey {
    pub(super) name: KeyName,
    material: Material,
}

enum Material {
    Secret(Box<hmac::Key>),
    Public(&'static str, ParsedPublicKey),
}

/// Keys that sign for no merchant: a signature whose key is not known is checked with the one of
/// its algorithm, so that the check takes as long as that of a known key. The public ones are those
/// of RFC 9421, Appendix B.1.
static OF_NO_MERCHANT: LazyLock<Vec<MessageKey>> = LazyLock::new(|| {
    let keys = [
        (HMAC, "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="),
        (EDWARDS, "JrQLj5P/89iXES9+vFgrIy29clF9CC/oPPsw3c5D0bs="),
        (
            ECDSA,
            "MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAEqIVYZVLCrPZHGHjP17CTW0/+D9Lfw0EkjqF7xB4FivAxzic30tMM4GF+hR6Dxh71Z50VGGdldkkDXZCnTNnoXQ==",
        ),
    ];
    let key = |(algorithm, text)| MessageKey::new(KeyName::parse("none".to_owned()).ok()?, algorithm, text).ok();
    keys.into_iter().filter_map(key).collect()
});

/// The keys of each MerchantID.
pub(super) type MessageKeys = HashMap<String, Vec<MessageKey>>;

impl MessageKey {
    /// A key from the base64 text of a secret, or of a public key: its bytes, or the DER of its
    /// SubjectPublicKeyInfo. PEM is the latter, in base64 between two lines. The error never
    /// repeats the text.
    pub(super) fn new(name: KeyName, algorithm: &str, text: &str) -> Result<Self, String> {
        let base64: Zeroizing<String> =
            Zeroizing::new(text.lines().filter(|line| !line.starts_with("-----")).map(str::trim).collect());
        let bytes = BASE64_STANDARD.decode(base64.as_bytes()).map_err(|_| "a key is not base64".to_owned())?;
        let bytes = Zeroizing::new(bytes);
        let public = |algorithm, rule: &'static dyn VerificationAlgorithm| {
            let key = ParsedPublicKey::new(rule, bytes.as_slice());
            let key = key.map_err(|_| format!("a key is not a public key of {algorithm}"))?;
            Ok(Material::Public(algorithm, key))
        };
        let material = match algorithm {
            HMAC if bytes.len() < HMAC_BYTES_MIN => {
                Err(format!("a key of {HMAC} has {} bytes, must have {HMAC_BYTES_MIN} or more", bytes.len()))
            }
            HMAC => Ok(Material::Secret(Box::new(hmac::Key::new(hmac::HMAC_SHA256, &bytes)))),
            EDWARDS => public(EDWARDS, &ED25519),
            ECDSA => public(ECDSA, &ECDSA_P256_SHA256_FIXED),
            _ => Err(format!("the alg of a key must be {HMAC}, {EDWARDS} or {ECDSA}")),
        }?;
        Ok(Self { name, material })
    }

    /// The key of this algorithm that signs for no merchant; `None` if the algorithm is not known.
    pub(super) fn of_no_merchant(algorithm: &str) -> Option<&'static Self> {
        OF_NO_MERCHANT.iter().find(|key| key.algorithm() == algorithm)
    }

    /// The algorithm's name by RFC 9421.
    pub(super) fn algorithm(&self) -> &'static str {
        match self.material {
            Material::Secret(_) => HMAC,
            Material::Public(algorithm, _) => algorithm,
        }
    }

    /// Whether the signature over this text is the key's.
    pub(super) fn signed(&self, text: &[u8], signature: &[u8]) -> bool {
        match &self.material {
            Material::Secret(key) => hmac::verify(key, text, signature).is_ok(),
            Material::Public(_, key) => key.verify_sig(text, signature).is_ok(),
        }
    }
}

impl fmt::Debug for MessageKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MessageKey")
            .field("name", &self.name)
            .field("algorithm", &self.algorithm())
            .finish_non_exhaustive()
    }
}
