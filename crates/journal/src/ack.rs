//! The acknowledgement of an append: a future that tells when it is durable.

use std::{
    future::Future,
    pin::Pin,
    task::{Context, Poll},
};

use tokio::sync::oneshot;

use crate::{JournalError, Partition};

/// Ready when everything that was appended is durable, or when it is known that this can no longer
/// be told.
#[derive(Debug)]
pub struct Ack {
    partition: Partition,
    result: oneshot::Receiver<Result<(), JournalError>>,
}

/// The implementation's end of an [`Ack`]. Dropping it without a result means: nobody knows.
#[derive(Debug)]
pub struct AckSender(oneshot::Sender<Result<(), JournalError>>);

impl Ack {
    /// An acknowledgement to come.
    pub fn pending(partition: Partition) -> (AckSender, Self) {
        let (sender, result) = oneshot::channel();
        (AckSender(sender), Self { partition, result })
    }

    /// One that is there already.
    pub fn ready(partition: Partition, result: Result<(), JournalError>) -> Self {
        let (sender, ack) = Self::pending(partition);
        sender.send(result);
        ack
    }
}

impl AckSender {
    /// Tells whoever still waits.
    pub fn send(self, result: Result<(), JournalError>) {
        drop(self.0.send(result));
    }
}

impl Future for Ack {
    type Output = Result<(), JournalError>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let partition = self.partition;
        Pin::new(&mut self.result).poll(context).map(|received| {
            received.unwrap_or_else(|_| {
                Err(JournalError::AppendUnknown { partition, reason: "the journal was closed meanwhile".into() })
            })
        })
    }
}
