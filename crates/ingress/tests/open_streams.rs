//! How many streams of payments are open, and what metrics count of them. A test of its own binary,
//! because metrics belong to the process.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

#[path = "support/streamed.rs"]
mod streamed;
#[path = "support/stage.rs"]
mod support;

use std::time::Duration;

use metrics_exporter_prometheus::PrometheusBuilder;
use streamed::Stream;
use support::{Stage, order, paid, payment, settings};
use tonic::Code;
use twqr_ingress::Settings;
use twqr_wire::pos::PayRequest;

#[tokio::test]
async fn streams_have_places_of_their_own_and_each_payment_counts_as_a_call() {
    let metrics = PrometheusBuilder::new().install_recorder().unwrap();
    let stage = Stage::open(Settings { streams_max: 2, ..settings() }).await;
    let (first, mut second) =
        (Stream::open(stage.client().await).await.unwrap(), Stream::open(stage.client().await).await.unwrap());
    let refused = Stream::open(stage.client().await).await.err().unwrap();
    assert_eq!(refused.code(), Code::ResourceExhausted);
    assert!(metrics.render().contains("twqr_ingress_streams 2"), "{}", metrics.render());
    assert!(
        metrics.render().contains("twqr_ingress_calls_shed_total{kind=\"stream\",reason=\"streams_max\"} 1"),
        "{}",
        metrics.render()
    );
    let calls = |code| format!("twqr_ingress_calls_total{{method=\"PayStream\",code=\"{code}\"}}");
    let counted = async |line: String| {
        while !metrics.render().contains(&line) {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    second.send(1, PayRequest::default()).await;
    second.refusal().await;
    counted(format!("{} 1", calls("InvalidArgument"))).await;
    // A broken stream leaves its payments as a broken Pay does: they may be accepted, and a repeat
    // asks the router.
    first.send(1, payment("1")).await;
    stage.pay_requests(1).await;
    drop(first);
    counted(format!("{} 1", calls("Cancelled"))).await;
    counted("twqr_ingress_streams 1".to_owned()).await;
    counted("twqr_ingress_calls_waiting 0".to_owned()).await;
    let mut client = stage.client().await;
    let repeat = tokio::spawn(async move { client.pay(payment("1")).await });
    let requests = stage.pay_requests(2).await;
    stage.reply(&requests[1].reply_to, order("1", paid()), true).await;
    assert!(repeat.await.unwrap().unwrap().into_inner().is_rep);
    Stream::open(stage.client().await).await.unwrap();
}
