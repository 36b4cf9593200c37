//! TLS of a listener.

use std::{io, sync::Arc};

use rustls::{
    ServerConfig,
    crypto::aws_lc_rs::default_provider,
    server::{NoServerSessionStorage, WebPkiClientVerifier},
    sign::SingleCertAndKey,
    version::{TLS12, TLS13},
};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::TlsAcceptor;

use crate::{
    FileFault, Identity, MaybeTls, PemFile, VerifiedCertificate,
    file::Read,
    reload::{Reloading, Source},
    trust::{Served, Trust},
};

/// The protocol of a connection, as both sides agree (ALPN).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// HTTP/1.1, of the POS HTTP form.
    Http1,
    /// HTTP/2, and so gRPC.
    Http2,
}

impl Protocol {
    pub(crate) const fn name(self) -> &'static [u8] {
        match self {
            Self::Http1 => b"http/1.1",
            Self::Http2 => b"h2",
        }
    }
}

/// The files of a listener.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerFiles {
    /// The section of the configuration, such as `tls.grpc`.
    pub section: String,
    /// The application protocol.
    pub protocol: Protocol,
    /// The certificate that callers see.
    pub identity: Identity,
    /// The authorities of callers' certificates; absent if callers show none.
    pub client_ca: Option<PemFile>,
    /// Whether a caller without a certificate is refused.
    pub requires_certificate: bool,
}

impl ServerFiles {
    /// Checks that the files can be used, and that their certificates are valid now.
    pub fn check(&self) -> Result<(), FileFault> {
        Reloading::check(self)
    }
}

impl Source for ServerFiles {
    type Made = Served;

    fn section(&self) -> &str {
        &self.section
    }

    fn files(&self) -> Vec<PemFile> {
        let own = [self.identity.certificate.clone(), self.identity.key.clone()];
        own.into_iter().chain(self.client_ca.clone()).collect()
    }

    fn make(&self, contents: &[Vec<u8>]) -> Result<(Served, Vec<Read>), FileFault> {
        let provider = Arc::new(default_provider());
        let file = |at: usize| contents.get(at).map_or(&[][..], Vec::as_slice);
        let (certified, own) = self.identity.certified(file(0), file(1), &provider)?;
        let mut certificates = vec![own];
        let unusable = |_| self.identity.certificate.fault("cannot be used");
        let builder = ServerConfig::builder_with_provider(provider.clone()).with_protocol_versions(&[&TLS13, &TLS12]);
        let builder = builder.map_err(unusable)?;
        let (builder, trust) = match &self.client_ca {
            None => (builder.with_no_client_auth(), None),
            Some(authorities) => {
                let (roots, first) = authorities.authorities(file(2))?;
                certificates.push(first);
                let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider);
                let verifier =
                    if self.requires_certificate { verifier } else { verifier.allow_unauthenticated() }.build();
                let verifier = verifier.map_err(|_| authorities.fault("cannot be used"))?;
                let trust = Trust { verifier: verifier.clone(), authorities: file(2).to_vec() };
                (builder.with_client_cert_verifier(verifier), Some(Arc::new(trust)))
            }
        };
        let mut config = builder.with_cert_resolver(Arc::new(SingleCertAndKey::from(certified)));
        config.alpn_protocols = vec![self.protocol.name().to_vec()];
        if self.client_ca.is_some() {
            // A resumed session would not verify again whether the caller's certificate is valid.
            config.session_storage = Arc::new(NoServerSessionStorage {});
            config.send_tls13_tickets = 0;
        }
        Ok((Served { config: Arc::new(config), trust }, certificates))
    }
}

/// TLS of a listener. Its certificates change with their files.
#[derive(Clone)]
pub struct ServerTls(pub(crate) Arc<Reloading<ServerFiles>>);

impl std::fmt::Debug for ServerTls {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ServerTls").finish_non_exhaustive()
    }
}

impl ServerTls {
    /// Reads the files, and again whenever they change. Call it inside a tokio runtime.
    pub fn start(files: ServerFiles) -> Result<Self, FileFault> {
        let reloading = Reloading::load(files)?;
        reloading.watch();
        Ok(Self(reloading))
    }

    /// Begins TLS on a connection that was accepted. Returns it with the caller's certificate, if
    /// the caller has shown one; an error is explained by [`handshake_fault`]. It takes as long as
    /// the caller does.
    pub async fn accept<S>(&self, stream: S) -> io::Result<(MaybeTls<S>, Option<VerifiedCertificate>)>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let changes = self.0.subscribe();
        let served = changes.borrow().clone();
        let stream = TlsAcceptor::from(served.config.clone()).accept(stream).await?;
        let shown = stream.get_ref().1.peer_certificates().zip(served.trust.clone());
        let certificate = shown.and_then(|(chain, trust)| VerifiedCertificate::new(chain, trust, changes));
        Ok((MaybeTls::Tls(Box::new(stream.into())), certificate))
    }
}

/// The reason why TLS could not begin on an accepted connection, in one word for a metric.
pub fn handshake_fault(error: &io::Error) -> &'static str {
    use rustls::{CertificateError, Error, InvalidMessage};
    match error.get_ref().and_then(|error| error.downcast_ref::<Error>()) {
        Some(Error::InvalidMessage(InvalidMessage::InvalidContentType)) => "plaintext",
        Some(Error::NoCertificatesPresented) => "no_certificate",
        Some(Error::InvalidCertificate(CertificateError::Expired | CertificateError::ExpiredContext { .. })) => {
            "expired"
        }
        Some(Error::InvalidCertificate(_)) => "bad_certificate",
        Some(Error::AlertReceived(_)) => "refused_by_caller",
        _ => "broken",
    }
}

/// The words of [`handshake_fault`].
pub const HANDSHAKE_FAULTS: [&str; 6] =
    ["plaintext", "no_certificate", "expired", "bad_certificate", "refused_by_caller", "broken"];
