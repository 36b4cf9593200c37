//! Health: each service names its parts, and says of each whether it is ready, and if not, why; and
//! whether only a new process can help.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tokio::sync::watch;

/// The parts of one process.
#[derive(Clone, Debug, Default)]
pub struct Health {
    parts: Arc<Mutex<BTreeMap<String, PartState>>>,
    /// What cannot be healed within the process.
    dead: Arc<watch::Sender<Option<String>>>,
}

/// How a part is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PartState {
    /// It serves.
    Ready,
    /// It does not serve, for this reason.
    NotReady(String),
}

/// One part; it counts as not ready ("starting") until it says otherwise.
#[derive(Clone, Debug)]
pub struct Part {
    health: Health,
    name: String,
}

impl Health {
    /// Adds a part under a name such as `router/shard-3`.
    pub fn part(&self, name: impl Into<String>) -> Part {
        let part = Part { health: self.clone(), name: name.into() };
        part.not_ready("starting");
        part
    }

    /// Every part and its state, by name.
    pub fn report(&self) -> BTreeMap<String, PartState> {
        self.lock().clone()
    }

    /// Ready is: there are parts, and all are ready.
    pub fn is_ready(&self) -> bool {
        let parts = self.lock();
        !parts.is_empty() && parts.values().all(|state| *state == PartState::Ready)
    }

    /// What only a new process can heal, if anything.
    pub fn dead(&self) -> Option<String> {
        self.dead.borrow().clone()
    }

    /// Waits until only a new process can help; says why.
    pub async fn until_dead(&self) -> String {
        let mut dead = self.dead.subscribe();
        let why = dead.wait_for(Option::is_some).await;
        why.ok().and_then(|why| why.clone()).unwrap_or_default()
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, PartState>> {
        self.parts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Part {
    /// It serves.
    pub fn ready(&self) {
        self.health.lock().insert(self.name.clone(), PartState::Ready);
    }

    /// It does not serve, for this reason.
    pub fn not_ready(&self, why: impl Into<String>) {
        self.health.lock().insert(self.name.clone(), PartState::NotReady(why.into()));
    }

    /// Whether it serves.
    pub fn is_ready(&self) -> bool {
        self.health.lock().get(&self.name) == Some(&PartState::Ready)
    }

    /// It cannot be healed within this process.
    pub fn dead(&self, why: &str) {
        self.health.dead.send_replace(Some(format!("{}: {why}", self.name)));
    }

    /// It is no longer a part of this process.
    pub fn remove(self) {
        self.health.lock().remove(&self.name);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ready_only_when_every_part_is() {
        let health = Health::default();
        assert!(!health.is_ready(), "nothing has said anything yet");
        let (a, b) = (health.part("a"), health.part("b"));
        a.ready();
        assert!(!health.is_ready());
        b.ready();
        assert!(health.is_ready());
        a.not_ready("stalled");
        assert_eq!(health.report()["a"], PartState::NotReady("stalled".into()));
        assert_eq!(health.dead(), None);
        a.dead("stalled for good");
        assert_eq!(health.dead(), Some("a: stalled for good".into()));
        a.remove();
        assert!(health.is_ready());
    }
}
