//! Draws faults repeatably, from the script's seed and the number of the charge, refund or
//! reversal. The same run has the same faults, and a payment's draw is independent of its refund's.

use std::borrow::Cow;

use twqr_wire::backend::inquiry::Subject;

use super::movement::Movement;
use crate::Faults;

/// The purpose of a random draw. Draws for different purposes are independent of each other.
#[derive(Clone, Copy)]
pub(super) enum Purpose {
    Fate,
    Latency,
    Twice,
    Happens,
    Contradict,
    Refuse,
    RefuseOnce,
    BadCarrier,
    UnmaskedCard,
    RefuseFirst,
}

/// The faults of a call and its answer in transit.
#[derive(Clone, Copy)]
pub(super) enum Fate {
    Normal,
    RequestLost,
    AnswerLost,
    Late,
    Held,
}

/// The draws for one charge, refund or reversal, which its number identifies.
pub(super) struct Draws<'a> {
    seed: u64,
    number: Cow<'a, str>,
    subject: Subject,
}

impl<'a> Draws<'a> {
    /// Draws that are the same for every attempt. `number` is the TradeNo of the charge or of the
    /// refund; for a reversal, the TradeNo of its charge.
    pub(super) fn of_number(seed: u64, subject: Subject, number: &'a str) -> Self {
        Self { seed, number: Cow::Borrowed(number), subject }
    }

    /// Draws for one call in transit. `attempt` counts the movement's earlier calls that were lost,
    /// held or answered late.
    pub(super) fn of_call(seed: u64, movement: &Movement<'a>, attempt: u32) -> Self {
        let number = match movement {
            Movement::Charge(charge) => Cow::Borrowed(charge.trade_no.as_str()),
            Movement::Refund(refund) => Cow::Borrowed(refund.refund_trade_no.as_str()),
            // A reversal may be sent again, and each attempt needs its own draw: attempts differ in
            // `send_by_ms`.
            Movement::Reversal(reversal) => Cow::Owned(format!("{}/{}", reversal.trade_no, reversal.send_by_ms)),
        };
        let number = if attempt == 0 { number } else { Cow::Owned(format!("{number}/{attempt}")) };
        Self { seed, number, subject: movement.subject() }
    }

    pub(super) fn fate(&self, faults: &Faults) -> Fate {
        let drawn = self.draw(Purpose::Fate);
        let mut below = 0.0;
        for (share, fate) in [
            (faults.lose_requests, Fate::RequestLost),
            (faults.lose_answers, Fate::AnswerLost),
            (faults.answer_late, Fate::Late),
            (faults.land_after_inquiry, Fate::Held),
        ] {
            below += share;
            if drawn < below {
                return fate;
            }
        }
        Fate::Normal
    }

    /// The latency in ms: half to double of the script's value.
    #[allow(clippy::cast_sign_loss, reason = "not below zero")]
    pub(super) fn latency(&self, faults: &Faults) -> u64 {
        let spread = 0.5 + 1.5 * self.draw(Purpose::Latency).powi(3);
        (f64::from(faults.latency_ms) * spread).round().max(0.0) as u64
    }

    /// Returns true for about this share of all numbers, and always for the same ones.
    pub(super) fn is_hit(&self, purpose: Purpose, share: f64) -> bool {
        self.draw(purpose) < share
    }

    /// A value from 0.0 to below 1.0, hashed from seed, subject, purpose and number (FNV-1a, then
    /// mixed).
    fn draw(&self, purpose: Purpose) -> f64 {
        let subject: u64 = match self.subject {
            Subject::Unspecified | Subject::Charge => 0,
            Subject::Refund => 16,
            Subject::Reversal => 32,
        };
        let start = FNV_START ^ self.seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ ((subject + purpose as u64) << 56);
        let mixed = fnv(start, self.number.bytes());
        let mixed = (mixed ^ (mixed >> 33)).wrapping_mul(0xff51_afd7_ed55_8ccd);
        ((mixed ^ (mixed >> 33)) >> 11) as f64 / (1_u64 << 53) as f64
    }
}

/// The initial value of an FNV-1a hash.
pub(super) const FNV_START: u64 = 0xcbf2_9ce4_8422_2325;

/// Continues an FNV-1a hash from `start`.
pub(super) fn fnv(start: u64, bytes: impl IntoIterator<Item = u8>) -> u64 {
    bytes.into_iter().fold(start, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3))
}
