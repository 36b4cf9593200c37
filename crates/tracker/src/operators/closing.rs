//! Closes the books of every shard up to a time, so that accounting files up to it are final.
//!
//! No clock can tell when the last record about a day has landed: clocks differ, and an append may
//! wait for minutes. So a record in each shard closes the day. Movements behind it count later
//! ([`twqr_order::Closings`]), and movements before it are in the read model once the shard's
//! marker has passed it.

use tonic::Status;
use tracing::info;
use twqr_journal::{Entry, Journal, Partition, Topic};
use twqr_order::{CLOSINGS_SINCE, Command, PolicyVersions, Record};
use twqr_types::UnixMs;
use twqr_wire::{convert::encode_record, ops::OperatorRefusalReason};

use super::{
    no_journal,
    refusal::{closing_undecided, refuse},
};
use crate::policies::{Policies, newest};

/// Where closings are written, when, and for whom.
pub(super) struct Writer<'a> {
    pub(super) policies: &'a Policies,
    pub(super) journal: &'a dyn Journal,
    pub(super) now: UnixMs,
    /// The caller, with its key or certificate; `None` where every call is let in.
    pub(super) who: Option<String>,
}

/// Appends a closing up to `until` to each shard whose books are not closed so far. The caller has
/// to wait until the read model has passed everything that is in the log by then: another call may
/// have appended a closing a moment ago.
///
/// A closing that was not acknowledged may still land. That is harmless, because what lands behind
/// it counts later on that shard, and the next call appends what is missing.
pub(super) async fn close_books(writer: &Writer<'_>, until: UnixMs) -> Result<(), Status> {
    let Writer { policies, journal, now, who } = writer;
    let deciding = policies.deciding().ok_or_else(|| {
        let text = "the policy has not been read yet; check /readyz, then try again";
        refuse(OperatorRefusalReason::PolicyNotRead, text)
    })?;
    if !can_close(&deciding) {
        // Earlier builds may run, which do not know closings.
        return Ok(());
    }
    let mut open = Vec::new();
    for shard in 0..journal.partitions(Topic::Orders) {
        let versions = policies.of(shard).unwrap_or_default();
        if !can_close(&versions) {
            let version = newest(&deciding);
            let text = format!(
                "the books of shard {shard} cannot be closed: it has not taken version {version} of the policy yet; \
                 check whether that shard's router is ready (/readyz), then try again"
            );
            return Err(refuse(OperatorRefusalReason::ClosingUndecided, text));
        }
        if versions.closings.closed_until(u64::MAX).is_none_or(|closed| closed < until) {
            open.push(shard);
        }
    }
    let close = |shard| {
        let record = Record { at: *now, signed_by: None, nonce: None, command: Command::CloseBooks(until) };
        let orders = Partition { topic: Topic::Orders, index: shard };
        (shard, journal.append(orders, vec![Entry::plain(encode_record(&record))]))
    };
    let closings: Vec<_> = open.into_iter().map(close).collect();
    // Every closing is awaited and logged, also after another one has failed: it cannot be undone.
    let mut failure = None;
    for (shard, closing) in closings {
        match closing.await {
            Ok(()) => info!(shard, until = %until.taipei(), who, "the books are closed up to this time"),
            Err(error) => {
                let unknown = format!("the books of shard {shard} may not be closed yet");
                let refused = closing_undecided(&no_journal(&unknown, &error));
                failure.get_or_insert(refused);
            }
        }
    }
    failure.map_or(Ok(()), Err)
}

fn can_close(versions: &PolicyVersions) -> bool {
    versions.newest().is_some_and(|newest| newest.policy.protocol_version >= CLOSINGS_SINCE)
}
