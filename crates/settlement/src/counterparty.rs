//! The files of the counterparties: the movements that the wallet and FISC settled on a day. Their
//! real layout is not public, so this one is our assumption: UTF-8 CSV with a header row, a row for
//! each movement, and a trailer row.
//!
//! ```text
//! kind,institution,trade_no,refund_trade_no,merchant_id,merchant_trade_no,trade_amount,debit_amount,at
//! payment,,T0000…,,M001,day-1,120,120,2025-03-10T09:08:07.000+08:00
//! refund,391,T0000…,T0001…,M001,back-1,20,20,2025/03/10 10:00:00
//! trailer,2,140,<SHA-256 over all bytes before this row, lower-case hex>
//! ```
//!
//! - `kind`: payment, refund, or reversal (which we call cancel).
//! - `institution`: empty in the wallet's file, the issuer's code in FISC's file.
//! - `trade_no` is that of the payment in every row; `refund_trade_no` is set only in refunds;
//!   `merchant_trade_no` of a refund is the refund's own.
//! - amounts: whole TWD; `trade_amount` 1 to 2,147,483,647, `debit_amount` 0 to 2,147,483,647.
//! - `at`: RFC 3339, or `yyyy/MM/dd HH:mm:ss` in Asia/Taipei; years 2000 to 2199.
//! - trailer: the number of rows and the sum of their trade amounts, refunds and reversals included
//!   as positive amounts.

mod read;
mod write;

use std::fmt;

use serde::Serialize;
use twqr_types::UnixMs;

use crate::entry::Kind;

pub use read::read_movements;
pub use write::write_movements;

/// The counterparties whose files are reconciled.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Side {
    /// The JKOPAY wallet, for the movements of its own customers.
    Wallet,
    /// FISC, for the movements of all other issuers.
    Fisc,
}

impl Side {
    /// The name in reports.
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

/// A movement in a counterparty's file. All amounts are in whole TWD.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Movement {
    /// The kind of the movement.
    pub kind: Kind,
    /// The institution code of the issuer; empty for the wallet.
    pub institution: Box<str>,
    /// The TradeNo of the payment.
    pub trade_no: Box<str>,
    /// The RefundTradeNo; empty for payments and reversals.
    pub refund_trade_no: Box<str>,
    /// The MerchantID of the POS API.
    pub merchant_id: Box<str>,
    /// The MerchantTradeNo; for a refund its own number.
    pub merchant_trade_no: Box<str>,
    /// The TradeAmount of the payment, the refund or the reversal.
    pub trade_amount: i64,
    /// The amount that the customer paid or received in money.
    pub debit_amount: i64,
    /// When it took effect at the counterparty.
    pub at: UnixMs,
}

/// A row with a movement.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MovementRow {
    /// The line in the file, counted from 1.
    pub line: u64,
    /// The movement of the row.
    pub movement: Movement,
}

/// A row that cannot be used. The reason never quotes its content.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct UnknownRow {
    /// The counterparty whose file it is.
    pub side: Side,
    /// The line in the file, counted from 1.
    pub line: u64,
    /// All faults of the row.
    pub reason: String,
}

/// A fault of a whole file: it is truncated or damaged.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct FileTrouble {
    /// The counterparty whose file it is.
    pub side: Side,
    /// The fault, and what to do about it.
    pub reason: String,
}

/// The readable content of a counterparty's file, and its faults.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CounterpartyFile {
    /// The counterparty whose file it is.
    pub side: Side,
    /// The movements, in the file's order.
    pub movements: Vec<MovementRow>,
    /// The rows that cannot be used, in the file's order.
    pub unknown_rows: Vec<UnknownRow>,
    /// The faults of the whole file.
    pub troubles: Vec<FileTrouble>,
    /// Whether it has the header row or the trailer row of a counterparty's file.
    pub is_recognised: bool,
}

/// How many faulty rows are listed if no row can be read.
const LISTED_ROWS_MAX: usize = 5;

impl CounterpartyFile {
    /// Returns why nothing in the file can be used, in one line that completes a sentence beginning
    /// with its name: none of its rows can be read, and the file as a whole has faults, too. The
    /// faults of the first rows are listed.
    pub fn refusal(&self) -> Option<String> {
        if !self.movements.is_empty() || self.unknown_rows.is_empty() || self.troubles.is_empty() {
            return None;
        }
        let what = if self.is_recognised { "cannot be used" } else { "is not a counterparty file" };
        let troubles: Vec<&str> = self.troubles.iter().map(|trouble| trouble.reason.as_str()).collect();
        let listed = self.unknown_rows.iter().take(LISTED_ROWS_MAX);
        let rows: Vec<String> = listed.map(|row| format!("line {} {}", row.line, row.reason)).collect();
        let more = match self.unknown_rows.len() - rows.len() {
            0 => String::new(),
            more => format!("; {more} more lines have faults"),
        };
        Some(format!("{what}: {}; no row can be read: {}{more}", troubles.join("; "), rows.join("; ")))
    }
}

/// The columns in the order in which they are written.
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
