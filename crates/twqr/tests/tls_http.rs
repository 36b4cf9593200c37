//! TLS of the POS HTTP form of a real system: signed payments are paid, plain HTTP is refused, and
//! payments continue while the certificates of both sides are replaced.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

#[path = "support/launched.rs"]
mod launched;
#[path = "../../ingress/tests/support/post.rs"]
mod post;
#[path = "support/shown_metrics.rs"]
mod shown_metrics;

use std::{
    io,
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering},
    time::Duration,
};

use launched::launch;
use post::{KEY, inquiry_text, payment_text, signed};
use serde_json::Value;
use shown_metrics::until_shown;
use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _},
    net::TcpStream,
    time::timeout,
};
use twqr_config::{Config, ListenerTls, PeerTls, TlsConfig};
use twqr_lab::launch::{Authority, System};
use twqr_tls::{ClientTls, MaybeTls, Protocol};

/// How many callers pay at once.
const CALLERS: usize = 4;
/// After this time a connection counts as stuck.
const STUCK: Duration = Duration::from_secs(30);

/// Starts a system whose POS HTTP form has this TLS.
async fn start(folder: &Path, pos_http: ListenerTls) -> System {
    let keys = folder.join("keys.toml");
    std::fs::write(&keys, format!("[keys.M1]\nS = \"{KEY}\"\n")).unwrap();
    let tls = TlsConfig { pos_http, ..TlsConfig::default() };
    let config = Config { merchant_keys_file: keys, tls, ..Config::default() };
    launch(env!("CARGO_BIN_EXE_twqr"), &folder.join("run"), None, config).await
}

/// TLS of the listener; with `client_ca_file` each caller must show a certificate.
fn listener(servers: &Authority, client_ca_file: PathBuf) -> ListenerTls {
    let (certificate_file, key_file) = (servers.file("server.pem"), servers.file("server.key"));
    ListenerTls { certificate_file, key_file, client_ca_file, ..ListenerTls::default() }
}

/// TLS of a caller that trusts the authority of the servers, and shows the certificate that its own
/// authority has issued, if there is one.
fn caller(servers: &Authority, own: Option<&Authority>) -> ClientTls {
    let mut client = PeerTls { ca_file: servers.file("ca.pem"), ..PeerTls::default() };
    if let Some(own) = own {
        (client.certificate_file, client.key_file) = (own.file("client.pem"), own.file("client.key"));
    }
    let mut files = TlsConfig { client, ..TlsConfig::default() }.client_files().unwrap();
    files.protocol = Protocol::Http1;
    ClientTls::start(files).unwrap()
}

async fn connect(address: SocketAddr, client: &ClientTls) -> io::Result<MaybeTls<TcpStream>> {
    client.connect("localhost", TcpStream::connect(address).await?).await
}

/// Sends a signed request on a connection that stays open; returns the StatusCode of the answer.
async fn send(stream: &mut (impl AsyncRead + AsyncWrite + Unpin), operation: &str, text: &str) -> io::Result<String> {
    let body = signed(text, KEY);
    let length = body.len();
    let head = format!("POST /Pos/{operation} HTTP/1.1\r\nHost: pos\r\nContent-Type: application/json; charset=utf-8");
    stream.write_all(format!("{head}\r\nContent-Length: {length}\r\n\r\n{body}").as_bytes()).await?;
    stream.flush().await?;
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await?);
    }
    let head = String::from_utf8(head).unwrap().to_lowercase();
    let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
    let mut body = vec![0; length.unwrap().parse().unwrap()];
    stream.read_exact(&mut body).await?;
    let answer: Value = serde_json::from_slice(&body).unwrap();
    Ok(answer["StatusCode"].as_str().unwrap().to_owned())
}

/// Whether this caller can pay on a new connection. With TLS 1.3 a caller learns that its
/// certificate is refused only when it reads.
async fn can_pay(address: SocketAddr, client: &ClientTls, number: &str) -> bool {
    let paid = async {
        let mut stream = connect(address, client).await?;
        send(&mut stream, "Payment", &payment_text(number)).await
    };
    timeout(STUCK, paid).await.unwrap().is_ok_and(|code| code == "000")
}

/// The certificate that the listener shows on a new connection.
async fn shown_certificate(address: SocketAddr, client: &ClientTls) -> Vec<u8> {
    match connect(address, client).await.unwrap() {
        MaybeTls::Tls(stream) => stream.get_ref().1.peer_certificates().unwrap()[0].to_vec(),
        MaybeTls::Plain(_) => panic!("the connection is in plain text"),
    }
}

/// Replaces a file at once, as a mounted secret is.
fn replace(file: &Path, contents: &[u8]) {
    let new = file.with_extension("new");
    std::fs::write(&new, contents).unwrap();
    std::fs::rename(&new, file).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_signed_payment_is_paid_over_tls_and_plain_http_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let servers = Authority::create(folder.path()).unwrap();
    let mut system = start(folder.path(), listener(&servers, PathBuf::new())).await;
    let address = system.config.pos_http;
    let mut stream = connect(address, &caller(&servers, None)).await.unwrap();
    for why in ["a payment", "its repeat on the same connection"] {
        assert_eq!(send(&mut stream, "Payment", &payment_text("T1")).await.unwrap(), "000", "{why}");
    }

    let mut plain = TcpStream::connect(address).await.unwrap();
    let refused = timeout(STUCK, send(&mut plain, "Payment", &payment_text("T2"))).await.unwrap();
    assert!(refused.is_err(), "plain HTTP was answered: {refused:?}");
    assert_eq!(send(&mut stream, "Inquiry", &inquiry_text("T2", "P")).await.unwrap(), "916", "plain HTTP was accepted");
    until_shown(&system, "twqr_tls_handshakes_failed_total{listener=\"pos_http\",reason=\"plaintext\"} 1").await;
    system.end().await;
}

/// Callers that pay until they are stopped, each few payments on a new connection.
struct Payers {
    address: SocketAddr,
    /// The certificates of the callers: before and after their authority is replaced.
    clients: [ClientTls; 2],
    /// The certificate of new connections.
    newest: AtomicUsize,
    /// The certificate of each caller's present connection.
    used: [AtomicUsize; CALLERS],
    stop: AtomicBool,
    paid: AtomicU64,
}

impl Payers {
    async fn pay(&self, caller: usize) {
        let mut number = 0;
        while !self.stop.load(Ordering::SeqCst) {
            let client = self.newest.load(Ordering::SeqCst);
            self.used[caller].store(client, Ordering::SeqCst);
            let mut stream = connect(self.address, &self.clients[client]).await.unwrap();
            for _ in 0..5 {
                number += 1;
                let text = payment_text(&format!("T{caller}x{number}"));
                let code = send(&mut stream, "Payment", &text).await.unwrap();
                assert_eq!(code, "000", "payment {number} of caller {caller}");
                self.paid.fetch_add(1, Ordering::SeqCst);
            }
        }
    }

    /// Waits until more payments were paid.
    async fn until_more_are_paid(&self) {
        let before = self.paid.load(Ordering::SeqCst);
        while self.paid.load(Ordering::SeqCst) < before + 10 {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Lets every caller change to its new certificate, and waits until its connection with the old
    /// one has ended.
    async fn use_new_certificates(&self) {
        self.newest.store(1, Ordering::SeqCst);
        while self.used.iter().any(|used| used.load(Ordering::SeqCst) == 0) {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn no_payment_fails_while_the_certificates_of_both_sides_are_replaced() {
    let folder = tempfile::tempdir().unwrap();
    let [servers, old, new] =
        ["servers", "old", "new"].map(|name| Authority::create(&folder.path().join(name)).unwrap());
    let [old_ca, new_ca] = [&old, &new].map(|callers| std::fs::read(callers.file("ca.pem")).unwrap());
    let client_ca = folder.path().join("client-ca.pem");
    std::fs::write(&client_ca, &old_ca).unwrap();
    let mut system = start(folder.path(), listener(&servers, client_ca.clone())).await;
    let payers = Payers {
        address: system.config.pos_http,
        clients: [&old, &new].map(|own| caller(&servers, Some(own))),
        newest: AtomicUsize::new(0),
        used: [(); CALLERS].map(|()| AtomicUsize::new(0)),
        stop: AtomicBool::new(false),
        paid: AtomicU64::new(0),
    };
    let changes = async {
        replace_certificates(&system, &payers, &servers, (&client_ca, &old_ca, &new_ca)).await;
        let [old, _] = &payers.clients;
        // EARLY has raised the first count to 1.
        for (client, reason, count) in [(old, "bad_certificate", 2), (&caller(&servers, None), "no_certificate", 1)] {
            assert!(!can_pay(payers.address, client, "STRANGER").await, "a caller was let in: {reason}");
            let series =
                format!("twqr_tls_handshakes_failed_total{{listener=\"pos_http\",reason=\"{reason}\"}} {count}");
            until_shown(&system, &series).await;
        }
        payers.until_more_are_paid().await;
        payers.stop.store(true, Ordering::SeqCst);
    };
    tokio::join!(futures::future::join_all((0..CALLERS).map(|caller| payers.pay(caller))), changes);
    let log = system.log("up").unwrap();
    assert!(!log.contains("PRIVATE"), "{log}");
    system.end().await;
}

/// Replaces the certificate of the listener, then by one that does not fit its key, and then the
/// authority of the callers: first both are accepted, and then the new one alone.
async fn replace_certificates(
    system: &System,
    payers: &Payers,
    servers: &Authority,
    (client_ca, old_ca, new_ca): (&Path, &[u8], &[u8]),
) {
    let reloaded = async |times: u32| {
        let series = format!("twqr_certificate_reloads_total{{section=\"tls.pos_http\",result=\"done\"}} {times}");
        until_shown(system, &series).await;
        payers.until_more_are_paid().await;
    };
    let [old, new] = &payers.clients;
    let first = std::fs::read(servers.file("server.pem")).unwrap();
    let shown_first = shown_certificate(payers.address, old).await;
    assert!(!can_pay(payers.address, new, "EARLY").await, "a certificate of an unknown authority was let in");

    servers.renew_servers().unwrap();
    reloaded(1).await;
    let shown_second = shown_certificate(payers.address, old).await;
    assert_ne!(shown_second, shown_first, "the certificate before is still shown");

    // The old certificate with the new key.
    replace(&servers.file("server.pem"), &first);
    until_shown(system, "twqr_certificate_refused{section=\"tls.pos_http\"} 1").await;
    payers.until_more_are_paid().await;
    assert_eq!(shown_certificate(payers.address, old).await, shown_second, "the certificate before is in force");

    servers.renew_servers().unwrap();
    replace(client_ca, &[old_ca, new_ca].concat());
    reloaded(2).await;
    payers.use_new_certificates().await;
    replace(client_ca, new_ca);
    reloaded(3).await;
}
