//! Shared by changes of the policy, of the directory of merchants and of callers: who, why and
//! when, the append, and the faults of who and why.

use std::sync::{
    Arc,
    atomic::{AtomicI64, Ordering},
};

use tokio::time::{Instant, timeout_at};
use tonic::{Request, Status};
use tonic_types::FieldViolation;
use twqr_access::Grant;
use twqr_journal::{Entry, Journal, JournalError, Partition, Topic};
use twqr_order::POLICY_SHARD;
use twqr_service::Clock;
use twqr_types::UnixMs;
use twqr_wire::ops::OperatorRefusalReason;

use super::{no_journal, refusal::refuse_with_metadata};

/// The longest `who` and `why` of a change, in characters, as they are sent.
const TEXT_LEN_MAX: usize = 200;

/// The times of this tracker's changes. No two changes have the same time, which distinguishes each
/// from other changes of the same content.
pub(super) struct ChangeTimes {
    clock: Arc<dyn Clock>,
    /// The time of the last change, in Unix ms.
    last: AtomicI64,
}

impl ChangeTimes {
    pub(super) fn new(clock: Arc<dyn Clock>) -> Self {
        Self { clock, last: AtomicI64::new(0) }
    }

    /// The current time, but later than that of the last change.
    pub(super) fn next(&self) -> UnixMs {
        let now = self.clock.now().0;
        let last = self.last.fetch_update(Ordering::AcqRel, Ordering::Acquire, |last| Some(now.max(last + 1)));
        let (Ok(last) | Err(last)) = last;
        UnixMs(now.max(last + 1))
    }
}

/// Nothing was changed, since this is the newest version, and another one was expected.
pub(super) fn conflict(expected: u64, newest: u64) -> Status {
    let text =
        format!("nothing was changed: version {expected} was expected to be the newest, but version {newest} is");
    refuse_with_metadata(OperatorRefusalReason::VersionConflict, text, ("newest_version", newest))
}

/// Appends records of changes to the shard whose router decides about them. Returns false if they
/// may have been written, but that is not known by the deadline; the error says that they were not.
pub(super) async fn append_changes(
    journal: &dyn Journal,
    records: Vec<Entry>,
    deadline: Instant,
) -> Result<bool, Status> {
    let shard = Partition { topic: Topic::Orders, index: u32::from(POLICY_SHARD.0) };
    append_changes_to(journal, shard, records, deadline).await
}

/// Appends records of changes to this partition, and says the same about them.
pub(super) async fn append_changes_to(
    journal: &dyn Journal,
    partition: Partition,
    records: Vec<Entry>,
    deadline: Instant,
) -> Result<bool, Status> {
    match timeout_at(deadline, journal.append(partition, records)).await {
        Ok(Ok(())) => Ok(true),
        Err(_) | Ok(Err(JournalError::AppendUnknown { .. })) => Ok(false),
        Ok(Err(
            error @ (JournalError::AppendRefused { .. }
            | JournalError::Read { .. }
            | JournalError::NoPartition(_)
            | JournalError::NotWhole { .. }
            | JournalError::Unusable(_)
            | JournalError::Unreachable(_)),
        )) => Err(no_journal("nothing was changed", &error)),
    }
}

/// The caller that sent a request, with its key or certificate; absent where every call is let in.
#[derive(Debug)]
pub(super) struct Actor(Option<String>);

impl Actor {
    /// Takes the caller out of a request.
    pub(super) fn of<T>(request: Request<T>) -> (T, Self) {
        let (_, extensions, message) = request.into_parts();
        (message, Self(extensions.get::<Grant>().and_then(Grant::who)))
    }

    /// Who makes a change, for its record: the caller, and then the name that the request gives. It
    /// is longer than [`TEXT_LEN_MAX`] with a long name, so the name is checked before.
    pub(super) fn named(&self, who: &str) -> Box<str> {
        self.0.as_ref().map_or_else(|| who.into(), |caller| format!("{caller}: {who}").into())
    }
}

/// The faults of `who` and `why`.
pub(super) fn text_violations(who: &str, why: &str) -> Vec<FieldViolation> {
    let mut violations = Vec::new();
    for (field, text) in [("who", who), ("why", why)] {
        let length = text.chars().count();
        if text.trim().is_empty() || length > TEXT_LEN_MAX || text.chars().any(char::is_control) {
            let problem = format!("has {length} characters, must be 1 to {TEXT_LEN_MAX} without control characters");
            violations.push(FieldViolation::new(field, problem));
        }
    }
    violations
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_name_is_taken_with_its_caller_before_it() {
        let (name, why) = ("n".repeat(TEXT_LEN_MAX), "why");
        assert!(text_violations(&name, why).is_empty());
        assert_eq!(text_violations(&format!("{name}n"), why).len(), 1);
        let actor = Actor(Some("shop (key k)".to_owned()));
        assert_eq!(*actor.named(&name), *format!("shop (key k): {name}"));
        assert_eq!(*Actor(None).named(&name), *name);
    }
}
