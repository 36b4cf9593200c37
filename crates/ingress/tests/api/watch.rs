//! WatchOrder: the state now, every change after it, and the ends.

use std::time::Duration;

use tonic::{Code, Streaming};
use twqr_ingress::Settings;
use twqr_wire::pos::{self, OrderStatus};

use crate::{
    World, patient, request,
    router::{DECLINED, SILENT},
    settings,
};

async fn open(world: &World, number: &str) -> Result<Streaming<pos::WatchOrderResponse>, tonic::Status> {
    let request = pos::WatchOrderRequest {
        inquiry_type: pos::InquiryType::Payment.into(),
        merchant_id: "M1".into(),
        merchant_trade_no: number.into(),
    };
    world.client.clone().watch_order(request).await.map(tonic::Response::into_inner)
}

async fn state(stream: &mut Streaming<pos::WatchOrderResponse>) -> Option<(String, Option<i32>)> {
    let order = stream.message().await.unwrap()?.order.unwrap();
    Some((order.status_code, order.order_status))
}

fn is(status: OrderStatus) -> Option<(String, Option<i32>)> {
    Some(("000".to_owned(), Some(status.into())))
}

/// A payment whose issuer is silent.
async fn in_progress(world: &World, number: &str) -> pos::PayRequest {
    let request = request(number, SILENT);
    let mut payment = tonic::Request::new(request.clone());
    payment.set_timeout(Duration::from_millis(100));
    assert_eq!(world.client.clone().pay(payment).await.unwrap().into_inner().status_code, "982");
    request
}

#[tokio::test]
async fn tells_the_state_now_and_the_change_and_ends() {
    let world = World::new(patient()).await;
    let request = in_progress(&world, "T1").await;
    let mut stream = open(&world, "T1").await.unwrap();
    assert_eq!(state(&mut stream).await, is(OrderStatus::InProgress));
    world.approve(&request);
    assert_eq!(state(&mut stream).await, is(OrderStatus::Paid));
    assert_eq!(state(&mut stream).await, None);
}

#[tokio::test]
async fn a_final_or_missing_order_is_told_once() {
    let world = World::new(patient()).await;
    world.pay(request("declined", DECLINED)).await.unwrap();
    for (number, expected) in [("declined", is(OrderStatus::Failed)), ("missing", Some(("916".to_owned(), None)))] {
        let mut stream = open(&world, number).await.unwrap();
        assert_eq!(state(&mut stream).await, expected, "{number}");
        assert_eq!(state(&mut stream).await, None, "{number}");
    }
}

#[tokio::test]
async fn a_lease_is_renewed_while_the_caller_listens() {
    let world = World::new(Settings { watch_lease: Duration::from_secs(1), ..patient() }).await;
    let request = in_progress(&world, "T1").await;
    let mut stream = open(&world, "T1").await.unwrap();
    assert_eq!(state(&mut stream).await, is(OrderStatus::InProgress));
    let (next, ()) = tokio::join!(state(&mut stream), async {
        world.until_orders(5).await;
        world.approve(&request);
    });
    assert_eq!(next, is(OrderStatus::Paid), "renewals are not told, the change is");
}

#[tokio::test]
async fn the_numbers_of_watches_are_bounded() {
    let world = World::new(Settings { watches_max: 9, ..patient() }).await;
    in_progress(&world, "T1").await;
    in_progress(&world, "T2").await;
    let mut open_streams = Vec::new();
    // The payment itself has let its place at the order go by its deadline.
    while open_streams.len() < 8 {
        match open(&world, "T1").await {
            Ok(stream) => open_streams.push(stream),
            Err(status) => assert_eq!(status.code(), Code::ResourceExhausted),
        }
    }
    assert_eq!(open(&world, "T1").await.unwrap_err().code(), Code::ResourceExhausted, "of one order");
    open_streams.push(open(&world, "T2").await.unwrap());
    assert_eq!(open(&world, "T2").await.unwrap_err().code(), Code::ResourceExhausted, "of one instance");
}

#[tokio::test]
async fn the_end_of_the_instance_or_of_the_allowed_time_is_said() {
    let world = World::new(Settings { watch_for_max: Duration::from_secs(1), ..patient() }).await;
    in_progress(&world, "T1").await;
    let mut stream = open(&world, "T1").await.unwrap();
    assert_eq!(state(&mut stream).await, is(OrderStatus::InProgress));
    let status = stream.message().await.unwrap_err();
    assert!(status.code() == Code::Unavailable && status.message().contains("lasted"), "{status:?}");
    let mut stream = open(&world, "T1").await.unwrap();
    assert_eq!(state(&mut stream).await, is(OrderStatus::InProgress));
    world.context.shutdown.cancel();
    let status = stream.message().await.unwrap_err();
    assert!(status.code() == Code::Unavailable && status.message().contains("shutting down"), "{status:?}");
}

#[tokio::test]
async fn no_state_in_time_is_not_no_order() {
    let world = World::new(settings()).await;
    world.routing.abort();
    let status = open(&world, "T1").await.unwrap_err();
    assert_eq!(status.code(), Code::Unavailable);
}
