//! The accounting file (帳務檔) of each merchant and day, and the reconciliation of a day with the
//! counterparties' files. Bytes in, bytes out: nothing here reads a clock, a file or a socket, and
//! the same input gives the same bytes.
//!
//! # The accounting file
//!
//! One file a merchant and business day ([`twqr_types::BusinessDay`], cut-off in Asia/Taipei), own
//! and other issuers' movements in one layout (integration note: the file carries the other
//! issuers' transactions). The layout of the existing file is in no public source, so columns,
//! headings, formats, delimiter and encoding are configuration ([`LayoutConfig`]); a merchant's
//! program is fed by mapping them. CSV by RFC 4180 with CRLF; the first cell of each row says what
//! it is:
//!
//! | row | cells after the first |
//! |---|---|
//! | `H`, one | `TWQR-SETTLEMENT`, version `1`, encoding, MerchantID, business date `YYYY-MM-DD`, cut-off `HH:MM`, its first ms and the ms after its last in RFC 3339 |
//! | `F`, one | the columns' names ([`Column::name`]): whoever checks a file needs no layout |
//! | `N`, one | the columns' headings |
//! | `D`, any | a movement; sorted by the time at which it became final, kind, TradeNo, the refund's number |
//! | `T`, one an issuer | `wallet` or the institution code; count and sum of payments, of refunds, of cancels; net |
//! | `E`, one | how many `D` rows; count and sum of payments, of refunds, of cancels; net |
//! | `S`, one | `SHA-256`, and the checksum over all bytes before this row, the mark of UTF-8 included, in lower-case hex |
//!
//! Amounts are whole TWD. Trade amounts are always positive, the kind says which way they went; net
//! is payments without refunds and cancels. A movement stands in the file of the day on which it
//! became final. If it was asked for on an earlier business day, the column `late` says `LATE` and
//! `accepted_date` says when.
//!
//! The default layout is UTF-8 with its mark, `,`, times as `2025/03/10 09:08:07` in Asia/Taipei,
//! dates as `2025/03/10`, and all columns of [`Column`] in their order but `net_amount`. Another
//! one, in TOML:
//!
//! ```toml
//! encoding = "big5"        # utf-8, utf-8-bom, big5
//! delimiter = ","          # , ; | or a tab
//! time_format = "%Y%m%d%H%M%S"
//! date_format = "%Y%m%d"
//! columns = [
//!   { field = "kind", heading = "交易類別" },
//!   { field = "trade_no", heading = "街口交易序號" },
//!   { field = "refund_trade_no", heading = "退款交易序號" },
//!   { field = "issuer", heading = "發卡機構" },
//!   { field = "trade_amount", heading = "交易金額" },
//! ]
//! ```
//!
//! - A character that Big5 does not have is written as [`MISSING`], and its row and column are
//!   listed as warnings: no reference such as `&#128512;`, which a program would take for the text
//!   itself.
//! - A cell that a spreadsheet would take for a formula is listed as a warning and **not** changed:
//!   a number with a quote before it is another number, and would match nothing in the merchant's
//!   books.
//! - File names: [`file_name`].
//!
//! # Reconciliation
//!
//! [`read_movements`] takes a counterparty's file (its format stands with [`write_movements`]'s
//! module), [`reconcile`] matches it by side (wallet or FISC), kind, TradeNo and the refund's
//! number.

mod column;
mod counterparty;
mod encoding;
mod entry;
mod file;
mod layout;
mod name;
mod reconcile;
mod times;
mod totals;
mod verify;

pub use column::{Column, LATE};
pub use counterparty::{
    CounterpartyFile, FileTrouble, Listed, Movement, Side, UnknownRow, read_movements, write_movements,
};
pub use encoding::{Encoding, MISSING};
pub use entry::{Entry, Kind};
pub use file::{AccountingFile, Unfit, Warning, WarningKind, WriteError, write_file};
pub use layout::{ColumnConfig, Layout, LayoutConfig, LayoutFaults};
pub use name::file_name;
pub use reconcile::{
    AmountDiffers, Amounts, BookedElsewhere, Books, DetailDiffers, Duplicate, Item, Matched, Missing, NEAR_CUT_OFF_MS,
    Report, reconcile,
};
pub use totals::{Sums, Tally, Totals};
pub use verify::{FileFault, FileFaults, Verified, verify_file};
