//! The entry point of the fuzz target: the files that a configuration names, and a certificate as a
//! caller shows it.

use std::path::PathBuf;

use rustls::crypto::aws_lc_rs::default_provider;

use crate::{Identity, PemFile, details::Details};

/// Reads a file as the authorities of a peer, as a certificate with its key, and as a certificate
/// in DER form. Returns whether one of them accepts it.
pub fn pem(input: &[u8]) -> bool {
    let file = |key: &str| PemFile { key: key.to_owned(), path: PathBuf::from("file") };
    let is_authority = file("ca_file").authorities(input).map_err(|fault| drop(fault.to_string())).is_ok();
    let identity = Identity { certificate: file("certificate_file"), key: file("key_file") };
    let certified = identity.certified(input, input, &default_provider());
    let is_identity = certified.map_err(|fault| drop(fault.to_string())).is_ok();
    let shown = Details::parse(input).map(|details| drop((details.fault_now(), details.days_left())));
    is_authority || is_identity || shown.is_some()
}
