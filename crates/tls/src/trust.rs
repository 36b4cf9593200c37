//! How long the certificate that a caller has shown is accepted. Its connection may stay open for
//! longer than the certificate is valid, and than its authority is trusted.

use std::{
    future::pending,
    sync::Arc,
    time::{Duration, SystemTime},
};

use rustls::{
    ServerConfig,
    pki_types::{CertificateDer, UnixTime},
    server::danger::ClientCertVerifier,
};
use tokio::sync::watch;

use crate::{PeerCertificate, details::Details};

/// The longest time until the end of a certificate is compared with the clock again: the clock may
/// be set meanwhile.
const CHECK_EVERY: Duration = Duration::from_secs(30);
/// A certificate is valid until its last second is over.
const LAST_SECOND: Duration = Duration::from_secs(1);

/// The TLS of a listener: its own side, and the verifier of callers' certificates.
#[derive(Debug)]
pub(crate) struct Served {
    pub(crate) config: Arc<ServerConfig>,
    /// Absent if callers show no certificates.
    pub(crate) trust: Option<Arc<Trust>>,
}

/// The authorities of callers' certificates.
#[derive(Debug)]
pub(crate) struct Trust {
    pub(crate) verifier: Arc<dyn ClientCertVerifier>,
    /// The contents of their file.
    pub(crate) authorities: Vec<u8>,
}

/// The certificate of a caller, which was verified when its connection began.
#[derive(Clone, Debug)]
pub struct VerifiedCertificate {
    names: PeerCertificate,
    /// The certificate itself, followed by those between it and its root.
    chain: Arc<[CertificateDer<'static>]>,
    served: watch::Receiver<Arc<Served>>,
    /// By what it was verified.
    trust: Arc<Trust>,
}

impl VerifiedCertificate {
    /// The certificate in a chain that `trust` has verified; `None` if the chain is empty.
    pub(crate) fn new(
        chain: &[CertificateDer<'_>],
        trust: Arc<Trust>,
        served: watch::Receiver<Arc<Served>>,
    ) -> Option<Self> {
        let names = Details::parse(chain.first()?).map(|details| details.names).unwrap_or_default();
        let chain = chain.iter().map(|certificate| certificate.clone().into_owned()).collect();
        Some(Self { names, chain, served, trust })
    }

    /// The names in the certificate.
    pub const fn names(&self) -> &PeerCertificate {
        &self.names
    }

    /// Waits until the certificate is no longer accepted: it has ended, or one between it and its
    /// root, or the root is not trusted any more. Returns why.
    pub async fn refused(mut self) -> rustls::Error {
        loop {
            let next_end = self.next_end();
            tokio::select! {
                () = passed(next_end) => {}
                () = self.trust_changed() => {}
            }
            if let Err(why) = self.verify() {
                return why;
            }
        }
    }

    fn verify(&self) -> Result<(), rustls::Error> {
        let Some((leaf, between)) = self.chain.split_first() else { return Ok(()) };
        self.trust.verifier.verify_client_cert(leaf, between, UnixTime::now()).map(drop)
    }

    /// Waits until other authorities are trusted.
    async fn trust_changed(&mut self) {
        loop {
            let trust = self.served.borrow_and_update().trust.clone();
            if let Some(trust) = trust.filter(|trust| trust.authorities != self.trust.authorities) {
                self.trust = trust;
                return;
            }
            if self.served.changed().await.is_err() {
                pending::<()>().await;
            }
        }
    }

    /// When the first certificate of the chain ends that has not ended yet.
    fn next_end(&self) -> Option<SystemTime> {
        let now = SystemTime::now();
        let ends = self.chain.iter().filter_map(|der| Some(Details::parse(der)?.ends + LAST_SECOND));
        ends.filter(|end| *end > now).min()
    }
}

/// Waits until this time; for ever, if there is none.
async fn passed(time: Option<SystemTime>) {
    let Some(time) = time else { return pending().await };
    while let Ok(left) = time.duration_since(SystemTime::now()) {
        tokio::time::sleep(left.clamp(Duration::from_millis(1), CHECK_EVERY)).await;
    }
}
