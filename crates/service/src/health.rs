//! The health of a process. Each service registers its parts, and reports for each whether it is
//! ready, and if not, why. A part can also report that it is dead, which means that the process
//! must be restarted.

use std::{
    collections::BTreeMap,
    mem,
    sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError},
};

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

/// The name of the part that reports the wall clock. A process whose clock is wrong is never ready,
/// whatever its deciding part says.
pub const CLOCK_PART: &str = "clock";
/// The name of the part that reports the card keys. A process that needs some and has none is never
/// ready either.
pub const CARD_KEYS_PART: &str = "card-keys";
/// The name of the part that reports whether this build knows the protocol version in force. A
/// process that does not is never ready either.
pub const PROTOCOL_PART: &str = "protocol";
/// The parts that decide beside the deciding part.
const DECIDING_BESIDE: [&str; 3] = [CLOCK_PART, CARD_KEYS_PART, PROTOCOL_PART];

/// The health of all parts of one process.
#[derive(Clone, Debug, Default)]
pub struct Health {
    parts: Arc<Mutex<BTreeMap<String, PartState>>>,
    /// The name of the part that alone decides whether the process is ready, if there is one.
    deciding: Arc<OnceLock<String>>,
    /// The reason why the process must be restarted; `None` if it need not be.
    dead: Arc<watch::Sender<Option<String>>>,
    /// Fires when the process begins to leave.
    leaving: CancellationToken,
    /// Whether the process is ready, for those that wait for a change.
    readiness: Arc<watch::Sender<bool>>,
}

/// The state of one part.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PartState {
    /// It does its work.
    Ready,
    /// It does less than it should, for this reason. An operator must see that, but the process
    /// still does its work for payments, so it counts as ready.
    Degraded(String),
    /// It does not do its work now, for this reason.
    NotReady(String),
}

/// The handle by which one part reports its state. A new part is not ready, with the reason
/// "starting".
#[derive(Clone, Debug)]
pub struct Part {
    health: Health,
    name: String,
}

impl Health {
    /// Adds a part under a name such as `router/shard-3`.
    pub fn part(&self, name: impl Into<String>) -> Part {
        let part = Part { health: self.clone(), name: name.into() };
        part.set(starting());
        part
    }

    /// Adds a part without which payments still proceed: it begins as ready. An existing part of
    /// this name keeps its state.
    pub fn side_part(&self, name: impl Into<String>) -> Part {
        let part = Part { health: self.clone(), name: name.into() };
        self.change(|parts| {
            parts.entry(part.name.clone()).or_insert(PartState::Ready);
        });
        part
    }

    /// Adds the part that alone decides whether the process is ready: one that serves callers, and
    /// finds out by itself what of the other parts works. Only the first such name counts.
    pub fn deciding_part(&self, name: impl Into<String>) -> Part {
        let part = self.part(name);
        self.change(|_| {
            self.deciding.get_or_init(|| part.name.clone());
        });
        part
    }

    /// Whether there is a part of this name.
    pub fn has(&self, name: &str) -> bool {
        self.lock().contains_key(name)
    }

    /// The state of every part, by its name.
    pub fn report(&self) -> BTreeMap<String, PartState> {
        self.lock().clone()
    }

    /// Reports that the process begins to leave: from now on it is not ready, although it may still
    /// work.
    pub fn leave(&self) {
        self.change(|_| self.leaving.cancel());
    }

    /// Whether the process has begun to leave.
    pub fn is_leaving(&self) -> bool {
        self.leaving.is_cancelled()
    }

    /// Waits until the process begins to leave.
    pub async fn until_leaving(&self) {
        self.leaving.cancelled().await;
    }

    /// Whether the deciding part and those that decide beside it are ready or degraded. Without a
    /// deciding part: whether there is at least one part, and all are. Never while the process
    /// leaves.
    pub fn is_ready(&self) -> bool {
        self.is_ready_with(&self.lock())
    }

    /// What [`Self::is_ready`] says, for those that wait for a change of it.
    pub(crate) fn readiness(&self) -> watch::Receiver<bool> {
        self.readiness.subscribe()
    }

    fn is_ready_with(&self, parts: &BTreeMap<String, PartState>) -> bool {
        if self.is_leaving() {
            return false;
        }
        let works = |state: &PartState| !matches!(state, PartState::NotReady(_));
        match self.deciding.get() {
            Some(deciding) => {
                let beside_work = DECIDING_BESIDE.iter().all(|part| parts.get(*part).is_none_or(works));
                parts.get(deciding).is_some_and(works) && beside_work
            }
            None => !parts.is_empty() && parts.values().all(works),
        }
    }

    /// The reason why the process must be restarted, with the name of the dead part; `None` if it
    /// need not be.
    pub fn dead(&self) -> Option<String> {
        self.dead.borrow().clone()
    }

    /// Waits until the process must be restarted; returns why.
    pub async fn until_dead(&self) -> String {
        let mut dead = self.dead.subscribe();
        let why = dead.wait_for(Option::is_some).await;
        why.ok().and_then(|why| why.clone()).unwrap_or_default()
    }

    /// Changes what decides whether the process is ready, and tells those that wait.
    fn change(&self, change: impl FnOnce(&mut BTreeMap<String, PartState>)) {
        let mut parts = self.lock();
        change(&mut parts);
        let is_ready = self.is_ready_with(&parts);
        self.readiness.send_if_modified(|was_ready| mem::replace(was_ready, is_ready) != is_ready);
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, PartState>> {
        self.parts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The state of a new part.
fn starting() -> PartState {
    PartState::NotReady("starting".to_owned())
}

impl Part {
    /// Reports that the part does its work.
    pub fn ready(&self) {
        self.set(PartState::Ready);
    }

    /// Reports that the part does less than it should, and why; the process may count as ready.
    pub fn degraded(&self, why: impl Into<String>) {
        self.set(PartState::Degraded(why.into()));
    }

    /// Reports that the part does not do its work now, and why.
    pub fn not_ready(&self, why: impl Into<String>) {
        self.set(PartState::NotReady(why.into()));
    }

    /// Reports this state.
    pub fn set(&self, state: PartState) {
        self.health.change(|parts| drop(parts.insert(self.name.clone(), state)));
    }

    /// The part's name.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// Whether the part is ready.
    pub fn is_ready(&self) -> bool {
        self.health.lock().get(&self.name) == Some(&PartState::Ready)
    }

    /// Reports that the process must be restarted, and why.
    pub fn dead(&self, why: &str) {
        self.health.dead.send_replace(Some(format!("{}: {why}", self.name)));
    }

    /// Removes the part from the health report if it has reported nothing yet.
    pub fn remove_if_starting(&self) {
        self.health.change(|parts| {
            if parts.get(&self.name).is_some_and(|state| *state == starting()) {
                parts.remove(&self.name);
            }
        });
    }

    /// Removes the part from the health report.
    pub fn remove(self) {
        self.health.change(|parts| drop(parts.remove(&self.name)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_is_ready_only_when_every_part_is() {
        let health = Health::default();
        assert!(!health.is_ready(), "there is no part yet");
        let (a, b) = (health.part("a"), health.part("b"));
        a.ready();
        assert!(!health.is_ready());
        b.ready();
        assert!(health.is_ready());
        a.degraded("late");
        assert!(health.is_ready() && !a.is_ready());
        a.not_ready("stalled");
        assert_eq!(health.report()["a"], PartState::NotReady("stalled".into()));
        assert_eq!(health.dead(), None);
        a.dead("stalled too often");
        assert_eq!(health.dead(), Some("a: stalled too often".into()));
        a.remove();
        assert!(health.is_ready());
    }

    #[test]
    fn a_process_that_leaves_is_not_ready_although_its_parts_work() {
        let health = Health::default();
        health.part("a").ready();
        health.deciding_part("ingress").ready();
        assert!(health.is_ready() && !health.is_leaving());
        health.clone().leave();
        assert!(!health.is_ready() && health.is_leaving());
        assert_eq!(health.report()["a"], PartState::Ready);
    }

    #[test]
    fn the_deciding_part_alone_says_whether_the_process_is_ready() {
        let health = Health::default();
        let (front, shard) = (health.deciding_part("ingress"), health.part("shard"));
        shard.ready();
        assert!(!health.is_ready(), "it has not started yet");
        front.degraded("a shard is silent");
        shard.not_ready("its rules cannot be read");
        assert!(health.is_ready());
        for name in [CLOCK_PART, CARD_KEYS_PART, PROTOCOL_PART] {
            let needed = health.side_part(name);
            needed.not_ready("it is wrong");
            assert!(!health.is_ready(), "{name}");
            needed.ready();
        }
        health.deciding_part("ingress").ready();
        front.not_ready("shutting down");
        assert!(!health.is_ready());
    }

    #[test]
    fn every_change_of_readiness_is_told() {
        let health = Health::default();
        let mut readiness = health.readiness();
        let mut tells = |expected| {
            assert_eq!(health.is_ready(), expected);
            assert!(readiness.has_changed().unwrap());
            assert_eq!(*readiness.borrow_and_update(), expected);
        };
        health.side_part("callers");
        tells(true);
        let shard = health.part("shard");
        tells(false);
        shard.clone().remove();
        tells(true);
        let front = health.deciding_part("ingress");
        tells(false);
        front.degraded("late");
        tells(true);
        health.leave();
        tells(false);
        front.ready();
        assert!(!readiness.has_changed().unwrap());
    }
}
