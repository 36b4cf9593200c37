//! Connections to the public API and to the operators' API, in plain text only.

use anyhow::{Context as _, ensure};
use tonic::transport::{Channel, Endpoint, Uri};
use twqr_wire::{ops::operator_service_client::OperatorServiceClient, pos::pos_service_client::PosServiceClient};

/// How long a connection may take to open, in seconds.
const CONNECT_S_MAX: u64 = 5;

/// How long one call may take, in ms: as long as a POS waits (POS API, section 4).
pub const CALL_MS_MAX: u64 = 15_000;

/// Connects to the public API.
pub async fn connect(endpoint: &str) -> anyhow::Result<PosServiceClient<Channel>> {
    Ok(PosServiceClient::new(channel(endpoint).await?))
}

/// Connects to the operators' API.
pub async fn operators(endpoint: &str) -> anyhow::Result<OperatorServiceClient<Channel>> {
    Ok(OperatorServiceClient::new(channel(endpoint).await?))
}

/// Opens a connection, or says what to look at.
pub async fn channel(endpoint: &str) -> anyhow::Result<Channel> {
    let open = address(endpoint)?.tcp_nodelay(true).connect_timeout(std::time::Duration::from_secs(CONNECT_S_MAX));
    open.connect().await.with_context(|| format!("cannot reach {endpoint}: is `twqr up` running there?"))
}

/// An address that is spoken to as it says: what asks for TLS is refused, since it would go out in
/// plain text.
fn address(endpoint: &str) -> anyhow::Result<Endpoint> {
    let no_form =
        || format!("{endpoint:?} is no address; use the form http://HOST:PORT, such as http://127.0.0.1:50051");
    let uri: Uri = endpoint.parse().with_context(no_form)?;
    ensure!(
        uri.scheme_str() != Some("https"),
        "{endpoint:?} asks for TLS, which is not spoken here: TLS is for a proxy before the server; use the form http://HOST:PORT"
    );
    ensure!(uri.scheme_str() == Some("http") && uri.port().is_some(), no_form());
    Ok(Endpoint::from(uri))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_an_address_that_is_spoken_to_as_it_says_is_taken() {
        for (endpoint, expected) in [
            ("http://127.0.0.1:50051", None),
            ("http://[::1]:50051", None),
            ("HTTP://router.example:80", None),
            ("https://127.0.0.1:50051", Some("TLS is for a proxy")),
            ("HTTPS://127.0.0.1:50051", Some("TLS is for a proxy")),
            ("127.0.0.1:50051", Some("http://HOST:PORT")),
            ("foo", Some("http://HOST:PORT")),
            ("foo:50051", Some("http://HOST:PORT")),
            ("", Some("http://HOST:PORT")),
            ("/foo", Some("http://HOST:PORT")),
            ("grpc://127.0.0.1:50051", Some("http://HOST:PORT")),
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
