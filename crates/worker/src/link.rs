//! The connection to a backend: one stream that carries many calls. The clock is checked at the
//! moment a transfer is handed to the transport: past its send_by it is not handed over, and that
//! is told.

use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use futures::{Stream, StreamExt};
use tokio::sync::mpsc;
use tokio_stream::wrappers::UnboundedReceiverStream;
use tracing::info;
use twqr_service::{Backoff, Clock};
use twqr_wire::backend::{ExchangeRequest, ExchangeResponse};

use crate::{Backend, Calls, call::send_by_ms};

/// What a link tells its partition.
#[derive(Debug)]
pub(crate) enum Event {
    /// Calls can be made: hand them in here.
    Up(mpsc::UnboundedSender<ExchangeRequest>),
    /// An answer.
    Answer(ExchangeResponse),
    /// This transfer was not handed over: its send_by had passed.
    TooLate { call_id: u64 },
    /// The stream broke; whatever was handed in may or may not have arrived.
    Down,
}

/// The pause before connecting again, in ms; doubles up to the maximum.
const PAUSE_MS_MIN: u64 = 20;
const PAUSE_MS_MAX: u64 = 1_000;

/// Keeps a stream until nobody listens to the events any more.
pub(crate) async fn keep(backend: Arc<dyn Backend>, clock: Arc<dyn Clock>, events: mpsc::UnboundedSender<Event>) {
    let mut backoff = Backoff::new(PAUSE_MS_MIN, PAUSE_MS_MAX);
    while !events.is_closed() {
        match exchange(&*backend, clock.clone(), events.clone()).await {
            Ok(()) => backoff.reset(),
            Err(status) => backend.no_connection(&status),
        }
        tokio::select! {
            () = events.closed() => {}
            () = tokio::time::sleep(backoff.next_pause()) => {}
        }
    }
}

/// The calls as the transport pulls them, without the transfers that are too late by then.
struct InTime {
    queue: UnboundedReceiverStream<ExchangeRequest>,
    clock: Arc<dyn Clock>,
    too_late: mpsc::UnboundedSender<Event>,
}

impl Stream for InTime {
    type Item = ExchangeRequest;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<ExchangeRequest>> {
        loop {
            let Some(request) = ready!(self.queue.poll_next_unpin(context)) else { return Poll::Ready(None) };
            let late = request.call.as_ref().and_then(send_by_ms).is_some_and(|send_by| self.clock.now().0 > send_by);
            if !late {
                return Poll::Ready(Some(request));
            }
            drop(self.too_late.send(Event::TooLate { call_id: request.call_id }));
        }
    }
}

async fn exchange(
    backend: &dyn Backend,
    clock: Arc<dyn Clock>,
    events: mpsc::UnboundedSender<Event>,
) -> Result<(), tonic::Status> {
    let (calls, queue) = mpsc::unbounded_channel::<ExchangeRequest>();
    let too_late = events.clone();
    let outgoing = InTime { queue: UnboundedReceiverStream::new(queue), clock, too_late };
    let mut answers = backend.exchange(Calls::new(outgoing)).await?;
    info!("connected to the backend");
    drop(events.send(Event::Up(calls)));
    let ended = loop {
        tokio::select! {
            () = events.closed() => break Ok(()),
            answer = answers.next() => match answer {
                Some(Ok(answer)) => drop(events.send(Event::Answer(answer))),
                Some(Err(status)) => break Err(status),
                None => break Ok(()),
            }
        }
    };
    drop(events.send(Event::Down));
    ended
}
