//! Tests that connections end by age without a failed call, and that streams end at shutdown.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
};

use hyper_util::rt::TokioIo;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    task::JoinHandle,
};
use tonic::{
    Status, Streaming,
    codegen::http::Uri,
    transport::{Channel, Endpoint},
};
use tonic_health::pb::{
    HealthCheckRequest, HealthCheckResponse, health_check_response::ServingStatus, health_client::HealthClient,
};

use super::*;
use crate::{BoundSocket, Health, grpc_health};

const DRAIN: Duration = Duration::from_secs(30);

/// The name of a service.
struct Named;

impl NamedService for Named {
    const NAME: &'static str = "test.Named";
}

/// Counts the connections that it opens.
#[derive(Clone, Default)]
struct CountingConnector(Arc<AtomicU32>);

impl Service<Uri> for CountingConnector {
    type Response = TokioIo<TcpStream>;
    type Error = io::Error;
    type Future = Pin<Box<dyn Future<Output = io::Result<TokioIo<TcpStream>>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        self.0.fetch_add(1, Ordering::Relaxed);
        let address = uri.authority().unwrap().to_string();
        Box::pin(async move { Ok(TokioIo::new(TcpStream::connect(address).await?)) })
    }
}

struct Served {
    address: SocketAddr,
    health: Health,
    stop: CancellationToken,
    server: JoinHandle<usize>,
}

/// Serves the health of a process that is ready.
fn serve(age: Option<Duration>) -> Served {
    let (health, stop) = (Health::default(), CancellationToken::new());
    health.part("a").ready();
    let socket = BoundSocket::on_loopback("grpc").unwrap();
    let (address, listener) = (socket.address(), socket.listen().unwrap());
    let router = grpc_server().add_service(grpc_health::<Named>(&health));
    let settings = GrpcSettings { limits: Limits::operators("test"), age, drain: DRAIN };
    let server = tokio::spawn(serve_grpc(listener, router, settings, stop.clone()));
    Served { address, health, stop, server }
}

async fn connect(address: SocketAddr, connector: CountingConnector) -> HealthClient<Channel> {
    let endpoint = Endpoint::from_shared(format!("http://{address}")).unwrap();
    HealthClient::new(endpoint.connect_with_connector(connector).await.unwrap())
}

fn named() -> HealthCheckRequest {
    HealthCheckRequest { service: Named::NAME.to_owned() }
}

async fn hears(watch: &mut Streaming<HealthCheckResponse>, expected: ServingStatus) {
    assert_eq!(watch.message().await.unwrap().unwrap().status(), expected);
}

#[tokio::test]
async fn callers_connect_anew_by_age_without_a_failed_call_and_streams_have_grace() {
    let age = Duration::from_millis(200);
    let served = serve(Some(age));
    let connector = CountingConnector::default();
    let mut client = connect(served.address, connector.clone()).await;
    let mut watch = client.watch(named()).await.unwrap().into_inner();
    hears(&mut watch, ServingStatus::Serving).await;
    let began = std::time::Instant::now();
    let ended = tokio::spawn(async move { (watch.message().await, began.elapsed()) });
    while !ended.is_finished() || connector.0.load(Ordering::Relaxed) < 4 {
        match client.check(named()).await {
            Ok(checked) => assert_eq!(checked.into_inner().status(), ServingStatus::Serving),
            // The client had not sent it yet when it heard that the connection ends.
            Err(status) => assert_eq!(status.message(), "operation was canceled"),
        }
    }
    let (ended, after) = ended.await.unwrap();
    assert_eq!(ended.unwrap_err().code(), Code::Unavailable);
    assert!(after >= age.mul_f64(1.5), "the stream had grace: it ended after {after:?}");
    served.stop.cancel();
    assert_eq!(served.server.await.unwrap(), 0);
}

#[tokio::test]
async fn a_watcher_hears_that_the_process_leaves_before_its_stream_ends() {
    let served = serve(None);
    let mut client = connect(served.address, CountingConnector::default()).await;
    let unknown = HealthCheckRequest { service: "test.Other".to_owned() };
    assert_eq!(client.check(unknown).await.unwrap_err().code(), Code::NotFound);
    let mut watches = Vec::new();
    for request in [named(), HealthCheckRequest::default()] {
        watches.push(client.watch(request).await.unwrap().into_inner());
    }
    for status in [ServingStatus::Serving, ServingStatus::NotServing, ServingStatus::Serving] {
        if status == ServingStatus::Serving {
            served.health.part("b").ready();
        } else {
            served.health.part("b").not_ready("late");
        }
        for watch in &mut watches {
            hears(watch, status).await;
        }
    }
    served.health.leave();
    served.stop.cancel();
    for mut watch in watches {
        hears(&mut watch, ServingStatus::NotServing).await;
        assert_eq!(watch.message().await.unwrap_err().code(), Code::Unavailable);
    }
    assert_eq!(served.server.await.unwrap(), 0, "no connection was cut off");
    assert!(TcpStream::connect(served.address).await.is_err());
}

#[tokio::test]
async fn what_strangers_may_ask_of_health_is_bounded() {
    let served = serve(None);
    let mut client = connect(served.address, CountingConnector::default()).await;
    let large = HealthCheckRequest { service: "x".repeat(1_100) };
    assert_eq!(client.check(large).await.unwrap_err().code(), Code::OutOfRange);
    let mut watches = Vec::new();
    for _ in 0..64 {
        watches.push(client.watch(named()).await.unwrap().into_inner());
    }
    let mut other = connect(served.address, CountingConnector::default()).await;
    assert_eq!(other.watch(named()).await.unwrap_err().code(), Code::ResourceExhausted);
    assert!(other.check(named()).await.is_ok(), "a check still has its answer");
    watches.clear();
    while other.watch(named()).await.is_err() {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_health_request_that_does_not_arrive_ends() {
    let health = Health::default();
    let never = Body::new(StreamBody::new(stream::pending::<Result<Frame<hyper::body::Bytes>, Status>>()));
    let mut request = http::Request::new(never);
    *request.method_mut() = http::Method::POST;
    *request.uri_mut() = Uri::from_static("/grpc.health.v1.Health/Watch");
    let response = grpc_health::<Named>(&health).call(request).await.unwrap();
    assert_eq!(Status::from_header_map(response.headers()).unwrap().code(), Code::DeadlineExceeded);
}

#[tokio::test]
async fn a_caller_that_is_silent_longer_than_http2_may_take_to_begin_is_not_cut_off() {
    let served = serve(None);
    let connector = CountingConnector::default();
    let mut client = connect(served.address, connector.clone()).await;
    client.check(named()).await.unwrap();
    tokio::time::pause();
    tokio::time::advance(Duration::from_secs(15)).await;
    tokio::time::resume();
    client.check(named()).await.unwrap();
    assert_eq!(connector.0.load(Ordering::Relaxed), 1);
}

/// Reads the next frame of HTTP/2 (RFC 9113, section 4.1); returns its type and flags.
async fn next_frame(stream: &mut TcpStream) -> io::Result<(u8, u8)> {
    let mut head = [0; 9];
    stream.read_exact(&mut head).await?;
    let length = u32::from_be_bytes([0, head[0], head[1], head[2]]);
    let mut payload = vec![0; length as usize];
    stream.read_exact(&mut payload).await?;
    Ok((head[3], head[4]))
}

#[tokio::test]
async fn a_connection_that_answers_no_ping_is_closed() {
    const SETTINGS: u8 = 4;
    const PING: u8 = 6;
    const ACK: u8 = 1;
    let served = serve(None);
    let mut stream = TcpStream::connect(served.address).await.unwrap();
    let settings = [0, 0, 0, SETTINGS, 0, 0, 0, 0, 0];
    stream.write_all(&[&b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"[..], &settings].concat()).await.unwrap();
    while next_frame(&mut stream).await.unwrap() != (SETTINGS, ACK) {}
    tokio::time::pause();
    let mut pings = 0;
    let until_closed = async {
        while let Ok((kind, _)) = next_frame(&mut stream).await {
            pings += u32::from(kind == PING);
        }
    };
    let longest = Duration::from_secs(PING_EVERY_S + PING_WITHIN_S + 1);
    assert!(tokio::time::timeout(longest, until_closed).await.is_ok(), "it stayed open");
    assert_eq!(pings, 1);
}

#[test]
fn ages_differ_by_at_most_a_tenth() {
    let ages: Vec<Duration> = (0..100).map(|_| with_jitter(Duration::from_secs(100))).collect();
    assert!(ages.iter().all(|age| (90..=110).contains(&age.as_secs())));
    assert!(ages.iter().any(|age| *age != ages[0]));
}
