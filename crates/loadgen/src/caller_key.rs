//! The API key that the calls of a caller show, for systems that let in only callers.

use tonic::{
    Request, Status,
    metadata::{Ascii, MetadataValue, errors::InvalidMetadataValue},
    service::{Interceptor, interceptor::InterceptedService},
    transport::Channel,
};
use twqr_wire::pos::pos_service_client::PosServiceClient;

/// A channel over which each call shows its caller's API key, if it has one.
pub type KeyedChannel = InterceptedService<Channel, CallerKey>;

/// The API key of a caller. By default there is none, and calls show none.
#[derive(Clone, Debug, Default)]
pub struct CallerKey(Option<MetadataValue<Ascii>>);

impl CallerKey {
    /// Takes a key. Fails if it is not visible ASCII text; the error does not show it.
    pub fn new(key: &str) -> Result<Self, InvalidMetadataValue> {
        let mut header = MetadataValue::try_from(format!("Bearer {key}"))?;
        // So that Debug does not show it.
        header.set_sensitive(true);
        Ok(Self(Some(header)))
    }

    /// A client of the public API that shows this key with each call.
    pub fn client(&self, channel: Channel) -> PosServiceClient<KeyedChannel> {
        PosServiceClient::with_interceptor(channel, self.clone())
    }
}

impl Interceptor for CallerKey {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        if let Some(header) = &self.0 {
            request.metadata_mut().insert("authorization", header.clone());
        }
        Ok(request)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_call_shows_the_key_and_nothing_else_does() {
        let mut key = CallerKey::new("twqr_abc").unwrap();
        let shown = key.call(Request::new(())).unwrap();
        assert_eq!(shown.metadata().get("authorization").unwrap().to_str().unwrap(), "Bearer twqr_abc");
        assert!(!format!("{key:?} {shown:?}").contains("twqr_abc"));
        assert!(CallerKey::default().call(Request::new(())).unwrap().metadata().is_empty());
        assert!(CallerKey::new("a\nb").is_err());
    }
}
