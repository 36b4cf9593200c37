//! Makes the test calls and resolves them as a worker would: after an answer that decides nothing
//! it inquires until the result is known or the window is over.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use prost::Message;
use rand::Rng;
use tonic::transport::Channel;
use twqr_types::{ShardId, TradeNo, UnixMs};
use twqr_wire::backend::{
    Charge, ExchangeRequest, Inquiry, Refund, Reversal, exchange_request::Call, exchange_response::Answer,
    inquiry::Subject,
};

use super::{
    conversation::{Answers, Conversation},
    options::CheckOptions,
    settled::{Settled, movement},
};

/// The pause between two inquiries about the same movement.
const INQUIRY_PAUSE: Duration = Duration::from_millis(100);
/// A `send_by` that no test reaches, from now.
const LONG_MS: i64 = 120_000;
/// The call id that the check uses twice on one stream.
pub(super) const REUSED_ID: u64 = 1;
/// Offsets below this fit into a TradeNo.
const OFFSETS: u64 = 1 << 50;

/// The calls of one check, over one stream and the further ones that a question needs.
pub(super) struct Examiner {
    pub(super) options: CheckOptions,
    tokens: Vec<String>,
    channel: Channel,
    main: Conversation,
    /// The answers of earlier streams.
    ended: Vec<Answers>,
    /// The reason why streams ended before the check had closed them.
    broken: Vec<String>,
    next_call: u64,
    next_offset: u64,
    /// Charges that may still have money on them, with what refunds have left.
    unreversed: Vec<Charge>,
    /// The latest time, after its `send_by`, at which a movement was found that was unknown before.
    pub(super) latest_effect_ms: Option<i64>,
}

/// Unix ms by this machine's clock.
pub(super) fn now_ms() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}

/// The reversal of what is left of a charge.
pub(super) fn reversal(charge: &Charge, left: i64, send_by_ms: i64) -> Call {
    Call::Reversal(Reversal {
        trade_no: charge.trade_no.clone(),
        merchant_id: charge.merchant_id.clone(),
        merchant_trade_no: charge.merchant_trade_no.clone(),
        store_id: charge.store_id.clone(),
        trade_amount: left,
        send_by_ms,
        ..Reversal::default()
    })
}

/// A reversal that may be sent for a long time.
pub(super) fn long_reversal(charge: &Charge, left: i64) -> Call {
    reversal(charge, left, now_ms() + LONG_MS)
}

impl Examiner {
    pub(super) fn new(options: CheckOptions, tokens: Vec<String>, channel: Channel) -> Self {
        Self {
            options,
            tokens,
            main: Conversation::open(channel.clone()),
            channel,
            ended: Vec::new(),
            broken: Vec::new(),
            next_call: REUSED_ID,
            next_offset: rand::rng().random_range(0..OFFSETS),
            unreversed: Vec::new(),
            latest_effect_ms: None,
        }
    }

    /// A number that was never used before.
    pub(super) fn number(&mut self) -> String {
        self.next_offset += 1;
        TradeNo::new(ShardId(0), self.next_offset, UnixMs(now_ms())).to_string()
    }

    /// A new charge of the usual amount that may be sent for a long time.
    pub(super) fn charge(&mut self) -> Charge {
        self.charge_of(self.options.amount, now_ms() + LONG_MS)
    }

    /// A new charge whose `send_by` the check waits for.
    pub(super) fn short_charge(&mut self) -> Charge {
        let send_by = self.soon();
        self.charge_of(self.options.amount, send_by)
    }

    /// The `send_by` of calls that are sent now and repeated after it.
    pub(super) fn soon(&self) -> i64 {
        now_ms() + i64::try_from(self.options.send_within_ms).unwrap_or(LONG_MS)
    }

    /// A `send_by` that has certainly passed, by the adapter's clock too.
    pub(super) fn past(&self) -> i64 {
        now_ms() - i64::try_from(self.options.clock_skew_ms).unwrap_or(LONG_MS) - 1_000
    }

    pub(super) fn charge_of(&mut self, trade_amount: i64, send_by_ms: i64) -> Charge {
        let trade_no = self.number();
        let token = self.next_offset as usize % self.tokens.len();
        Charge {
            merchant_id: self.options.merchant.clone(),
            merchant_trade_no: format!("CHECK{trade_no}"),
            trade_no,
            store_id: self.options.store.clone(),
            store_name: "Check".to_owned(),
            card_token: self.tokens[token].clone(),
            trade_amount,
            // Nothing of it is paid with points, so that the amounts of refunds are plain.
            un_redeem: if self.options.is_wallet() { trade_amount } else { 0 },
            send_by_ms,
            ..Charge::default()
        }
    }

    /// A new refund of a part of a charge.
    pub(super) fn refund(&mut self, charge: &Charge, trade_amount: i64, send_by_ms: i64) -> Call {
        let refund_trade_no = self.number();
        Call::Refund(Refund {
            merchant_trade_no: format!("CHECK{refund_trade_no}"),
            refund_trade_no,
            trade_no: charge.trade_no.clone(),
            merchant_id: charge.merchant_id.clone(),
            store_id: charge.store_id.clone(),
            store_name: charge.store_name.clone(),
            trade_amount,
            send_by_ms,
            ..Refund::default()
        })
    }

    /// A refund that may be sent for a long time.
    pub(super) fn long_refund(&mut self, charge: &Charge, trade_amount: i64) -> Call {
        self.refund(charge, trade_amount, now_ms() + LONG_MS)
    }

    /// Waits until this `send_by` has passed, by the adapter's clock too.
    pub(super) async fn wait_past(&self, send_by_ms: i64) {
        let left = u64::try_from(send_by_ms - now_ms()).unwrap_or(0);
        tokio::time::sleep(Duration::from_millis(left + 1) + self.options.clock_skew()).await;
    }

    /// Sends a call and waits for its first answer.
    pub(super) async fn ask(&mut self, call: Call) -> Option<Answer> {
        let call_id = self.next_id();
        self.send(call_id, call);
        self.main.nth_answer(call_id, 1, self.options.answer_within()).await
    }

    /// Sends a call and finds out what it came to.
    pub(super) async fn settle(&mut self, call: Call) -> Settled {
        let Some((subject, number, send_by)) = movement(&call) else { return Settled::Unknown("no call".to_owned()) };
        let number = number.to_owned();
        if let Call::Charge(charge) = &call {
            self.note_charge(charge);
        }
        let answer = self.ask(call).await;
        let settled = Settled::of(answer, subject);
        // The worker gives a call that has no decision to inquiries; "unknown" is none either.
        if settled.is_decided() { settled } else { self.follow(subject, &number, send_by, settled).await }
    }

    /// Inquires until the movement is decided or its window is over.
    async fn follow(&mut self, subject: Subject, number: &str, send_by: i64, first: Settled) -> Settled {
        // A far send_by would take as long to wait for as a worker waits; the test does not.
        let from = send_by.min(now_ms());
        let until = from + i64::try_from(self.options.window_ms).unwrap_or(LONG_MS);
        let mut last = first;
        loop {
            let settled = self.inquire(subject, number).await;
            if settled.is_decided() {
                let after = now_ms() - send_by;
                self.latest_effect_ms = self.latest_effect_ms.max((settled.is_done() && after > 0).then_some(after));
                return settled;
            }
            if !matches!((&settled, &last), (Settled::Absent, Settled::Unknown(_))) {
                last = settled;
            }
            if now_ms() > until {
                return last;
            }
            tokio::time::sleep(INQUIRY_PAUSE).await;
        }
    }

    /// Inquires a single time.
    pub(super) async fn inquire(&mut self, subject: Subject, number: &str) -> Settled {
        let inquiry = Inquiry { trade_no: number.to_owned(), subject: subject.into() };
        Settled::of(self.ask(Call::Inquiry(inquiry)).await, subject)
    }

    /// Sends the same call on two streams at the same moment, and settles both.
    pub(super) async fn settle_twice(&mut self, call: Call) -> [Settled; 2] {
        let Some((subject, number, send_by)) = movement(&call) else { return [Settled::Absent, Settled::Absent] };
        let number = number.to_owned();
        if let Call::Charge(charge) = &call {
            self.note_charge(charge);
        }
        let other = Conversation::open(self.channel.clone());
        let (here, there) = (self.next_id(), self.next_id());
        other.send(self.encode(there, call.clone()));
        self.send(here, call);
        let within = self.options.answer_within();
        let (one, two) = tokio::join!(self.main.nth_answer(here, 1, within), other.nth_answer(there, 1, within));
        self.ended.push(other.close().await);
        let mut both = [Settled::of(one, subject), Settled::of(two, subject)];
        for settled in &mut both {
            if !settled.is_decided() {
                *settled = self.follow(subject, &number, send_by, settled.clone()).await;
            }
        }
        both
    }

    /// Sends a charge on a stream of its own, and breaks the stream at once.
    pub(super) async fn abandon(&mut self, charge: &Charge) {
        self.note_charge(charge);
        let other = Conversation::open(self.channel.clone());
        other.send(self.encode(1, Call::Charge(charge.clone())));
        // The stream must exist before it can break.
        tokio::time::sleep(INQUIRY_PAUSE / 10).await;
        drop(other);
    }

    /// Sends bytes on the main stream and waits for the `nth` answer to this call id.
    pub(super) async fn ask_raw(&mut self, call_id: u64, message: Vec<u8>, nth: usize) -> Option<Answer> {
        self.keep_open();
        self.main.send(message);
        self.main.nth_answer(call_id, nth, self.options.answer_within()).await
    }

    /// Sends many calls at once, and returns the answer of each, in the order of the calls.
    pub(super) async fn ask_all(&mut self, calls: Vec<Call>) -> Vec<Option<Answer>> {
        let ids: Vec<u64> = calls.iter().map(|_| self.next_id()).collect();
        for (call_id, call) in ids.iter().zip(calls) {
            self.send(*call_id, call);
        }
        let within = self.options.answer_within();
        futures::future::join_all(ids.iter().map(|call_id| self.main.nth_answer(*call_id, 1, within))).await
    }

    /// The message of a call.
    pub(super) fn encode(&self, call_id: u64, call: Call) -> Vec<u8> {
        let institution = self.options.institution.clone();
        ExchangeRequest { call_id, institution, call: Some(call) }.encode_to_vec()
    }

    pub(super) fn next_id(&mut self) -> u64 {
        self.next_call += 1;
        self.next_call
    }

    fn send(&mut self, call_id: u64, call: Call) {
        self.keep_open();
        self.main.send(self.encode(call_id, call));
    }

    /// Opens the main stream again if it broke.
    fn keep_open(&mut self) {
        let answers = self.main.answers();
        if let Some(why) = answers.ended.clone() {
            self.broken.push(why);
            self.ended.push(answers);
            self.main = Conversation::open(self.channel.clone());
        }
    }

    /// Whether the main stream is open now.
    pub(super) fn is_open(&self) -> bool {
        self.main.answers().ended.is_none()
    }

    fn note_charge(&mut self, charge: &Charge) {
        if self.unreversed.iter().all(|noted| noted.trade_no != charge.trade_no) {
            self.unreversed.push(charge.clone());
        }
    }

    /// Reverses every charge of the check that is still whole, so that the test account has its
    /// money back. What was partly refunded is refused, and stays.
    pub(super) async fn give_back(&mut self) {
        let charges = std::mem::take(&mut self.unreversed);
        let reversals = charges.iter().map(|charge| long_reversal(charge, charge.trade_amount)).collect();
        self.ask_all(reversals).await;
    }

    /// Ends all streams; returns what each of them answered, and why some ended before.
    pub(super) async fn finish(mut self) -> (Vec<Answers>, Vec<String>) {
        self.broken.extend(self.main.answers().ended);
        self.ended.push(self.main.close().await);
        (self.ended, self.broken)
    }
}
