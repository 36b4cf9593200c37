//! Callers that cancel payments: paid, in progress, failed, partly refunded, or not sent yet. Like
//! a POS, they repeat a cancel until it has an answer, and sometimes again after a refusal.

use rand::{Rng, seq::IndexedRandom};
use twqr_order::{Cancel, CancelStage, Order};
use twqr_types::{Amount, GatewayTradeNo, PayForm, UnixMs};
use twqr_wire::convert::ReplyContent;

use super::{Caller, Request, refunds::RECENT_PAYMENTS};

/// A cancel that has no final answer yet.
pub struct OpenCancel {
    form: PayForm,
    /// The correlations of the replies that may answer it.
    correlations: Vec<u64>,
    sent_at: UnixMs,
    /// How many more times it is repeated after a refusal.
    repeats_left: u32,
}

/// What the replies to a cancel say.
#[derive(Clone, Copy, PartialEq, Eq)]
enum CancelAnswer {
    InProgress,
    Refused,
    /// Reversed, nothing to reverse, or refused in a way that no repeat changes.
    Closed,
}

/// A POS repeats a cancel that has had no answer for this time, in ms.
const REPEAT_AFTER_MS: i64 = 3_000;

impl Caller {
    /// Cancels a recent payment: one that a reply called paid, one that has a refund, or any.
    pub async fn cancel_a_payment(&mut self) {
        let refunded = self.refunds.choose(&mut self.random).map(|refund| refund.trade_no);
        let paid = self.answered_payment(true).map(|(form, _)| form);
        let has_refund =
            |form: &&PayForm| self.replies.lock().unwrap().payment(&form.key).map(|(no, _)| no) == refunded;
        let recent: Vec<PayForm> = self.payments.iter().rev().take(RECENT_PAYMENTS / 5).cloned().collect();
        let form = match self.random.random_range(0..3) {
            0 => paid,
            1 => self.payments.iter().rev().take(RECENT_PAYMENTS).find(has_refund).cloned(),
            _ => None,
        };
        let form = form.or_else(|| recent.choose(&mut self.random).cloned()).unwrap();
        let form = self.maybe_mismatched(form);
        self.open_cancel(form).await;
    }

    /// Sometimes changes a field, so that the cancel does not match its payment.
    fn maybe_mismatched(&mut self, form: PayForm) -> PayForm {
        let refund = self.refunds.choose(&mut self.random).map(|refund| refund.key.clone());
        match (self.random.random_range(0..20), refund) {
            (0, _) => PayForm { trade_amount: Amount::parse(form.trade_amount.twd() + 1).unwrap(), ..form },
            (1, _) => PayForm { gateway_trade_no: GatewayTradeNo::parse("other".to_owned()).unwrap(), ..form },
            (2, Some(key)) => PayForm { key, ..form },
            _ => form,
        }
    }

    /// Sends a cancel, which may arrive before its payment.
    pub async fn open_cancel(&mut self, form: PayForm) {
        let correlations = self.send(&Request::Cancel(form.clone())).await;
        let (sent_at, repeats_left) = (self.clock.now(), self.random.random_range(0..3));
        self.cancels.push(OpenCancel { form, correlations, sent_at, repeats_left });
    }

    /// Removes the cancels that have their answer, and repeats the others when it is time.
    pub async fn follow_up_cancels(&mut self) {
        for mut open in std::mem::take(&mut self.cancels) {
            let answer = self.answer_to(&open);
            let is_late = self.clock.now().since(open.sent_at) > REPEAT_AFTER_MS;
            let try_again = answer == CancelAnswer::Refused && open.repeats_left > 0;
            if try_again || (answer == CancelAnswer::InProgress && is_late) {
                let correlations = self.send(&Request::Cancel(open.form.clone())).await;
                if try_again {
                    open.repeats_left -= 1;
                    // The replies so far are answers to the refused attempt.
                    open.correlations.clear();
                }
                open.correlations.extend(correlations);
                open.sent_at = self.clock.now();
            }
            if try_again || answer == CancelAnswer::InProgress {
                self.cancels.push(open);
            }
        }
    }

    fn answer_to(&self, open: &OpenCancel) -> CancelAnswer {
        let recorded = self.replies.lock().unwrap();
        let replies =
            open.correlations.iter().filter_map(|correlation| recorded.by_correlation.get(correlation)).flatten();
        let answers = replies.map(|reply| match &reply.content {
            ReplyContent::Order(order) => match &**order {
                Order::Payment(payment) => cancel_answer(payment.cancel.as_ref()),
                Order::Refund(_) | Order::EarlyCancel(_) => CancelAnswer::Closed,
            },
            ReplyContent::Empty => CancelAnswer::InProgress,
            _ => CancelAnswer::Closed,
        });
        answers
            .fold(CancelAnswer::InProgress, |known, next| if next == CancelAnswer::InProgress { known } else { next })
    }
}

fn cancel_answer(cancel: Option<&Cancel>) -> CancelAnswer {
    match cancel {
        Some(Cancel { stage: CancelStage::NothingToReverse, .. }) => CancelAnswer::Closed,
        Some(cancel) if cancel.is_reversed() => CancelAnswer::Closed,
        Some(cancel) if cancel.refusal().is_some() => CancelAnswer::Refused,
        Some(_) | None => CancelAnswer::InProgress,
    }
}
