//! Query: the order as it is at a record on its shard, never from anybody's memory.

use tokio::time::Instant;
use tonic::Request;
use twqr_types::OrderKey;
use twqr_wire::pos;

use crate::{
    answer,
    core::Core,
    deadline,
    parse::{self, Inquiry},
    refusal::Refusal,
    reply::Answer,
};

/// Answers one inquiry.
pub(crate) async fn query(core: &Core, request: Request<pos::QueryRequest>) -> Result<pos::QueryResponse, Refusal> {
    let _pass = core.calls.enter().ok_or(Refusal::TooManyCalls)?;
    let deadline = deadline::deadline(request.metadata(), &core.settings);
    let (inquiry, form) = parse::query(request.into_inner()).map_err(Refusal::Invalid)?;
    match inquiry {
        Inquiry::Payment => ask(core, &form.key, deadline).await,
        Inquiry::Refund => Ok(answer::no_such_order()),
    }
}

async fn ask(core: &Core, key: &OrderKey, deadline: Instant) -> Result<pos::QueryResponse, Refusal> {
    let (ticket, reply) = core.table.await_first();
    let mut sent = core.orders.query(key, ticket.correlation(), deadline, false);
    let reply = tokio::select! {
        biased;
        Ok(reply) = reply => reply,
        refusal = sent.refused(key) => return Err(refusal),
        () = tokio::time::sleep_until(deadline) => return Err(Refusal::NoAnswerInTime),
    };
    match reply.answer {
        Answer::Order(payment) => Ok(answer::query_response(*payment, &core.settings.in_progress_code)),
        Answer::NotFound => Ok(answer::no_such_order()),
        Answer::Conflict(_) | Answer::TooManyWatchers => Err(Refusal::NoAnswerInTime),
    }
}
