//! TLS of what shows how the system works: the listener `admin`, and the connection to the
//! collector of traces.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

#[path = "support/launched.rs"]
mod launched;
#[path = "support/receiver.rs"]
mod receiver;

use std::{net::SocketAddr, path::Path, process::Stdio, time::Duration};

use launched::{WALLET, launch, payment};
use receiver::Received;
use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _},
    net::TcpStream,
    process::Command,
    time::timeout,
};
use twqr_config::{Config, ListenerTls, PeerTls, TelemetryConfig, TelemetryProtocol, TlsConfig};
use twqr_lab::launch::{Authority, ReservedAddresses, command, connect};
use twqr_tls::{ClientTls, Protocol};
use twqr_types::{MerchantId, MerchantTradeNo, OrderKey};
use twqr_wire::{pos::pos_service_client::PosServiceClient, trace::TraceId};

/// After this time the process counts as stuck.
const STUCK: Duration = Duration::from_secs(30);

fn listener(authority: &Authority) -> ListenerTls {
    let (certificate_file, key_file) = (authority.file("server.pem"), authority.file("server.key"));
    ListenerTls { certificate_file, key_file, ..ListenerTls::default() }
}

fn peer(authority: &Authority) -> PeerTls {
    PeerTls { ca_file: authority.file("ca.pem"), ..PeerTls::default() }
}

/// The answer to a request for this path; empty if there is none.
async fn get(mut stream: impl AsyncRead + AsyncWrite + Unpin, path: &str) -> String {
    let request = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
    let mut answer = Vec::new();
    if stream.write_all(request.as_bytes()).await.is_ok() {
        drop(stream.read_to_end(&mut answer).await);
    }
    String::from_utf8_lossy(&answer).into_owned()
}

async fn connected(address: SocketAddr) -> TcpStream {
    loop {
        if let Ok(stream) = TcpStream::connect(address).await {
            return stream;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn health_and_metrics_are_served_over_tls_and_not_in_plain_text() {
    let folder = tempfile::tempdir().unwrap();
    let authority = Authority::create(folder.path()).unwrap();
    let mut reserved = ReservedAddresses::default();
    let tls = TlsConfig { admin: listener(&authority), client: peer(&authority), ..TlsConfig::default() };
    let config = Config { data_dir: folder.path().join("data"), tls, ..reserved.assign_to(Config::default()).unwrap() };
    let file = folder.path().join("twqr.toml");
    std::fs::write(&file, toml::to_string(&config).unwrap()).unwrap();
    let mut command = Command::from(command(env!("CARGO_BIN_EXE_twqr")));
    command.arg("--config").arg(&file).arg("up").stdin(Stdio::null()).stdout(Stdio::null());
    let _process = command.stderr(Stdio::null()).kill_on_drop(true).spawn().unwrap();

    // The client offers HTTP/1.1, as Prometheus and the kubelet may.
    let mut files = config.tls.client_files().unwrap();
    files.protocol = Protocol::Http1;
    let client = ClientTls::start(files).unwrap();
    let over_tls = async |path| {
        let stream = client.connect("localhost", connected(config.admin).await).await.unwrap();
        get(stream, path).await
    };
    let healthz = timeout(STUCK, over_tls("/healthz")).await.unwrap();
    assert!(healthz.starts_with("HTTP/1.1 200") && healthz.ends_with("alive"), "{healthz}");
    assert!(over_tls("/readyz").await.starts_with("HTTP/1.1 "));
    let plain = timeout(STUCK, get(connected(config.admin).await, "/metrics")).await.unwrap();
    assert!(!plain.contains("HTTP/1.1") && !plain.contains("twqr_"), "{plain}");
    let metrics = over_tls("/metrics").await;
    assert!(
        metrics.contains("twqr_tls_handshakes_failed_total{listener=\"admin\",reason=\"plaintext\"} 1"),
        "{metrics}"
    );
}

/// Starts a system that sends its traces to this address over TLS, pays, and returns the trace.
async fn pay(folder: &Path, telemetry: TelemetryConfig, tls: TlsConfig) -> String {
    let config = Config { telemetry, tls, ..Config::default() };
    let mut system = launch(env!("CARGO_BIN_EXE_twqr"), &folder.join("run"), None, config).await;
    let mut client = PosServiceClient::new(connect(system.config.grpc).await.unwrap());
    assert_eq!(client.pay(payment("T1", WALLET)).await.unwrap().into_inner().status_code, "000");
    system.stop("up").await.unwrap();
    let merchant_id = MerchantId::parse("M1".to_owned()).unwrap();
    let merchant_trade_no = MerchantTradeNo::parse("T1".to_owned()).unwrap();
    TraceId::of_order(&OrderKey { merchant_id, merchant_trade_no }).to_string()
}

#[tokio::test(flavor = "multi_thread")]
async fn traces_reach_a_collector_over_tls_and_no_collector_of_another_authority() {
    for protocol in [TelemetryProtocol::Grpc, TelemetryProtocol::Http] {
        for is_known in [true, false] {
            let folder = tempfile::tempdir().unwrap();
            let [ours, other] = ["ours", "other"].map(|name| Authority::create(&folder.path().join(name)).unwrap());
            let collector = TlsConfig { grpc: listener(&ours), pos_http: listener(&ours), ..TlsConfig::default() };
            let files = match protocol {
                TelemetryProtocol::Grpc => collector.grpc_files(),
                TelemetryProtocol::Http => collector.pos_http_files(),
            };
            let (received, address) = Received::over_tls(files.unwrap());
            let endpoint = format!("https://{address}");
            let telemetry = TelemetryConfig { endpoint, protocol, sample_ratio: 1.0, ..TelemetryConfig::default() };
            let authority = if is_known { &ours } else { &other };
            let tls = TlsConfig { telemetry: peer(authority), ..TlsConfig::default() };
            let trace = pay(folder.path(), telemetry, tls).await;
            assert_eq!(received.of_trace(&trace).is_empty(), !is_known, "{protocol:?}");
        }
    }
}
