//! Protected card tokens, in requests, states and tasks.

use twqr_types::{CardToken, KeyName, ProtectedToken, RecordedToken, SealedToken, TokenMac, TokenShape};

use super::{
    fault::RecordFault,
    policy::{alphabet_from, alphabet_out},
};
use crate::bus;

pub(super) fn protected_from(token: bus::ProtectedToken) -> Result<ProtectedToken, RecordFault> {
    let alphabet = alphabet_from(token.alphabet())?;
    let bus::ProtectedToken { prefix, length, macs, sealed, .. } = token;
    if !(1..=CardToken::LEN_MAX as u32).contains(&length) {
        return Err(invalid("token.length", format!("is {length}, must be 1 to {}", CardToken::LEN_MAX)));
    }
    let shown = TokenShape::prefix_len_max(length);
    if prefix.len() != shown as usize || !prefix.bytes().all(|byte| alphabet.has(byte)) {
        return Err(invalid("token.prefix", format!("must be {shown} characters of the token's alphabet")));
    }
    let shape = TokenShape { prefix: prefix.into(), length, alphabet };
    Ok(ProtectedToken { shape, macs: macs_from(macs)?, sealed: sealed.map(sealed_from) })
}

/// The protected token to write beside a request; absent if the request has it in plain text.
pub(super) fn protected_out(token: &RecordedToken) -> Option<bus::ProtectedToken> {
    let RecordedToken::Protected(token) = token else { return None };
    Some(bus::ProtectedToken {
        prefix: token.shape.prefix.to_string(),
        length: token.shape.length,
        alphabet: alphabet_out(token.shape.alphabet).into(),
        macs: macs_out(&token.macs),
        sealed: token.sealed.as_ref().map(sealed_out),
    })
}

/// Reads 1 to [`TokenMac::COUNT_MAX`] MACs.
pub(super) fn macs_from(macs: Vec<bus::TokenMac>) -> Result<Vec<TokenMac>, RecordFault> {
    if !(1..=TokenMac::COUNT_MAX).contains(&macs.len()) {
        return Err(invalid("macs", format!("are {}, must be 1 to {}", macs.len(), TokenMac::COUNT_MAX)));
    }
    let mac = |mac: bus::TokenMac| {
        let key = KeyName::parse(mac.key).map_err(RecordFault::invalid("macs.key"))?;
        let bytes = mac.mac.as_ref().try_into();
        let bytes = bytes.map_err(|_| invalid("macs.mac", format!("must be {} bytes", TokenMac::LEN)))?;
        Ok(TokenMac { key, bytes })
    };
    macs.into_iter().map(mac).collect()
}

pub(super) fn macs_out(macs: &[TokenMac]) -> Vec<bus::TokenMac> {
    let mac = |mac: &TokenMac| bus::TokenMac { key: mac.key.as_str().to_owned(), mac: mac.bytes.to_vec().into() };
    macs.iter().map(mac).collect()
}

/// Takes what a worker opens. It is not checked here: what cannot be opened is not sent.
pub(super) fn sealed_from(sealed: bus::SealedToken) -> SealedToken {
    let bus::SealedToken { key, nonce, ciphertext } = sealed;
    SealedToken { key, nonce: nonce.as_ref().into(), ciphertext: ciphertext.as_ref().into() }
}

pub(super) fn sealed_out(sealed: &SealedToken) -> bus::SealedToken {
    let SealedToken { key, nonce, ciphertext } = sealed;
    bus::SealedToken { key: key.clone(), nonce: nonce.to_vec().into(), ciphertext: ciphertext.to_vec().into() }
}

fn invalid(field: &'static str, problem: String) -> RecordFault {
    RecordFault::invalid(field)(problem)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn good() -> bus::ProtectedToken {
        bus::ProtectedToken {
            prefix: "22abcd".into(),
            length: 18,
            alphabet: bus::Alphabet::Alphanumeric.into(),
            macs: vec![bus::TokenMac { key: "a".into(), mac: vec![1; TokenMac::LEN].into() }],
            sealed: Some(bus::SealedToken {
                key: "h".into(),
                nonce: vec![2; 12].into(),
                ciphertext: vec![3; 34].into(),
            }),
        }
    }

    #[test]
    fn a_protected_token_is_written_as_it_was_read() {
        let read = RecordedToken::Protected(Box::new(protected_from(good()).unwrap()));
        assert_eq!(protected_out(&read), Some(good()));
    }

    #[test]
    fn a_token_that_shows_more_than_its_shape_is_refused() {
        let mac = |count| vec![good().macs[0].clone(); count];
        for (what, bad) in [
            ("a longer prefix", bus::ProtectedToken { prefix: "22abcde".into(), ..good() }),
            ("a shorter one", bus::ProtectedToken { prefix: "22abc".into(), ..good() }),
            ("more than half", bus::ProtectedToken { length: 10, ..good() }),
            ("other characters", bus::ProtectedToken { prefix: "22abc-".into(), ..good() }),
            ("no length", bus::ProtectedToken { prefix: String::new(), length: 0, ..good() }),
            ("no alphabet", bus::ProtectedToken { alphabet: 0, ..good() }),
            ("no MAC", bus::ProtectedToken { macs: mac(0), ..good() }),
            ("too many MACs", bus::ProtectedToken { macs: mac(5), ..good() }),
            (
                "a short MAC",
                bus::ProtectedToken {
                    macs: vec![bus::TokenMac { key: "a".into(), mac: vec![1; 16].into() }],
                    ..good()
                },
            ),
        ] {
            assert!(protected_from(bad).is_err(), "{what}");
        }
    }
}
