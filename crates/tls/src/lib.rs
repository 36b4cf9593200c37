//! TLS of listeners and of clients: the certificates in the files of the configuration, and
//! what a verified peer's certificate says.

mod peer_certificate;

pub use peer_certificate::PeerCertificate;
