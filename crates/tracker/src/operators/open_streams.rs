//! The open streams of the operators' API: their maximum number, over all callers and for each
//! caller, and their end once the caller's credential is revoked.

use std::{
    collections::HashMap,
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll},
};

use tokio_stream::{Stream, wrappers::ReceiverStream};
use tonic::Status;
use twqr_access::{Access, Grant};
use twqr_callers::Role;
use twqr_wire::ops::OperatorRefusalReason;

use super::refusal::{ended, refuse, stream_ended};

/// How many streams may be open at once, and how many of one caller. A nightly run that fetches
/// several days needs a few at once; each keeps up to 2,000 entries in memory.
const STREAMS_MAX: usize = 32;
const CALLER_STREAMS_MAX: usize = 8;

/// Counts the open streams of each caller.
#[derive(Default)]
pub(super) struct OpenStreams(Mutex<HashMap<Box<str>, usize>>);

/// The slot of one stream, freed when this is dropped.
pub(super) struct StreamPlace {
    streams: Arc<OpenStreams>,
    caller: Box<str>,
}

impl OpenStreams {
    /// Takes a slot for a stream of the caller of this grant. Where every call is let in, all
    /// streams share the slots.
    pub(super) fn open(self: &Arc<Self>, grant: &Grant) -> Result<StreamPlace, Status> {
        let caller = grant.caller().map(|caller| caller.name.to_string());
        let of_caller_max = if caller.is_some() { CALLER_STREAMS_MAX } else { STREAMS_MAX };
        let caller: Box<str> = caller.unwrap_or_default().into();
        let mut open = self.lock();
        let (all, of_caller) = (open.values().sum::<usize>(), open.get(&caller).copied().unwrap_or_default());
        if of_caller >= of_caller_max {
            let text =
                format!("this caller has {of_caller} streams open, which is its limit; try again when one has ended");
            return Err(refuse(OperatorRefusalReason::TooManyStreams, text));
        }
        if all >= STREAMS_MAX {
            let text = format!("{all} streams are open, which is the limit; try again when one has ended");
            return Err(refuse(OperatorRefusalReason::TooManyStreams, text));
        }
        open.insert(caller.clone(), of_caller + 1);
        Ok(StreamPlace { streams: self.clone(), caller })
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Box<str>, usize>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for StreamPlace {
    fn drop(&mut self) {
        let mut open = self.streams.lock();
        if let Some(of_caller) = open.get_mut(&self.caller) {
            *of_caller -= 1;
            if *of_caller == 0 {
                open.remove(&self.caller);
            }
        }
    }
}

/// A stream with its slot. It ends with a refusal once the credential that opened it is not
/// accepted any more, or its caller may not read any more. Every error that ends it has a reason.
pub(super) struct PlacedStream<T> {
    /// `None` after the refusal.
    answers: Option<ReceiverStream<Result<T, Status>>>,
    ended: Pin<Box<dyn Future<Output = Status> + Send>>,
    _place: StreamPlace,
}

impl<T> PlacedStream<T> {
    pub(super) fn new(
        answers: ReceiverStream<Result<T, Status>>,
        place: StreamPlace,
        access: Access,
        grant: Grant,
    ) -> Self {
        let ended = async move { stream_ended(access.role_ended(&grant, Role::Viewer).await) };
        Self { answers: Some(answers), ended: Box::pin(ended), _place: place }
    }
}

impl<T> Stream for PlacedStream<T> {
    type Item = Result<T, Status>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = &mut *self;
        let Some(answers) = &mut this.answers else { return Poll::Ready(None) };
        if let Poll::Ready(refusal) = this.ended.as_mut().poll(context) {
            this.answers = None;
            return Poll::Ready(Some(Err(refusal)));
        }
        Pin::new(answers).poll_next(context).map(|next| next.map(|answer| answer.map_err(ended)))
    }
}

#[cfg(test)]
mod tests {
    use tokio::sync::mpsc;
    use tokio_stream::StreamExt;
    use tonic::Code;

    use super::*;
    use crate::operators::refusal::reason_of;

    #[test]
    fn there_is_a_bounded_number_of_streams() {
        let streams = Arc::new(OpenStreams::default());
        let mut open: Vec<_> = (0..STREAMS_MAX).map(|_| streams.open(&Grant::open()).ok().unwrap()).collect();
        assert_eq!(streams.open(&Grant::open()).err().unwrap().code(), Code::ResourceExhausted);
        open.pop();
        open.push(streams.open(&Grant::open()).ok().unwrap());
        drop(open);
        assert!(streams.lock().is_empty(), "callers without streams are not kept");
    }

    #[tokio::test]
    async fn an_error_that_ends_a_stream_has_a_reason() {
        let (answers, receiver) = mpsc::channel(2);
        for error in [refuse(OperatorRefusalReason::UnreadableOrder, "x"), Status::internal("SECRET")] {
            answers.send(Err::<(), _>(error)).await.unwrap();
        }
        let place = Arc::new(OpenStreams::default()).open(&Grant::open()).ok().unwrap();
        let access = Access::open("operators");
        let mut stream = PlacedStream::new(ReceiverStream::new(receiver), place, access, Grant::open());
        for expected in [OperatorRefusalReason::UnreadableOrder, OperatorRefusalReason::InternalError] {
            let refused = stream.next().await.unwrap().unwrap_err();
            assert_eq!(reason_of(&refused), Some(expected), "{refused:?}");
            assert!(!refused.message().contains("SECRET"), "{refused:?}");
        }
    }
}
