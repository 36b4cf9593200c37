//! Tasks that run beside a service. One that panics ends the process: nothing else does its work.

use tokio::task::JoinSet;
use tracing::error;

use crate::Part;

/// Waits until every task has ended. One that panics makes the process dead, so that it is
/// restarted; `part` names the tasks in the reason.
pub async fn join_background(tasks: &mut JoinSet<()>, part: &Part) {
    while let Some(ended) = tasks.join_next().await {
        if let Err(error) = ended
            && error.is_panic()
        {
            error!(%error, "a task has panicked");
            part.dead("a task has panicked; see the log");
        }
    }
}

#[cfg(test)]
#[allow(clippy::panic, reason = "the test plants a panic")]
mod tests {
    use super::*;
    use crate::Health;

    #[tokio::test]
    async fn a_task_that_panics_makes_the_process_dead_and_the_others_are_waited_for() {
        let health = Health::default();
        let (mut tasks, part) = (JoinSet::new(), health.part("tracker/tasks"));
        tasks.spawn(async {});
        tasks.spawn(async { panic!("planted") });
        join_background(&mut tasks, &part).await;
        assert_eq!(health.dead(), Some("tracker/tasks: a task has panicked; see the log".into()));
    }
}
