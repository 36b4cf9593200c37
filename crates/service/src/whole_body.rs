//! Requests that are answered before their body has arrived, such as those of strangers, and those
//! for an unknown service. HTTP/2 resets the stream of a body that nothing reads. What the caller
//! has sent by then belongs to no stream any more: many such frames count as an attack, and end the
//! connection with every other call on it. So the rest of each body is read and dropped, within
//! bounds.

use std::{
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};

use http_body_util::BodyExt;
use hyper::body::{Body as HttpBody, Bytes, Frame, SizeHint};
use tokio::{runtime::Handle, time::timeout};
use tonic::{Status, body::Body, codegen::http::Request};

/// How much of a body is read after its request was answered, in bytes, and for how long: what was
/// on its way then.
const REST_BYTES_MAX: usize = 128 * 1024;
const REST_WITHIN: Duration = Duration::from_secs(1);

/// The same request, whose body is read to its end, also if the service that answers it does not.
pub fn read_whole(request: Request<Body>) -> Request<Body> {
    if request.body().is_end_stream() {
        return request;
    }
    request.map(|body| Body::new(WholeBody(Some(body))))
}

/// A body until its end, or its failure.
struct WholeBody(Option<Body>);

impl HttpBody for WholeBody {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let Some(body) = &mut self.0 else { return Poll::Ready(None) };
        let frame = ready!(Pin::new(body).poll_frame(context));
        if !matches!(frame, Some(Ok(_))) {
            self.0 = None;
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.0.as_ref().is_none_or(HttpBody::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.0.as_ref().map_or_else(|| SizeHint::with_exact(0), HttpBody::size_hint)
    }
}

impl Drop for WholeBody {
    fn drop(&mut self) {
        let rest = self.0.take().filter(|body| !body.is_end_stream());
        if let Some((rest, runtime)) = rest.zip(Handle::try_current().ok()) {
            drop(runtime.spawn(async move { drop(timeout(REST_WITHIN, read_rest(rest)).await) }));
        }
    }
}

async fn read_rest(mut body: Body) {
    let mut left = REST_BYTES_MAX;
    while let Some(Ok(frame)) = body.frame().await {
        let length = frame.data_ref().map_or(0, Bytes::len);
        let Some(further) = left.checked_sub(length) else { return };
        left = further;
    }
}
