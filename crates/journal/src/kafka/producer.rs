//! Appends records, with one of two producers that behave alike. Both are idempotent: a broker
//! writes a message once, even if it is sent again.
//!
//! `direct.rs` sends the waiting messages of all partitions of a broker in one request. The client
//! library (`library.rs`) sends one request for each partition, which costs several times the CPU
//! time on both sides; it is used if properties of the library are configured, such as TLS and
//! SASL.

mod delivery;
mod direct;
mod gather;
mod library;
mod statistics;

use std::sync::Arc;

use super::client::Client;
use crate::{Ack, Entry, JournalError, Partition};

use direct::DirectProducer;
use library::LibraryProducer;

pub(super) use library::write_once;

/// The producer of the process. Clones are handles of the same one.
#[derive(Clone)]
pub(super) enum Producer {
    Direct(DirectProducer),
    Library(LibraryProducer),
}

impl Producer {
    /// Starts the producer. Must be called on a runtime.
    pub(super) fn start(client: &Arc<Client>) -> Result<Self, JournalError> {
        if client.settings.properties.is_empty() {
            Ok(Self::Direct(DirectProducer::start(&client.settings, client.member())))
        } else {
            LibraryProducer::start(client.clone()).map(Self::Library)
        }
    }

    /// Appends the entries in this order.
    pub(super) fn append(&self, partition: Partition, entries: Vec<Entry>) -> Ack {
        match self {
            Self::Direct(producer) => producer.append(partition, entries),
            Self::Library(producer) => producer.append(partition, entries),
        }
    }

    /// Waits for the appends in progress, for at most [`delivery::CLOSE`].
    pub(super) async fn close(&self) {
        match self {
            Self::Direct(producer) => producer.close().await,
            Self::Library(producer) => {
                let producer = producer.clone();
                drop(tokio::task::spawn_blocking(move || producer.close()).await);
            }
        }
    }
}
