//! How a process begins and ends, as a cluster sees it: when it takes its ports, when it is ready,
//! and in which order it leaves.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

#[path = "support/launched.rs"]
mod launched;

use std::{
    net::{SocketAddr, TcpListener},
    path::Path,
    process::Stdio,
    time::Duration,
};

use futures::Stream;
use launched::{WALLET, launch, payment};
use rustix::process::{Pid, Signal, kill_process};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    process::{Child, Command},
    sync::mpsc,
    time::timeout,
};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Code, Status, Streaming, transport::Endpoint};
use tonic_health::pb::{
    HealthCheckRequest, HealthCheckResponse, health_check_response::ServingStatus, health_client::HealthClient,
};
use tonic_reflection::pb::v1::{
    ServerReflectionRequest, server_reflection_client::ServerReflectionClient,
    server_reflection_request::MessageRequest,
};
use twqr_config::Config;
use twqr_lab::launch::{ReservedAddresses, command, connect};
use twqr_wire::{
    ops::{ListSettlementRequest, ListSettlementResponse, operator_service_client::OperatorServiceClient},
    pos::{InquiryType, PayStreamRequest, QueryRequest, WatchOrderRequest, pos_service_client::PosServiceClient},
};

/// The binary under test.
const TWQR: &str = env!("CARGO_BIN_EXE_twqr");
/// After this time the process counts as stuck.
const STUCK: Duration = Duration::from_mins(1);
/// The window of a stream that is not read, in bytes: less than a settlement entry takes.
const WINDOW_BYTES: u32 = 16;
/// The time between two looks at `/readyz`.
const LOOK: Duration = Duration::from_millis(3);

/// The HTTP status of `/readyz`; absent while it cannot be reached.
async fn readiness(admin: SocketAddr) -> Option<u16> {
    let mut stream = TcpStream::connect(admin).await.ok()?;
    stream.write_all(b"GET /readyz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").await.ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.ok()?;
    answer.split(' ').nth(1)?.parse().ok()
}

/// Starts `twqr up` with this configuration.
fn up(folder: &Path, config: &Config) -> Child {
    let file = folder.join("twqr.toml");
    std::fs::write(&file, toml::to_string(config).unwrap()).unwrap();
    let mut command = Command::from(command(TWQR));
    command.arg("--config").arg(&file).arg("up").stdin(Stdio::null()).stdout(Stdio::null());
    command.stderr(Stdio::piped()).kill_on_drop(true).spawn().unwrap()
}

async fn pay(grpc: SocketAddr, number: &str) -> Result<String, Status> {
    let response = PosServiceClient::new(connect(grpc).await.unwrap()).pay(payment(number, WALLET)).await?;
    Ok(response.into_inner().status_code)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_process_is_ready_once_it_serves_and_stays_ready() {
    let folder = tempfile::tempdir().unwrap();
    let mut reserved = ReservedAddresses::default();
    let config = Config { data_dir: folder.path().join("data"), ..reserved.assign_to(Config::default()).unwrap() };
    let _process = up(folder.path(), &config);
    let mut seen = Vec::new();
    let until_ready = async {
        loop {
            let status = readiness(config.admin).await;
            if seen.last() != Some(&status) {
                seen.push(status);
            }
            if status == Some(200) {
                break;
            }
            tokio::time::sleep(LOOK).await;
        }
    };
    timeout(STUCK, until_ready).await.unwrap();
    assert_eq!(seen, [None, Some(503), Some(200)]);
    for address in [config.grpc, config.pos_http, config.operators] {
        TcpStream::connect(address).await.unwrap();
    }
    let unknown = QueryRequest {
        merchant_id: "M1".into(),
        merchant_trade_no: "T1".into(),
        inquiry_type: InquiryType::Payment.into(),
        ..QueryRequest::default()
    };
    PosServiceClient::new(connect(config.grpc).await.unwrap()).query(unknown).await.unwrap();
    for _ in 0..300 {
        assert_eq!(readiness(config.admin).await, Some(200));
        tokio::time::sleep(LOOK).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_port_that_is_taken_ends_the_process_before_it_opens_anything() {
    for key in ["grpc", "pos_http", "admin", "operators"] {
        let folder = tempfile::tempdir().unwrap();
        let mut reserved = ReservedAddresses::default();
        let taken = TcpListener::bind("127.0.0.1:0").unwrap();
        let mut config = reserved.assign_to(Config::default()).unwrap();
        config.data_dir = folder.path().join("data");
        let address = match key {
            "grpc" => &mut config.grpc,
            "pos_http" => &mut config.pos_http,
            "admin" => &mut config.admin,
            _ => &mut config.operators,
        };
        *address = taken.local_addr().unwrap();
        let output = timeout(STUCK, up(folder.path(), &config).wait_with_output()).await.unwrap().unwrap();
        let said = String::from_utf8(output.stderr).unwrap();
        assert!(!output.status.success() && said.contains(&format!("{key} cannot listen on ")), "{key}: {said}");
        assert!(!config.data_dir.exists(), "{key}: the journal was opened");
    }
}

/// Streams of every kind that are open at a process.
struct Streams {
    healths: Vec<Streaming<HealthCheckResponse>>,
    /// Each ends, or fails with the code UNAVAILABLE, once its process leaves.
    ends: Vec<tokio::task::JoinHandle<Result<(), Status>>>,
    /// Keeps their requests open.
    open: Vec<Box<dyn std::any::Any + Send>>,
    /// It is not read, so its process cannot send the rest of it.
    unread: Streaming<ListSettlementResponse>,
}

/// A stream of requests that stays open while its sender exists.
fn open_requests<T: Send + 'static>(first: T) -> (mpsc::Sender<T>, impl Stream<Item = T> + Send + 'static) {
    let (sender, receiver) = mpsc::channel(8);
    sender.try_send(first).ok();
    (sender, ReceiverStream::new(receiver))
}

/// Reads a stream to its end.
fn end<T: Send + 'static>(mut stream: Streaming<T>) -> tokio::task::JoinHandle<Result<(), Status>> {
    tokio::spawn(async move {
        while stream.message().await?.is_some() {}
        Ok(())
    })
}

/// Opens a list of settlement entries, once there is an entry, and does not read it.
async fn unread_settlement(operators: SocketAddr) -> Streaming<ListSettlementResponse> {
    let request = ListSettlementRequest { from_ms: 0, to_ms: i64::MAX, ..ListSettlementRequest::default() };
    let mut reading = OperatorServiceClient::new(connect(operators).await.unwrap());
    let until_listed = async {
        while reading.list_settlement(request.clone()).await.unwrap().into_inner().message().await.unwrap().is_none() {
            tokio::time::sleep(LOOK).await;
        }
    };
    timeout(STUCK, until_listed).await.unwrap();
    let endpoint = Endpoint::from_shared(format!("http://{operators}")).unwrap();
    let channel = endpoint.initial_stream_window_size(WINDOW_BYTES).connect().await.unwrap();
    OperatorServiceClient::new(channel).list_settlement(request).await.unwrap().into_inner()
}

impl Streams {
    async fn open(config: &Config) -> Self {
        let unread = unread_settlement(config.operators).await;
        let mut streams = Self { healths: Vec::new(), ends: Vec::new(), open: Vec::new(), unread };
        for address in [config.grpc, config.operators] {
            let channel = connect(address).await.unwrap();
            let watch = HealthClient::new(channel.clone()).watch(HealthCheckRequest::default()).await.unwrap();
            let mut watch = watch.into_inner();
            assert_eq!(watch.message().await.unwrap().unwrap().status(), ServingStatus::Serving);
            streams.healths.push(watch);
            let list = MessageRequest::ListServices(String::new());
            let request = ServerReflectionRequest { host: String::new(), message_request: Some(list) };
            let (sender, requests) = open_requests(request);
            let mut reflected =
                ServerReflectionClient::new(channel).server_reflection_info(requests).await.unwrap().into_inner();
            reflected.message().await.unwrap().unwrap();
            streams.add(sender, reflected);
        }
        let mut pos = PosServiceClient::new(connect(config.grpc).await.unwrap());
        let request = WatchOrderRequest {
            merchant_id: "M1".into(),
            merchant_trade_no: "T1".into(),
            inquiry_type: InquiryType::Payment.into(),
            keep_watching: true,
        };
        let mut watched = pos.watch_order(request).await.unwrap().into_inner();
        watched.message().await.unwrap().unwrap();
        streams.add((), watched);
        let request =
            PayStreamRequest { request_id: 1, payment: Some(payment("T2", WALLET)), ..PayStreamRequest::default() };
        let (sender, requests) = open_requests(request);
        let mut answers = pos.pay_stream(requests).await.unwrap().into_inner();
        answers.message().await.unwrap().unwrap();
        streams.add(sender, answers);
        streams
    }

    fn add<T: Send + 'static>(&mut self, open: impl Send + 'static, stream: Streaming<T>) {
        self.open.push(Box::new(open));
        self.ends.push(end(stream));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_process_leaves_in_order_with_every_kind_of_stream_open() {
    let folder = tempfile::tempdir().unwrap();
    let config = Config { drain_delay_ms: 1_000, ..Config::default() };
    let mut system = launch(TWQR, &folder.path().join("run"), None, config).await;
    let Config { grpc, admin, .. } = system.config;
    assert_eq!(pay(grpc, "T1").await.unwrap(), "000");
    let streams = Streams::open(&system.config).await;
    let id = i32::try_from(system.id("up").unwrap()).unwrap();
    kill_process(Pid::from_raw(id).unwrap(), Signal::TERM).unwrap();
    for mut watch in streams.healths {
        let heard = timeout(STUCK, watch.message()).await.unwrap().unwrap().unwrap();
        assert_eq!(heard.status(), ServingStatus::NotServing);
        assert_eq!(readiness(admin).await, Some(503), "unready as soon as it is asked to stop");
    }
    assert_eq!(pay(grpc, "T3").await.unwrap(), "000", "calls are taken during the delay");
    let looking = tokio::spawn(async move {
        while let Some(status) = readiness(admin).await {
            assert_eq!(status, 503);
            tokio::time::sleep(LOOK).await;
        }
    });
    for stream in streams.ends {
        let ended = timeout(STUCK, stream).await.unwrap().unwrap();
        assert!(ended.as_ref().err().is_none_or(|status| status.code() == Code::Unavailable), "{ended:?}");
    }
    assert!(TcpStream::connect(grpc).await.is_err(), "it refuses new calls");
    timeout(STUCK, system.until_ended("up")).await.unwrap().unwrap();
    looking.await.unwrap();
    // These were open until the process had ended.
    drop((streams.open, streams.unread));
    let log = system.log("up").unwrap();
    assert!(!log.contains("at the end of the drain"), "{log}");
}
