//! The columns that an accounting file may have, and how each cell is written.

use std::borrow::Cow;

use twqr_types::{BusinessDay, UnixMs};

use crate::{entry::Entry, times::taipei};

/// The text of the column `late` if a movement was requested on an earlier business day than the
/// one on which it became final.
pub const LATE: &str = "LATE";

macro_rules! columns {
    ($($(#[$doc:meta])* $variant:ident $name:literal $heading:literal;)*) => {
        /// A column of the accounting file.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum Column { $($(#[$doc])* $variant),* }

        impl Column {
            /// All columns, in the default order.
            pub const ALL: &'static [Self] = &[$(Self::$variant),*];

            /// The name in the configuration and in the `F` row of the file.
            pub fn name(self) -> &'static str {
                match self { $(Self::$variant => $name),* }
            }

            /// The default heading.
            pub fn heading(self) -> &'static str {
                match self { $(Self::$variant => $heading),* }
            }
        }
    };
}

columns! {
    /// One of PAYMENT, REFUND and CANCEL.
    Kind "kind" "交易類別";
    /// The time at which the movement became final, in the time format.
    SettledAt "settled_at" "入帳時間";
    /// The time at which the movement was requested, in the time format.
    AcceptedAt "accepted_at" "交易時間";
    /// The MerchantID of the POS API.
    MerchantId "merchant_id" "商店代號";
    /// The StoreID of the POS API.
    StoreId "store_id" "門市代號";
    /// The PosID of the POS API.
    PosId "pos_id" "機台代號";
    /// The GatewayTradeNo of the POS API.
    GatewayTradeNo "gateway_trade_no" "系統商交易序號";
    /// The MerchantTradeNo: for a refund its own number, for a cancel that of the payment.
    MerchantTradeNo "merchant_trade_no" "商店交易序號";
    /// The TradeNo of the payment.
    TradeNo "trade_no" "街口交易序號";
    /// The RefundTradeNo; empty for payments and cancels.
    RefundTradeNo "refund_trade_no" "退款交易序號";
    /// Either `wallet` or the institution code of the issuer (Extra3 of the POS API).
    Issuer "issuer" "發卡機構";
    /// The PaymentType: 1, 3, 4 or 8.
    PaymentType "payment_type" "付款方式";
    /// Whole TWD, always positive; the kind tells the direction.
    TradeAmount "trade_amount" "交易金額";
    /// The amount that the customer paid or received in money, in whole TWD.
    DebitAmount "debit_amount" "實付金額";
    /// The amount paid by points and offers, in whole TWD: zero or negative on payments, zero or
    /// positive on refunds.
    RedeemAmount "redeem_amount" "折抵金額";
    /// The amount paid by the store's own offers, with the signs of `redeem_amount`.
    StoreRedeemAmount "store_redeem_amount" "店家折抵金額";
    /// The trade amount from the view of the store: negative for refunds and cancels. This column
    /// is not in the default layout.
    NetAmount "net_amount" "淨額";
    /// The text [`LATE`], or empty.
    Late "late" "跨日入帳";
    /// The business day on which the movement was requested, in the date format. A time before the
    /// file's day belongs to a date by the cut-off at which that day began.
    AcceptedDate "accepted_date" "交易日";
}

impl Column {
    /// The columns that every layout must have: without them, a file could not be checked against
    /// its own totals, or two rows could not be told apart.
    pub(crate) const REQUIRED: [Self; 5] =
        [Self::Kind, Self::TradeNo, Self::RefundTradeNo, Self::Issuer, Self::TradeAmount];

    /// The column of this name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|column| column.name() == name)
    }

    /// The text of the cell for an entry.
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
            Self::AcceptedDate => formats.date(formats.day.day_of(entry.accepted_at)).into(),
        }
    }

    /// Whether the merchant chooses the text, so that it may contain anything.
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

/// How times and dates are written, and the business day of the file.
pub(crate) struct Formats<'a> {
    pub(crate) time: &'a str,
    pub(crate) date: &'a str,
    pub(crate) day: BusinessDay,
}

impl Formats<'_> {
    fn time(&self, at: UnixMs) -> String {
        taipei(at, self.time)
    }

    pub(crate) fn date(&self, day: BusinessDay) -> String {
        taipei(day.noon(), self.date)
    }

    fn is_late(&self, entry: &Entry) -> bool {
        entry.accepted_at < self.day.from()
    }
}
