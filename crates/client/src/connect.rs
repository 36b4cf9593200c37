//! Connections to the public API and to the operators' API, in plain text only.

use anyhow::{Context as _, ensure};
use tonic::transport::{Channel, Endpoint, Uri};
use twqr_wire::{ops::operator_service_client::OperatorServiceClient, pos::pos_service_client::PosServiceClient};

/// How long a connection may take to open, in seconds.
const CONNECT_S_MAX: u64 = 5;

/// How long one call may take, in ms: as long as a POS waits.
pub const CALL_MS_MAX: u64 = 15_000;

/// Connects to the public API.
pub async fn connect(endpoint: &str) -> anyhow::Result<PosServiceClient<Channel>> {
    Ok(PosServiceClient::new(channel(endpoint).await?))
}

/// Connects to the operators' API.
pub async fn operators(endpoint: &str) -> anyhow::Result<OperatorServiceClient<Channel>> {
    Ok(OperatorServiceClient::new(channel(endpoint).await?))
}

/// Opens a connection; the error says what to check.
pub async fn channel(endpoint: &str) -> anyhow::Result<Channel> {
    let open = address(endpoint)?.tcp_nodelay(true).connect_timeout(std::time::Duration::from_secs(CONNECT_S_MAX));
    open.connect().await.with_context(|| format!("cannot reach {endpoint}: is `twqr up` running there?"))
}

/// Parses an address. One that asks for TLS is refused, since requests would be sent in plain text.
fn address(endpoint: &str) -> anyhow::Result<Endpoint> {
    let not_an_address =
        || format!("{endpoint:?} is not an address; use the form http://HOST:PORT, such as http://127.0.0.1:17051");
    let uri: Uri = endpoint.parse().with_context(not_an_address)?;
    ensure!(
        uri.scheme_str() != Some("https"),
        "{endpoint:?} asks for TLS, which is not supported; end TLS at a proxy before the server and use the form http://HOST:PORT"
    );
    ensure!(uri.scheme_str() == Some("http") && uri.port().is_some(), not_an_address());
    Ok(Endpoint::from(uri))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_plain_text_addresses_are_accepted() {
        for (endpoint, expected) in [
            ("http://127.0.0.1:17051", None),
            ("http://[::1]:17051", None),
            ("HTTP://router.example:80", None),
            ("https://127.0.0.1:17051", Some("TLS, which is not supported")),
            ("HTTPS://127.0.0.1:17051", Some("TLS, which is not supported")),
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
