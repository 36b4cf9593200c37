//! TLS of a real system: payments continue while certificates are replaced, bad files change
//! nothing, and callers without a valid certificate are refused.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

use std::{
    collections::BTreeSet,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};
use tonic::{
    Code, Request, Status,
    transport::{Channel, Endpoint},
};
use twqr_callers::{ApiKey, Caller, CallerLimits, CallerName, MerchantScope, NewKey, Role};
use twqr_config::{AccessConfig, CallerListener, Config, PeerTls, TlsConfig};
use twqr_lab::{
    launch::{Launch, Listen, Programs, Shape, System},
    simulator::Kinds,
};
use twqr_tls::{ClientTls, Connector};
use twqr_types::KeyName;
use twqr_wire::{
    ops::{GetStatusRequest, operator_service_client::OperatorServiceClient},
    pos::{PayRequest, pos_service_client::PosServiceClient},
};

/// The binary under test.
const TWQR: &str = env!("CARGO_BIN_EXE_twqr");
/// How many callers pay at once.
const CALLERS: u64 = 4;
/// How long a change of the files may take until it is noticed, in looks of 200 ms.
const LOOKS_MAX: u32 = 150;

async fn start(dir: &Path, config: Config) -> System {
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
async fn connect(system: &System, name: Option<&str>) -> Result<PosServiceClient<Channel>, tonic::transport::Error> {
    connect_to(system, system.config.grpc_endpoint(), name).await.map(PosServiceClient::new)
}

async fn connect_to(system: &System, endpoint: String, name: Option<&str>) -> Result<Channel, tonic::transport::Error> {
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

async fn pay(client: &mut PosServiceClient<Channel>, number: &str) -> Result<String, tonic::Status> {
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

/// Whether a caller can pay with the certificate of this name, or without one. With TLS 1.3 a
/// caller learns that its certificate is refused only when it reads.
async fn can_pay(system: &System, name: Option<&str>, number: &str) -> bool {
    match connect(system, name).await {
        Ok(mut client) => pay(&mut client, number).await.is_ok_and(|code| code == "000"),
        Err(_) => false,
    }
}

/// What `/metrics` shows.
async fn metrics(system: &System) -> String {
    let mut stream = TcpStream::connect(system.config.admin).await.unwrap();
    stream.write_all(b"GET /metrics HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    answer
}

/// Waits until `/metrics` shows these series.
async fn until_shown(system: &System, series: &str) {
    for _ in 0..LOOKS_MAX {
        if metrics(system).await.contains(series) {
            return;
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    panic!("{series} is not shown:\n{}\n{}", metrics(system).await, system.log("up").unwrap());
}

/// Pays again and again until told to stop, each few payments on a new connection.
async fn pay_until(system: &System, caller: u64, stop: &AtomicBool, paid: &AtomicU64) {
    let mut number = 0;
    while !stop.load(Ordering::Relaxed) {
        let mut client = connect(system, Some("client")).await.unwrap();
        for _ in 0..5 {
            number += 1;
            let code = pay(&mut client, &format!("T{caller}x{number}")).await.unwrap();
            assert_eq!(code, "000", "payment {number} of caller {caller}");
            paid.fetch_add(1, Ordering::Relaxed);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn no_payment_fails_while_certificates_are_replaced_and_strangers_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let mut system = start(&folder.path().join("run"), Config::default()).await;
    let (stop, paid) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
    let callers = futures::future::join_all((0..CALLERS).map(|caller| pay_until(&system, caller, &stop, &paid)));
    let changes = async {
        let authority = system.authority.as_ref().unwrap();
        let first = std::fs::read(authority.file("server.pem")).unwrap();
        authority.renew_servers().unwrap();
        for section in ["tls.grpc", "tls.operators"] {
            until_shown(&system, &format!("twqr_certificate_reloads_total{{section=\"{section}\",result=\"done\"}} 1"))
                .await;
        }
        // The old certificate with the new key.
        std::fs::write(authority.file("server.pem"), first).unwrap();
        until_shown(&system, "twqr_certificate_refused{section=\"tls.grpc\"} 1").await;
        assert!(can_pay(&system, Some("client"), "BESIDES").await, "the certificate before is in force");
        authority.renew_servers().unwrap();
        until_shown(&system, "twqr_certificate_refused{section=\"tls.grpc\"} 0").await;
        until_shown(&system, "twqr_certificate_days_left{certificate=\"tls.wallet.certificate_file\"}").await;
        let before = paid.load(Ordering::Relaxed);
        while paid.load(Ordering::Relaxed) < before + 10 {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }

        authority.issue("expired", &["lab.example"], Some(2020)).unwrap();
        assert!(!can_pay(&system, None, "STRANGER1").await, "a caller without a certificate was let in");
        assert!(!can_pay(&system, Some("expired"), "STRANGER2").await, "an expired certificate was let in");
        let plain = Endpoint::from_shared(format!("http://{}", system.config.grpc)).unwrap();
        assert!(
            plain.connect().await.is_err() || {
                let mut client = PosServiceClient::new(plain.connect_lazy());
                pay(&mut client, "STRANGER3").await.is_err()
            }
        );
        for reason in ["no_certificate", "expired", "plaintext"] {
            let series = format!("twqr_tls_handshakes_failed_total{{listener=\"pos_grpc\",reason=\"{reason}\"}} ");
            until_shown(&system, &series).await;
            assert!(!metrics(&system).await.contains(&format!("{series}0\n")), "{reason} was not counted");
        }
        stop.store(true, Ordering::Relaxed);
    };
    tokio::join!(callers, changes);
    let log = system.log("up").unwrap();
    assert!(log.contains("is not the key of the certificate in") && !log.contains("PRIVATE"), "{log}");
    let build = system.build("up").unwrap();
    let check = system.run_command(build, &["config", "check"]).await.unwrap();
    assert!(check.contains("the configuration is valid"), "{check}");
    system.end().await;
}

/// An operator with this key, and the certificate that the laboratory issues to clients.
fn operator(key: &NewKey) -> Caller {
    let key = ApiKey { name: KeyName::parse("k".into()).unwrap(), hash: key.hash(), from: None, until: None };
    Caller {
        name: CallerName::parse("operator".into()).unwrap(),
        certificates: vec!["lab.example".into()],
        keys: vec![key],
        merchants: MerchantScope::Only(BTreeSet::new()),
        operations: BTreeSet::new(),
        roles: BTreeSet::from([Role::Viewer]),
        limits: CallerLimits::default(),
    }
}

/// Asks the operators' API with the certificate of this name, and with this key.
async fn status(system: &System, certificate: &str, key: Option<&str>) -> Result<(), Status> {
    let channel = connect_to(system, system.config.operators_endpoint(None), Some(certificate)).await.unwrap();
    let mut request = Request::new(GetStatusRequest {});
    if let Some(key) = key {
        request.metadata_mut().insert("authorization", format!("Bearer {key}").parse().unwrap());
    }
    OperatorServiceClient::new(channel).get_status(request).await.map(drop)
}

#[tokio::test(flavor = "multi_thread")]
async fn where_both_are_demanded_an_operator_needs_its_key_and_its_certificate() {
    let key = NewKey::of_random([7; 32]);
    let access = AccessConfig {
        required: true,
        key_and_certificate: BTreeSet::from([CallerListener::Operators]),
        callers: vec![(&operator(&key)).into()],
        ..AccessConfig::default()
    };
    let folder = tempfile::tempdir().unwrap();
    let mut system = start(&folder.path().join("run"), Config { access, ..Config::default() }).await;
    system.authority.as_ref().unwrap().issue("other", &["other.example"], None).unwrap();
    status(&system, "client", Some(key.reveal())).await.unwrap();
    let refused = status(&system, "client", None).await.unwrap_err();
    assert_eq!(refused.code(), Code::Unauthenticated);
    assert!(refused.message().contains("connect with a certificate of the same caller"), "{refused}");
    let refused = status(&system, "other", Some(key.reveal())).await.unwrap_err();
    assert_eq!(refused.code(), Code::Unauthenticated, "a stolen key and any certificate of the authority");
    let refused = pay(&mut connect(&system, Some("client")).await.unwrap(), "T1").await.unwrap_err();
    assert_eq!(refused.code(), Code::PermissionDenied, "where one is enough, the certificate identifies the caller");
    system.end().await;
}
