//! The identity that a caller's certificate proves.

use std::sync::Arc;

/// The names in the certificate that a caller has shown and that was verified, for the life of its
/// connection.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PeerCertificate(Arc<Names>);

#[derive(Debug, Default, PartialEq, Eq)]
struct Names {
    dns: Vec<String>,
    uris: Vec<String>,
}

impl PeerCertificate {
    /// A certificate with these subject alternative names.
    pub fn new(dns_names: Vec<String>, uris: Vec<String>) -> Self {
        Self(Arc::new(Names { dns: dns_names, uris }))
    }

    /// The subject alternative names of the kind DNS, as they are written in the certificate. One
    /// may begin with `*.`; as the name of a caller that is no pattern.
    pub fn dns_names(&self) -> &[String] {
        &self.0.dns
    }

    /// The subject alternative names of the kind URI, such as a SPIFFE ID.
    pub fn uris(&self) -> &[String] {
        &self.0.uris
    }
}
