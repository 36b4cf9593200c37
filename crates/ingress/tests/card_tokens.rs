//! What an ingress writes of a card token: protected as soon as every router can read that, and
//! never in plain text because a key is missing.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

#[path = "support/stage.rs"]
mod support;

use support::{Stage, order, paid, payment, settings};
use tonic::Code;
use twqr_card_keys::CardKeys;
use twqr_ingress::Settings;
use twqr_order::{EffectId, PROTOCOL_VERSION_NEWEST};
use twqr_service::{Clock, SystemClock};
use twqr_types::{PayForm, RecordedToken, ShardId, StatusCode};
use twqr_wire::{
    convert::{ReplyRecord, encode_reply_record},
    pos::PayResponse,
};

/// Pays, and answers as a router at this protocol version; returns what was written.
async fn pay(stage: &Stage, number: &str, protocol_version: u32) -> PayForm {
    let before = stage.pay_requests(0).await.len();
    let mut client = stage.client().await;
    let request = payment(number);
    let call = tokio::spawn(async move { client.pay(request).await });
    let written = stage.pay_requests(before + 1).await.pop().unwrap();
    let reply = ReplyRecord {
        id: Some(EffectId { shard: ShardId(0), offset: 0, n: 0 }),
        correlation: written.reply_to.correlation,
        protocol_version,
        in_progress_code: Some(StatusCode::FISC_ABNORMAL),
        ..ReplyRecord::broadcast(order(number, paid()))
    };
    stage.write_reply(written.reply_to.partition, encode_reply_record(&reply)).await;
    let _: PayResponse = call.await.unwrap().unwrap().into_inner();
    written.pay.unwrap()
}

#[tokio::test]
async fn a_token_is_protected_once_every_router_reads_it() {
    let stage = Stage::open(settings()).await;
    let is_protected = |form: PayForm| matches!(form.card_token, RecordedToken::Protected(_));
    assert!(is_protected(pay(&stage, "1", 2).await), "no router has shown yet that it reads only clear ones");
    assert!(!is_protected(pay(&stage, "2", 0).await), "the policy is at version 2");
    assert!(!is_protected(pay(&stage, "3", 3).await));
    assert!(is_protected(pay(&stage, "4", 3).await), "the policy is at version 3");
    assert!(is_protected(pay(&stage, "5", 0).await), "a version never falls");
}

#[tokio::test]
async fn an_ingress_needs_keys_from_the_first_reply_of_version_3_on_and_knows_no_later_version() {
    let card_keys = CardKeys::in_memory(SystemClock.now(), 1);
    let stage = Stage::open(Settings { card_keys: card_keys.clone(), ..settings() }).await;
    pay(&stage, "1", 2).await;
    assert!(!card_keys.are_needed());
    pay(&stage, "2", 3).await;
    assert!(card_keys.are_needed() && stage.health.is_ready());
    pay(&stage, "3", PROTOCOL_VERSION_NEWEST + 1).await;
    stage.until(|stage| !stage.health.is_ready()).await;
    let report = format!("{:?}", stage.health.report());
    assert!(report.contains("use a newer build"), "{report}");
}

#[tokio::test]
async fn without_a_key_a_payment_and_a_cancel_are_refused_before_they_are_accepted() {
    let stage = Stage::open(Settings { card_keys: CardKeys::default(), ..settings() }).await;
    let end = stage.orders_end().await;
    let mut client = stage.client().await;
    let refused = client.pay(payment("1")).await.unwrap_err();
    assert_eq!(refused.code(), Code::Unavailable);
    let request = payment("1");
    let cancel = twqr_wire::pos::CancelRequest {
        merchant_id: request.merchant_id,
        merchant_trade_no: request.merchant_trade_no,
        card_token: request.card_token,
        trade_amount: request.trade_amount,
        ..Default::default()
    };
    assert_eq!(client.cancel(cancel).await.unwrap_err().code(), Code::Unavailable);
    assert_eq!(stage.orders_end().await, end, "a refused call writes nothing");
}
