//! Pay: asks the router once, and answers with the result, or at the deadline with what is known.

use std::sync::Arc;

use tokio::time::{Instant, timeout_at};
use tonic::Request;
use twqr_types::{Issuer, PayForm};
use twqr_wire::pos;

use crate::{
    answer,
    core::Core,
    deadline, gate,
    metrics::PayResult,
    parse,
    refusal::Refusal,
    reply::{Answer, Reply},
    repeats::{Flight, Standing},
    view::{Outcome, PayView},
};

/// What was heard of the payment by the time of the answer.
struct Heard {
    /// None: nothing, so it is in progress.
    view: Option<Arc<PayView>>,
    repeat: bool,
}

/// Answers one payment request.
pub(crate) async fn pay(core: &Core, request: Request<pos::PayRequest>) -> Result<pos::PayResponse, Refusal> {
    let arrived = Instant::now();
    let outcome = answer(core, request).await;
    let (result, issuer) = match &outcome {
        Ok((_, heard)) => label(heard),
        Err(Refusal::DifferentRequest(_)) => (PayResult::Conflict, None),
        Err(Refusal::Invalid(_)) => (PayResult::Invalid, None),
        Err(_) => (PayResult::Refused, None),
    };
    core.meters.pay(result, issuer, arrived.elapsed());
    outcome.map(|(response, _)| response)
}

async fn answer(core: &Core, request: Request<pos::PayRequest>) -> Result<(pos::PayResponse, Heard), Refusal> {
    let _pass: gate::Pass = core.calls.enter().ok_or(Refusal::TooManyCalls)?;
    let deadline = deadline::deadline(request.metadata(), &core.settings);
    let form = parse::pay(request.into_inner()).map_err(Refusal::Invalid)?;
    let heard = hear(core, &form, deadline).await?;
    let code = &core.settings.in_progress_code;
    Ok((answer::pay_response(&form, heard.view.as_deref(), heard.repeat, code), heard))
}

fn label(heard: &Heard) -> (PayResult, Option<Issuer>) {
    let Some(view) = &heard.view else { return (PayResult::InProgress, None) };
    let result = match view.outcome {
        Outcome::InProgress => PayResult::InProgress,
        Outcome::Paid(_) => PayResult::Paid,
        Outcome::Failed { .. } => PayResult::Failed,
    };
    (result, view.issuer)
}

async fn hear(core: &Core, form: &PayForm, deadline: Instant) -> Result<Heard, Refusal> {
    let correlation = core.table.next_correlation();
    match core.repeats.enter(form, correlation) {
        Standing::First(lead) => {
            let heard = ask(core, form, correlation, deadline).await?;
            if let Some(view) = heard.view.as_ref().filter(|view| view.is_final()) {
                lead.settle(Arc::clone(view));
            }
            Ok(heard)
        }
        Standing::Known(view) => {
            core.meters.repeat_answered.increment(1);
            Ok(Heard { view: Some(view), repeat: true })
        }
        Standing::Running(first) => match timeout_at(deadline, first.ended()).await {
            Ok(Some(view)) => {
                core.meters.repeat_answered.increment(1);
                Ok(Heard { view: Some(view), repeat: true })
            }
            Ok(None) => ask(core, form, correlation, deadline).await,
            Err(_) => Ok(in_progress_beside(core, &first)),
        },
        Standing::Different => ask(core, form, correlation, deadline).await,
    }
}

/// Writes the request to the log and waits for what the router says.
async fn ask(core: &Core, form: &PayForm, correlation: u64, deadline: Instant) -> Result<Heard, Refusal> {
    let (_ticket, reply) = core.table.await_final(correlation);
    let mut sent = core.orders.pay(form, correlation, deadline);
    tokio::select! {
        biased;
        Ok(reply) = reply => heard(reply),
        refusal = sent.refused(&form.key) => Err(refusal),
        () = tokio::time::sleep_until(deadline) => Ok(in_progress(core, form, correlation)),
    }
}

fn heard(reply: Reply) -> Result<Heard, Refusal> {
    match reply.answer {
        Answer::Order(payment) => Ok(Heard { view: Some(Arc::new(PayView::from(*payment))), repeat: reply.repeat }),
        Answer::Conflict(fields) => Err(Refusal::DifferentRequest(fields)),
        // The table lets neither end a payment; in progress is true of anything that was written.
        Answer::NotFound | Answer::TooManyWatchers => Ok(Heard { view: None, repeat: reply.repeat }),
    }
}

/// Nothing final came in time.
fn in_progress(core: &Core, form: &PayForm, correlation: u64) -> Heard {
    core.meters.deadline_reached.increment(1);
    let (merchant_id, merchant_trade_no) = (&form.key.merchant_id, &form.key.merchant_trade_no);
    tracing::info!(%merchant_id, %merchant_trade_no, "payment answered in progress at its deadline");
    let (view, repeat) = core.table.interim(correlation, interim).unwrap_or_default();
    Heard { view, repeat }
}

/// A repeat reached its deadline before the call that it joined.
fn in_progress_beside(core: &Core, first: &Flight) -> Heard {
    core.meters.deadline_reached.increment(1);
    let view = core.table.interim(first.correlation(), interim).and_then(|(view, _)| view);
    Heard { view, repeat: true }
}

fn interim(reply: &Reply) -> (Option<Arc<PayView>>, bool) {
    let view = match &reply.answer {
        Answer::Order(payment) => Some(Arc::new(PayView::from((**payment).clone()))),
        Answer::NotFound | Answer::Conflict(_) | Answer::TooManyWatchers => None,
    };
    (view, reply.repeat)
}
