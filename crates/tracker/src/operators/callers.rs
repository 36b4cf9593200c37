//! `ListCallers` and `ChangeCaller`. A change of a caller is a record in the topic `callers`, which
//! every process applies if its version is above the newest. The tracker reads it back like all
//! other processes.

use std::{sync::Arc, time::Duration};

use tokio::time::{Instant, timeout_at};
use tonic::Status;
use tonic_types::FieldViolation;
use tracing::info;
use twqr_access::{CALLERS, CallersView};
use twqr_callers::{Book, CallerChange, CallerName};
use twqr_journal::{Entry, Journal};
use twqr_wire::{
    convert::{caller_from, caller_out, encode_caller_change},
    ops::{CallerEntry, ChangeCallerRequest, ListCallersResponse, OperatorRefusalReason},
};

use super::{
    change::{Actor, ChangeTimes, append_changes_to, conflict, text_violations},
    refusal::{invalid_arguments, refuse, refuse_with_metadata},
};

/// How many callers there may be.
const CALLERS_MAX: usize = 10_000;

/// Reads and changes the callers.
pub(super) struct CallersEditor {
    view: CallersView,
    journal: Arc<dyn Journal>,
    times: Arc<ChangeTimes>,
    wait: Duration,
}

impl CallersEditor {
    /// `wait` is how long a change may take to be written and read back.
    pub(super) fn new(view: CallersView, journal: Arc<dyn Journal>, times: Arc<ChangeTimes>, wait: Duration) -> Self {
        Self { view, journal, times, wait }
    }

    /// Every caller in its newest version.
    pub(super) fn list(&self) -> Result<ListCallersResponse, Status> {
        let entry = |change: &CallerChange| CallerEntry {
            name: change.name.to_string(),
            version: change.version,
            caller: change.caller.as_deref().map(caller_out),
            who: change.who.to_string(),
            why: change.why.to_string(),
            at_ms: change.at.0,
        };
        Ok(ListCallersResponse { callers: self.book()?.iter().map(entry).collect() })
    }

    /// Writes a change and reads it back; returns the new version.
    pub(super) async fn change(&self, request: ChangeCallerRequest, actor: &Actor) -> Result<u64, Status> {
        let book = self.book()?;
        let change = self.checked(request, actor, &book)?;
        let newest = book.version(&change.name);
        if change.version != newest + 1 {
            return Err(conflict(change.version.saturating_sub(1), newest));
        }
        info!(caller = %change.name, version = change.version, who = %change.who, why = %change.why, "writing a change of a caller");
        let deadline = Instant::now() + self.wait;
        let entry = Entry::plain(encode_caller_change(&change));
        if !append_changes_to(&*self.journal, CALLERS, vec![entry], deadline).await? {
            return Err(undecided(&change));
        }
        let mut view = self.view.clone();
        let read = timeout_at(deadline, view.wait_for(&change.name, change.version)).await;
        result_of(&change, read.ok().flatten().as_ref())
    }

    fn book(&self) -> Result<Arc<Book>, Status> {
        self.view.now().ok_or_else(|| {
            let text = "the callers have not been read yet; check that the topic callers can be read (/readyz)";
            refuse(OperatorRefusalReason::CallersNotRead, text)
        })
    }

    /// Returns the change that a request asks for; the error lists every fault.
    fn checked(&self, request: ChangeCallerRequest, actor: &Actor, book: &Book) -> Result<CallerChange, Status> {
        let ChangeCallerRequest { name, expected_version, caller, who, why } = request;
        let mut violations = text_violations(&who, &why);
        let name = match CallerName::parse(name) {
            Ok(name) => name,
            Err(what) => {
                violations.push(FieldViolation::new("name", what));
                return Err(invalid_arguments(violations));
            }
        };
        let caller = match caller.map(|caller| caller_from(name.clone(), caller)).transpose() {
            Ok(caller) => caller,
            Err(faults) => {
                let violation = |(field, what)| FieldViolation::new(format!("caller.{field}"), what);
                violations.extend(faults.into_iter().map(violation));
                None
            }
        };
        if let Some(caller) = &caller {
            if book.get(&name).is_some_and(|newest| !newest.is_whole) {
                let what = "has a newest version that this build cannot read in full: change it through a newer build, \
                            or remove it";
                violations.push(FieldViolation::new("name", what));
            }
            if book.get(&name).is_none() && book.iter().count() >= CALLERS_MAX {
                violations.push(FieldViolation::new("name", format!("is new, and there are {CALLERS_MAX} callers")));
            }
            for key in book.revoked_keys(caller) {
                let what = format!(
                    "has the key {}, which was revoked and stays revoked; omit it, and make a new one with \
                     `twqr callers key new`",
                    key.name
                );
                violations.push(FieldViolation::new("caller.keys", what));
            }
            for name in book.revoked_certificates(caller) {
                let what = format!(
                    "has the name {name}, which was revoked and stays revoked; omit it, and give the caller a \
                     certificate with another name"
                );
                violations.push(FieldViolation::new("caller.certificates", what));
            }
            for other in book.sharing(caller) {
                let what = format!("has a key or a certificate of the caller {other}; each belongs to one caller");
                violations.push(FieldViolation::new("caller", what));
            }
        }
        if !violations.is_empty() {
            return Err(invalid_arguments(violations));
        }
        Ok(CallerChange {
            is_whole: true,
            name,
            version: expected_version.saturating_add(1),
            caller: caller.map(Arc::new),
            who: actor.named(&who),
            why: why.into(),
            at: self.times.next(),
        })
    }
}

/// What has become of a change that was written, if this is what was read of its caller.
fn result_of(change: &CallerChange, read: Option<&CallerChange>) -> Result<u64, Status> {
    match read {
        Some(taken) if taken == change => Ok(change.version),
        // It may have been in force until another change replaced it.
        Some(newer) if newer.version > change.version => Err(undecided(change)),
        Some(other) => Err(conflict(change.version - 1, other.version)),
        None => Err(undecided(change)),
    }
}

fn undecided(change: &CallerChange) -> Status {
    let text = format!(
        "it is not known whether version {} of {} was written; check with `twqr callers list` before you try again",
        change.version, change.name
    );
    refuse_with_metadata(OperatorRefusalReason::CallerUndecided, text, ("version", change.version))
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use twqr_types::UnixMs;

    use super::*;
    use crate::operators::refusal::reason_of;

    #[test]
    fn a_change_that_a_newer_one_has_replaced_may_have_been_in_force() {
        let change = |version, who: &str| CallerChange {
            is_whole: true,
            name: CallerName::parse("pos".to_owned()).unwrap(),
            version,
            caller: None,
            who: who.into(),
            why: "a test".into(),
            at: UnixMs(1),
        };
        let own = change(5, "alice");
        let result = |read: Option<CallerChange>| result_of(&own, read.as_ref()).map_err(|refused| reason_of(&refused));
        let refused = |reason| Err(Some(reason));
        assert_eq!(result(Some(own.clone())), Ok(5));
        assert_eq!(result(Some(change(5, "bob"))), refused(OperatorRefusalReason::VersionConflict));
        assert_eq!(result(Some(change(6, "bob"))), refused(OperatorRefusalReason::CallerUndecided));
        assert_eq!(result(None), refused(OperatorRefusalReason::CallerUndecided));
    }
}
