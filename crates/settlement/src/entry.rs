//! A settled movement of money: the input of both the accounting file and the reconciliation.

use twqr_types::{Issuer, UnixMs};

/// The kinds of movements.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Kind {
    /// The customer paid the store.
    Payment,
    /// A payment was refunded, as a whole or in part.
    Refund,
    /// The part of a payment that was not refunded was reversed.
    Cancel,
}

impl Kind {
    /// All kinds of movements.
    pub const ALL: [Self; 3] = [Self::Payment, Self::Refund, Self::Cancel];

    /// The name in the accounting file.
    pub fn label(self) -> &'static str {
        match self {
            Self::Payment => "PAYMENT",
            Self::Refund => "REFUND",
            Self::Cancel => "CANCEL",
        }
    }

    /// The name in the counterparties' files, where a cancel is called a reversal.
    pub fn movement(self) -> &'static str {
        match self {
            Self::Payment => "payment",
            Self::Refund => "refund",
            Self::Cancel => "reversal",
        }
    }

    /// The amount from the view of the store: positive for payments, negative for refunds and
    /// cancels.
    pub fn signed(self, amount: i64) -> i64 {
        match self {
            Self::Payment => amount,
            Self::Refund | Self::Cancel => -amount,
        }
    }
}

/// One settled movement. All amounts are in whole TWD.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// The kind of the movement.
    pub kind: Kind,
    /// The MerchantID of the POS API.
    pub merchant_id: Box<str>,
    /// The StoreID of the POS API.
    pub store_id: Box<str>,
    /// The GatewayTradeNo of the POS API.
    pub gateway_trade_no: Box<str>,
    /// The MerchantTradeNo: for a refund its own number, for a cancel that of the payment.
    pub merchant_trade_no: Box<str>,
    /// The PosID of the POS API.
    pub pos_id: Box<str>,
    /// The TradeNo of the payment.
    pub trade_no: Box<str>,
    /// The RefundTradeNo; empty for payments and cancels.
    pub refund_trade_no: Box<str>,
    /// The issuer of the payment.
    pub issuer: Issuer,
    /// The PaymentType: 1, 3, 4 or 8 (`proto/README.md`, section Fields).
    pub payment_type: u8,
    /// The TradeAmount of the payment, the refund or the cancel: 1 to 2,147,483,647.
    pub trade_amount: i64,
    /// The amount that the customer paid or received in money.
    pub debit_amount: i64,
    /// The amount paid by points and offers: zero or negative on payments, zero or positive on
    /// refunds.
    pub redeem_amount: i64,
    /// The amount paid by the store's own offers, with the signs of `redeem_amount`.
    pub store_redeem_amount: i64,
    /// When the movement was requested.
    pub accepted_at: UnixMs,
    /// When the movement became final.
    pub settled_at: UnixMs,
    /// When it counts: its business day is that of this time. Later than `settled_at` if the books
    /// up to here were closed when it was recorded.
    pub booked_at: UnixMs,
}

/// The identity of a movement: its kind, TradeNo and RefundTradeNo.
pub(crate) type Identity<'a> = (Kind, &'a str, &'a str);

impl Entry {
    pub(crate) fn identity(&self) -> Identity<'_> {
        (self.kind, &self.trade_no, &self.refund_trade_no)
    }
}
