//! The partitions of a topic that the cluster proposes to one session.

use std::{collections::BTreeSet, sync::Arc};

use async_trait::async_trait;
use tokio::sync::watch;
use twqr_journal::{Assignments, JournalError, Topic};

use crate::{
    cluster::Cluster,
    status::{Status, until_running},
};

pub(crate) struct SimAssignments {
    cluster: Arc<Cluster>,
    topic: Topic,
    session: u64,
    /// The set that was returned last.
    returned: Option<BTreeSet<u32>>,
    membership: watch::Receiver<u64>,
    status: watch::Receiver<Status>,
}

impl SimAssignments {
    /// Joins the group of the topic.
    pub(crate) fn join(cluster: Arc<Cluster>, topic: Topic, session: u64, status: watch::Receiver<Status>) -> Self {
        cluster.join(topic, session);
        let membership = cluster.watch_membership();
        Self { cluster, topic, session, returned: None, membership, status }
    }
}

#[async_trait]
impl Assignments for SimAssignments {
    async fn changed(&mut self) -> Result<BTreeSet<u32>, JournalError> {
        loop {
            if !until_running(&mut self.status).await {
                return Err(JournalError::Unusable("the session has crashed".into()));
            }
            self.membership.mark_unchanged();
            let share = self.cluster.share(self.topic, self.session);
            if self.returned.as_ref() != Some(&share) {
                self.returned = Some(share.clone());
                return Ok(share);
            }
            let changed = tokio::select! {
                changed = self.membership.changed() => changed.is_ok(),
                changed = self.status.changed() => changed.is_ok(),
            };
            if !changed {
                return Err(JournalError::Unusable("the simulated cluster was dropped".into()));
            }
        }
    }
}
