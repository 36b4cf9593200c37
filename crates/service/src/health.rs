//! Health: each service names its parts, and says of each whether it is ready, and if not, why.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

/// The parts of one process.
#[derive(Clone, Debug, Default)]
pub struct Health(Arc<Mutex<BTreeMap<String, PartState>>>);

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

    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, PartState>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
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
        a.remove();
        assert!(health.is_ready());
    }
}
