//! The refunds of a history: parts of payments that were told paid, several at a time, sometimes
//! more than is left, sometimes of what is no payment of theirs.

use std::time::Duration;

use rand::{Rng, seq::IndexedRandom};
use twqr_types::{Amount, MerchantId, MerchantTradeNo, OrderKey, PayForm, RefundForm, Remark, ShardId, TradeNo};

use crate::callers::{Caller, Request};

/// How many of the last payments are refunded and cancelled.
pub const LATELY: usize = 25;

impl Caller {
    /// A payment of lately whose number was told: one that was told paid, or also another one.
    pub fn told(&mut self, paid_only: bool) -> Option<(PayForm, TradeNo)> {
        let told = {
            let heard = self.heard.lock().unwrap();
            let told = |form: &PayForm| {
                let (number, paid) = heard.payment(&form.key)?;
                (paid || !paid_only).then(|| (form.clone(), number))
            };
            self.sent.iter().rev().take(LATELY).filter_map(told).collect::<Vec<_>>()
        };
        told.choose(&mut self.random).cloned()
    }

    pub async fn refund(&mut self) {
        let paid_only = self.random.random_bool(0.9);
        if let Some((payment, number)) = self.told(paid_only) {
            self.refund_of(&payment, number).await;
        }
    }

    /// As soon as the payment's number was told, whatever became of it.
    pub async fn refund_soon(&mut self, payment: &PayForm) {
        tokio::time::sleep(Duration::from_millis(self.random.random_range(20..200))).await;
        let told = self.heard.lock().unwrap().payment(&payment.key);
        if let Some((number, _)) = told {
            self.refund_of(payment, number).await;
        }
    }

    /// One to three refunds of a payment, one right after the other.
    async fn refund_of(&mut self, payment: &PayForm, number: TradeNo) {
        for _ in 0..self.random.random_range(1..=3) {
            let form = self.refund_form(payment, number);
            self.send(&Request::Refund(form.clone())).await;
            self.refunds.push(form);
        }
    }

    fn refund_form(&mut self, payment: &PayForm, number: TradeNo) -> RefundForm {
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
        let mut trade_no = number;
        match self.random.random_range(0..40) {
            0 => key.merchant_id = MerchantId::parse("M999".to_owned()).unwrap(),
            1 => trade_no = TradeNo::new(ShardId(self.random.random_range(0..2)), 3, self.clock.now()),
            2 => key = self.sent.choose(&mut self.random).unwrap().key.clone(),
            _ => {}
        }
        // The wallet refuses, or says that it does not know itself.
        let remark = *["", "", "", "", "", "", "R951", "R909"].choose(&mut self.random).unwrap();
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

    /// The same again, or another amount under the same number.
    pub async fn repeat_refund(&mut self) {
        let Some(form) = self.refunds.choose(&mut self.random).cloned() else { return };
        let other = Amount::parse(form.trade_amount.twd() + 1).unwrap();
        let trade_amount = if self.random.random_bool(0.3) { other } else { form.trade_amount };
        self.send(&Request::Refund(RefundForm { trade_amount, ..form })).await;
    }
}
