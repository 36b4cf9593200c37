//! Runs services until a signal comes or one of them fails, then drains them one after the other in their order.

use std::{future::Future, time::Duration};

use anyhow::{Context as _, anyhow};
use futures::future::select_all;
use tokio::task::JoinHandle;
use tracing::{info, warn};
use twqr_service::CancellationToken;

use crate::signals::Signals;

/// A service that runs.
pub(crate) struct Running {
    name: &'static str,
    stop: CancellationToken,
    task: JoinHandle<anyhow::Result<()>>,
}

impl Running {
    /// Starts it; `stop` tells it to drain.
    pub(crate) fn start<E>(
        name: &'static str,
        stop: CancellationToken,
        service: impl Future<Output = Result<(), E>> + Send + 'static,
    ) -> Self
    where
        E: Into<anyhow::Error> + Send + 'static,
    {
        Self { name, stop, task: tokio::spawn(async move { service.await.map_err(Into::into) }) }
    }
}

/// The exit code of a process that was told twice.
const EXIT_TOLD_TWICE: i32 = 130;

/// Runs until the first signal, or until a service ends by itself, which is an error; then drains them in their order, all of them
/// together within `drain_max`. A second signal ends the process at once.
pub(crate) async fn supervise(
    mut services: Vec<Running>,
    mut signals: Signals,
    drain_max: Duration,
) -> anyhow::Result<()> {
    let cause = tokio::select! {
        signal = signals.next() => {
            info!(signal, "shutting down");
            Ok(())
        }
        ended = first_end(&mut services) => Err(ended),
    };
    let drained = tokio::select! {
        drained = tokio::time::timeout(drain_max, drain(services)) => drained.unwrap_or_else(|_| {
            Err(anyhow!("not drained within {} ms; what was under way is resolved at the next start", drain_max.as_millis()))
        }),
        signal = signals.next() => {
            warn!(signal, "told twice; ending at once");
            std::process::exit(EXIT_TOLD_TWICE)
        }
    };
    cause.and(drained)
}

/// Why the first service ended, though nobody told it to; it is taken out.
async fn first_end(services: &mut Vec<Running>) -> anyhow::Error {
    let (ended, index, _) = select_all(services.iter_mut().map(|service| &mut service.task)).await;
    let service = services.remove(index);
    match ended {
        Ok(Ok(())) => anyhow!("{} ended by itself", service.name),
        Ok(Err(error)) => error.context(format!("{} failed", service.name)),
        Err(error) => anyhow!(error).context(format!("{} failed", service.name)),
    }
}

async fn drain(services: Vec<Running>) -> anyhow::Result<()> {
    let mut first_error = Ok(());
    for service in services {
        service.stop.cancel();
        let ended = service.task.await.map_err(anyhow::Error::from).and_then(|ended| ended);
        let ended = ended.with_context(|| format!("{} failed while draining", service.name));
        info!(service = service.name, ok = ended.is_ok(), "drained");
        first_error = first_error.and(ended);
    }
    first_error
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use super::*;

    type Log = Arc<Mutex<Vec<&'static str>>>;

    fn well_behaved(name: &'static str, log: &Log) -> Running {
        let (stop, log) = (CancellationToken::new(), log.clone());
        let told = stop.clone();
        Running::start(name, stop, async move {
            told.cancelled().await;
            tokio::task::yield_now().await;
            log.lock().unwrap().push(name);
            Ok::<_, anyhow::Error>(())
        })
    }

    #[tokio::test]
    async fn a_failure_drains_the_others_in_their_order_and_is_told() {
        let log = Log::default();
        let failing = Running::start("b", CancellationToken::new(), async { Err(anyhow!("disk full")) });
        let services = vec![well_behaved("a", &log), failing, well_behaved("c", &log)];
        let error = supervise(services, Signals::listen().unwrap(), Duration::from_secs(60)).await.unwrap_err();
        assert_eq!(format!("{error:#}"), "b failed: disk full");
        assert_eq!(*log.lock().unwrap(), ["a", "c"]);
    }

    #[tokio::test]
    async fn a_service_that_ends_by_itself_is_an_error_too() {
        let services = vec![Running::start("a", CancellationToken::new(), async { Ok::<_, anyhow::Error>(()) })];
        let error = supervise(services, Signals::listen().unwrap(), Duration::from_secs(60)).await.unwrap_err();
        assert_eq!(error.to_string(), "a ended by itself");
    }

    #[tokio::test(start_paused = true)]
    async fn draining_is_bounded() {
        let stuck = Running::start("a", CancellationToken::new(), std::future::pending::<anyhow::Result<()>>());
        let failing = Running::start("b", CancellationToken::new(), async { Err(anyhow!("first")) });
        let error = supervise(vec![stuck, failing], Signals::listen().unwrap(), Duration::from_secs(5)).await;
        assert_eq!(format!("{:#}", error.unwrap_err()), "b failed: first");
    }
}
