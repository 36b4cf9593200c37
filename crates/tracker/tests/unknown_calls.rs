//! What the operators' API says to a call of a service that it does not have.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

#[path = "support/served.rs"]
mod served;

use served::{TestTracker, open_journal};
use tonic::Code;
use twqr_wire::pos::{PayRequest, pos_service_client::PosServiceClient};

#[tokio::test]
async fn a_call_of_another_api_is_refused_with_the_advice_to_compare_the_address() {
    let folder = tempfile::tempdir().unwrap();
    let journal = open_journal(folder.path());
    let tracker = TestTracker::open(folder.path(), &journal, false, 10_000).await;
    let mut public_api = PosServiceClient::new(tracker.channel.clone());
    let refused = public_api.pay(PayRequest::default()).await.unwrap_err();
    assert_eq!(refused.code(), Code::Unimplemented);
    assert!(refused.message().contains("compare its address"), "{refused}");
    tracker.close().await;
}
