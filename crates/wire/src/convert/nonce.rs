//! The nonces of signed requests.

use twqr_order::{Nonce, Nonces};
use twqr_types::UnixMs;

use super::fault::RecordFault;
use crate::bus;

pub(crate) fn nonce_out(nonce: &Nonce) -> bus::Nonce {
    bus::Nonce { digest: nonce.digest.to_vec().into(), until_ms: nonce.until.0 }
}

pub(crate) fn nonce_from(nonce: &bus::Nonce) -> Result<Nonce, RecordFault> {
    let digest = nonce.digest.as_ref().try_into();
    let digest = digest.map_err(|_| RecordFault::Invalid { field: "nonce", problem: "must be 16 bytes".to_owned() })?;
    Ok(Nonce { digest, until: UnixMs(nonce.until_ms) })
}

pub(crate) fn nonces_out(nonces: &Nonces) -> Vec<bus::Nonce> {
    nonces.as_slice().iter().map(nonce_out).collect()
}

pub(crate) fn nonces_from(nonces: &[bus::Nonce]) -> Result<Nonces, RecordFault> {
    Ok(Nonces::stored(nonces.iter().map(nonce_from).collect::<Result<_, _>>()?))
}
