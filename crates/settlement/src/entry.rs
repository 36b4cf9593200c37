//! What moved money: one settled movement, as both the accounting file and the reconciliation take
//! it.

use twqr_types::{Issuer, UnixMs};

/// What kind of movement it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Kind {
    /// The customer paid.
    Payment,
    /// A part of a payment, or all of it, was given back.
    Refund,
    /// What was left of a payment was taken back.
    Cancel,
}

impl Kind {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Payment, Self::Refund, Self::Cancel];

    /// As the accounting file writes it.
    pub fn label(self) -> &'static str {
        match self {
            Self::Payment => "PAYMENT",
            Self::Refund => "REFUND",
            Self::Cancel => "CANCEL",
        }
    }

    /// As the counterparties' files write it: a cancel is their reversal.
    pub fn movement(self) -> &'static str {
        match self {
            Self::Payment => "payment",
            Self::Refund => "refund",
            Self::Cancel => "reversal",
        }
    }

    /// What an amount of this kind is to the store: positive for payments, negative for refunds and
    /// cancels.
    pub fn signed(self, amount: i64) -> i64 {
        match self {
            Self::Payment => amount,
            Self::Refund | Self::Cancel => -amount,
        }
    }
}

/// One settled movement. Amounts in whole TWD.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// What it is.
    pub kind: Kind,
    /// MerchantID.
    pub merchant_id: Box<str>,
    /// StoreID.
    pub store_id: Box<str>,
    /// GatewayTradeNo.
    pub gateway_trade_no: Box<str>,
    /// MerchantTradeNo: a refund's own number; for a cancel the payment's.
    pub merchant_trade_no: Box<str>,
    /// PosID.
    pub pos_id: Box<str>,
    /// The payment's TradeNo.
    pub trade_no: Box<str>,
    /// The refund's number; empty for everything else.
    pub refund_trade_no: Box<str>,
    /// Whose customer it is.
    pub issuer: Issuer,
    /// PaymentType: 1, 3, 4 or 8 (POS API, section 2).
    pub payment_type: u8,
    /// TradeAmount of the payment, the refund or the cancel: 1 to 2,147,483,647.
    pub trade_amount: i64,
    /// What the customer paid or got back in money.
    pub debit_amount: i64,
    /// Zero or negative on payments, zero or positive on refunds.
    pub redeem_amount: i64,
    /// Zero or negative on payments, zero or positive on refunds.
    pub store_redeem_amount: i64,
    /// When it was asked for.
    pub accepted_at: UnixMs,
    /// When it became final.
    pub settled_at: UnixMs,
}

/// What makes a movement one and the same wherever it is listed: kind, TradeNo and the refund's
/// number.
pub(crate) type Identity<'a> = (Kind, &'a str, &'a str);

impl Entry {
    pub(crate) fn identity(&self) -> Identity<'_> {
        (self.kind, &self.trade_no, &self.refund_trade_no)
    }
}
