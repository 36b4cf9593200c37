//! What callers of PayStream and WatchOrder read in refusals, and when a stream ends: nothing about
//! our machines.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

#[path = "support/own_names.rs"]
mod own_names;
#[path = "support/streamed.rs"]
mod streamed;
#[path = "support/stage.rs"]
mod support;

use std::{
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use prost::Message;
use streamed::Stream;
use support::{DoubtfulClock, Stage, payment, settings};
use tokio::time::timeout;
use tonic::{Streaming, transport::Channel};
use twqr_wire::pos::{
    InquiryType, PayRefusal, PayRequest, WatchOrderRequest, WatchOrderResponse, pos_service_client::PosServiceClient,
};

/// Everything that a caller reads of a refused payment, with its details.
fn refusal_text(refusal: &PayRefusal) -> String {
    String::from_utf8_lossy(&refusal.encode_to_vec()).into_owned()
}

fn watch(number: &str) -> WatchOrderRequest {
    WatchOrderRequest {
        merchant_id: "M1".into(),
        merchant_trade_no: number.into(),
        inquiry_type: InquiryType::Payment.into(),
        keep_watching: true,
    }
}

/// The error with which a watch is refused, at once or later.
async fn refused_watch(client: &mut PosServiceClient<Channel>, request: WatchOrderRequest) -> String {
    match client.watch_order(request).await {
        Ok(changes) => ended_watch(changes.into_inner()).await,
        Err(refused) => format!("{refused:?}"),
    }
}

/// The error with which an open watch ends.
async fn ended_watch(mut changes: Streaming<WatchOrderResponse>) -> String {
    let ended = timeout(Duration::from_secs(10), changes.message()).await.unwrap();
    format!("{:?}", ended.unwrap_err())
}

#[tokio::test]
async fn no_refusal_of_a_stream_names_a_host_or_a_path_of_ours() {
    let clock = Arc::new(DoubtfulClock::default());
    let stage = Stage::open_with(settings(), clock.clone()).await;
    let mut client = stage.client().await;
    let mut stream = Stream::open(stage.client().await).await.unwrap();
    let mut read = Vec::new();
    for (fault, expected) in [
        ("none", None),
        ("the log refuses", Some("the log did not take the request")),
        ("the clock is wrong", Some("the clock of this instance is wrong")),
    ] {
        stage.journal.refusing.store(fault == "the log refuses", Ordering::Release);
        clock.0.store(fault == "the clock is wrong", Ordering::Relaxed);
        stream.send(1, PayRequest::default()).await;
        read.push(refusal_text(&stream.refusal().await.1));
        read.push(refused_watch(&mut client, WatchOrderRequest::default()).await);
        if let Some(expected) = expected {
            stream.send(2, payment("T1")).await;
            let refused = [refusal_text(&stream.refusal().await.1), refused_watch(&mut client, watch("T1")).await];
            assert!(refused.iter().all(|text| text.contains(expected)), "{fault}: {refused:#?}");
            read.extend(refused);
        }
    }
    clock.0.store(false, Ordering::Relaxed);

    let watched = client.watch_order(watch("T2")).await.unwrap().into_inner();
    let _second = Stream::open(stage.client().await).await.unwrap();
    let third = Stream::open(stage.client().await).await.err().unwrap();
    read.push(format!("{third:?}"));
    stage.shutdown.cancel();
    let ended = [format!("{:?}", stream.next().await.unwrap_err()), ended_watch(watched).await];
    assert!(ended.iter().all(|text| text.contains("shuts down")), "{ended:#?}");
    read.extend(ended);
    own_names::assert_absent(&read);
}
