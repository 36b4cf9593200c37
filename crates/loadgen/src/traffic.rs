//! Draws the kind of each call, its merchant, issuer and amount, and builds the requests. Calls
//! about an earlier payment choose among the latest ones.

mod merchants;
mod recent;

use rand::{Rng, SeedableRng, distr::weighted::WeightedIndex, prelude::Distribution};
use rand_chacha::ChaCha8Rng;
use serde::Serialize;
use twqr_types::Issuer;
use twqr_wire::pos::{CancelRequest, InquiryType, PayRequest, QueryRequest, RefundRequest};

use crate::{
    issuers::{IssuerCodes, codes_of},
    scenario::Scenario,
};

pub use merchants::{MerchantList, MerchantListError};
pub use recent::{PaidPayment, RecentPayments, SentPayment};

/// The kinds of calls that a scenario mixes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum CallKind {
    /// A new payment.
    Pay,
    /// A payment again, under its number.
    Repeat,
    /// A used number with another amount.
    Conflict,
    /// A payment with invalid fields.
    Invalid,
    /// An inquiry about a payment.
    Inquiry,
    /// A refund of a payment.
    Refund,
    /// A cancel of a payment.
    Cancel,
}

impl CallKind {
    /// All kinds, in the order of the reports.
    pub const ALL: [Self; 7] =
        [Self::Pay, Self::Repeat, Self::Conflict, Self::Invalid, Self::Inquiry, Self::Refund, Self::Cancel];

    /// The name in scenarios and reports.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Pay => "pay",
            Self::Repeat => "repeat",
            Self::Conflict => "conflict",
            Self::Invalid => "invalid",
            Self::Inquiry => "inquiry",
            Self::Refund => "refund",
            Self::Cancel => "cancel",
        }
    }
}

/// How a call reaches the public API.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum CallChannel {
    /// A gRPC call of its own.
    Grpc,
    /// A request of a PayStream; payments only.
    GrpcStream,
    /// The signed HTTP form.
    Http,
}

impl CallChannel {
    /// All channels, in the order of the reports.
    pub const ALL: [Self; 3] = [Self::Grpc, Self::GrpcStream, Self::Http];

    /// The name in scenarios and reports.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Grpc => "grpc",
            Self::GrpcStream => "grpc_stream",
            Self::Http => "http",
        }
    }
}

/// A request with all of its fields.
#[derive(Clone, Debug)]
pub enum BuiltRequest {
    /// A payment of any kind.
    Pay(PayRequest),
    /// An inquiry about a payment.
    Query(QueryRequest),
    /// A refund of a payment.
    Refund(RefundRequest),
    /// A cancel of a payment.
    Cancel(CancelRequest),
}

/// A call that is ready to be sent.
#[derive(Clone, Debug)]
pub struct DrawnCall {
    /// Its kind. A call about an earlier payment becomes a new payment while there is none.
    pub kind: CallKind,
    /// How it is sent.
    pub channel: CallChannel,
    /// Whether the request was made to fail: its code is one that the simulator declines.
    pub is_declined: bool,
    /// The merchant's index.
    pub merchant: u32,
    /// The number of the order that it is about; a refund's payment.
    pub order: u64,
    /// The refund's own number.
    pub refund: u64,
    /// The amount in TWD.
    pub amount: i64,
    /// The request with all its fields.
    pub request: BuiltRequest,
}

/// The issuers of new payments if the scenario names none: those without faults in the samples.
const DEFAULT_ISSUERS: [(&str, f64); 3] = [("wallet", 50.0), ("389", 25.0), ("004", 25.0)];

impl SentPayment {
    /// The call that sends this payment, for the first time or again.
    fn call(self, kind: CallKind) -> DrawnCall {
        let Self { merchant, order, is_declined, request } = self;
        DrawnCall {
            kind,
            channel: CallChannel::Grpc,
            is_declined,
            merchant,
            order,
            refund: 0,
            amount: request.trade_amount,
            request: BuiltRequest::Pay(request),
        }
    }
}

/// Draws calls for one sending thread.
#[derive(Debug)]
pub struct Traffic {
    random: ChaCha8Rng,
    merchants: MerchantList,
    kinds: WeightedIndex<f64>,
    issuers: WeightedIndex<f64>,
    codes: Vec<IssuerCodes>,
    declined: f64,
    http: f64,
    grpc_stream: f64,
    run: String,
    next_order: u64,
    order_step: u64,
}

impl Traffic {
    /// The traffic of thread `thread` of `threads`. MerchantTradeNos begin with `run`. Fails if the
    /// weights are not a distribution, which [`Scenario::parse`] rules out.
    pub fn new(
        scenario: &Scenario,
        merchants: MerchantList,
        run: &str,
        thread: u32,
        threads: u32,
    ) -> Result<Self, rand::distr::weighted::Error> {
        let mix = &scenario.mix;
        let weights = [mix.pay, mix.repeat, mix.conflict, mix.invalid, mix.inquiry, mix.refund, mix.cancel];
        let named: Vec<(&str, f64)> = if scenario.issuers.is_empty() {
            DEFAULT_ISSUERS.to_vec()
        } else {
            scenario.issuers.iter().map(|(name, weight)| (name.as_str(), *weight)).collect()
        };
        let issuer = |name: &str| Issuer::from_wire(if name == "wallet" { "" } else { name }).unwrap_or(Issuer::Wallet);
        Ok(Self {
            random: ChaCha8Rng::seed_from_u64(scenario.seed ^ (u64::from(thread) + 1).wrapping_mul(0x9e37_79b9)),
            merchants,
            kinds: WeightedIndex::new(weights)?,
            issuers: WeightedIndex::new(named.iter().map(|(_, weight)| *weight))?,
            codes: named.iter().map(|(name, _)| codes_of(issuer(name))).collect(),
            declined: mix.declined,
            http: mix.http,
            grpc_stream: mix.grpc_stream,
            run: run.to_owned(),
            next_order: u64::from(thread),
            order_step: u64::from(threads.max(1)),
        })
    }

    /// Draws the next call.
    pub fn draw(&mut self, recent: &mut RecentPayments) -> DrawnCall {
        let kind = CallKind::ALL[self.kinds.sample(&mut self.random)];
        let channel = self.channel();
        let call = match kind {
            CallKind::Pay | CallKind::Invalid => None,
            CallKind::Repeat => recent.sent(&mut self.random).cloned().map(|sent| Self::again(kind, sent)),
            // The first request must have arrived: else the conflicting one would be the first.
            CallKind::Conflict => recent.paid(&mut self.random).map(|paid| {
                let PaidPayment { merchant, order, request, .. } = paid.clone();
                Self::again(kind, SentPayment { merchant, order, is_declined: false, request })
            }),
            CallKind::Inquiry => recent.paid(&mut self.random).cloned().map(|paid| Self::inquiry(&paid)),
            CallKind::Refund => recent.take_paid(&mut self.random).map(|paid| self.refund(&paid)),
            CallKind::Cancel => recent.take_paid(&mut self.random).map(|paid| Self::cancel(&paid)),
        };
        let call = call.unwrap_or_else(|| self.payment(kind == CallKind::Invalid));
        match (channel, &call.request) {
            (CallChannel::GrpcStream, BuiltRequest::Query(_) | BuiltRequest::Refund(_) | BuiltRequest::Cancel(_)) => {
                call
            }
            (channel, _) => DrawnCall { channel, ..call },
        }
    }

    /// Draws the channel of a call; a call that is no payment uses gRPC instead of a stream.
    fn channel(&mut self) -> CallChannel {
        if self.http + self.grpc_stream <= 0.0 {
            return CallChannel::Grpc;
        }
        let drawn = self.random.random::<f64>();
        if drawn < self.http {
            CallChannel::Http
        } else if drawn < self.http + self.grpc_stream {
            CallChannel::GrpcStream
        } else {
            CallChannel::Grpc
        }
    }

    fn new_order(&mut self) -> u64 {
        let order = self.next_order;
        self.next_order += self.order_step;
        order
    }

    fn payment(&mut self, is_invalid: bool) -> DrawnCall {
        let order = self.new_order();
        let merchant = self.merchants.draw(&mut self.random);
        let codes = self.codes[self.issuers.sample(&mut self.random)];
        let is_declined = !is_invalid && self.declined > 0.0 && self.random.random_bool(self.declined);
        let amount = self.random.random_range(1..5_000);
        let mut request = PayRequest {
            merchant_id: self.merchants.id(merchant).to_owned(),
            store_id: "S1".to_owned(),
            merchant_trade_no: trade_no(&self.run, order),
            pos_id: "P1".to_owned(),
            card_token: codes.code(&mut self.random, if is_declined { "D928" } else { "" }),
            trade_amount: amount,
            ..PayRequest::default()
        };
        if is_invalid {
            request.un_redeem = amount + 1;
            "yesterday".clone_into(&mut request.pos_trade_time);
        }
        let kind = if is_invalid { CallKind::Invalid } else { CallKind::Pay };
        SentPayment { merchant, order, is_declined, request }.call(kind)
    }

    fn again(kind: CallKind, mut sent: SentPayment) -> DrawnCall {
        if kind == CallKind::Conflict {
            sent.request.trade_amount += 1;
        }
        sent.call(kind)
    }

    fn inquiry(paid: &PaidPayment) -> DrawnCall {
        let request = payment_query(&paid.request.merchant_id, &paid.request.merchant_trade_no);
        Self::about(CallKind::Inquiry, paid, paid.request.trade_amount, BuiltRequest::Query(request))
    }

    fn refund(&mut self, paid: &PaidPayment) -> DrawnCall {
        let refund = self.new_order();
        let all = paid.request.trade_amount;
        let amount = if self.random.random_bool(0.5) { all } else { self.random.random_range(1..=all) };
        let request = RefundRequest {
            merchant_id: paid.request.merchant_id.clone(),
            store_id: paid.request.store_id.clone(),
            merchant_trade_no: trade_no(&self.run, refund),
            pos_id: paid.request.pos_id.clone(),
            trade_no: paid.trade_no.clone(),
            trade_amount: amount,
            ..RefundRequest::default()
        };
        DrawnCall { refund, ..Self::about(CallKind::Refund, paid, amount, BuiltRequest::Refund(request)) }
    }

    fn cancel(paid: &PaidPayment) -> DrawnCall {
        let payment = paid.request.clone();
        let request = CancelRequest {
            merchant_id: payment.merchant_id,
            store_id: payment.store_id,
            gateway_trade_no: payment.gateway_trade_no,
            merchant_trade_no: payment.merchant_trade_no,
            pos_id: payment.pos_id,
            card_token: payment.card_token,
            trade_amount: payment.trade_amount,
            ..CancelRequest::default()
        };
        Self::about(CallKind::Cancel, paid, paid.request.trade_amount, BuiltRequest::Cancel(request))
    }

    fn about(kind: CallKind, paid: &PaidPayment, amount: i64, request: BuiltRequest) -> DrawnCall {
        DrawnCall {
            kind,
            channel: CallChannel::Grpc,
            is_declined: false,
            merchant: paid.merchant,
            order: paid.order,
            refund: 0,
            amount,
            request,
        }
    }
}

/// The MerchantTradeNo of an order or a refund of a run.
pub fn trade_no(run: &str, number: u64) -> String {
    format!("{run}-{number}")
}

/// An inquiry about a payment.
pub fn payment_query(merchant_id: &str, merchant_trade_no: &str) -> QueryRequest {
    QueryRequest {
        inquiry_type: InquiryType::Payment.into(),
        merchant_id: merchant_id.to_owned(),
        merchant_trade_no: merchant_trade_no.to_owned(),
        ..QueryRequest::default()
    }
}

#[cfg(test)]
mod tests;
