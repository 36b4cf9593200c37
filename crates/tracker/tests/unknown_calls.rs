//! What the operators' API says to a call of a service or a method that it does not have, and to a
//! request that it cannot decode.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

#[path = "support/reasons.rs"]
mod reasons;
#[path = "support/served.rs"]
mod served;

use std::task::{Context, Poll};

use reasons::reason_of;
use served::{TestTracker, open_journal};
use tonic::{
    Code, Request, Status,
    body::Body,
    codegen::{
        Service,
        http::{self, Uri},
    },
    transport::{self, Channel},
};
use twqr_wire::pos::{PayRequest, pos_service_client::PosServiceClient};

const GET_POLICY: &str = "/twqr.ops.v1.OperatorService/GetPolicy";
const UNKNOWN: &str = "/twqr.ops.v1.OperatorService/Shred";
/// Ends like the path of a method that exists.
const DEEPER: &str = "/twqr.ops.v1.OperatorService/x/GetPolicy";

/// Sends every call to this path.
#[derive(Clone)]
struct Diverted {
    channel: Channel,
    path: &'static str,
}

impl Service<http::Request<Body>> for Diverted {
    type Response = http::Response<Body>;
    type Error = transport::Error;
    type Future = <Channel as Service<http::Request<Body>>>::Future;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.channel.poll_ready(context)
    }

    fn call(&mut self, mut request: http::Request<Body>) -> Self::Future {
        *request.uri_mut() = Uri::from_static(self.path);
        self.channel.call(request)
    }
}

async fn call(tracker: &TestTracker, path: &'static str, message: PayRequest, is_compressed: bool) -> Status {
    let mut client = PosServiceClient::new(Diverted { channel: tracker.channel.clone(), path });
    let mut request = Request::new(message);
    if is_compressed {
        request.metadata_mut().insert("grpc-encoding", "zstd".parse().unwrap());
    }
    client.pay(request).await.unwrap_err()
}

#[tokio::test]
async fn a_call_of_another_api_is_refused_with_the_advice_to_check_the_address() {
    let folder = tempfile::tempdir().unwrap();
    let journal = open_journal(folder.path());
    let tracker = TestTracker::open(folder.path(), &journal, false, 10_000).await;
    let mut public_api = PosServiceClient::new(tracker.channel.clone());
    let refused = public_api.pay(PayRequest::default()).await.unwrap_err();
    assert_eq!(refused.code(), Code::Unimplemented);
    assert!(refused.message().contains("check the address"), "{refused}");
    assert_eq!(reason_of(&refused), "UNKNOWN_METHOD");
    tracker.close().await;
}

#[tokio::test]
async fn what_reaches_no_handler_is_refused_with_a_reason_too() {
    let folder = tempfile::tempdir().unwrap();
    let journal = open_journal(folder.path());
    let tracker = TestTracker::open(folder.path(), &journal, false, 10_000).await;
    // The version of a GetPolicyRequest is a number, and this is a text in its place.
    let undecodable = PayRequest { merchant_id: "SECRET".into(), ..PayRequest::default() };
    for (path, message, is_compressed, code, reason) in [
        (UNKNOWN, PayRequest::default(), false, Code::Unimplemented, "UNKNOWN_METHOD"),
        (DEEPER, PayRequest::default(), false, Code::Unimplemented, "UNKNOWN_METHOD"),
        (GET_POLICY, undecodable, false, Code::InvalidArgument, "UNDECODABLE"),
        (GET_POLICY, PayRequest::default(), true, Code::InvalidArgument, "COMPRESSED"),
    ] {
        let refused = call(&tracker, path, message, is_compressed).await;
        assert_eq!((refused.code(), reason_of(&refused).as_str()), (code, reason), "{path}: {refused:?}");
        assert!(!refused.message().contains("SECRET"), "{refused:?}");
    }
    tracker.close().await;
}
