//! A system whose listeners speak TLS, and its callers, for tests of the binary `twqr`. A process
//! starts one of them at most: its own connections trust the authority of the first.

#![allow(unreachable_pub, clippy::unwrap_used, clippy::missing_panics_doc, reason = "a test fails by panicking")]

use std::{path::Path, time::Duration};

use tonic::{
    Request,
    transport::{Channel, Endpoint},
};
use twqr_config::{Config, PeerTls, TlsConfig};
use twqr_lab::{
    launch::{Launch, Listen, Programs, Shape, System},
    simulator::Kinds,
};
use twqr_tls::{ClientTls, Connector};
use twqr_wire::pos::{PayRequest, pos_service_client::PosServiceClient};

/// The binary under test.
const TWQR: &str = env!("CARGO_BIN_EXE_twqr");

/// Starts the system, and waits until it serves.
pub async fn start(dir: &Path, config: Config) -> System {
    let launch = Launch {
        programs: Programs::with_simulator_in_this_process(TWQR),
        dir,
        script: None,
        config,
        listen: Listen::OnFreePorts,
        shape: Shape::AllInOne,
        kinds: Kinds::default(),
        tls: true,
        log_filter: Some("info"),
    };
    launch.start().await.unwrap()
}

/// Connects to the public API with the certificate of this name, or without one.
pub async fn connect(
    system: &System,
    name: Option<&str>,
) -> Result<PosServiceClient<Channel>, tonic::transport::Error> {
    connect_to(system, system.config.grpc_endpoint(), name).await.map(PosServiceClient::new)
}

/// The same, to another listener.
pub async fn connect_to(
    system: &System,
    endpoint: String,
    name: Option<&str>,
) -> Result<Channel, tonic::transport::Error> {
    let authority = system.authority.as_ref().unwrap();
    let mut client = PeerTls { ca_file: authority.file("ca.pem"), ..PeerTls::default() };
    if let Some(name) = name {
        client.certificate_file = authority.file(&format!("{name}.pem"));
        client.key_file = authority.file(&format!("{name}.key"));
    }
    let files = TlsConfig { client, ..TlsConfig::default() }.client_files().unwrap();
    let connector = Connector { tls: Some(ClientTls::start(files).unwrap()) };
    Endpoint::from_shared(endpoint).unwrap().connect_with_connector(connector).await
}

/// Pays; returns the StatusCode.
pub async fn pay(client: &mut PosServiceClient<Channel>, number: &str) -> Result<String, tonic::Status> {
    let mut request = Request::new(PayRequest {
        merchant_id: "M1".into(),
        merchant_trade_no: number.into(),
        card_token: "22abcdefghijklmnop".into(),
        trade_amount: 1,
        ..PayRequest::default()
    });
    request.set_timeout(Duration::from_secs(14));
    client.pay(request).await.map(|paid| paid.into_inner().status_code)
}
