//! The API key of this process. A process of a command has one identity, so there is one key for
//! all its connections.

use std::{path::Path, sync::OnceLock};

use anyhow::{Context as _, anyhow};
use tonic::{
    Request, Status,
    metadata::{Ascii, MetadataValue},
    service::Interceptor,
};

static API_KEY: OnceLock<MetadataValue<Ascii>> = OnceLock::new();

/// Sends the API key in this file (`-` is standard input) with every call of this process. The
/// first file counts. An error never shows what the file contains.
pub fn use_api_key(file: &Path) -> anyhow::Result<()> {
    let place = || format!("the API key in {}", file.display());
    let text = twqr_files::read_text(file).with_context(place)?;
    let key = twqr_files::secret(&text).map_err(|what| anyhow!("{what}")).with_context(place)?;
    let header = MetadataValue::try_from(format!("Bearer {key}"));
    let mut header = header.map_err(|_| anyhow!("is not visible ASCII text")).with_context(place)?;
    header.set_sensitive(true);
    API_KEY.get_or_init(|| header);
    Ok(())
}

/// Adds the API key of this process, if it has one, to each call.
#[derive(Clone, Copy, Debug, Default)]
pub struct Sender;

impl Interceptor for Sender {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        if let Some(key) = API_KEY.get() {
            request.metadata_mut().insert("authorization", key.clone());
        }
        Ok(request)
    }
}
