//! What the wallet and the issuers decide: no I/O, no clock. A call goes in, reactions come out: entries for the ledger, and answers
//! that are due at a time. Declines are provoked by the code: after its prefix, `D` and three digits decline with that code (or, where it
//! is one with which the wallet does not know itself, answer so), and `NOCARD` says that the store takes no credit card.

mod accounts;

use std::collections::HashMap;

use twqr_wire::{
    backend::{
        Approved, Charge, Declined, ExchangeRequest, ExchangeResponse, LedgerEntry, TradeUnknown, Undecided, declined,
        exchange_request::Call, exchange_response::Answer, ledger_entry::Kind,
    },
    pos::PaymentType,
};

use crate::{Faults, Script};
use accounts::{Accounts, account_of};

/// What became of a charge at its issuer.
#[derive(Clone, Debug, PartialEq)]
pub enum Verdict {
    /// The customer paid.
    Charged(Approved),
    /// The issuer refused.
    Refused(Declined),
}

/// Something that a call brings about, now or later.
#[derive(Clone, Debug)]
pub enum Reaction {
    /// Record it; it must be on disk before any answer goes out.
    Record(LedgerEntry),
    /// Answer, so many ms from now.
    Answer {
        /// The delay in ms.
        after_ms: u64,
        /// The answer.
        response: ExchangeResponse,
    },
    /// Hand this charge in again, so many ms from now: it was held back.
    Land {
        /// The delay in ms.
        after_ms: u64,
        /// The request that was held.
        request: Box<ExchangeRequest>,
    },
}

/// How long after an inquiry a held charge takes effect, in ms.
const LANDS_AFTER_MS: u64 = 200;
/// Codes with which the wallet says that it does not know.
const AMBIGUOUS: [&str; 4] = ["301", "801", "901", "909"];
/// How many charges are held back at the most.
const HELD_MAX: usize = 10_000;

/// The wallet and the issuers.
pub struct Bank {
    script: Script,
    /// By institution and TradeNo: the first verdict.
    verdicts: HashMap<(String, String), Verdict>,
    held: HashMap<(String, String), ExchangeRequest>,
    accounts: Accounts,
    sequence: u64,
}

/// What happens to one charge on its way.
enum Fate {
    Normal,
    RequestLost,
    AnswerLost,
    Late,
    Held,
}

impl Bank {
    /// A bank that has recorded `entries` before.
    pub fn new(script: Script, entries: impl IntoIterator<Item = LedgerEntry>) -> Self {
        let mut bank =
            Self { script, verdicts: HashMap::new(), held: HashMap::new(), accounts: Accounts::default(), sequence: 0 };
        for entry in entries {
            bank.sequence = bank.sequence.max(entry.sequence);
            let verdict = match entry.kind() {
                Kind::Charged => Verdict::Charged(approval(&entry.institution, &entry.trade_no, entry.trade_amount)),
                Kind::Declined
                | Kind::Unspecified
                | Kind::Refunded
                | Kind::RefundDeclined
                | Kind::Reversed
                | Kind::ReversalDeclined
                | Kind::Repeated => Verdict::Refused(entry.declined.unwrap_or_default()),
            };
            bank.accounts.set(&entry.institution, entry.account, entry.balance);
            bank.verdicts.entry((entry.institution, entry.trade_no)).or_insert(verdict);
        }
        bank
    }

    /// Takes a call at `now_ms`.
    pub fn handle(&mut self, request: ExchangeRequest, now_ms: i64) -> Vec<Reaction> {
        match request.call.clone() {
            Some(Call::Charge(charge)) => self.charge(request, &charge, now_ms),
            Some(Call::Inquiry(inquiry)) => {
                let key = (request.institution.clone(), inquiry.trade_no);
                self.inquire(request.call_id, &key)
            }
            Some(Call::Refund(_) | Call::Reversal(_)) | None => vec![answer(
                request.call_id,
                0,
                Answer::Undecided(Undecided { reason: "the call is empty".to_owned() }),
            )],
        }
    }

    /// A held charge takes effect now, unless its window is over.
    pub fn land(&mut self, request: &ExchangeRequest, now_ms: i64) -> Vec<Reaction> {
        let Some(Call::Charge(charge)) = &request.call else { return Vec::new() };
        let faults = self.script.faults(&request.institution);
        if now_ms > charge.send_by_ms.saturating_add(faults.window_ms) {
            return Vec::new();
        }
        let (entry, _) = self.decide(&request.institution, charge, &faults, now_ms);
        entry.map(Reaction::Record).into_iter().collect()
    }

    fn charge(&mut self, request: ExchangeRequest, charge: &Charge, now_ms: i64) -> Vec<Reaction> {
        let faults = self.script.faults(&request.institution);
        let fate = self.fate(&charge.trade_no, &faults);
        match fate {
            Fate::RequestLost => return Vec::new(),
            Fate::Held if self.held.len() < HELD_MAX => {
                self.held.insert((request.institution.clone(), charge.trade_no.clone()), request);
                return Vec::new();
            }
            Fate::Held | Fate::Normal | Fate::AnswerLost | Fate::Late => {}
        }
        if let Some(reactions) = self.ambiguous(&request, charge, &faults, now_ms) {
            return reactions;
        }
        let (entry, verdict) = self.decide(&request.institution, charge, &faults, now_ms);
        let mut reactions: Vec<_> = entry.map(Reaction::Record).into_iter().collect();
        let after_ms = match fate {
            Fate::Late => u64::from(faults.late_ms),
            Fate::AnswerLost => return reactions,
            Fate::Normal | Fate::RequestLost | Fate::Held => self.latency(&charge.trade_no, &faults),
        };
        let body = match verdict {
            Verdict::Charged(approved) => Answer::Approved(approved),
            Verdict::Refused(declined) => Answer::Declined(declined),
        };
        let twice = self.draw(&charge.trade_no, 2) < faults.answer_twice;
        reactions.push(answer(request.call_id, after_ms, body.clone()));
        if twice {
            reactions.push(answer(request.call_id, after_ms, body));
        }
        reactions
    }

    /// The wallet answers that it does not know (POS API, section 3): every other of these charges has happened, and an inquiry tells.
    fn ambiguous(
        &mut self,
        request: &ExchangeRequest,
        charge: &Charge,
        faults: &Faults,
        now_ms: i64,
    ) -> Option<Vec<Reaction>> {
        let code = scripted_decline(&charge.card_token).filter(|code| AMBIGUOUS.contains(&code.as_str()))?;
        if !request.institution.is_empty() {
            return None;
        }
        let happens = self.draw(&charge.trade_no, 3) < 0.5;
        let plain = Charge { card_token: charge.card_token.replace(&format!("D{code}"), "x"), ..charge.clone() };
        let entry = happens.then(|| self.decide("", &plain, faults, now_ms).0).flatten();
        let declined = Answer::Declined(refusal("", &code));
        let answered = answer(request.call_id, self.latency(&charge.trade_no, faults), declined);
        Some(entry.map(Reaction::Record).into_iter().chain([answered]).collect())
    }

    /// The wallet answers a TradeNo that it knows as it did before; other issuers charge again.
    fn decide(
        &mut self,
        institution: &str,
        charge: &Charge,
        faults: &Faults,
        now_ms: i64,
    ) -> (Option<LedgerEntry>, Verdict) {
        let key = (institution.to_owned(), charge.trade_no.clone());
        if let (true, Some(known)) = (institution.is_empty(), self.verdicts.get(&key)) {
            return (None, known.clone());
        }
        let account = account_of(&charge.card_token, faults.accounts);
        let before = self.accounts.balance(institution, account, faults.balance);
        let verdict = judge(institution, charge, faults, before, now_ms);
        self.sequence += 1;
        let (kind, debit_amount, declined) = match &verdict {
            Verdict::Charged(approved) => (Kind::Charged, approved.debit_amount, None),
            Verdict::Refused(declined) => (Kind::Declined, 0, Some(declined.clone())),
        };
        let balance = before - debit_amount;
        self.accounts.set(institution, account, balance);
        let entry = LedgerEntry {
            sequence: self.sequence,
            kind: kind.into(),
            institution: institution.to_owned(),
            trade_no: charge.trade_no.clone(),
            merchant_id: charge.merchant_id.clone(),
            merchant_trade_no: charge.merchant_trade_no.clone(),
            trade_amount: charge.trade_amount,
            debit_amount,
            at_ms: now_ms,
            account,
            balance,
            declined,
            refund_trade_no: String::new(),
            store_id: charge.store_id.clone(),
        };
        self.verdicts.entry(key).or_insert_with(|| verdict.clone());
        (Some(entry), verdict)
    }

    fn inquire(&mut self, call_id: u64, key: &(String, String)) -> Vec<Reaction> {
        let known = match self.verdicts.get(key) {
            Some(Verdict::Charged(approved)) => Answer::Approved(approved.clone()),
            Some(Verdict::Refused(declined)) => Answer::Declined(declined.clone()),
            None => Answer::TradeUnknown(TradeUnknown {}),
        };
        let mut reactions = vec![answer(call_id, 0, known)];
        if let Some(request) = self.held.remove(key) {
            reactions.push(Reaction::Land { after_ms: LANDS_AFTER_MS, request: Box::new(request) });
        }
        reactions
    }

    fn fate(&self, trade_no: &str, faults: &Faults) -> Fate {
        let drawn = self.draw(trade_no, 0);
        let mut below = faults.lose_requests;
        if drawn < below {
            return Fate::RequestLost;
        }
        for (share, fate) in [
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

    #[allow(clippy::cast_sign_loss, reason = "not below zero")]
    fn latency(&self, trade_no: &str, faults: &Faults) -> u64 {
        let spread = 0.5 + 1.5 * self.draw(trade_no, 1).powi(3);
        (f64::from(faults.latency_ms) * spread).round().max(0.0) as u64
    }

    /// 0.0 to 1.0 by seed, TradeNo and purpose (FNV-1a, then mixed).
    fn draw(&self, trade_no: &str, purpose: u64) -> f64 {
        let start = 0xcbf2_9ce4_8422_2325 ^ self.script.seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ purpose << 56;
        let mixed = trade_no.bytes().fold(start, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3));
        let mixed = (mixed ^ (mixed >> 33)).wrapping_mul(0xff51_afd7_ed55_8ccd);
        ((mixed ^ (mixed >> 33)) >> 11) as f64 / (1_u64 << 53) as f64
    }
}

fn answer(call_id: u64, after_ms: u64, body: Answer) -> Reaction {
    Reaction::Answer { after_ms, response: ExchangeResponse { call_id, answer: Some(body) } }
}

fn judge(institution: &str, charge: &Charge, faults: &Faults, balance: i64, now_ms: i64) -> Verdict {
    if faults.maintenance {
        let reason = "發卡機構維護中".to_owned();
        return Verdict::Refused(Declined { kind: declined::Kind::Fisc.into(), code: "M001".to_owned(), reason });
    }
    if institution.is_empty() && now_ms > charge.send_by_ms {
        return Verdict::Refused(refusal(institution, "906"));
    }
    if charge.card_token.contains("NOCARD") {
        let kind = declined::Kind::CardNotSupported.into();
        return Verdict::Refused(Declined {
            kind, code: "K001".to_owned(), reason: "此店家不支援信用卡".to_owned()
        });
    }
    if let Some(code) = scripted_decline(&charge.card_token) {
        return Verdict::Refused(refusal(institution, &code));
    }
    if charge.trade_amount > balance {
        return Verdict::Refused(refusal(institution, "928"));
    }
    Verdict::Charged(approval(institution, &charge.trade_no, charge.trade_amount))
}

/// `D` and three digits somewhere after the prefix.
fn scripted_decline(token: &str) -> Option<String> {
    let body = token.get(2..)?;
    let mut at = body.match_indices('D').map(|(at, _)| at);
    let digits = |at: usize| body.get(at + 1..at + 4).filter(|code| code.bytes().all(|b| b.is_ascii_digit()));
    at.find_map(digits).map(str::to_owned)
}

fn refusal(institution: &str, code: &str) -> Declined {
    let kind = if institution.is_empty() { declined::Kind::Wallet } else { declined::Kind::Issuer };
    let reason = match code {
        "906" => "付款碼逾期",
        "911" => "用戶停權",
        "927" => "付款碼錯誤",
        "928" => "餘額不足",
        "931" => "超過交易限額",
        _ => "交易失敗",
    };
    Declined { kind: kind.into(), code: code.to_owned(), reason: reason.to_owned() }
}

/// An approval: of the wallet by stored value, bank account or credit card in turn, with a redemption now and then.
fn approval(institution: &str, trade_no: &str, trade_amount: i64) -> Approved {
    let issuer_trade_no = format!("S{trade_no}");
    if !institution.is_empty() {
        return Approved {
            payment_type: PaymentType::OtherIssuer.into(),
            debit_amount: trade_amount,
            issuer_trade_no,
            ..Approved::default()
        };
    }
    let turn = trade_no.bytes().map(u64::from).sum::<u64>();
    let payment_type =
        [PaymentType::StoredValue, PaymentType::BankAccount, PaymentType::CreditCard][(turn % 3) as usize];
    let card = payment_type == PaymentType::CreditCard;
    let redeemed = if turn.is_multiple_of(5) && trade_amount > 10 { -5 } else { 0 };
    Approved {
        payment_type: payment_type.into(),
        debit_amount: trade_amount + redeemed,
        redeem_name: if redeemed < 0 { "街口幣".to_owned() } else { String::new() },
        redeem_amount: redeemed,
        store_redeem_amount: 0,
        invoice_vehicle: "/ABC+123".to_owned(),
        mer_mem_token: String::new(),
        card_name: if card { "測試銀行".to_owned() } else { String::new() },
        card_no_masked: if card { "411111******1111".to_owned() } else { String::new() },
        issuer_trade_no,
    }
}

#[cfg(test)]
mod tests;
