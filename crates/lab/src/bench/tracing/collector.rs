//! A collector of traces that takes each export over HTTP and only counts it.

use std::{
    io,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use serde_json::{Value, json};
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader},
    net::{TcpListener, TcpStream},
};

/// The answer to each export.
const ANSWER: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n";

/// The bytes that have arrived so far.
#[derive(Debug, Default)]
struct ExportCounts {
    exports: AtomicU64,
    bytes: AtomicU64,
}

/// A collector on a free port of the loopback address.
pub(super) struct Collector {
    address: SocketAddr,
    counts: Arc<ExportCounts>,
}

impl Collector {
    /// Listens until the process ends.
    pub(super) async fn start() -> io::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let (address, counts) = (listener.local_addr()?, Arc::<ExportCounts>::default());
        let counted = counts.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(serve(stream, counted.clone()));
            }
        });
        Ok(Self { address, counts })
    }

    /// The address at which OTLP over HTTP is accepted.
    pub(super) fn endpoint(&self) -> String {
        format!("http://{}/v1/traces", self.address)
    }

    /// The number of exports that arrived, and their bytes.
    pub(super) fn received(&self) -> Value {
        let ExportCounts { exports, bytes } = &*self.counts;
        json!({ "exports": exports.load(Ordering::Relaxed), "bytes": bytes.load(Ordering::Relaxed) })
    }
}

/// Answers the exports of one connection until it ends.
async fn serve(stream: TcpStream, counts: Arc<ExportCounts>) -> io::Result<()> {
    let mut stream = BufReader::new(stream);
    while let Some(length) = body_length(&mut stream).await? {
        let mut body = vec![0; length];
        stream.read_exact(&mut body).await?;
        counts.exports.fetch_add(1, Ordering::Relaxed);
        counts.bytes.fetch_add(length as u64, Ordering::Relaxed);
        stream.get_mut().write_all(ANSWER).await?;
    }
    Ok(())
}

/// Reads the head of a request, and returns the length of its body; `None` at the end of the
/// connection.
async fn body_length(stream: &mut BufReader<TcpStream>) -> io::Result<Option<usize>> {
    let mut length = 0;
    loop {
        let mut line = String::new();
        if stream.read_line(&mut line).await? == 0 {
            return Ok(None);
        }
        let line = line.trim_end();
        if line.is_empty() {
            return Ok(Some(length));
        }
        if let Some((name, value)) = line.split_once(':')
            && name.eq_ignore_ascii_case("content-length")
        {
            length = value.trim().parse().map_err(io::Error::other)?;
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use super::*;

    #[tokio::test]
    async fn each_export_of_a_connection_is_counted_and_answered() {
        let collector = Collector::start().await.unwrap();
        let mut exporter = TcpStream::connect(collector.address).await.unwrap();
        for body in ["abc", "defgh"] {
            let head = format!("POST /v1/traces HTTP/1.1\r\nContent-Length: {}\r\n\r\n", body.len());
            exporter.write_all(format!("{head}{body}").as_bytes()).await.unwrap();
            let mut answer = vec![0; ANSWER.len()];
            exporter.read_exact(&mut answer).await.unwrap();
            assert_eq!(answer, ANSWER);
        }
        assert_eq!(collector.received(), json!({ "exports": 2, "bytes": 8 }));
    }
}
