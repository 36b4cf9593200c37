//! Connections to the public API and to the operators' API, with TLS to `https://` addresses.

use std::{sync::OnceLock, time::Duration};

use anyhow::{Context as _, ensure};
use tonic::{
    service::interceptor::InterceptedService,
    transport::{Channel, Endpoint, Uri},
};
use twqr_tls::{ClientFiles, ClientTls, Connector};
use twqr_wire::{ops::operator_service_client::OperatorServiceClient, pos::pos_service_client::PosServiceClient};

use crate::api_key::{Sender, check_way};

/// A connection over which each call shows the process's API key, if it has one.
pub type Connection = InterceptedService<Channel, Sender>;

/// How long a connection may take to open, in seconds.
const CONNECT_S_MAX: u64 = 5;

/// How long one call may take, in ms: as long as a POS waits.
pub const CALL_MS_MAX: u64 = 15_000;

/// Connects to the public API.
pub async fn connect(endpoint: &str) -> anyhow::Result<PosServiceClient<Connection>> {
    Ok(PosServiceClient::with_interceptor(channel(endpoint).await?, Sender))
}

/// Connects to the operators' API.
pub async fn operators(endpoint: &str) -> anyhow::Result<OperatorServiceClient<Connection>> {
    Ok(OperatorServiceClient::with_interceptor(channel(endpoint).await?, Sender))
}

/// Opens a connection; the error says what to check.
pub async fn channel(endpoint: &str) -> anyhow::Result<Channel> {
    let open = address(endpoint)?.tcp_nodelay(true).connect_timeout(Duration::from_secs(CONNECT_S_MAX));
    check_way(open.uri())?;
    let connector = Connector { tls: certificates(open.uri())? };
    let unreached = || format!("cannot reach {endpoint}: is `twqr up` running there?");
    open.connect_with_connector(connector).await.with_context(unreached)
}

/// The certificates of this process's connections to `https://` addresses.
static CERTIFICATES: OnceLock<ClientFiles> = OnceLock::new();

/// Chooses the certificates for `https://` addresses, once for the whole process.
pub fn use_certificates(files: Option<ClientFiles>) {
    if let Some(files) = files {
        drop(CERTIFICATES.set(files));
    }
}

/// The certificates for an address; `None` if it needs none.
pub fn certificates(uri: &Uri) -> anyhow::Result<Option<ClientTls>> {
    if uri.scheme_str() != Some("https") {
        return Ok(None);
    }
    let files = CERTIFICATES.get().with_context(|| {
        format!("{uri} asks for TLS; name the authority of its certificate in tls.client.ca_file of the configuration")
    })?;
    Ok(Some(ClientTls::start(files.clone())?))
}

/// Parses an address.
fn address(endpoint: &str) -> anyhow::Result<Endpoint> {
    let not_an_address = || {
        format!(
            "{endpoint:?} is not an address; use the form http://HOST:PORT, such as http://127.0.0.1:17051, or https://HOST:PORT"
        )
    };
    let uri: Uri = endpoint.parse().with_context(not_an_address)?;
    ensure!(matches!(uri.scheme_str(), Some("http" | "https")) && uri.port().is_some(), not_an_address());
    Ok(Endpoint::from(uri))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_have_a_scheme_a_host_and_a_port() {
        for (endpoint, expected) in [
            ("http://127.0.0.1:17051", None),
            ("http://[::1]:17051", None),
            ("HTTP://router.example:80", None),
            ("https://router.example:17051", None),
            ("HTTPS://127.0.0.1:17051", None),
            ("https://127.0.0.1", Some("https://HOST:PORT")),
            ("127.0.0.1:17051", Some("http://HOST:PORT")),
            ("foo", Some("http://HOST:PORT")),
            ("foo:17051", Some("http://HOST:PORT")),
            ("", Some("http://HOST:PORT")),
            ("/foo", Some("http://HOST:PORT")),
            ("grpc://127.0.0.1:17051", Some("http://HOST:PORT")),
            ("http://127.0.0.1", Some("http://HOST:PORT")),
            ("http://a b:1", Some("http://HOST:PORT")),
        ] {
            let refused = address(endpoint).err().map(|error| format!("{error:#}"));
            match (&refused, expected) {
                (None, None) => {}
                (Some(error), Some(expected)) => assert!(error.contains(expected), "{endpoint}: {error}"),
                _ => panic!("{endpoint}: {refused:?}"),
            }
        }
    }
}
