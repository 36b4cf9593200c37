//! TLS of a connection that this process opens.

use std::{
    io,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use hyper_util::rt::TokioIo;
use rustls::{
    ClientConfig,
    crypto::aws_lc_rs::default_provider,
    pki_types::ServerName,
    sign::SingleCertAndKey,
    version::{TLS12, TLS13},
};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
};
use tokio_rustls::TlsConnector;
use tonic::codegen::{Service, http::Uri};

use crate::{
    FileFault, Identity, MaybeTls, PemFile, Protocol,
    file::Read,
    reload::{Reloading, Source},
};

/// The files of connections to a server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientFiles {
    /// The section of the configuration, such as `tls.wallet`.
    pub section: String,
    /// The application protocol.
    pub protocol: Protocol,
    /// The authorities of the server's certificate.
    pub ca: PemFile,
    /// The certificate that the server sees, if it asks for one.
    pub identity: Option<Identity>,
    /// The name that the server's certificate must have, if it is not the host of the address.
    pub server_name: Option<String>,
}

impl ClientFiles {
    /// Checks that the files can be used, and that their certificates are valid now.
    pub fn check(&self) -> Result<(), FileFault> {
        Reloading::check(self)
    }
}

impl Source for ClientFiles {
    type Made = ClientConfig;

    fn section(&self) -> &str {
        &self.section
    }

    fn files(&self) -> Vec<PemFile> {
        let own = self.identity.iter().flat_map(|own| [own.certificate.clone(), own.key.clone()]);
        std::iter::once(self.ca.clone()).chain(own).collect()
    }

    fn make(&self, contents: &[Vec<u8>]) -> Result<(ClientConfig, Vec<Read>), FileFault> {
        let provider = Arc::new(default_provider());
        let file = |at: usize| contents.get(at).map_or(&[][..], Vec::as_slice);
        let (roots, first) = self.ca.authorities(file(0))?;
        let mut certificates = vec![first];
        let builder = ClientConfig::builder_with_provider(provider.clone()).with_protocol_versions(&[&TLS13, &TLS12]);
        let builder = builder.map_err(|_| self.ca.fault("cannot be used"))?.with_root_certificates(roots);
        let mut config = match &self.identity {
            None => builder.with_no_client_auth(),
            Some(identity) => {
                let (certified, own) = identity.certified(file(1), file(2), &provider)?;
                certificates.push(own);
                builder.with_client_cert_resolver(Arc::new(SingleCertAndKey::from(certified)))
            }
        };
        config.alpn_protocols = vec![self.protocol.name().to_vec()];
        Ok((config, certificates))
    }
}

/// TLS of connections to a server. Its certificates change with their files.
#[derive(Clone)]
pub struct ClientTls(Arc<Reloading<ClientFiles>>, Option<Arc<str>>);

impl std::fmt::Debug for ClientTls {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ClientTls").field("server_name", &self.1).finish_non_exhaustive()
    }
}

impl ClientTls {
    /// Reads the files, and again whenever they change. Call it inside a tokio runtime.
    pub fn start(files: ClientFiles) -> Result<Self, FileFault> {
        let server_name = files.server_name.as_deref().map(Arc::from);
        let reloading = Reloading::load(files)?;
        reloading.watch();
        Ok(Self(reloading, server_name))
    }

    /// Begins TLS on a connection to `host`. Nothing is sent before TLS has begun.
    pub async fn connect<S>(&self, host: &str, stream: S) -> io::Result<MaybeTls<S>>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let name = self.1.as_deref().unwrap_or(host).to_owned();
        let name = ServerName::try_from(name).map_err(|error| io::Error::new(io::ErrorKind::InvalidInput, error))?;
        let stream = TlsConnector::from(self.0.current()).connect(name, stream).await?;
        Ok(MaybeTls::Tls(Box::new(stream.into())))
    }
}

/// The host of an address; one of IP version 6 without its brackets.
pub fn host(uri: &Uri) -> &str {
    let host = uri.host().unwrap_or_default();
    host.strip_prefix('[').and_then(|ipv6| ipv6.strip_suffix(']')).unwrap_or(host)
}

/// Opens a connection to an address: with TLS to `https://`, which needs `tls`, else without.
pub async fn open(uri: &Uri, tls: Option<&ClientTls>) -> io::Result<MaybeTls<TcpStream>> {
    let tls = match (uri.scheme_str() == Some("https"), tls) {
        (false, _) => None,
        (true, Some(tls)) => Some(tls),
        (true, None) => {
            let why = "https:// needs the certificate of an authority; name its file in tls.client.ca_file";
            return Err(io::Error::new(io::ErrorKind::InvalidInput, why));
        }
    };
    let port = uri.port_u16().unwrap_or(if tls.is_some() { 443 } else { 80 });
    let stream = TcpStream::connect((host(uri), port)).await?;
    stream.set_nodelay(true)?;
    match tls {
        Some(tls) => tls.connect(host(uri), stream).await,
        None => Ok(MaybeTls::Plain(stream)),
    }
}

/// Opens the connections of a gRPC client.
#[derive(Clone, Debug, Default)]
pub struct Connector {
    /// Needed for addresses that begin with `https://`.
    pub tls: Option<ClientTls>,
}

impl Service<Uri> for Connector {
    type Response = TokioIo<MaybeTls<TcpStream>>;
    type Error = io::Error;
    type Future = Pin<Box<dyn Future<Output = io::Result<Self::Response>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        let tls = self.tls.clone();
        Box::pin(async move { open(&uri, tls.as_ref()).await.map(TokioIo::new) })
    }
}
