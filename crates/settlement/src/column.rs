//! The columns that an accounting file may have, and what stands in each.

use std::borrow::Cow;

use twqr_types::{BusinessDay, CutOff, UnixMs};

use crate::{entry::Entry, times::taipei};

/// In the column `late`: the movement was asked for on an earlier business day than the one on
/// which it became final.
pub const LATE: &str = "LATE";

macro_rules! columns {
    ($($(#[$doc:meta])* $variant:ident $name:literal $heading:literal;)*) => {
        /// A column, by what it holds.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum Column { $($(#[$doc])* $variant),* }

        impl Column {
            /// All of them.
            pub const ALL: &'static [Self] = &[$(Self::$variant),*];

            /// Its name in configuration and in the file's `F` row.
            pub fn name(self) -> &'static str {
                match self { $(Self::$variant => $name),* }
            }

            /// Its heading, unless configuration says otherwise.
            pub fn heading(self) -> &'static str {
                match self { $(Self::$variant => $heading),* }
            }
        }
    };
}

columns! {
    /// PAYMENT, REFUND or CANCEL.
    Kind "kind" "交易類別";
    /// When it became final, in the time format.
    SettledAt "settled_at" "入帳時間";
    /// When it was asked for, in the time format.
    AcceptedAt "accepted_at" "交易時間";
    /// MerchantID.
    MerchantId "merchant_id" "商店代號";
    /// StoreID.
    StoreId "store_id" "門市代號";
    /// PosID.
    PosId "pos_id" "機台代號";
    /// GatewayTradeNo.
    GatewayTradeNo "gateway_trade_no" "系統商交易序號";
    /// MerchantTradeNo: a refund's own number, for a cancel the payment's.
    MerchantTradeNo "merchant_trade_no" "商店交易序號";
    /// The payment's TradeNo.
    TradeNo "trade_no" "街口交易序號";
    /// The refund's number; empty for everything else.
    RefundTradeNo "refund_trade_no" "退款交易序號";
    /// `wallet` or the institution code (POS API, Extra3).
    Issuer "issuer" "發卡機構";
    /// PaymentType: 1, 3, 4 or 8.
    PaymentType "payment_type" "付款方式";
    /// Whole TWD, always positive: the kind says which way it went.
    TradeAmount "trade_amount" "交易金額";
    /// Whole TWD.
    DebitAmount "debit_amount" "實付金額";
    /// Whole TWD, zero or negative on payments, zero or positive on refunds.
    RedeemAmount "redeem_amount" "折抵金額";
    /// Whole TWD, zero or negative on payments, zero or positive on refunds.
    StoreRedeemAmount "store_redeem_amount" "店家折抵金額";
    /// The trade amount as it is to the store: negative for refunds and cancels. Not in the default
    /// layout.
    NetAmount "net_amount" "淨額";
    /// `LATE`, or empty: see [`LATE`].
    Late "late" "跨日入帳";
    /// The business day on which it was asked for, in the date format.
    AcceptedDate "accepted_date" "交易日";
}

impl Column {
    /// Without these nobody could check a file against its own totals, or tell its rows apart.
    pub(crate) const REQUIRED: [Self; 5] =
        [Self::Kind, Self::TradeNo, Self::RefundTradeNo, Self::Issuer, Self::TradeAmount];

    /// By its name.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|column| column.name() == name)
    }

    /// What stands in it.
    pub(crate) fn cell<'a>(self, entry: &'a Entry, formats: &Formats) -> Cow<'a, str> {
        match self {
            Self::Kind => entry.kind.label().into(),
            Self::SettledAt => formats.time(entry.settled_at).into(),
            Self::AcceptedAt => formats.time(entry.accepted_at).into(),
            Self::MerchantId => (&*entry.merchant_id).into(),
            Self::StoreId => (&*entry.store_id).into(),
            Self::PosId => (&*entry.pos_id).into(),
            Self::GatewayTradeNo => (&*entry.gateway_trade_no).into(),
            Self::MerchantTradeNo => (&*entry.merchant_trade_no).into(),
            Self::TradeNo => (&*entry.trade_no).into(),
            Self::RefundTradeNo => (&*entry.refund_trade_no).into(),
            Self::Issuer => entry.issuer.label().into(),
            Self::PaymentType => entry.payment_type.to_string().into(),
            Self::TradeAmount => entry.trade_amount.to_string().into(),
            Self::DebitAmount => entry.debit_amount.to_string().into(),
            Self::RedeemAmount => entry.redeem_amount.to_string().into(),
            Self::StoreRedeemAmount => entry.store_redeem_amount.to_string().into(),
            Self::NetAmount => entry.kind.signed(entry.trade_amount).to_string().into(),
            Self::Late => if formats.is_late(entry) { LATE } else { "" }.into(),
            Self::AcceptedDate => formats.date(BusinessDay::of(entry.accepted_at, formats.cut_off)).into(),
        }
    }

    /// Whether its text is the merchant's own, so that anything may stand in it.
    pub(crate) fn is_free_text(self) -> bool {
        match self {
            Self::MerchantId | Self::StoreId | Self::PosId | Self::GatewayTradeNo | Self::MerchantTradeNo => true,
            Self::Kind
            | Self::SettledAt
            | Self::AcceptedAt
            | Self::TradeNo
            | Self::RefundTradeNo
            | Self::Issuer
            | Self::PaymentType
            | Self::TradeAmount
            | Self::DebitAmount
            | Self::RedeemAmount
            | Self::StoreRedeemAmount
            | Self::NetAmount
            | Self::Late
            | Self::AcceptedDate => false,
        }
    }
}

/// How times and dates are written.
pub(crate) struct Formats<'a> {
    pub(crate) time: &'a str,
    pub(crate) date: &'a str,
    pub(crate) cut_off: CutOff,
}

impl Formats<'_> {
    fn time(&self, at: UnixMs) -> String {
        taipei(at, self.time)
    }

    pub(crate) fn date(&self, day: BusinessDay) -> String {
        taipei(day.noon(), self.date)
    }

    fn is_late(&self, entry: &Entry) -> bool {
        BusinessDay::of(entry.accepted_at, self.cut_off) < BusinessDay::of(entry.settled_at, self.cut_off)
    }
}
