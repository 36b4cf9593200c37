//! Callers that refund: mostly parts of payments that a reply called paid, several at a time. Some
//! ask for more than is left, or name a payment that does not exist or is another merchant's.

use std::time::Duration;

use rand::{Rng, seq::IndexedRandom};
use twqr_types::{Amount, MerchantId, MerchantTradeNo, OrderKey, PayForm, RefundForm, Remark, ShardId, TradeNo};

use super::{Caller, Request, RequestKinds};

/// Refunds and cancels select from this many of the latest payments.
pub const RECENT_PAYMENTS: usize = 25;

impl Caller {
    /// Returns a recent payment whose TradeNo a reply has given. With `paid_only`, a reply must
    /// also have called it paid.
    pub fn answered_payment(&mut self, paid_only: bool) -> Option<(PayForm, TradeNo)> {
        let answered = {
            let replies = self.replies.lock().unwrap();
            let with_trade_no = |form: &PayForm| {
                let (trade_no, is_paid) = replies.payment(&form.key)?;
                (is_paid || !paid_only).then(|| (form.clone(), trade_no))
            };
            self.payments.iter().rev().take(RECENT_PAYMENTS).filter_map(with_trade_no).collect::<Vec<_>>()
        };
        answered.choose(&mut self.random).cloned()
    }

    pub async fn refund_a_payment(&mut self) {
        let paid_only = self.random.random_bool(0.9);
        if let Some((payment, trade_no)) = self.answered_payment(paid_only) {
            self.refund_of(&payment, trade_no).await;
        }
    }

    /// Refunds a payment a moment after it was sent, if its TradeNo is known by then; it may have
    /// failed.
    pub async fn refund_soon(&mut self, payment: &PayForm) {
        tokio::time::sleep(Duration::from_millis(self.random.random_range(20..200))).await;
        let answered = self.replies.lock().unwrap().payment(&payment.key);
        if let Some((trade_no, _)) = answered {
            self.refund_of(payment, trade_no).await;
        }
    }

    /// Sends one to three refunds of a payment without waiting for their answers.
    async fn refund_of(&mut self, payment: &PayForm, trade_no: TradeNo) {
        for _ in 0..self.random.random_range(1..=3) {
            let form = self.refund_form(payment, trade_no);
            self.send(&Request::Refund(form.clone())).await;
            self.refunds.push(form);
        }
    }

    fn refund_form(&mut self, payment: &PayForm, trade_no: TradeNo) -> RefundForm {
        let all = payment.trade_amount.twd();
        let amount = match self.random.random_range(0..10) {
            0..2 => all,
            2 => all + self.random.random_range(1..100),
            3 => self.random.random_range(1..=all),
            _ => self.random.random_range(1..=all / 4 + 1),
        };
        let mut key = OrderKey {
            merchant_id: payment.key.merchant_id.clone(),
            merchant_trade_no: MerchantTradeNo::parse(format!("r-{}", self.refunds.len())).unwrap(),
        };
        let mut trade_no = trade_no;
        match self.random.random_range(0..40) {
            0 => key.merchant_id = MerchantId::parse("M999".to_owned()).unwrap(),
            1 => trade_no = TradeNo::new(ShardId(self.random.random_range(0..2)), 3, self.clock.now()),
            2 => key = self.payments.choose(&mut self.random).unwrap().key.clone(),
            _ => {}
        }
        // These remarks make the simulator refuse the refund (951), or report the ambiguous 909.
        let remark = *["", "", "", "", "", "", "R951", "R909"].choose(&mut self.random).unwrap();
        let remark = if self.kinds == RequestKinds::Harmless && remark == "R909" { "" } else { remark };
        RefundForm {
            key,
            store_id: payment.store_id.clone(),
            store_name: payment.store_name.clone(),
            gateway_trade_no: payment.gateway_trade_no.clone(),
            pos_id: payment.pos_id.clone(),
            pos_trade_time: payment.pos_trade_time.clone(),
            trade_no,
            trade_amount: Amount::parse(amount).unwrap(),
            remark: Remark::parse(remark.to_owned()).unwrap(),
            extra1: payment.extra1.clone(),
            extra2: payment.extra2.clone(),
            send_time: payment.send_time.clone(),
        }
    }

    /// Repeats a refund, sometimes with another amount under its number.
    pub async fn repeat_refund(&mut self) {
        let Some(form) = self.refunds.choose(&mut self.random).cloned() else { return };
        let other = Amount::parse(form.trade_amount.twd() + 1).unwrap();
        let trade_amount = if self.random.random_bool(0.3) { other } else { form.trade_amount };
        self.send(&Request::Refund(RefundForm { trade_amount, ..form })).await;
    }
}
