//! The calls that wait for replies of the routers, each under a correlation number that its record
//! carries and every reply repeats.

use std::sync::{
    Arc,
    atomic::{AtomicU64, AtomicUsize, Ordering},
};

use arc_swap::ArcSwap;
use dashmap::DashMap;
use rand::Rng;
use tokio::sync::mpsc::{self, error::TrySendError};
use twqr_order::ReplyTo;
use twqr_types::{StatusCode, UnixMs};
use twqr_wire::convert::ReplyRecord;

use crate::{
    admission::{Admission, Ticket},
    metrics::{self, CallKind},
    protocol_versions::ProtocolVersions,
};

/// How many unread replies one pending call may have. A router replies once for each change of the
/// order, so only a watch whose caller reads too slowly reaches this; it is then ended.
const REPLIES_LEN_MAX: usize = 256;

/// The pending calls of this ingress, by correlation number.
pub(crate) struct PendingCalls {
    /// This ingress' partition of `replies`.
    partition: u32,
    addressees: DashMap<u64, Addressee>,
    /// Starts at random, so that no reply to a call of an earlier process matches a call of this
    /// one.
    next: AtomicU64,
    calls: Places,
    watches: Places,
    admission: Arc<Admission>,
    /// The policy's StatusCode for orders in progress, from the newest reply that named it.
    in_progress_code: ArcSwap<StatusCode>,
    /// The protocol versions that the replies have named.
    pub(crate) versions: ProtocolVersions,
}

/// The receiver of the replies to one call.
struct Addressee {
    replies: mpsc::Sender<ReplyRecord>,
    /// The slot among the undecided calls, which the first reply frees.
    ticket: Option<Ticket>,
}

/// Counts the pending calls of one kind, up to a limit.
struct Places {
    taken: AtomicUsize,
    max: usize,
}

impl Places {
    const fn new(max: usize) -> Self {
        Self { taken: AtomicUsize::new(0), max }
    }

    fn take(&self) -> bool {
        let is_free = self.taken.fetch_add(1, Ordering::AcqRel) < self.max;
        if !is_free {
            self.release();
        }
        is_free
    }

    fn release(&self) {
        self.taken.fetch_sub(1, Ordering::AcqRel);
    }
}

/// A call that waits for replies. Dropping it removes it from the table.
pub(crate) struct PendingCall {
    table: Arc<PendingCalls>,
    kind: CallKind,
    ticket: Option<Ticket>,
    /// The address that the call's record carries.
    pub(crate) reply_to: ReplyTo,
    /// Ends early if the call left [`REPLIES_LEN_MAX`] replies unread.
    pub(crate) replies: mpsc::Receiver<ReplyRecord>,
}

impl PendingCalls {
    /// An empty table for the calls to the shards of `versions` that are answered on this partition
    /// of `replies`. There may be a quarter as many watches as calls, and at least one.
    /// `in_progress_code` is used until a reply names another code.
    pub(crate) fn new(
        partition: u32,
        versions: ProtocolVersions,
        calls_max: usize,
        in_progress_code: StatusCode,
        admission: Arc<Admission>,
    ) -> Arc<Self> {
        Arc::new(Self {
            partition,
            addressees: DashMap::new(),
            next: AtomicU64::new(rand::rng().random()),
            calls: Places::new(calls_max),
            watches: Places::new((calls_max / 4).max(1)),
            admission,
            in_progress_code: ArcSwap::from_pointee(in_progress_code),
            versions,
        })
    }

    /// The StatusCode for orders in progress.
    pub(crate) fn in_progress_code(&self) -> StatusCode {
        **self.in_progress_code.load()
    }

    /// Adds a call that the routers answer until `until`. Returns `None` if too many of its kind
    /// are pending. The ticket is that of an admitted call; its slot is free once a reply arrives.
    pub(crate) fn open(self: &Arc<Self>, kind: CallKind, until: UnixMs, ticket: Option<Ticket>) -> Option<PendingCall> {
        if !self.places(kind).is_none_or(Places::take) {
            metrics::shed(kind, None);
            return None;
        }
        metrics::change_pending(kind, 1.0);
        let correlation = self.next.fetch_add(1, Ordering::Relaxed);
        let (sender, replies) = mpsc::channel(REPLIES_LEN_MAX);
        self.addressees.insert(correlation, Addressee { replies: sender, ticket });
        let reply_to = ReplyTo { partition: self.partition, correlation, until };
        Some(PendingCall { table: self.clone(), kind, ticket, reply_to, replies })
    }

    /// The limited places of this kind. Probes need none: there are at most two for each shard.
    fn places(&self, kind: CallKind) -> Option<&Places> {
        match kind {
            CallKind::Call => Some(&self.calls),
            CallKind::Watch => Some(&self.watches),
            CallKind::Probe => None,
        }
    }

    /// Delivers a reply to its pending call, if the call still waits.
    pub(crate) fn deliver(&self, reply: ReplyRecord) {
        if let Some(code) = reply.in_progress_code
            && code != self.in_progress_code()
        {
            self.in_progress_code.store(Arc::new(code));
        }
        self.versions.learn(&reply);
        let correlation = reply.correlation;
        let sent = self.addressees.get(&correlation).map(|to| (to.replies.try_send(reply), to.ticket));
        if let Some((_, Some(ticket))) = sent {
            self.admission.decide(ticket);
        }
        if let Some((Err(TrySendError::Full(_)), _)) = sent {
            // Without its sender the call reads what was delivered, and then ends.
            self.addressees.remove(&correlation);
        }
    }
}

impl PendingCall {
    /// Frees the call's place among the undecided ones: its record was not appended.
    pub(crate) fn give_place_back(&self) {
        if let Some(ticket) = self.ticket {
            self.table.admission.decide(ticket);
        }
    }
}

impl Drop for PendingCall {
    fn drop(&mut self) {
        self.table.addressees.remove(&self.reply_to.correlation);
        if let Some(places) = self.table.places(self.kind) {
            places.release();
        }
        metrics::change_pending(self.kind, -1.0);
    }
}

#[cfg(test)]
mod tests {
    use std::{num::NonZeroU16, time::Duration};

    use twqr_card_keys::CardKeys;
    use twqr_types::ShardCount;

    use super::*;
    use crate::admission::AdmissionSettings;

    #[tokio::test]
    async fn a_call_that_leaves_too_many_replies_unread_is_ended() {
        let settings = AdmissionSettings { delay: Duration::from_millis(100), limit_min: 8, limit_max: 8 };
        let shards = ShardCount(NonZeroU16::MIN);
        let (admission, _to_measure) = Admission::new(settings, shards);
        let versions = ProtocolVersions::new(shards, CardKeys::default(), false);
        let table = PendingCalls::new(0, versions, 1, StatusCode::FISC_ABNORMAL, admission);
        let mut call = table.open(CallKind::Call, UnixMs(0), None).unwrap();
        for _ in 0..=REPLIES_LEN_MAX {
            table.deliver(ReplyRecord::probe(call.reply_to.correlation));
        }
        let mut read = 0;
        while call.replies.recv().await.is_some() {
            read += 1;
        }
        assert_eq!(read, REPLIES_LEN_MAX);
        assert!(table.open(CallKind::Call, UnixMs(0), None).is_none(), "its place is taken until it is dropped");
        drop(call);
        assert!(table.open(CallKind::Call, UnixMs(0), None).is_some());
    }
}
