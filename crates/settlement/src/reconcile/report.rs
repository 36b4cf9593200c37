//! What a reconciliation found.

use serde::Serialize;
use twqr_types::BusinessDay;

use crate::{
    counterparty::{CounterpartyFile, FileTrouble, Listed, Side, UnknownRow},
    entry::{Entry, Kind},
    times::rfc3339,
};

/// All of it; each list is sorted by side, kind and numbers, so that the same books give the same
/// report.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Report {
    /// The business day, `YYYY-MM-DD`.
    pub date: String,
    /// When business days end, `HH:MM` in Asia/Taipei.
    pub cut_off: String,
    /// Nothing is to be done.
    pub is_clean: bool,
    /// What both sides have, alike.
    pub matched: Matched,
    /// Settled here, and not in the counterparty's file.
    pub missing_there: Vec<Missing>,
    /// In the counterparty's file, and not settled here.
    pub missing_here: Vec<Missing>,
    /// Both have it, with different amounts.
    pub amount_differs: Vec<AmountDiffers>,
    /// Both have it, with different institutions, merchants or merchant's numbers.
    pub detail_differs: Vec<DetailDiffers>,
    /// Rows of a movement that the counterparty has more than once.
    pub duplicated: Vec<Duplicate>,
    /// Movements that we have more than once.
    pub duplicated_here: Vec<Item>,
    /// Both have it, alike, on neighbouring days.
    pub booked_on_another_day: Vec<BookedElsewhere>,
    /// Rows that cannot be used.
    pub unknown_rows: Vec<UnknownRow>,
    /// What is wrong with the counterparties' files as a whole.
    pub file_troubles: Vec<FileTrouble>,
}

/// How many, and how much.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Matched {
    /// Movements.
    pub count: u64,
    /// The sum of their trade amounts, whatever their kind, in whole TWD.
    pub amount: i64,
}

/// A movement.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Item {
    /// Which counterparty's.
    pub side: Side,
    /// payment, refund or reversal.
    #[serde(serialize_with = "movement")]
    pub kind: Kind,
    /// The payment's TradeNo.
    pub trade_no: String,
    /// The refund's number; empty for everything else.
    pub refund_trade_no: String,
    /// The issuer's code; empty for the wallet.
    pub institution: String,
    /// MerchantID.
    pub merchant_id: String,
    /// MerchantTradeNo.
    pub merchant_trade_no: String,
    /// Whole TWD.
    pub trade_amount: i64,
    /// Whole TWD.
    pub debit_amount: i64,
    /// When it became final here, or else took effect there; RFC 3339.
    pub at: String,
    /// The line in the counterparty's file, where it is in one.
    pub line: Option<u64>,
}

/// One side does not have it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Missing {
    /// The movement.
    #[serde(flatten)]
    pub item: Item,
    /// It is so near to the cut-off that the other side may have booked it on the neighbouring day.
    pub near_cut_off: bool,
}

/// What one side says of the amounts, in whole TWD.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Amounts {
    /// TradeAmount.
    pub trade_amount: i64,
    /// DebitAmount.
    pub debit_amount: i64,
}

/// The sides have different amounts.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct AmountDiffers {
    /// The movement, as it is here.
    #[serde(flatten)]
    pub item: Item,
    /// Here.
    pub ours: Amounts,
    /// There.
    pub theirs: Amounts,
}

/// The sides say different things.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct DetailDiffers {
    /// The movement, as it is here.
    #[serde(flatten)]
    pub item: Item,
    /// About what: institution, merchant_id or merchant_trade_no.
    pub field: &'static str,
    /// Here.
    pub ours: String,
    /// There.
    pub theirs: String,
}

/// The counterparty has it more than once.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Duplicate {
    /// The row that is too much.
    #[serde(flatten)]
    pub item: Item,
    /// In the file of which day it stands as well.
    pub also_on: String,
    /// In which line.
    pub also_line: u64,
}

/// The sides have it on neighbouring days.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct BookedElsewhere {
    /// The movement.
    #[serde(flatten)]
    pub item: Item,
    /// The day here.
    pub ours: String,
    /// The day there.
    pub theirs: String,
    /// The counterparty's file of our day was there too and does not have it, so that it is not
    /// booked twice.
    pub is_confirmed: bool,
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde calls it so")]
fn movement<S: serde::Serializer>(kind: &Kind, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(kind.movement())
}

impl Item {
    pub(super) fn ours(entry: &Entry) -> Self {
        Self {
            side: super::side_of(entry),
            kind: entry.kind,
            trade_no: entry.trade_no.to_string(),
            refund_trade_no: entry.refund_trade_no.to_string(),
            institution: entry.issuer.institution().to_owned(),
            merchant_id: entry.merchant_id.to_string(),
            merchant_trade_no: entry.merchant_trade_no.to_string(),
            trade_amount: entry.trade_amount,
            debit_amount: entry.debit_amount,
            at: rfc3339(entry.settled_at),
            line: None,
        }
    }

    pub(super) fn theirs(side: Side, Listed { line, movement }: &Listed) -> Self {
        Self {
            side,
            kind: movement.kind,
            trade_no: movement.trade_no.to_string(),
            refund_trade_no: movement.refund_trade_no.to_string(),
            institution: movement.institution.to_string(),
            merchant_id: movement.merchant_id.to_string(),
            merchant_trade_no: movement.merchant_trade_no.to_string(),
            trade_amount: movement.trade_amount,
            debit_amount: movement.debit_amount,
            at: rfc3339(movement.at),
            line: Some(*line),
        }
    }
}

impl Report {
    /// Nothing found yet but what is wrong with the files themselves.
    pub(super) fn of(day: BusinessDay, files: &[CounterpartyFile]) -> Self {
        Self {
            date: day.to_string(),
            cut_off: day.cut_off().to_string(),
            is_clean: false,
            matched: Matched::default(),
            missing_there: Vec::new(),
            missing_here: Vec::new(),
            amount_differs: Vec::new(),
            detail_differs: Vec::new(),
            duplicated: Vec::new(),
            duplicated_here: Vec::new(),
            booked_on_another_day: Vec::new(),
            unknown_rows: files.iter().flat_map(|file| file.unknown_rows.iter().cloned()).collect(),
            file_troubles: files.iter().flat_map(|file| file.troubles.iter().cloned()).collect(),
        }
    }

    /// Puts everything in its order, and says whether anything is to be done.
    pub(super) fn sort(&mut self) {
        self.missing_there.sort_unstable();
        self.missing_here.sort_unstable();
        self.amount_differs.sort_unstable();
        self.detail_differs.sort_unstable();
        self.duplicated.sort_unstable();
        self.duplicated_here.sort_unstable();
        self.booked_on_another_day.sort_unstable();
        self.unknown_rows.sort_by_key(|row| (row.side, row.line));
        self.file_troubles.sort_by_key(|trouble| trouble.side);
        self.is_clean = self.is_clean();
    }

    /// Whether both sides have the same. What is booked on neighbouring days counts as the same
    /// once the counterparty's file of our day was seen without it.
    pub fn is_clean(&self) -> bool {
        self.missing_there.is_empty()
            && self.missing_here.is_empty()
            && self.amount_differs.is_empty()
            && self.detail_differs.is_empty()
            && self.duplicated.is_empty()
            && self.duplicated_here.is_empty()
            && self.booked_on_another_day.iter().all(|booked| booked.is_confirmed)
            && self.unknown_rows.is_empty()
            && self.file_troubles.is_empty()
    }
}
