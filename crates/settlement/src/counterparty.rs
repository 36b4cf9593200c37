//! The counterparties' files: what the wallet and FISC say that they settled on a day. Their layout
//! is not public, so it is ours [A]: UTF-8 CSV, a header row, a row for each movement, and a
//! trailer row.
//!
//! ```text
//! kind,institution,trade_no,refund_trade_no,merchant_id,merchant_trade_no,trade_amount,debit_amount,at
//! payment,,T0000…,,M001,day-1,120,120,2025-03-10T09:08:07.000+08:00
//! refund,391,T0000…,T0001…,M001,back-1,20,20,2025/03/10 10:00:00
//! trailer,2,140,<SHA-256 over all bytes before this row, lower-case hex>
//! ```
//!
//! - `kind`: payment, refund, or reversal (our cancel).
//! - `institution`: empty in the wallet's file, the issuer's code in FISC's.
//! - `trade_no` is the payment's always; `refund_trade_no` stands in refunds only;
//!   `merchant_trade_no` is a refund's own.
//! - amounts: whole TWD; `trade_amount` 1 to 2,147,483,647, `debit_amount` 0 to that.
//! - `at`: RFC 3339, or `yyyy/MM/dd HH:mm:ss` in Asia/Taipei.
//! - trailer: how many rows, and the sum of their trade amounts whatever their kind.

mod read;
mod write;

use std::fmt;

use serde::Serialize;
use twqr_types::UnixMs;

use crate::entry::Kind;

pub use read::read_movements;
pub use write::write_movements;

/// Whose file it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Side {
    /// The JKOPAY wallet: its own customers' movements.
    Wallet,
    /// FISC: those of all other institutions.
    Fisc,
}

impl Side {
    /// For people.
    pub fn label(self) -> &'static str {
        match self {
            Self::Wallet => "wallet",
            Self::Fisc => "fisc",
        }
    }
}

impl fmt::Display for Side {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.label())
    }
}

/// A movement as a counterparty states it. Amounts in whole TWD.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Movement {
    /// What it is.
    pub kind: Kind,
    /// The issuer's code; empty for the wallet.
    pub institution: Box<str>,
    /// The payment's TradeNo.
    pub trade_no: Box<str>,
    /// The refund's number; empty for everything else.
    pub refund_trade_no: Box<str>,
    /// MerchantID.
    pub merchant_id: Box<str>,
    /// MerchantTradeNo: a refund's own number.
    pub merchant_trade_no: Box<str>,
    /// Of the payment, the refund or the reversal.
    pub trade_amount: i64,
    /// What the customer paid or got back in money.
    pub debit_amount: i64,
    /// When it took effect there.
    pub at: UnixMs,
}

/// A movement and where it stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listed {
    /// The line in the file, counted from 1.
    pub line: u64,
    /// The movement.
    pub movement: Movement,
}

/// A row that cannot be used. The reason never repeats what stands in it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct UnknownRow {
    /// Whose file.
    pub side: Side,
    /// The line in the file, counted from 1.
    pub line: u64,
    /// Everything that is wrong with it.
    pub reason: String,
}

/// Something that is wrong with a file as a whole: it is truncated, or not what was sent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct FileTrouble {
    /// Whose file.
    pub side: Side,
    /// What is wrong, and what to do.
    pub reason: String,
}

/// What could be read of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CounterpartyFile {
    /// Whose file.
    pub side: Side,
    /// The movements, in the file's order.
    pub movements: Vec<Listed>,
    /// The rows that cannot be used, in the file's order.
    pub unknown_rows: Vec<UnknownRow>,
    /// What is wrong with the file as a whole.
    pub troubles: Vec<FileTrouble>,
}

impl CounterpartyFile {
    /// Whether it is something else altogether: it has rows and none that can be read, and is not
    /// whole either.
    pub fn is_foreign(&self) -> bool {
        self.movements.is_empty() && !self.unknown_rows.is_empty() && !self.troubles.is_empty()
    }
}

/// The columns, in the order in which they are written.
const COLUMNS: [&str; 9] = [
    "kind",
    "institution",
    "trade_no",
    "refund_trade_no",
    "merchant_id",
    "merchant_trade_no",
    "trade_amount",
    "debit_amount",
    "at",
];

/// The first cell of the trailer row.
const TRAILER: &str = "trailer";
