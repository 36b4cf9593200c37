//! The cancels of a history: of payments that are paid, in progress, failed, refunded in part, or
//! not there yet. As a POS does, whoever cancels repeats it until it has an answer, and sometimes
//! again after a refusal.

use rand::{Rng, seq::IndexedRandom};
use twqr_order::{Cancel, CancelStage, Order};
use twqr_types::{Amount, GatewayTradeNo, PayForm, UnixMs};
use twqr_wire::convert::ReplyContent;

use crate::{
    callers::{Caller, Request},
    refunds::LATELY,
};

/// A cancel without an answer.
pub struct OpenCancel {
    form: PayForm,
    /// Where answers come.
    correlations: Vec<u64>,
    sent_at: UnixMs,
    /// How often it comes again after a refusal.
    again: u32,
}

/// What a caller learns from an answer.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Answer {
    InProgress,
    Refused,
    Closed,
}

/// After this a POS cancels again, in ms.
const REPEATS_AFTER_MS: i64 = 3_000;

impl Caller {
    /// Of a payment of lately: one that was told paid, one that a refund was asked of, or any.
    pub async fn cancel(&mut self) {
        let refunded = self.refunds.choose(&mut self.random).map(|refund| refund.trade_no);
        let told = self.told(true).map(|(form, _)| form);
        let of_refunded = |form: &&PayForm| self.heard.lock().unwrap().payment(&form.key).map(|(no, _)| no) == refunded;
        let lately: Vec<PayForm> = self.sent.iter().rev().take(LATELY / 5).cloned().collect();
        let form = match self.random.random_range(0..3) {
            0 => told,
            1 => self.sent.iter().rev().take(LATELY).find(of_refunded).cloned(),
            _ => None,
        };
        let form = form.or_else(|| lately.choose(&mut self.random).cloned()).unwrap();
        let form = self.maybe_wrong(form);
        self.open_cancel(form).await;
    }

    /// Now and then it is not the payment's own.
    fn maybe_wrong(&mut self, form: PayForm) -> PayForm {
        let refund = self.refunds.choose(&mut self.random).map(|refund| refund.key.clone());
        match (self.random.random_range(0..20), refund) {
            (0, _) => PayForm { trade_amount: Amount::parse(form.trade_amount.twd() + 1).unwrap(), ..form },
            (1, _) => PayForm { gateway_trade_no: GatewayTradeNo::parse("other".to_owned()).unwrap(), ..form },
            (2, Some(key)) => PayForm { key, ..form },
            _ => form,
        }
    }

    /// One that has no answer yet; it may overtake its payment.
    pub async fn open_cancel(&mut self, form: PayForm) {
        let correlations = self.send(&Request::Cancel(form.clone())).await;
        let (sent_at, again) = (self.clock.now(), self.random.random_range(0..3));
        self.cancels.push(OpenCancel { form, correlations, sent_at, again });
    }

    /// Those that have their answer are closed; the others are repeated in time.
    pub async fn go_on_with_cancels(&mut self) {
        for mut open in std::mem::take(&mut self.cancels) {
            let answer = self.answer_to(&open);
            let late = self.clock.now().since(open.sent_at) > REPEATS_AFTER_MS;
            let again = answer == Answer::Refused && open.again > 0;
            if again || (answer == Answer::InProgress && late) {
                let correlations = self.send(&Request::Cancel(open.form.clone())).await;
                if again {
                    open.again -= 1;
                    open.correlations.clear();
                }
                open.correlations.extend(correlations);
                open.sent_at = self.clock.now();
            }
            if again || answer == Answer::InProgress {
                self.cancels.push(open);
            }
        }
    }

    fn answer_to(&self, open: &OpenCancel) -> Answer {
        let heard = self.heard.lock().unwrap();
        let replies = open.correlations.iter().filter_map(|correlation| heard.replies.get(correlation)).flatten();
        let answers = replies.map(|reply| match &reply.content {
            ReplyContent::Order(order) => match &**order {
                Order::Payment(payment) => answer_of(payment.cancel.as_ref()),
                Order::Refund(_) | Order::EarlyCancel(_) => Answer::Closed,
            },
            ReplyContent::Empty => Answer::InProgress,
            _ => Answer::Closed,
        });
        answers.fold(Answer::InProgress, |known, next| if next == Answer::InProgress { known } else { next })
    }
}

fn answer_of(cancel: Option<&Cancel>) -> Answer {
    match cancel {
        Some(Cancel { stage: CancelStage::NothingToReverse, .. }) => Answer::Closed,
        Some(cancel) if cancel.is_reversed() => Answer::Closed,
        Some(cancel) if cancel.refusal().is_some() => Answer::Refused,
        Some(_) | None => Answer::InProgress,
    }
}
