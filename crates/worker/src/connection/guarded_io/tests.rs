//! Tests that data which TLS buffers in this process is not sent late.

use std::path::Path;

use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream, duplex},
    time::{Duration, Instant, advance},
};
use twqr_service::Clock;
use twqr_tls::{ClientFiles, ClientTls, Identity, PemFile, Protocol, ServerFiles, ServerTls};
use twqr_types::UnixMs;

use super::*;
use crate::connection::delivery::Handed;

const BEGAN: UnixMs = UnixMs(1_700_000_000_000);
/// How many bytes the network takes while the backend does not read.
const NETWORK_BYTES: usize = 512;
/// The length of a transfer's DATA frame, more than the network takes.
const TRANSFER_LEN: usize = 8_000;
/// What tells the transfer from other bytes.
const MARK: u8 = b'$';

/// The virtual time.
struct VirtualClock(Instant);

impl Clock for VirtualClock {
    fn now(&self) -> UnixMs {
        BEGAN.plus(i64::try_from(self.0.elapsed().as_millis()).unwrap())
    }
}

fn certificates(dir: &Path) -> (ServerTls, ClientTls) {
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let (ca_key, key) = (KeyPair::generate().unwrap(), KeyPair::generate().unwrap());
    std::fs::write(dir.join("ca.pem"), params.self_signed(&ca_key).unwrap().pem()).unwrap();
    let issuer = Issuer::new(params, ca_key);
    let own = CertificateParams::new(vec!["wallet.example".to_owned()]).unwrap().signed_by(&key, &issuer).unwrap();
    std::fs::write(dir.join("own.pem"), own.pem()).unwrap();
    std::fs::write(dir.join("own.key"), key.serialize_pem()).unwrap();
    let pem = |file: &str| PemFile { key: file.to_owned(), path: dir.join(file) };
    let server = ServerTls::start(ServerFiles {
        section: "server".into(),
        protocol: Protocol::Http2,
        identity: Identity { certificate: pem("own.pem"), key: pem("own.key") },
        client_ca: None,
        requires_certificate: false,
    });
    let client = ClientTls::start(ClientFiles {
        section: "client".into(),
        protocol: Protocol::Http2,
        ca: pem("ca.pem"),
        identity: None,
        server_name: None,
    });
    (server.unwrap(), client.unwrap())
}

/// A connection with TLS through a network that takes few bytes, and its other side.
async fn connect(delivery: &Arc<Delivery>) -> (GuardedIo<DuplexStream>, MaybeTls<DuplexStream>) {
    let folder = tempfile::tempdir().unwrap();
    let (server, client) = certificates(folder.path());
    let (here, there) = duplex(NETWORK_BYTES);
    let socket = CheckedSocket::new(here, delivery.clone());
    let (stream, accepted) = tokio::join!(client.connect("wallet.example", socket), server.accept(there));
    (GuardedIo::new(stream.unwrap(), delivery.clone()), accepted.unwrap().0)
}

/// The beginning of HTTP/2, and a DATA frame with a transfer.
fn beginning_and_transfer() -> (Vec<u8>, Vec<u8>) {
    let beginning = [&b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"[..], &[0, 0, 0, 4, 0, 0, 0, 0, 0]].concat();
    let len = u32::try_from(TRANSFER_LEN).unwrap().to_be_bytes();
    let transfer = [&[len[1], len[2], len[3], 0, 0, 0, 0, 0, 1][..], &[MARK; TRANSFER_LEN]].concat();
    (beginning, transfer)
}

/// Hands over a transfer while the backend does not read, reads after this time, and returns
/// whether the transfer arrived, and why the connection was aborted.
async fn hold_back(ms: u64) -> (bool, Option<String>) {
    let delivery = Arc::new(Delivery::new(Arc::new(VirtualClock(Instant::now()))));
    let (mut io, mut backend) = connect(&delivery).await;
    let (beginning, transfer) = beginning_and_transfer();
    io.write_all(&beginning).await.unwrap();
    delivery.hand_over(Handed { call_id: 1, len: TRANSFER_LEN as u64, send_by: Some(BEGAN.plus(1_000)) });
    // TLS takes it all, and keeps what the network does not take.
    assert_eq!(io.write(&transfer).await.unwrap(), transfer.len());
    for _ in 0..ms / 250 {
        advance(Duration::from_millis(250)).await;
        delivery.beat();
    }
    let reading = async {
        let (mut received, mut piece) = (Vec::new(), [0; 1_024]);
        while let Ok(len @ 1..) = backend.read(&mut piece).await {
            received.extend_from_slice(&piece[..len]);
            if received.len() >= beginning.len() + transfer.len() {
                break;
            }
        }
        received.iter().map(|byte| usize::from(*byte == MARK)).sum::<usize>() >= TRANSFER_LEN
    };
    let writing = async {
        let flushed = io.flush().await;
        if flushed.is_err() {
            drop(io);
        }
        flushed.err().map(|error| error.to_string())
    };
    tokio::join!(reading, writing)
}

#[tokio::test(start_paused = true)]
async fn what_tls_keeps_is_checked_when_it_is_written_and_counts_as_unwritten_until_then() {
    assert_eq!(hold_back(1_000).await, (true, None), "in time");
    let late = "a transfer could not be written in time";
    assert_eq!(hold_back(2_000).await, (false, Some(late.to_owned())));
}
