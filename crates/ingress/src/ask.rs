//! One question to the router and its answer: the record is written to the order's shard, and the
//! call waits until what it wants to know is there, or its deadline. Whoever has no answer by then
//! is never told that it failed.

use std::sync::Arc;

use bytes::Bytes;
use tokio::time::Instant;
use tonic::Status;
use twqr_journal::JournalError;
use twqr_order::ReplyTo;
use twqr_types::{OrderKey, StatusCode};
use twqr_wire::bus::{self, reply_record::Body};

use crate::{api::PosApi, refusals};

/// What a call heard by its deadline.
pub(crate) enum Heard {
    /// The order, as last seen.
    Order(Seen),
    /// There is no such order.
    NotFound,
    /// Nothing: nobody knows yet whether the record was taken.
    Nothing,
}

/// An order as last seen.
#[derive(Clone, Debug)]
pub(crate) struct Seen {
    pub(crate) order: Arc<bus::Order>,
    /// It was there before this request.
    pub(crate) repeat: bool,
    /// The StatusCode for what is in progress, if the router said one.
    pub(crate) in_progress_code: Option<StatusCode>,
}

impl Seen {
    /// The StatusCode for what is in progress.
    pub(crate) fn in_progress(&self, configured: StatusCode) -> StatusCode {
        self.in_progress_code.unwrap_or(configured)
    }
}

impl PosApi {
    /// Writes the record and waits until `is_answer` holds for the order. A refusal means that
    /// nothing was accepted.
    pub(crate) async fn ask(
        &self,
        key: &OrderKey,
        deadline: Instant,
        record: impl FnOnce(ReplyTo) -> Bytes,
        is_answer: impl Fn(&bus::Order) -> bool,
    ) -> Result<Heard, Status> {
        let mut waiting = self.wait(deadline)?;
        let ack = self.desk.append(key, record(waiting.reply_to));
        // An append that was not acknowledged may still land: only a refused one was not accepted.
        let acked = tokio::time::timeout_at(deadline, ack).await;
        if let Ok(Err(error @ (JournalError::AppendRefused { .. } | JournalError::NoPartition(_)))) = acked {
            return Err(refusals::not_accepted(&error));
        }
        let mut heard = Heard::Nothing;
        while let Ok(Some(reply)) = tokio::time::timeout_at(deadline, waiting.replies.recv()).await {
            match reply.body {
                Some(Body::Order(order)) => {
                    let answered = is_answer(&order);
                    let (order, repeat) = (Arc::new(order), reply.repeat);
                    let in_progress_code = StatusCode::parse(&reply.in_progress_code).ok();
                    heard = Heard::Order(Seen { order, repeat, in_progress_code });
                    if answered {
                        return Ok(heard);
                    }
                }
                Some(Body::NotFound(_)) => return Ok(Heard::NotFound),
                Some(Body::Conflict(conflict)) => return Err(refusals::conflict(&conflict.fields)),
                Some(Body::KeyRefused(_)) => return Err(refusals::key_refused()),
                Some(Body::TooManyWatchers(_) | Body::Forget(_) | Body::RulesChanged(_)) | None => {}
            }
        }
        Ok(heard)
    }
}
