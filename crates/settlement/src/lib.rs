//! The accounting file (帳務檔) of each merchant and business day, and the reconciliation of a
//! business day with the counterparties' files. This crate reads no clock, file or socket, and the
//! same input gives the same bytes.
//!
//! # The accounting file
//!
//! There is one file for each merchant and business day ([`twqr_types::BusinessDay`]). It has the
//! movements of all issuers in one layout, because JKOPAY's integration note says that the file
//! carries the other issuers' transactions. The layout of JKOPAY's file is not public, so columns,
//! headings, formats, delimiter and encoding can be configured ([`LayoutConfig`]) to fit the
//! merchant's program. The file is CSV by RFC 4180 with CRLF. The first cell names the kind of row:
//!
//! | row | how many | cells after the first |
//! |---|---|---|
//! | `H` | one | `TWQR-SETTLEMENT`, version `1`, encoding, MerchantID, business date `YYYY-MM-DD`, the cut-off at which the day ends `HH:MM`, the first ms of the day and of the next day in RFC 3339 |
//! | `F` | one | the names of the columns ([`Column::name`]), so that a file can be checked without its layout |
//! | `N` | one | the headings of the columns |
//! | `D` | any | a movement; sorted by the time at which it became final, kind, TradeNo, RefundTradeNo |
//! | `T` | one for each issuer | `wallet` or the institution code; count and sum of payments, of refunds, of cancels; net |
//! | `E` | one | the number of `D` rows; count and sum of payments, of refunds, of cancels; net |
//! | `S` | one | `SHA-256`, and the checksum of all bytes before this row, including the byte order mark, in lower-case hex |
//!
//! Amounts are whole TWD. Trade amounts are always positive, and the kind tells the direction; the
//! net is payments minus refunds and cancels. A movement is in the file of the day on which it
//! counts ([`Entry::booked_at`]): mostly the day on which it became final, or a later one if that
//! day was closed before the movement was recorded. If it was requested on an earlier business day,
//! the column `late` is `LATE` and `accepted_date` is that day.
//!
//! The default layout is UTF-8 with a byte order mark, the delimiter `,`, times such as `2025/03/10
//! 09:08:07` in Asia/Taipei, dates such as `2025/03/10`, and all columns of [`Column`] in their
//! order except `net_amount`. Another layout, in TOML:
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
//! - Big5 is what Windows reads as code page 950, so it has neither kana nor Cyrillic nor the Hong
//!   Kong extensions. A character without a code is written as [`MISSING`], and a warning names its
//!   row and column. It is not written as a reference such as `&#128512;`, which a program would
//!   take for the text itself.
//! - A cell that a spreadsheet would take for a formula gets a warning and is **not** changed: with
//!   a quote before it, a MerchantTradeNo would match nothing in the merchant's books.
//! - File names are those of [`file_name`].
//!
//! # Reconciliation
//!
//! [`read_movements`] reads a counterparty's file, whose format is documented in
//! `src/counterparty.rs`. [`reconcile`] matches its rows with our entries by counterparty (wallet
//! or FISC), kind, TradeNo and RefundTradeNo.

mod big5;
mod checksum;
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
    CounterpartyFile, FileTrouble, Movement, MovementRow, Side, UnknownRow, read_movements, write_movements,
};
pub use encoding::{Encoding, MISSING};
pub use entry::{Entry, Kind};
pub use file::{AccountingFile, UnfitEntry, Warning, WarningKind, WriteError, write_file};
pub use layout::{ColumnConfig, Layout, LayoutConfig, LayoutFaults};
pub use name::file_name;
pub use reconcile::{
    AmountDiffers, Amounts, Books, DetailDiffers, Duplicate, Item, MatchedTotals, MissingMovement, NEAR_CUT_OFF_MS,
    Report, ShiftedBooking, reconcile,
};
pub use totals::{Sums, Tally, Totals};
pub use verify::{FileFault, FileFaults, VerifiedFile, verify_file};
