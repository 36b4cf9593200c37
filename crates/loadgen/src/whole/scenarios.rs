//! What happens to payments of the second day, by the rules of the POS API. Issuers at which
//! something goes wrong have chains of their own, of which nobody can say what they come to.

use rand::{Rng, SeedableRng, seq::IndexedRandom};
use rand_chacha::ChaCha8Rng;
use twqr_wire::pos::{CancelRequest, InquiryType, PayRequest, QueryRequest, RefundRequest};

use super::{Call, Line};
use crate::{ISSUERS, Issuer};

/// Issuers at which the sample's fault script lets nothing go wrong.
const STEADY: [&str; 5] = ["", "391", "387", "004", "812"];
/// Issuers at which answers, requests or both are lost, late, or land only after an inquiry.
const UNSTEADY: [&str; 4] = ["397", "395", "392", "822"];
/// This issuer refuses each first reversal.
const REFUSES_ONCE: &str = "388";
/// This one refuses every reversal.
const REFUSES_REVERSALS: &str = "390";
/// This one refuses every refund.
const REFUSES_REFUNDS: &str = "389";
/// The wallet's own refusals of refunds, which a Remark provokes in the simulator.
const WALLET_REFUSALS: [&str; 6] = ["934", "951", "961", "962", "968", "975"];
/// A TradeNo in our form that nobody has.
const NOBODYS_TRADE_NO: &str = "T0000000000000071KWWEVR61";

/// `chains` chains; the same seed gives the same day.
pub fn whole_day(seed: u64, run: &str, chains: u32) -> Vec<Line> {
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    (0..chains).flat_map(|n| Chain::begin(&mut random, run, n).play(&mut random)).collect()
}

/// One payment and what is done to it.
struct Chain {
    number: u32,
    payment: PayRequest,
    lines: Vec<Line>,
    refunds: u32,
}

fn issuer(institution: &str) -> Issuer {
    ISSUERS.into_iter().find(|issuer| issuer.institution == institution).unwrap_or(ISSUERS[0])
}

fn code(random: &mut ChaCha8Rng, issuer: Issuer, mark: &str) -> String {
    let mut code = format!("{}{mark}", issuer.prefix);
    while code.len() < issuer.code_length {
        code.push(char::from(*b"abcefghijklmnopqrstuvwxyz0123456789".choose(random).unwrap_or(&b'0')));
    }
    code
}

impl Chain {
    fn begin(random: &mut ChaCha8Rng, run: &str, number: u32) -> Self {
        let steady = STEADY.choose(random).copied().unwrap_or_default();
        let payment = PayRequest {
            merchant_id: format!("W{:02}", random.random_range(0..10)),
            store_id: format!("S{}", random.random_range(0..3)),
            store_name: "示範店".to_owned(),
            gateway_trade_no: format!("G{number}"),
            merchant_trade_no: format!("{run}-{number}"),
            pos_id: "P1".to_owned(),
            pos_trade_time: "2026/11/25 12:00:00".to_owned(),
            card_token: code(random, issuer(steady), ""),
            trade_amount: random.random_range(20..3_000),
            un_redeem: random.random_range(0..10),
            send_time: "20261125120000".to_owned(),
            ..PayRequest::default()
        };
        Self { number, payment, lines: Vec::new(), refunds: 0 }
    }

    fn play(mut self, random: &mut ChaCha8Rng) -> Vec<Line> {
        let part = self.payment.trade_amount / 4;
        let whole = self.payment.trade_amount;
        match self.number % 14 {
            0 => self.pay("000").refund(whole, "000").ask("4").pay("000").refund(1, "922"),
            1 => self.pay("000").refund(part, "000").refund(part, "000").ask("7").refund(whole - 2 * part + 1, "922"),
            2 => self.pay("000").refund(part, "000").refund_again(part, "000").refund_again(part + 1, "ALREADY_EXISTS"),
            3 => {
                self.at(random, "").pay("000");
                for refusal in WALLET_REFUSALS {
                    self.refund_with(part, &format!("R{refusal}"), refusal);
                }
                self.ask("1")
            }
            4 => self.pay("000").cancel("000").ask("4").pay("812").refund(part, "812").cancel("000"),
            5 => self.declined(random).cancel("000").ask("2"),
            6 => self.cancel("916").ask("916").pay("812").ask("2").cancel("000"),
            7 => self.pay("000").refund(part, "000").cancel("000").ask("4").refund(part, "812"),
            8 => self.at(random, REFUSES_ONCE).pay("000").cancel("983").ask("1").cancel("000").ask("4"),
            9 => self.at(random, REFUSES_REVERSALS).pay("000").cancel("983").cancel("983").refund(part, "000").ask("7"),
            10 => self.at(random, REFUSES_REFUNDS).pay("000").refund(part, "983").ask("1").cancel("000"),
            11 => {
                self.pay("000").cancel_of_another_amount().ask("1").refund_of_nothing().under_its_refunds_number(part)
            }
            _ => {
                let unsteady = UNSTEADY.choose(random).copied().unwrap_or_default();
                self.at(random, unsteady).whatever(|chain| match chain.number % 3 {
                    0 => chain.pay("").refund(part, "").cancel(""),
                    1 => chain.pay("").cancel("").pay(""),
                    _ => chain.pay("").refund(part, "").refund(whole - part, "").ask(""),
                })
            }
        };
        self.lines
    }

    /// The payment goes to this issuer.
    fn at(&mut self, random: &mut ChaCha8Rng, institution: &str) -> &mut Self {
        self.payment.card_token = code(random, issuer(institution), "");
        self
    }

    fn add(&mut self, call: Call, expect: &str) -> &mut Self {
        let expect = (!expect.is_empty()).then(|| expect.to_owned());
        self.lines.push(Line { chain: self.number, call, expect });
        self
    }

    fn whatever(&mut self, calls: impl FnOnce(&mut Self) -> &mut Self) -> &mut Self {
        calls(self)
    }

    fn pay(&mut self, expect: &str) -> &mut Self {
        self.add(Call::Payment(self.payment.clone()), expect)
    }

    fn declined(&mut self, random: &mut ChaCha8Rng) -> &mut Self {
        self.payment.card_token = code(random, ISSUERS[0], "D928");
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

    /// The last refund's number once more.
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

    fn refund_of_nothing(&mut self) -> &mut Self {
        self.refunds += 1;
        let request = RefundRequest { trade_no: NOBODYS_TRADE_NO.to_owned(), ..self.refund_request(1) };
        self.add(Call::Refund { request, payment: String::new() }, "916")
    }

    /// A payment under the number of a refund, and a refund under the number of a payment.
    fn under_its_refunds_number(&mut self, amount: i64) -> &mut Self {
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

    fn cancel_of_another_amount(&mut self) -> &mut Self {
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

    fn ask(&mut self, expect: &str) -> &mut Self {
        let request = QueryRequest {
            inquiry_type: InquiryType::Payment.into(),
            merchant_id: self.payment.merchant_id.clone(),
            merchant_trade_no: self.payment.merchant_trade_no.clone(),
            ..QueryRequest::default()
        };
        self.add(Call::Inquiry(request), expect)
    }
}
