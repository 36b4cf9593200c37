//! Traces of payments through a whole system, as an OpenTelemetry collector receives them: from one
//! process on the embedded journal, and from a process of each service on a broker.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

#[path = "support/launched.rs"]
mod launched;
#[path = "support/receiver.rs"]
mod receiver;

use std::{collections::BTreeMap, iter::successors, net::SocketAddr, path::Path, time::Duration};

use launched::launch_shaped;
use receiver::{Received, ReceivedSpan};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tonic::{Request, transport::Channel};
use twqr_config::{Config, TelemetryConfig, TelemetryProtocol};
use twqr_lab::launch::{Shape, System, connect};
use twqr_types::{MerchantId, MerchantTradeNo, OrderKey};
use twqr_wire::{
    pos::{PayRequest, PayStreamRequest, pos_service_client::PosServiceClient},
    trace::{TRACEPARENT_HEADER, TraceId},
};

const MERCHANT: &str = "M7";
/// Codes that the wallet approves and declines, one that another issuer approves, one of an issuer
/// that contradicts itself, and one of an issuer whose answers are lost.
const APPROVED: &str = "22abcdefghijklmnop";
const DECLINED: &str = "22D928efghijklmnop";
const APPROVED_THROUGH_FISC: &str = "99801234567890123456";
const CONTRADICTED: &str = "P2abcdefghijklmnop";
const UNRESOLVED: &str = "ICABCEFGHIJKLMNOPQ";
const WALLET_WORKER: &str = "twqr-wallet-worker";
const FISC_WORKER: &str = "twqr-fisc-worker";
/// Every span of a payment, with the name of the span that caused it; `caller` is the caller's.
const WAY: [(&str, &str, &str); 11] = [
    ("twqr-ingress", "Pay", "caller"),
    ("twqr-ingress", "ingress", "Pay"),
    ("twqr-router", "orders_wait", "Pay"),
    ("twqr-router", "router", "Pay"),
    (WALLET_WORKER, "tasks_wait", "router"),
    (WALLET_WORKER, "worker", "router"),
    (WALLET_WORKER, "backend", "worker"),
    ("twqr-router", "outcomes_wait", "worker"),
    ("twqr-router", "router", "worker"),
    ("twqr-ingress", "replies_wait", "router"),
    ("twqr-ingress", "reply", "router"),
];
/// Every span of an inquiry about a payment without a result.
const LATER: [(&str, &str); 8] = [
    (FISC_WORKER, "backend"),
    (FISC_WORKER, "tasks_wait"),
    (FISC_WORKER, "worker"),
    ("twqr-router", "orders_wait"),
    ("twqr-router", "outcomes_wait"),
    ("twqr-router", "router"),
    ("twqr-router", "router"),
    ("twqr-tracker", "due"),
];
/// A time that no call takes.
const NEVER_MS: u64 = 60_000;
const CALLER: &str = "00f067aa0ba902b7";

async fn start(folder: &Path, telemetry: TelemetryConfig) -> System {
    start_shaped(folder, Config { telemetry, ..Config::default() }, Shape::AllInOne).await
}

/// The same, with the services divided into processes by `shape`.
async fn start_shaped(folder: &Path, config: Config, shape: Shape) -> System {
    let script = folder.join("script.toml");
    std::fs::write(&script, "[issuers.389]\ncontradict = 1.0\n[issuers.392]\nlose_answers = 1.0\n").unwrap();
    let config = Config { call_timeout_ms: 300, ..config };
    launch_shaped(env!("CARGO_BIN_EXE_twqr"), &folder.join("run"), Some(&script), config, shape).await
}

fn collected(address: SocketAddr) -> TelemetryConfig {
    TelemetryConfig { endpoint: format!("http://{address}"), slow_ms: NEVER_MS, ..TelemetryConfig::default() }
}

fn payment(number: &str, card_token: &str) -> PayRequest {
    PayRequest {
        merchant_id: MERCHANT.into(),
        merchant_trade_no: number.into(),
        card_token: card_token.into(),
        trade_amount: 100,
        ..PayRequest::default()
    }
}

/// Pays, and returns the StatusCode.
async fn pay(channel: &Channel, number: &str, card_token: &str, traceparent: Option<&str>) -> String {
    let mut request = Request::new(payment(number, card_token));
    if let Some(header) = traceparent {
        request.metadata_mut().insert(TRACEPARENT_HEADER, header.parse().unwrap());
    }
    PosServiceClient::new(channel.clone()).pay(request).await.unwrap().into_inner().status_code
}

/// The trace of an order whose caller has named none.
fn own_trace(number: &str) -> String {
    let merchant_id = MerchantId::parse(MERCHANT.to_owned()).unwrap();
    let merchant_trade_no = MerchantTradeNo::parse(number.to_owned()).unwrap();
    TraceId::of_order(&OrderKey { merchant_id, merchant_trade_no }).to_string()
}

fn by_id(spans: &[ReceivedSpan]) -> BTreeMap<String, &ReceivedSpan> {
    spans.iter().map(|received| (received.id(), received)).collect()
}

/// The span at which the tree of these spans begins. Fails unless they are one tree without a gap.
fn root(spans: &[ReceivedSpan]) -> &ReceivedSpan {
    let by_id = by_id(spans);
    let first = root_above(&spans[0], &by_id);
    for received in spans {
        assert_eq!(root_above(received, &by_id).id(), first.id(), "{received:?} is in another tree");
    }
    assert!(!by_id.contains_key(&first.parent()), "the spans cause each other in a circle: {spans:#?}");
    first
}

/// The last span on the way up from this one, from each span to the one that caused it.
fn root_above<'a>(received: &'a ReceivedSpan, by_id: &BTreeMap<String, &'a ReceivedSpan>) -> &'a ReceivedSpan {
    let above = |below: &&'a ReceivedSpan| by_id.get(&below.parent()).copied();
    successors(Some(received), above).take(by_id.len()).last().unwrap()
}

/// Checks that a trace is the whole way of a payment over this worker, and each span is caused by
/// the right one.
fn check_way(spans: &[ReceivedSpan], worker: &str) {
    let by_id = by_id(spans);
    assert_eq!(by_id.len(), WAY.len(), "{spans:#?}");
    assert_eq!(root(spans).parent(), CALLER);
    let over_worker = |service: &'static str| if service == WALLET_WORKER { worker } else { service };
    let mut way: Vec<_> = WAY.iter().map(|(service, name, cause)| (over_worker(service), *name, *cause)).collect();
    way.sort_unstable();
    let cause = |received: &ReceivedSpan| match by_id.get(&received.parent()) {
        Some(parent) => parent.span.name.clone(),
        None => (if received.parent() == CALLER { "caller" } else { "unknown" }).to_owned(),
    };
    let mut found: Vec<_> =
        spans.iter().map(|received| (received.service.clone(), received.span.name.clone(), cause(received))).collect();
    found.sort_unstable();
    let found: Vec<_> = found.iter().map(|(service, name, cause)| (&**service, &**name, &**cause)).collect();
    assert_eq!(found, way);
    // The reply is caused by the second visit of the router, not by the first.
    let reply = spans.iter().find(|received| received.span.name == "reply").unwrap();
    assert_eq!(cause(by_id[&reply.parent()]), "worker");
    for ReceivedSpan { span, .. } in spans {
        assert!(span.start_time_unix_nano <= span.end_time_unix_nano, "{span:?}");
    }
}

/// Checks that a trace is an inquiry about a payment without a result, which the tracker began.
fn check_later(spans: &[ReceivedSpan]) {
    let mut later: Vec<_> = spans.iter().map(|received| (&*received.service, &*received.span.name)).collect();
    later.sort_unstable();
    assert_eq!(later, LATER);
    assert_eq!(root(spans).span.name, "due");
}

/// Checks that each span names a running process of its service.
fn check_instances(system: &System, spans: &[ReceivedSpan]) {
    for ReceivedSpan { service, instance, .. } in spans {
        let (of_service, _) = instance.rsplit_once('-').unwrap();
        assert_eq!(format!("twqr-{of_service}"), *service);
        system.id(instance).unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_payment_is_one_trace_across_all_topics() {
    let folder = tempfile::tempdir().unwrap();
    let (received, collector) = Received::over_grpc().await;
    let mut system = start(folder.path(), collected(collector)).await;
    let channel = connect(system.config.grpc).await.unwrap();

    // Not sampled, by the caller or by the ratio, and neither slow nor failed.
    let unsampled = "0af7651916cd43dd8448eb211c80319c";
    assert_eq!(pay(&channel, "T1", APPROVED, Some(&format!("00-{unsampled}-{CALLER}-00"))).await, "000");
    assert_eq!(pay(&channel, "T2", APPROVED, None).await, "000");

    // Sampled by the caller, over both kinds of gRPC calls.
    let sampled = "4bf92f3577b34da6a3ce929d0e0e4736";
    assert_eq!(pay(&channel, "T3", APPROVED, Some(&format!("00-{sampled}-{CALLER}-01"))).await, "000");
    let spans = received.until(sampled, WAY.len()).await;
    check_way(&spans, WALLET_WORKER);
    let whole = spans.iter().find(|received| received.span.name == "Pay").unwrap();
    assert_eq!(whole.attribute("twqr.status_code").as_deref(), Some("000"));
    assert_eq!(whole.attribute("twqr.merchant_trade_no").as_deref(), Some("T3"));
    assert_eq!(whole.links(), [own_trace("T3")], "the order's own trace has what happens later");
    let streamed = "4bf92f3577b34da6a3ce929d0e0e4737";
    let traceparent = format!("00-{streamed}-{CALLER}-01");
    let request = PayStreamRequest { payment: Some(payment("T4", APPROVED)), traceparent, ..Default::default() };
    let stream = PosServiceClient::new(channel.clone()).pay_stream(tokio_stream::iter([request])).await;
    assert!(stream.unwrap().into_inner().message().await.unwrap().is_some());
    assert_eq!(received.until(streamed, WAY.len()).await.len(), WAY.len());

    // Failed: its hops become spans afterwards.
    assert_eq!(pay(&channel, "T5", DECLINED, None).await, "928");
    let failed = own_trace("T5");
    let spans = received.until(&failed, 10).await;
    let whole = spans.iter().find(|received| received.span.name == "Pay").unwrap();
    assert!(whole.has_failed());
    assert_eq!(whole.attribute("twqr.traced_because").as_deref(), Some("failed"));
    for name in ["ingress", "router", "worker", "backend", "reply"] {
        let part = spans.iter().find(|received| received.span.name == name).unwrap();
        assert_eq!(part.parent(), whole.id(), "{name}");
    }

    // Contradicted, which is never sampled: the late answer, and what the router made of it.
    assert_eq!(pay(&channel, "T6", CONTRADICTED, None).await, "000");
    let contradicted = own_trace("T6");
    let spans = received.until(&contradicted, 3).await;
    let late = spans.iter().find(|received| received.span.name == "late_answer").unwrap();
    let router = spans.iter().find(|received| received.service == "twqr-router" && received.has_failed()).unwrap();
    assert_eq!(router.parent(), late.id());

    // What happens after a call was given up is a trace of its own.
    assert_eq!(pay(&channel, "T7", UNRESOLVED, None).await, "000");
    check_later(&received.until(&own_trace("T7"), LATER.len()).await);

    // Spans are sent in order, so those of the first payments would be here.
    assert!(received.of_trace(unsampled).is_empty() && received.of_trace(&own_trace("T2")).is_empty());
    for secret in [APPROVED, DECLINED, CONTRADICTED, UNRESOLVED] {
        let bytes = received.bytes();
        assert!(!bytes.windows(secret.len()).any(|part| part == secret.as_bytes()), "a card token is exported");
    }
    system.stop("up").await.unwrap();
    let log = system.log("up").unwrap();
    for (number, trace) in [("T5", &failed), ("T6", &contradicted)] {
        let line = log.lines().find(|line| line.contains(&format!("\"merchant_trade_no\":\"{number}\"")));
        assert!(line.is_some_and(|line| line.contains(&format!("\"trace_id\":\"{trace}\""))), "{number}: {log}");
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs a broker: make test-kafka"]
async fn a_payment_is_one_trace_over_a_process_of_each_service_on_a_broker() {
    let folder = tempfile::tempdir().unwrap();
    let (received, collector) = Received::over_grpc().await;
    let mut config = Config { telemetry: collected(collector), ..Config::default() };
    config.kafka.bootstrap = std::env::var("TWQR__KAFKA__BOOTSTRAP").unwrap();
    let system = start_shaped(folder.path(), config, Shape::ProcessForEach).await;
    let channel = connect(system.config.grpc).await.unwrap();

    // The first payments open connections. Their caller has not sampled them.
    let unsampled = "0af7651916cd43dd8448eb211c80319c";
    for (number, card_token) in [("T1", APPROVED), ("T2", APPROVED_THROUGH_FISC)] {
        assert_eq!(pay(&channel, number, card_token, Some(&format!("00-{unsampled}-{CALLER}-00"))).await, "000");
    }

    for (number, card_token, worker, trace) in [
        ("T3", APPROVED, WALLET_WORKER, "4bf92f3577b34da6a3ce929d0e0e4736"),
        ("T4", APPROVED_THROUGH_FISC, FISC_WORKER, "4bf92f3577b34da6a3ce929d0e0e4737"),
    ] {
        assert_eq!(pay(&channel, number, card_token, Some(&format!("00-{trace}-{CALLER}-01"))).await, "000");
        let spans = received.until(trace, WAY.len()).await;
        check_way(&spans, worker);
        check_instances(&system, &spans);
        // The reply came back to the ingress that was called, of two.
        let mut at_ingress = spans.iter().filter(|received| received.service == "twqr-ingress");
        assert!(at_ingress.all(|received| received.instance == "ingress-0"), "{spans:#?}");
        let has_number =
            |received: &&ReceivedSpan| received.attribute("twqr.merchant_trade_no").as_deref() == Some(number);
        for span in received.spans().iter().filter(has_number) {
            assert_eq!(span.trace_id(), trace, "{span:?}");
        }
    }

    // A step without a caller, which begins at the tracker.
    assert_eq!(pay(&channel, "T5", UNRESOLVED, None).await, "000");
    let spans = received.until(&own_trace("T5"), LATER.len()).await;
    check_later(&spans);
    check_instances(&system, &spans);
    assert!(received.of_trace(unsampled).is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slow_payment_is_traced_over_http_and_spans_that_wait_are_sent_at_the_end() {
    let folder = tempfile::tempdir().unwrap();
    let (received, collector) = Received::over_http().await;
    let protocol = TelemetryProtocol::Http;
    let telemetry = TelemetryConfig { protocol, slow_ms: 1, ..collected(collector) };
    let mut system = start(folder.path(), telemetry).await;
    let channel = connect(system.config.grpc).await.unwrap();
    assert_eq!(pay(&channel, "T1", APPROVED, None).await, "000");
    system.stop("up").await.unwrap();
    let spans = received.of_trace(&own_trace("T1"));
    let whole = spans.iter().find(|received| received.span.name == "Pay").unwrap();
    assert_eq!(whole.attribute("twqr.traced_because").as_deref(), Some("slow"));
    let parts = spans.iter().filter(|received| received.parent() == whole.id());
    let took = |span: &ReceivedSpan| span.span.end_time_unix_nano - span.span.start_time_unix_nano;
    let sum: u64 = parts.map(took).sum();
    assert!(sum.abs_diff(took(whole)) <= 1_000_000, "the hops are the whole: {sum} of {}", took(whole));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_collector_that_is_gone_costs_nothing_but_its_spans() {
    let folder = tempfile::tempdir().unwrap();
    let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let mut system = start(folder.path(), TelemetryConfig { sample_ratio: 1.0, ..collected(closed) }).await;
    let channel = connect(system.config.grpc).await.unwrap();
    for number in 0..20 {
        assert_eq!(pay(&channel, &format!("T{number}"), APPROVED, None).await, "000");
    }
    let until_dropped = async {
        while dropped(system.config.admin).await < 20.0 * WAY.len() as f64 {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), until_dropped).await.unwrap();
    system.stop("up").await.unwrap();
    let log = system.log("up").unwrap();
    assert_eq!(log.lines().filter(|line| line.contains("spans are dropped")).count(), 1, "{log}");
}

/// How many spans a process says that it has dropped.
async fn dropped(admin: SocketAddr) -> f64 {
    let mut stream = tokio::net::TcpStream::connect(admin).await.unwrap();
    stream.write_all(b"GET /metrics HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    let line = answer.lines().find_map(|line| line.strip_prefix("twqr_telemetry_spans_total{result=\"dropped\"} "));
    line.map_or(0.0, |count| count.parse().unwrap())
}
