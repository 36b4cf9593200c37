//! Authentication of gRPC callers with real clients: who is let in, for which merchants and
//! operations, and what a revocation ends.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

#[path = "support/streamed.rs"]
mod streamed;
#[path = "support/stage.rs"]
mod support;

use std::{
    collections::BTreeSet,
    num::NonZeroU32,
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use streamed::Stream;
use support::{Stage, order, paid, paying, payment, settings};
use tokio::time::timeout;
use tonic::{Code, Request, Status};
use tonic_types::StatusExt;
use twqr_access::{AccessSettings, CALLERS};
use twqr_callers::{ApiKey, Caller, CallerChange, CallerLimits, CallerName, MerchantScope, NewKey, Operation};
use twqr_ingress::{FairnessSettings, Settings, UseLimits};
use twqr_journal::{Entry, Journal};
use twqr_types::{KeyName, MerchantId, UnixMs};
use twqr_wire::{
    convert::encode_caller_change,
    pos::{CancelRequest, InquiryType, PayRequest, QueryRequest, RefundRequest, WatchOrderRequest},
};

const OLD: u8 = 1;
const NEW: u8 = 2;
const READS_ONLY: u8 = 3;

fn key_text(seed: u8) -> String {
    NewKey::of_random([seed; 32]).reveal().to_owned()
}

fn caller(name: &str, seeds: &[u8], operations: &[Operation]) -> Caller {
    let key = |seed: &u8| ApiKey {
        name: KeyName::parse(format!("k{seed}")).unwrap(),
        hash: NewKey::of_random([*seed; 32]).hash(),
        from: None,
        until: None,
    };
    Caller {
        name: CallerName::parse(name.to_owned()).unwrap(),
        certificates: Vec::new(),
        keys: seeds.iter().map(key).collect(),
        merchants: MerchantScope::Only(BTreeSet::from([MerchantId::parse("M1".to_owned()).unwrap()])),
        operations: operations.iter().copied().collect(),
        roles: BTreeSet::new(),
        limits: CallerLimits::default(),
    }
}

fn every_operation() -> Vec<Operation> {
    Operation::ALL.iter().map(|(operation, _)| *operation).collect()
}

fn closed() -> Settings {
    let callers = vec![
        caller("shop", &[OLD], &every_operation()),
        caller("reader", &[READS_ONLY], &[Operation::Query, Operation::Watch]),
    ];
    Settings { access: AccessSettings { required: true, callers, ..AccessSettings::default() }, ..settings() }
}

fn by<T>(seed: u8, message: T) -> Request<T> {
    let mut request = Request::new(message);
    request.metadata_mut().insert("authorization", format!("Bearer {}", key_text(seed)).parse().unwrap());
    request
}

/// Changes the keys of the caller `shop`.
async fn change(stage: &Stage, version: u64, seeds: &[u8]) {
    change_to(stage, version, caller("shop", seeds, &every_operation())).await;
}

async fn change_to(stage: &Stage, version: u64, caller: Caller) {
    let change = CallerChange {
        is_whole: true,
        name: caller.name.clone(),
        version,
        caller: Some(Arc::new(caller)),
        who: "test".into(),
        why: "a test".into(),
        at: UnixMs(1),
    };
    stage.journal.append(CALLERS, vec![Entry::plain(encode_caller_change(&change))]).await.unwrap();
}

/// Code, text and reason of a refusal, with all its details.
fn shown(status: &Status) -> (Code, String, String, bool) {
    let info = status.get_details_error_info().unwrap();
    let has_delay = status.get_details_retry_info().is_some();
    (status.code(), status.message().to_owned(), info.reason, has_delay)
}

fn query(merchant_id: &str, number: &str) -> QueryRequest {
    QueryRequest {
        merchant_id: merchant_id.into(),
        merchant_trade_no: number.into(),
        inquiry_type: InquiryType::Payment.into(),
        ..QueryRequest::default()
    }
}

fn watch(merchant_id: &str, number: &str) -> WatchOrderRequest {
    WatchOrderRequest {
        merchant_id: merchant_id.into(),
        merchant_trade_no: number.into(),
        inquiry_type: InquiryType::Payment.into(),
        keep_watching: true,
    }
}

#[tokio::test]
async fn where_both_credentials_are_demanded_the_refusal_names_what_is_missing() {
    let closed = closed();
    let access = AccessSettings { key_and_certificate: true, ..closed.access };
    let stage = Stage::open(Settings { access, ..closed }).await;
    let mut client = stage.client().await;
    for (request, missing) in [
        (Request::new(payment("1")), "the API key and the certificate are missing"),
        (by(OLD, payment("1")), "the certificate is missing"),
    ] {
        let refused = client.pay(request).await.unwrap_err();
        let (code, text, reason, _) = shown(&refused);
        assert_eq!((code, reason.as_str()), (Code::Unauthenticated, "NO_CREDENTIAL"));
        assert!(text.starts_with(missing) && text.ends_with("Nothing was accepted"), "{text}");
    }
}

#[tokio::test]
async fn only_callers_with_a_valid_key_are_let_in() {
    let stage = Stage::open(closed()).await;
    let before = stage.orders_end().await;
    let mut client = stage.client().await;
    let refused = client.pay(payment("1")).await.unwrap_err();
    assert_eq!((refused.code(), shown(&refused).2.as_str()), (Code::Unauthenticated, "NO_CREDENTIAL"));
    for header in [format!("Bearer {}", key_text(NEW)), key_text(OLD), "Basic abc".to_owned(), "Bearer ".to_owned()] {
        let mut request = Request::new(payment("1"));
        request.metadata_mut().insert("authorization", header.parse().unwrap());
        let refused = client.pay(request).await.unwrap_err();
        assert_eq!((refused.code(), shown(&refused).2.as_str()), (Code::Unauthenticated, "CREDENTIAL_REFUSED"));
        assert!(!refused.message().contains("twqr_"), "{refused:?}");
    }
    assert_eq!(stage.orders_end().await, before, "nothing was written");
    let paying = tokio::spawn(async move { client.pay(by(OLD, payment("1"))).await });
    let request = &stage.pay_requests(1).await[0];
    stage.reply(&request.reply_to, order("1", paid()), false).await;
    assert_eq!(paying.await.unwrap().unwrap().into_inner().merchant_trade_no, "1");
}

#[tokio::test]
async fn a_caller_never_learns_whether_another_merchants_order_exists() {
    let stage = Stage::open(closed()).await;
    // M1's order exists and is even remembered by the ingress; T2 does not exist.
    let mut client = stage.client().await;
    let paying = tokio::spawn(async move { client.pay(by(OLD, payment("T1"))).await });
    let request = &stage.pay_requests(1).await[0];
    stage.reply(&request.reply_to, order("T1", paid()), false).await;
    paying.await.unwrap().unwrap();
    let other = Caller {
        merchants: MerchantScope::Only(BTreeSet::from([MerchantId::parse("M2".to_owned()).unwrap()])),
        ..caller("other", &[9], &every_operation())
    };
    change_to(&stage, 1, other).await;
    let mut client = stage.client().await;
    while client.query(by(9, query("M1", "T1"))).await.unwrap_err().code() == Code::Unauthenticated {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let before = stage.orders_end().await;
    let mut seen = Vec::new();
    for number in ["T1", "T2"] {
        seen.push(shown(&client.query(by(9, query("M1", number))).await.unwrap_err()));
        seen.push(shown(&client.pay(by(9, payment(number))).await.unwrap_err()));
        let cancel = CancelRequest { merchant_id: "M1".into(), merchant_trade_no: number.into(), ..Default::default() };
        seen.push(shown(&client.cancel(by(9, cancel)).await.unwrap_err()));
        let refund = RefundRequest { merchant_id: "M1".into(), merchant_trade_no: number.into(), ..Default::default() };
        seen.push(shown(&client.refund(by(9, refund)).await.unwrap_err()));
        seen.push(shown(&client.watch_order(by(9, watch("M1", number))).await.unwrap_err()));
    }
    assert_eq!(seen[0].0, Code::PermissionDenied);
    assert_eq!(seen[0].2, "NOT_PERMITTED");
    assert!(seen.iter().all(|refusal| *refusal == seen[0]), "{seen:?}");
    assert_eq!(stage.orders_end().await, before, "no refusal asked the router, so none took its time");
}

#[tokio::test]
async fn a_caller_does_only_what_its_operations_allow() {
    let stage = Stage::open(closed()).await;
    let mut client = stage.client().await;
    for refused in [
        client.pay(by(READS_ONLY, payment("1"))).await.unwrap_err(),
        client
            .refund(by(READS_ONLY, RefundRequest { merchant_id: "M1".into(), ..Default::default() }))
            .await
            .unwrap_err(),
        client
            .cancel(by(READS_ONLY, CancelRequest { merchant_id: "M1".into(), ..Default::default() }))
            .await
            .unwrap_err(),
    ] {
        assert_eq!((refused.code(), shown(&refused).2.as_str()), (Code::PermissionDenied, "NOT_PERMITTED"));
    }
    let watching = client.watch_order(by(READS_ONLY, watch("M1", "1"))).await;
    assert!(watching.is_ok(), "{watching:?}");
}

#[tokio::test]
async fn a_revoked_key_is_refused_at_its_next_call_and_its_streams_end() {
    let stage = Stage::open(closed()).await;
    change(&stage, 1, &[OLD, NEW]).await;
    let mut client = stage.client().await;
    while let Err(refused) = client.watch_order(by(NEW, watch("M1", "1"))).await {
        assert_eq!(refused.code(), Code::Unauthenticated, "both keys are valid during a rotation");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let mut watching = client.watch_order(by(OLD, watch("M1", "1"))).await.unwrap().into_inner();
    let mut stream = Stream::open_as(stage.client().await, &key_text(OLD)).await.unwrap();
    stream.send(1, payment("S1")).await;
    let accepted = stage.pay_requests(1).await;
    change(&stage, 2, &[NEW]).await;
    let ended = timeout(Duration::from_secs(5), watching.message()).await.unwrap().unwrap_err();
    assert_eq!(shown(&ended).2, "CREDENTIAL_REFUSED");
    let refused = client.query(by(OLD, query("M1", "1"))).await.unwrap_err();
    assert_eq!(shown(&refused).2, "CREDENTIAL_REFUSED");
    // An accepted payment proceeds: its answer comes before the end of the stream.
    stage.reply(&accepted[0].reply_to, order("S1", paid()), false).await;
    assert_eq!(stream.response().await.0, 1);
    let ended = timeout(Duration::from_secs(5), stream.answers.message()).await.unwrap().unwrap_err();
    assert_eq!(shown(&ended).2, "CREDENTIAL_REFUSED");
    assert!(ended.message().ends_with("requests without an answer were not accepted"), "{ended:?}");
    let refused = stage.client().await.watch_order(by(NEW, watch("M1", "1"))).await;
    assert!(refused.is_ok(), "the new key stays valid");
}

#[tokio::test]
async fn a_watch_ends_once_its_caller_may_not_watch_the_order_any_more() {
    let without_pay_and_watch = caller("shop", &[OLD], &[Operation::Query]);
    let of_another_merchant = Caller {
        merchants: MerchantScope::Only(BTreeSet::from([MerchantId::parse("M2".to_owned()).unwrap()])),
        ..caller("shop", &[OLD], &every_operation())
    };
    for narrowed in [without_pay_and_watch, of_another_merchant] {
        let stage = Stage::open(closed()).await;
        let mut client = stage.client().await;
        let mut watching = client.watch_order(by(OLD, watch("M1", "1"))).await.unwrap().into_inner();
        let request = &stage.requests(0, 1).await[0];
        stage.reply(&request.reply_to, order("1", paying()), false).await;
        assert!(watching.message().await.unwrap().is_some());
        change_to(&stage, 1, narrowed).await;
        // An invalid payment, which waits for no answer.
        let invalid = || by(OLD, PayRequest { trade_amount: 0, ..payment("2") });
        while client.pay(invalid()).await.unwrap_err().code() != Code::PermissionDenied {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        stage.reply(&request.reply_to, order("1", paid()), false).await;
        let ended = timeout(Duration::from_secs(5), watching.message()).await.unwrap().unwrap_err();
        assert_eq!((ended.code(), shown(&ended).2.as_str()), (Code::PermissionDenied, "NOT_PERMITTED"));
    }
}

#[tokio::test]
async fn each_payment_of_a_stream_is_for_a_merchant_of_its_caller() {
    let stage = Stage::open(closed()).await;
    let mut stream = Stream::open_as(stage.client().await, &key_text(OLD)).await.unwrap();
    stream.send(1, PayRequest { merchant_id: "M2".into(), ..payment("1") }).await;
    let (id, refusal) = stream.refusal().await;
    assert_eq!((id, refusal.code), (1, i32::from(Code::PermissionDenied)));
    stream.send(2, payment("2")).await;
    let request = &stage.pay_requests(1).await[0];
    stage.reply(&request.reply_to, order("2", paid()), false).await;
    assert_eq!(stream.response().await.0, 2);
    let refused = Stream::open_as(stage.client().await, &key_text(READS_ONLY)).await.err().unwrap();
    assert_eq!(refused.code(), Code::PermissionDenied);
}

#[tokio::test]
async fn an_ingress_that_has_not_read_its_callers_lets_nothing_in() {
    let stage = Stage::begin(closed(), |journal| journal.callers_hidden.store(true, Ordering::Release));
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert!(!stage.health.is_ready());
    let call = async {
        let mut client = stage.client().await;
        client.pay(by(OLD, payment("1"))).await
    };
    assert!(timeout(Duration::from_millis(300), call).await.is_err(), "the call waits, and is not let in");
    assert!(stage.payments().await.is_empty());
    stage.journal.callers_hidden.store(false, Ordering::Release);
    stage.until(|stage| stage.health.is_ready()).await;
}

#[tokio::test]
async fn a_caller_with_too_many_calls_is_refused_with_a_delay_and_others_are_not() {
    let callers = vec![
        Caller {
            limits: CallerLimits { calls_per_s: Some(5), calls_max: None },
            ..caller("flood", &[OLD], &every_operation())
        },
        caller("calm", &[NEW], &every_operation()),
    ];
    let access = AccessSettings { required: true, callers, ..AccessSettings::default() };
    let merchant = UseLimits { calls_per_s: None, calls_max: NonZeroU32::new(1_000) };
    let fairness = FairnessSettings { merchant, ..FairnessSettings::default() };
    let stage = Stage::open(Settings { access, fairness, ..settings() }).await;
    let mut client = stage.client().await;
    let mut refused = Vec::new();
    for _ in 0..20 {
        // The request is invalid, so that no answer is waited for: the limit comes first.
        let status = client.pay(by(OLD, PayRequest { trade_amount: 0, ..payment("1") })).await.unwrap_err();
        if status.code() == Code::ResourceExhausted {
            refused.push(status);
        }
        let status = client.pay(by(NEW, PayRequest { trade_amount: 0, ..payment("1") })).await.unwrap_err();
        assert_eq!(status.code(), Code::InvalidArgument, "the calm caller's call");
    }
    assert!(refused.len() >= 10, "{} of 20 were refused", refused.len());
    let (_, _, reason, has_delay) = shown(&refused[0]);
    assert_eq!((reason.as_str(), has_delay), ("RATE_EXCEEDED", true));
}

#[tokio::test]
async fn a_caller_has_a_bounded_number_of_streams_and_watches() {
    let callers = vec![caller("greedy", &[OLD], &every_operation()), caller("calm", &[NEW], &every_operation())];
    let fairness = FairnessSettings {
        caller_streams_max: NonZeroU32::new(2),
        caller_watches_max: NonZeroU32::new(1),
        ..FairnessSettings::default()
    };
    let access = AccessSettings { required: true, callers, ..AccessSettings::default() };
    let stage = Stage::open(Settings { access, fairness, streams_max: 10, ..settings() }).await;
    let open = async |seed| Stream::open_as(stage.client().await, &key_text(seed)).await;
    let streams = [open(OLD).await.unwrap(), open(OLD).await.unwrap()];
    let (code, _, reason, has_delay) = shown(&open(OLD).await.err().unwrap());
    assert_eq!((code, reason.as_str(), has_delay), (Code::ResourceExhausted, "TOO_MANY_STREAMS", true));
    open(NEW).await.unwrap();
    drop(streams);
    while open(OLD).await.is_err() {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let mut client = stage.client().await;
    let watching = client.watch_order(by(OLD, watch("M1", "1"))).await.unwrap();
    let (code, _, reason, has_delay) = shown(&client.watch_order(by(OLD, watch("M1", "2"))).await.unwrap_err());
    assert_eq!((code, reason.as_str(), has_delay), (Code::ResourceExhausted, "TOO_MANY_WATCHES", true));
    client.watch_order(by(NEW, watch("M1", "2"))).await.unwrap();
    drop(watching);
    while client.watch_order(by(OLD, watch("M1", "2"))).await.is_err() {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test]
async fn payments_of_streams_are_calls_in_progress_of_their_caller() {
    let limits = CallerLimits { calls_per_s: None, calls_max: Some(2) };
    let callers = vec![Caller { limits, ..caller("shop", &[OLD], &every_operation()) }];
    let stage = Stage::open(Settings {
        access: AccessSettings { required: true, callers, ..AccessSettings::default() },
        ..settings()
    })
    .await;
    let mut streams = Vec::new();
    for number in ["1", "2"] {
        let stream = Stream::open_as(stage.client().await, &key_text(OLD)).await.unwrap();
        stream.send(1, payment(number)).await;
        streams.push(stream);
    }
    let requests = stage.pay_requests(2).await;
    streams[0].send(2, payment("3")).await;
    let (id, refusal) = streams[0].refusal().await;
    assert_eq!((id, refusal.code), (2, i32::from(Code::ResourceExhausted)));
    let refused = stage.client().await.pay(by(OLD, payment("4"))).await.unwrap_err();
    assert_eq!(shown(&refused).2, "CONCURRENCY_EXCEEDED");
    let number = requests[0].pay.as_ref().unwrap().key.merchant_trade_no.as_str().to_owned();
    stage.reply(&requests[0].reply_to, order(&number, paid()), false).await;
    let freed = usize::from(number == "2");
    assert_eq!(streams[freed].response().await.0, 1);
    streams[freed].send(3, payment("5")).await;
    assert_eq!(stage.pay_requests(3).await.len(), 3, "its place is free again");
}
