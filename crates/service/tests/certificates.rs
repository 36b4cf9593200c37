//! A connection does not outlive the certificate that its caller has shown: over gRPC and over HTTP
//! it ends once the certificate has ended, or once its authority is not trusted any more.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::{
    net::SocketAddr,
    path::PathBuf,
    time::{Duration, SystemTime},
};

use axum::{Router, http::Extensions, routing::get};
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair, date_time_ymd};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};
use tonic::{
    Code,
    server::NamedService,
    transport::{Channel, Endpoint},
};
use tonic_health::pb::{HealthCheckRequest, health_client::HealthClient};
use twqr_service::{
    BoundSocket, CallerConnection, CancellationToken, GrpcSettings, Health, Limits, Listener, grpc_health, grpc_server,
    serve_grpc, serve_http,
};
use twqr_tls::{ClientFiles, ClientTls, Connector, Identity, MaybeTls, PemFile, Protocol, ServerFiles, ServerTls};

/// How long a connection may take to end.
const PATIENCE: Duration = Duration::from_secs(20);

/// The name of a service.
struct Named;

impl NamedService for Named {
    const NAME: &'static str = "test.Named";
}

/// The certificates of one test. `server-ca.pem` has the authority of the server, and
/// `client-ca.pem` that of callers.
struct Certificates {
    folder: tempfile::TempDir,
    issuer: Issuer<'static, KeyPair>,
}

/// An authority, and its certificate in PEM form.
fn authority() -> (Issuer<'static, KeyPair>, String) {
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let key = KeyPair::generate().unwrap();
    let pem = params.self_signed(&key).unwrap().pem();
    (Issuer::new(params, key), pem)
}

impl Certificates {
    /// Certificates of a server and of a caller, which is valid for so long.
    fn new(valid_for: Duration) -> Self {
        let (folder, (issuer, pem)) = (tempfile::tempdir().unwrap(), authority());
        let made = Self { folder, issuer };
        for file in ["server-ca.pem", "client-ca.pem"] {
            std::fs::write(made.path(file), &pem).unwrap();
        }
        made.issue("server", Duration::from_hours(1));
        made.issue("client", valid_for);
        made
    }

    fn issue(&self, name: &str, valid_for: Duration) {
        let mut params = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
        let ends = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap() + valid_for;
        params.not_after = date_time_ymd(1970, 1, 1) + ends;
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        std::fs::write(self.path(&format!("{name}.pem")), certificate.pem()).unwrap();
        std::fs::write(self.path(&format!("{name}.key")), key.serialize_pem()).unwrap();
    }

    fn path(&self, file: &str) -> PathBuf {
        self.folder.path().join(file)
    }

    fn pem(&self, file: &str) -> PemFile {
        PemFile { key: file.to_owned(), path: self.path(file) }
    }

    fn identity(&self, name: &str) -> Identity {
        Identity { certificate: self.pem(&format!("{name}.pem")), key: self.pem(&format!("{name}.key")) }
    }

    fn client(&self) -> ClientTls {
        let (ca, identity) = (self.pem("server-ca.pem"), Some(self.identity("client")));
        let files = ClientFiles {
            section: "client".into(),
            protocol: Protocol::Http2,
            ca,
            identity,
            server_name: Some("localhost".into()),
        };
        ClientTls::start(files).unwrap()
    }

    fn listen(&self) -> (SocketAddr, Listener) {
        let files = ServerFiles {
            section: "server".into(),
            protocol: Protocol::Http2,
            identity: self.identity("server"),
            client_ca: Some(self.pem("client-ca.pem")),
            requires_certificate: true,
        };
        let socket = BoundSocket::on_loopback("grpc").unwrap().with_tls(Some(ServerTls::start(files).unwrap()));
        (socket.address(), socket.listen().unwrap())
    }

    /// Serves gRPC health.
    fn serve_grpc(&self) -> SocketAddr {
        let (health, (address, listener)) = (Health::default(), self.listen());
        health.part("a").ready();
        let router = grpc_server().add_service(grpc_health::<Named>(&health));
        let settings = GrpcSettings { limits: Limits::operators("grpc"), age: None, drain: PATIENCE };
        tokio::spawn(async move {
            let _health = health;
            serve_grpc(listener, router, settings, CancellationToken::new()).await
        });
        address
    }

    /// Serves HTTP; the answer is the name in the caller's certificate.
    fn serve_http(&self) -> SocketAddr {
        let (address, listener) = self.listen();
        let name = |extensions: Extensions| async move {
            CallerConnection::certificate(&extensions).unwrap().dns_names().concat()
        };
        let router = Router::new().route("/", get(name));
        tokio::spawn(serve_http(listener, router, Limits::operators("http"), CancellationToken::new(), PATIENCE));
        address
    }
}

async fn over_grpc(client: ClientTls, address: SocketAddr) -> HealthClient<Channel> {
    let endpoint = Endpoint::from_shared(format!("https://{address}")).unwrap();
    HealthClient::new(endpoint.connect_with_connector(Connector { tls: Some(client) }).await.unwrap())
}

/// Opens a connection and sends one request, whose answer leaves the connection open.
async fn over_http(client: &ClientTls, address: SocketAddr) -> MaybeTls<TcpStream> {
    let mut stream = client.connect("localhost", TcpStream::connect(address).await.unwrap()).await.unwrap();
    stream.write_all(b"GET / HTTP/1.1\r\nHost: test\r\n\r\n").await.unwrap();
    let mut answer = Vec::new();
    while !answer.ends_with(b"localhost") {
        answer.push(stream.read_u8().await.unwrap());
    }
    stream
}

/// Connects to both listeners, lets something happen, and waits until both connections have ended.
async fn both_end(certificates: &Certificates, event: impl FnOnce()) {
    let (grpc, http) = (certificates.serve_grpc(), certificates.serve_http());
    let client = certificates.client();
    let mut health = over_grpc(client.clone(), grpc).await;
    let mut watch = health.watch(HealthCheckRequest::default()).await.unwrap().into_inner();
    watch.message().await.unwrap().unwrap();
    let mut stream = over_http(&client, http).await;
    event();
    let ended = timeout(PATIENCE, watch.message()).await.unwrap().unwrap_err();
    assert_eq!(ended.code(), Code::Unavailable);
    assert!(health.check(HealthCheckRequest::default()).await.is_err(), "the next connection is refused, too");
    timeout(PATIENCE, stream.read_to_end(&mut Vec::new())).await.unwrap().unwrap();
}

#[tokio::test]
async fn connections_end_with_their_certificate() {
    let certificates = Certificates::new(Duration::from_secs(4));
    both_end(&certificates, || {}).await;
}

#[tokio::test]
async fn connections_end_once_their_authority_is_not_trusted_any_more() {
    let certificates = Certificates::new(Duration::from_hours(1));
    let (_, other) = authority();
    both_end(&certificates, || std::fs::write(certificates.path("client-ca.pem"), other).unwrap()).await;
}
