//! The API key of this process. A process of a command has one identity, so there is one key for
//! all its connections.

use std::{net::IpAddr, path::Path, sync::OnceLock};

use anyhow::{Context as _, anyhow, ensure};
use tonic::{
    Request, Status,
    metadata::{Ascii, MetadataValue},
    service::Interceptor,
    transport::Uri,
};

static API_KEY: OnceLock<SentKey> = OnceLock::new();

/// A key, as it is sent.
struct SentKey {
    header: MetadataValue<Ascii>,
    /// Whether it may be sent without TLS beyond this machine.
    in_plain_text: bool,
}

/// Sends the API key in this file (`-` is standard input) with every call of this process. The
/// first file counts. Without `in_plain_text` a connection without TLS beyond this machine is
/// refused. An error never shows what the file contains.
pub fn use_api_key(file: &Path, in_plain_text: bool) -> anyhow::Result<()> {
    let place = || format!("the API key in {}", file.display());
    let text = twqr_files::read_text(file).with_context(place)?;
    let key = twqr_files::secret(&text).map_err(|what| anyhow!("{what}")).with_context(place)?;
    let header = MetadataValue::try_from(format!("Bearer {key}"));
    let mut header = header.map_err(|_| anyhow!("is not visible ASCII text")).with_context(place)?;
    header.set_sensitive(true);
    API_KEY.get_or_init(|| SentKey { header, in_plain_text });
    Ok(())
}

/// Fails if the API key of this process would be readable on its way to this address.
pub(crate) fn check_way(uri: &Uri) -> anyhow::Result<()> {
    let is_readable = API_KEY.get().is_some_and(|key| !key.in_plain_text) && leaves_in_plain_text(uri);
    ensure!(
        !is_readable,
        "{uri} has no TLS, so others could read the API key on the network: use https://, or, if the network is closed, \
         give --api-key-in-plain-text"
    );
    Ok(())
}

/// Whether what is sent to this address leaves this machine without TLS.
fn leaves_in_plain_text(uri: &Uri) -> bool {
    let host = twqr_tls::host(uri);
    let is_here = host.eq_ignore_ascii_case("localhost")
        || host.parse::<IpAddr>().is_ok_and(|address| address.to_canonical().is_loopback());
    uri.scheme_str() != Some("https") && !is_here
}

/// Adds the API key of this process, if it has one, to each call.
#[derive(Clone, Copy, Debug, Default)]
pub struct Sender;

impl Interceptor for Sender {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        if let Some(key) = API_KEY.get() {
            request.metadata_mut().insert("authorization", key.header.clone());
        }
        Ok(request)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_loopback_needs_no_tls() {
        for (address, leaves) in [
            ("http://127.0.0.1:1", false),
            ("http://127.8.8.8:1", false),
            ("http://[::1]:1", false),
            ("http://[::ffff:127.0.0.1]:1", false),
            ("http://localhost:1", false),
            ("HTTPS://router.example:1", false),
            ("https://router.example:1", false),
            ("http://router.example:1", true),
            ("http://localhost.example:1", true),
            ("http://10.0.0.1:1", true),
            ("http://[fe80::1]:1", true),
            ("http://0.0.0.0:1", true),
        ] {
            assert_eq!(leaves_in_plain_text(&address.parse().unwrap()), leaves, "{address}");
        }
    }
}
