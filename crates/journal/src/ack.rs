//! The acknowledgement of an append: a future that resolves once the entries are durable.

use std::{
    future::{Future, poll_fn},
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use tokio::sync::oneshot;

use crate::{error::JournalError, metrics, topic::Partition};

/// Resolves when all entries of an append are durable, or with the error that prevents it. After
/// [`JournalError::AppendUnknown`] the entries may or may not be in the log.
#[derive(Debug)]
pub struct Ack {
    partition: Partition,
    result: oneshot::Receiver<Result<Option<LogTime>, JournalError>>,
}

/// When the log took an append, in Unix ms by the clock of the broker.
pub type LogTime = i64;

/// The implementation's end of an [`Ack`]. Dropping it without a result makes the append's outcome
/// unknown.
#[derive(Debug)]
pub struct AckSender(oneshot::Sender<Result<Option<LogTime>, JournalError>>);

impl Ack {
    /// An acknowledgement that the sender resolves later.
    pub fn pending(partition: Partition) -> (AckSender, Self) {
        let (sender, result) = oneshot::channel();
        (AckSender(sender), Self { partition, result })
    }

    /// An acknowledgement that is resolved already.
    pub fn ready(partition: Partition, result: Result<(), JournalError>) -> Self {
        let (sender, ack) = Self::pending(partition);
        sender.send(result);
        ack
    }

    /// Like the acknowledgement itself, with the time of the append, if the broker stamps it.
    pub async fn log_time(mut self) -> Result<Option<LogTime>, JournalError> {
        poll_fn(|context| self.poll_result(context)).await
    }

    fn poll_result(&mut self, context: &mut Context<'_>) -> Poll<Result<Option<LogTime>, JournalError>> {
        let partition = self.partition;
        Pin::new(&mut self.result).poll(context).map(|received| {
            received.unwrap_or_else(|_| {
                Err(JournalError::AppendUnknown {
                    partition,
                    reason: "the journal was closed before it acknowledged the append".into(),
                })
            })
        })
    }

    /// An append that is refused as a whole before anything is written.
    pub fn refused(partition: Partition, reason: impl Into<Arc<str>>) -> Self {
        Self::ready(partition, Err(JournalError::AppendRefused { partition, reason: reason.into() }))
    }
}

impl AckSender {
    /// Resolves the acknowledgement, if it has not been dropped.
    pub fn send(self, result: Result<(), JournalError>) {
        self.send_with_time(result.map(|()| None));
    }

    /// Resolves the acknowledgement with the time of the append, if the broker stamps it.
    pub fn send_with_time(self, result: Result<Option<LogTime>, JournalError>) {
        if result.is_err() {
            metrics::append_failed();
        }
        drop(self.0.send(result));
    }
}

impl Future for Ack {
    type Output = Result<(), JournalError>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        self.poll_result(context).map_ok(drop)
    }
}
