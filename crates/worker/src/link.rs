//! Keeps the connection of one partition to its backend: one stream carries many calls, and a new
//! stream is opened when it breaks, or when the backend answers no call on it. The clock is checked
//! when the transport accepts a transfer: a transfer whose `send_by` has passed is dropped there
//! and reported as not sent (protocol rule P6).

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use futures::{Stream, StreamExt};
use tokio::{sync::mpsc, time::Instant};
use tokio_stream::wrappers::ReceiverStream;
use tracing::info;
use twqr_service::{Backoff, Clock};
use twqr_wire::convert::BackendAnswer;

use crate::{
    backend::{Backend, Calls, exchange},
    call::{Call, Purpose},
    metrics::ConnectionMetrics,
};

/// The events that a link reports to its partition.
#[derive(Debug)]
pub(crate) enum Event {
    /// The stream is open; calls are handed over through this sender.
    Connected(mpsc::Sender<Call>),
    /// The backend answered a call.
    Answer { call_id: u64, answer: BackendAnswer },
    /// This transfer was not handed to the transport, because its `send_by` had passed, or because
    /// the clock is too wrong to tell.
    TooLate { call_id: u64 },
    /// The stream broke; the calls that were handed over may or may not have arrived.
    Disconnected,
}

/// The link stops reading answers while so many events wait for the partition.
pub(crate) const EVENTS_MAX: usize = 1_024;

/// The first pause before connecting again, in ms; it doubles up to the maximum.
const PAUSE_MS_MIN: u64 = 20;
const PAUSE_MS_MAX: u64 = 1_000;

/// The limits of a link.
#[derive(Clone, Copy, Debug)]
pub(crate) struct LinkLimits {
    /// How many calls may wait for the transport.
    pub(crate) calls_max: usize,
    /// How long the backend may answer none of the calls that it was sent before the stream counts
    /// as dead.
    pub(crate) silence: Duration,
}

/// Keeps a stream open until the receiver of `events` is dropped.
pub(crate) async fn keep_connected(
    backend: Arc<dyn Backend>,
    clock: Arc<dyn Clock>,
    events: mpsc::Sender<Event>,
    limits: LinkLimits,
    metrics: ConnectionMetrics,
) {
    let mut backoff = Backoff::new(PAUSE_MS_MIN, PAUSE_MS_MAX);
    while !events.is_closed() {
        match connect(&*backend, clock.clone(), &events, limits, &metrics).await {
            Ok(()) => backoff.reset(),
            Err(status) => {
                metrics.lost();
                backend.no_connection(&status);
            }
        }
        tokio::select! {
            () = events.closed() => {}
            () = tokio::time::sleep(backoff.next_pause()) => {}
        }
    }
}

/// Opens one stream and serves it until it ends.
async fn connect(
    backend: &dyn Backend,
    clock: Arc<dyn Clock>,
    events: &mpsc::Sender<Event>,
    limits: LinkLimits,
    metrics: &ConnectionMetrics,
) -> Result<(), tonic::Status> {
    let (calls, queue) = mpsc::channel(limits.calls_max);
    let silence = Silence::default();
    let in_time = without_late(ReceiverStream::new(queue), clock, events.clone());
    let sent = in_time.inspect({
        let silence = silence.clone();
        move |_| silence.begin()
    });
    let mut answers = exchange(backend, Calls::new(sent)).await?;
    let mut checks = tokio::time::interval(limits.silence / 4);
    info!("connected to the backend");
    let _open = metrics.opened();
    drop(events.send(Event::Connected(calls)).await);
    let ended = loop {
        tokio::select! {
            () = events.closed() => break Ok(()),
            _ = checks.tick() => if silence.lasts() > limits.silence {
                let ms = limits.silence.as_millis();
                break Err(tonic::Status::deadline_exceeded(format!("the backend has answered no call for {ms} ms")));
            },
            answer = answers.next() => match answer {
                Some(Ok((call_id, answer))) => {
                    silence.end();
                    drop(events.send(Event::Answer { call_id, answer }).await);
                }
                Some(Err(status)) => break Err(status),
                None => break Ok(()),
            }
        }
    };
    drop(events.send(Event::Disconnected).await);
    ended
}

/// Since when calls are sent and none is answered.
#[derive(Clone, Default)]
struct Silence(Arc<Mutex<Option<Instant>>>);

impl Silence {
    fn begin(&self) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert_with(Instant::now);
    }

    fn end(&self) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    fn lasts(&self) -> Duration {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).map_or(Duration::ZERO, |since| since.elapsed())
    }
}

/// Passes on the calls that are not late when the transport takes them. A late one is reported as
/// [`Event::TooLate`].
fn without_late(
    calls: impl Stream<Item = Call>,
    clock: Arc<dyn Clock>,
    events: mpsc::Sender<Event>,
) -> impl Stream<Item = Call> {
    calls.filter_map(move |call| {
        let may_be_late = call.is_late(clock.now()) || call.purpose == Purpose::Transfer && clock.is_skewed();
        let late = may_be_late.then(|| events.clone());
        async move {
            let Some(events) = late else { return Some(call) };
            drop(events.send(Event::TooLate { call_id: call.id }).await);
            None
        }
    })
}
