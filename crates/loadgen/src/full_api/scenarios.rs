//! Generates the chains of calls of the full-API day, with the results that the POS API requires.
//! Chains at issuers that lose or delay calls have no expected results: those depend on the faults.

use rand::{Rng, SeedableRng, seq::IndexedRandom};
use rand_chacha::ChaCha8Rng;
use twqr_types::Issuer;
use twqr_wire::pos::{CancelRequest, InquiryType, PayRequest, QueryRequest, RefundRequest};

use super::{Call, Line};
use crate::issuers::{WALLET, codes_of, institution};

/// Issuers without faults in the sample's fault script (`load-tests/samples/simulator.toml`).
const STEADY: [Issuer; 2] = [Issuer::Wallet, institution("004")];
/// Issuers that lose or delay calls, or let them take effect only after an inquiry.
const UNSTEADY: [Issuer; 2] = [institution("392"), institution("390")];
/// This issuer refuses every refund, and the first reversal of each charge.
const REFUSES_REFUNDS: Issuer = institution("389");
/// This issuer refuses every reversal.
const REFUSES_REVERSALS: Issuer = institution("390");
/// The wallet's refusals of refunds that a Remark provokes in the simulator.
const WALLET_REFUSALS: [&str; 6] = ["934", "951", "961", "962", "968", "975"];
/// A well-formed TradeNo that belongs to no payment.
const UNKNOWN_TRADE_NO: &str = "T0000000000000071KWWEVR61";

/// A day of `chains` chains. Their MerchantTradeNos begin with `run`. The same seed gives the same
/// day.
pub fn full_api_day(seed: u64, run: &str, chains: u32) -> Vec<Line> {
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    (0..chains).flat_map(|n| Chain::begin(&mut random, run, n).play(&mut random)).collect()
}

/// A payment and the calls about it.
struct Chain {
    number: u32,
    payment: PayRequest,
    lines: Vec<Line>,
    refunds: u32,
}

impl Chain {
    fn begin(random: &mut ChaCha8Rng, run: &str, number: u32) -> Self {
        let steady = STEADY.choose(random).copied().unwrap_or(Issuer::Wallet);
        let payment = PayRequest {
            merchant_id: format!("W{:02}", random.random_range(0..10)),
            store_id: format!("S{}", random.random_range(0..3)),
            store_name: "示範店".to_owned(),
            gateway_trade_no: format!("G{number}"),
            merchant_trade_no: format!("{run}-{number}"),
            pos_id: "P1".to_owned(),
            pos_trade_time: "2026/11/25 12:00:00".to_owned(),
            card_token: codes_of(steady).code(random, ""),
            trade_amount: random.random_range(20..3_000),
            un_redeem: random.random_range(0..10),
            send_time: "20261125120000".to_owned(),
            ..PayRequest::default()
        };
        Self { number, payment, lines: Vec::new(), refunds: 0 }
    }

    fn play(mut self, random: &mut ChaCha8Rng) -> Vec<Line> {
        let part = self.payment.trade_amount / 4;
        let full = self.payment.trade_amount;
        match self.number % 14 {
            0 => self.pay("000").refund(full, "000").inquire("4").pay("000").refund(1, "922"),
            1 => {
                self.pay("000").refund(part, "000").refund(part, "000").inquire("7").refund(full - 2 * part + 1, "922")
            }
            2 => self.pay("000").refund(part, "000").refund_again(part, "000").refund_again(part + 1, "ALREADY_EXISTS"),
            3 => {
                self.at(random, Issuer::Wallet).pay("000");
                for refusal in WALLET_REFUSALS {
                    self.refund_with(part, &format!("R{refusal}"), refusal);
                }
                self.inquire("1")
            }
            4 => self.pay("000").cancel("000").inquire("4").pay("812").refund(part, "812").cancel("000"),
            5 => self.pay_declined(random).cancel("000").inquire("2"),
            6 => self.cancel("916").inquire("916").pay("812").inquire("2").cancel("000"),
            7 => self.pay("000").refund(part, "000").cancel("000").inquire("4").refund(part, "812"),
            8 => self.at(random, REFUSES_REFUNDS).pay("000").cancel("983").inquire("1").cancel("000").inquire("4"),
            9 => self
                .at(random, REFUSES_REVERSALS)
                .pay("000")
                .cancel("983")
                .cancel("983")
                .refund(part, "000")
                .inquire("7"),
            10 => {
                self.at(random, REFUSES_REFUNDS).pay("000").refund(part, "983").inquire("1").cancel("983").cancel("000")
            }
            11 => self.pay("000").cancel_another_amount().inquire("1").refund_unknown_payment().swap_numbers(part),
            _ => {
                let unsteady = UNSTEADY.choose(random).copied().unwrap_or(Issuer::Wallet);
                let chain = self.at(random, unsteady);
                match chain.number % 3 {
                    0 => chain.pay("").refund(part, "").cancel(""),
                    1 => chain.pay("").cancel("").pay(""),
                    _ => chain.pay("").refund(part, "").refund(full - part, "").inquire(""),
                }
            }
        };
        self.lines
    }

    /// Gives the payment a code of this issuer.
    fn at(&mut self, random: &mut ChaCha8Rng, issuer: Issuer) -> &mut Self {
        self.payment.card_token = codes_of(issuer).code(random, "");
        self
    }

    /// Adds a call; an empty `expect` accepts any result.
    fn add(&mut self, call: Call, expect: &str) -> &mut Self {
        let expect = (!expect.is_empty()).then(|| expect.to_owned());
        self.lines.push(Line { chain: self.number, call, expect });
        self
    }

    fn pay(&mut self, expect: &str) -> &mut Self {
        self.add(Call::Payment(self.payment.clone()), expect)
    }

    fn pay_declined(&mut self, random: &mut ChaCha8Rng) -> &mut Self {
        self.payment.card_token = WALLET.code(random, "D928");
        self.pay("928")
    }

    fn refund(&mut self, amount: i64, expect: &str) -> &mut Self {
        self.refund_with(amount, "", expect)
    }

    fn refund_with(&mut self, amount: i64, remark: &str, expect: &str) -> &mut Self {
        self.refunds += 1;
        let request = RefundRequest { remark: remark.to_owned(), ..self.refund_request(amount) };
        self.add(Call::Refund { request, payment: self.payment.merchant_trade_no.clone() }, expect)
    }

    /// Sends a refund under the number of the last one.
    fn refund_again(&mut self, amount: i64, expect: &str) -> &mut Self {
        let request = self.refund_request(amount);
        self.add(Call::Refund { request, payment: self.payment.merchant_trade_no.clone() }, expect)
    }

    fn refund_request(&self, amount: i64) -> RefundRequest {
        let of = &self.payment;
        RefundRequest {
            merchant_id: of.merchant_id.clone(),
            store_id: of.store_id.clone(),
            store_name: of.store_name.clone(),
            gateway_trade_no: of.gateway_trade_no.clone(),
            merchant_trade_no: format!("{}-r{}", of.merchant_trade_no, self.refunds),
            pos_id: of.pos_id.clone(),
            pos_trade_time: of.pos_trade_time.clone(),
            trade_amount: amount,
            send_time: of.send_time.clone(),
            ..RefundRequest::default()
        }
    }

    fn refund_unknown_payment(&mut self) -> &mut Self {
        self.refunds += 1;
        let request = RefundRequest { trade_no: UNKNOWN_TRADE_NO.to_owned(), ..self.refund_request(1) };
        self.add(Call::Refund { request, payment: String::new() }, "916")
    }

    /// Refunds, then sends a payment with the refund's number and a refund with the payment's
    /// number.
    fn swap_numbers(&mut self, amount: i64) -> &mut Self {
        self.refund(amount, "000");
        let number = self.refund_request(amount).merchant_trade_no;
        let payment = PayRequest { merchant_trade_no: number, ..self.payment.clone() };
        self.add(Call::Payment(payment), "ALREADY_EXISTS");
        let number = self.payment.merchant_trade_no.clone();
        let request = RefundRequest { merchant_trade_no: number.clone(), ..self.refund_request(amount) };
        self.add(Call::Refund { request, payment: number }, "ALREADY_EXISTS")
    }

    fn cancel(&mut self, expect: &str) -> &mut Self {
        let request = self.cancel_request(self.payment.trade_amount);
        self.add(Call::Cancel(request), expect)
    }

    fn cancel_another_amount(&mut self) -> &mut Self {
        let request = self.cancel_request(self.payment.trade_amount + 1);
        self.add(Call::Cancel(request), "ALREADY_EXISTS")
    }

    fn cancel_request(&self, trade_amount: i64) -> CancelRequest {
        let of = self.payment.clone();
        CancelRequest {
            merchant_id: of.merchant_id,
            store_id: of.store_id,
            store_name: of.store_name,
            gateway_trade_no: of.gateway_trade_no,
            merchant_trade_no: of.merchant_trade_no,
            pos_id: of.pos_id,
            pos_trade_time: of.pos_trade_time,
            card_token: of.card_token,
            trade_amount,
            un_redeem: of.un_redeem,
            send_time: of.send_time,
            ..CancelRequest::default()
        }
    }

    fn inquire(&mut self, expect: &str) -> &mut Self {
        let request = QueryRequest {
            inquiry_type: InquiryType::Payment.into(),
            merchant_id: self.payment.merchant_id.clone(),
            merchant_trade_no: self.payment.merchant_trade_no.clone(),
            ..QueryRequest::default()
        };
        self.add(Call::Inquiry(request), expect)
    }
}
