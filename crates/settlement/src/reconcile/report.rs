//! The report of a reconciliation.

use serde::Serialize;
use twqr_types::BusinessDay;

use crate::{
    counterparty::{CounterpartyFile, FileTrouble, MovementRow, Side, UnknownRow},
    entry::{Entry, Kind},
    times::rfc3339,
};

/// The report of a reconciliation. Each list is sorted by side, kind and numbers, so that the same
/// books give the same report.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Report {
    /// The business day, `YYYY-MM-DD`.
    pub date: String,
    /// The cut-off at which business days end, `HH:MM` in Asia/Taipei.
    pub cut_off: String,
    /// Whether there is no difference that needs attention.
    pub is_clean: bool,
    /// The movements that both sides have with the same values.
    pub matched: MatchedTotals,
    /// Movements that we settled and the counterparty's file does not have.
    pub missing_there: Vec<MissingMovement>,
    /// Movements in the counterparty's file that we did not settle.
    pub missing_here: Vec<MissingMovement>,
    /// Movements that both sides have with different amounts.
    pub amount_differs: Vec<AmountDiffers>,
    /// Movements that both sides have with different institutions, merchants or MerchantTradeNos.
    pub detail_differs: Vec<DetailDiffers>,
    /// Rows with a movement that the counterparty has more than once.
    pub duplicated: Vec<Duplicate>,
    /// Movements that we have more than once.
    pub duplicated_here: Vec<Item>,
    /// Movements that both sides have with the same values, but on neighbouring days.
    pub booked_on_another_day: Vec<ShiftedBooking>,
    /// Rows of the counterparties' files that cannot be used.
    pub unknown_rows: Vec<UnknownRow>,
    /// Faults of the counterparties' files as a whole.
    pub file_troubles: Vec<FileTrouble>,
}

/// The count and the sum of matched movements.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct MatchedTotals {
    /// The number of movements.
    pub count: u64,
    /// The sum of their trade amounts in whole TWD; refunds and cancels count as positive.
    pub amount: i64,
}

/// A movement in the report.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Item {
    /// The counterparty of the movement.
    pub side: Side,
    /// The kind; serialised as payment, refund or reversal.
    #[serde(serialize_with = "movement")]
    pub kind: Kind,
    /// The TradeNo of the payment.
    pub trade_no: String,
    /// The RefundTradeNo; empty for payments and reversals.
    pub refund_trade_no: String,
    /// The institution code of the issuer; empty for the wallet.
    pub institution: String,
    /// The MerchantID of the POS API.
    pub merchant_id: String,
    /// The MerchantTradeNo of the POS API.
    pub merchant_trade_no: String,
    /// The TradeAmount in whole TWD.
    pub trade_amount: i64,
    /// The DebitAmount in whole TWD.
    pub debit_amount: i64,
    /// When it became final here, or, if only the counterparty has it, took effect there; RFC 3339.
    pub at: String,
    /// The line in the counterparty's file; `None` if only we have the movement.
    pub line: Option<u64>,
}

/// A movement that one side does not have.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct MissingMovement {
    /// The movement, as the side that has it recorded it.
    #[serde(flatten)]
    pub item: Item,
    /// Whether it is so close to the cut-off that the other side may have booked it on the
    /// neighbouring day.
    pub near_cut_off: bool,
}

/// The amounts of one side, in whole TWD.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Amounts {
    /// The TradeAmount of the POS API.
    pub trade_amount: i64,
    /// The DebitAmount of the POS API.
    pub debit_amount: i64,
}

/// A movement that both sides have with different amounts.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct AmountDiffers {
    /// The movement as we have it, with the line in the counterparty's file.
    #[serde(flatten)]
    pub item: Item,
    /// The amounts that we have.
    pub ours: Amounts,
    /// The amounts that the counterparty has.
    pub theirs: Amounts,
}

/// A movement that both sides have with a different detail.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct DetailDiffers {
    /// The movement as we have it, with the line in the counterparty's file.
    #[serde(flatten)]
    pub item: Item,
    /// The detail: institution, merchant_id or merchant_trade_no.
    pub field: &'static str,
    /// The value that we have.
    pub ours: String,
    /// The value that the counterparty has.
    pub theirs: String,
}

/// A movement that the counterparty has more than once.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Duplicate {
    /// The movement of the surplus row.
    #[serde(flatten)]
    pub item: Item,
    /// The day whose file has it as well.
    pub also_on: String,
    /// The line in that file.
    pub also_line: u64,
}

/// A movement that the sides have on neighbouring days.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct ShiftedBooking {
    /// The movement as we have it, with the line in the counterparty's file.
    #[serde(flatten)]
    pub item: Item,
    /// The day on which we have it.
    pub ours: String,
    /// The day on which the counterparty has it.
    pub theirs: String,
    /// Whether the counterparty's file of our day was given as well. That file does not have the
    /// movement, so the movement is not booked twice.
    pub is_confirmed: bool,
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
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
            institution: entry.issuer.as_wire().to_owned(),
            merchant_id: entry.merchant_id.to_string(),
            merchant_trade_no: entry.merchant_trade_no.to_string(),
            trade_amount: entry.trade_amount,
            debit_amount: entry.debit_amount,
            at: rfc3339(entry.settled_at),
            line: None,
        }
    }

    pub(super) fn theirs(side: Side, MovementRow { line, movement }: &MovementRow) -> Self {
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
    /// The report before matching: it has only the faults of the files.
    pub(super) fn new(day: BusinessDay, files: &[CounterpartyFile]) -> Self {
        Self {
            date: day.to_string(),
            cut_off: day.cut_off().to_string(),
            is_clean: false,
            matched: MatchedTotals::default(),
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

    /// Sorts every list and sets `is_clean`.
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

    /// Whether both sides have the same movements. A movement that they have on neighbouring days
    /// counts as the same if the counterparty's file of our day was given and does not have it.
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
