//! TLS of listeners and of clients: the certificates in the files of the configuration, their
//! reload, what a verified peer's certificate says, and connections with and without TLS. The
//! versions are 1.2 and 1.3, and no data is sent before the handshake has ended (no early data).

mod client;
mod details;
mod file;
#[doc(hidden)]
pub mod fuzzing;
mod metrics;
mod peer_certificate;
mod reload;
mod server;
mod stream;
mod trust;

pub use client::{ClientFiles, ClientTls, Connector, host, open};
pub use file::{FileFault, Identity, PemFile};
pub use metrics::METRICS;
pub use peer_certificate::PeerCertificate;
pub use server::{HANDSHAKE_FAULTS, Protocol, ServerFiles, ServerTls, handshake_fault};
pub use stream::MaybeTls;
pub use trust::VerifiedCertificate;

#[cfg(test)]
mod tests;
