//! A connection to a broker: one request at a time, and its answer.

use std::{io, time::Duration};

use bytes::{Buf, Bytes, BytesMut};
use kafka_protocol::{
    messages::{RequestHeader, TopicName},
    protocol::{Encodable, StrBytes},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};

use super::answer::{self, Call, invalid};

/// How long connecting may take.
const CONNECT: Duration = Duration::from_secs(3);
/// The largest answer that is read, in bytes.
const ANSWER_BYTES_MAX: usize = 16 << 20;
/// How long the transfer of an answer may take.
const TRANSFER: Duration = Duration::from_mins(1);
/// After a larger answer, in bytes, the memory of the connection's buffer is released.
const KEPT_BYTES_MAX: usize = 256 << 10;

/// The address of a broker.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(in crate::kafka) struct Address {
    pub(in crate::kafka) host: String,
    pub(in crate::kafka) port: u16,
}

/// A connection. After an error it must be dropped, since an answer may still arrive on it.
pub(in crate::kafka) struct Connection {
    stream: TcpStream,
    client_id: StrBytes,
    /// The number of the latest request, which its answer repeats.
    correlation: i32,
    buffer: BytesMut,
}

impl Connection {
    pub(in crate::kafka) async fn open(address: &Address, client_id: &str) -> io::Result<Self> {
        let connecting = TcpStream::connect((address.host.as_str(), address.port));
        let stream = timeout(CONNECT, connecting).await.map_err(|_| timed_out(CONNECT))??;
        stream.set_nodelay(true)?;
        let client_id = StrBytes::from_string(client_id.to_owned());
        Ok(Self { stream, client_id, correlation: 0, buffer: BytesMut::new() })
    }

    /// Sends a request, and waits for its answer. The answer must begin within this time, and go on
    /// arriving: a large one may take longer.
    pub(in crate::kafka) async fn call<C: Call>(&mut self, request: &C, within: Duration) -> io::Result<C::Response> {
        let begun = async {
            self.send(request).await?;
            self.buffer.clear();
            self.read_more().await
        };
        timeout(within, begun).await.map_err(|_| timed_out(within))??;
        let answer = timeout(TRANSFER, self.receive_frame(within)).await.map_err(|_| timed_out(TRANSFER))??;
        answer::read::<C>(answer, self.correlation)
    }

    async fn send<C: Call>(&mut self, request: &C) -> io::Result<()> {
        self.correlation = self.correlation.wrapping_add(1);
        let header = RequestHeader::default()
            .with_request_api_key(C::KEY)
            .with_request_api_version(C::VERSION)
            .with_correlation_id(self.correlation)
            .with_client_id(Some(self.client_id.clone()));
        self.buffer.clear();
        self.buffer.extend_from_slice(&[0; LENGTH_BYTES]);
        header.encode(&mut self.buffer, C::header_version(C::VERSION)).map_err(invalid)?;
        request.encode(&mut self.buffer, C::VERSION).map_err(invalid)?;
        let length = u32::try_from(self.buffer.len() - LENGTH_BYTES).map_err(invalid)?;
        self.buffer[..LENGTH_BYTES].copy_from_slice(&length.to_be_bytes());
        self.stream.write_all(&self.buffer).await
    }

    /// Reads the rest of an answer, of which some bytes are there, with pauses of at most `within`.
    async fn receive_frame(&mut self, within: Duration) -> io::Result<Bytes> {
        self.read_until(LENGTH_BYTES, within).await?;
        let length = usize::try_from(self.buffer.get_u32()).map_err(invalid)?;
        if length > ANSWER_BYTES_MAX {
            return Err(invalid("the answer is too long"));
        }
        self.read_until(length, within).await?;
        let answer = self.buffer.split_to(length).freeze();
        if length > KEPT_BYTES_MAX {
            self.buffer = BytesMut::new();
        }
        Ok(answer)
    }

    async fn read_until(&mut self, length: usize, within: Duration) -> io::Result<()> {
        while self.buffer.len() < length {
            timeout(within, self.read_more()).await.map_err(|_| timed_out(within))??;
        }
        Ok(())
    }

    async fn read_more(&mut self) -> io::Result<()> {
        match self.stream.read_buf(&mut self.buffer).await? {
            0 => Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the broker closed the connection")),
            _ => Ok(()),
        }
    }
}

/// The bytes in front of a request or an answer that say how long it is.
const LENGTH_BYTES: usize = 4;

fn timed_out(after: Duration) -> io::Error {
    io::Error::new(io::ErrorKind::TimedOut, format!("no answer within {after:?}"))
}

/// A topic's name in the type of the protocol.
pub(in crate::kafka) fn topic_name(name: &str) -> TopicName {
    TopicName(StrBytes::from_string(name.to_owned()))
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use kafka_protocol::messages::{ListOffsetsRequest, ListOffsetsResponse};
    use tokio::net::TcpListener;

    use super::*;
    use crate::kafka::wire::written;

    #[tokio::test]
    async fn an_answer_may_take_long_as_long_as_it_goes_on_arriving() {
        const WITHIN: Duration = Duration::from_millis(500);
        for (pause, is_read) in [(WITHIN / 4, true), (WITHIN * 4, false)] {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let port = listener.local_addr().unwrap().port();
            tokio::spawn(async move {
                let (mut stream, _) = listener.accept().await.unwrap();
                let answer = written::<ListOffsetsRequest>(1, &ListOffsetsResponse::default());
                let length = u32::try_from(answer.len()).unwrap();
                for byte in length.to_be_bytes().iter().chain(&answer) {
                    stream.write_u8(*byte).await.unwrap();
                    tokio::time::sleep(pause).await;
                }
            });
            let address = Address { host: "127.0.0.1".to_owned(), port };
            let mut connection = Connection::open(&address, "test").await.unwrap();
            // 16 bytes, so four times as long as the silence that is borne.
            let answer = connection.call(&ListOffsetsRequest::default(), WITHIN).await;
            assert_eq!(answer.is_ok(), is_read, "pauses of {pause:?}: {answer:?}");
        }
    }
}
