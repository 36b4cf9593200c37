//! Writes the accounting file of one merchant and one business day. The same entries in any order
//! give the same bytes.

use std::{collections::HashSet, fmt};

use twqr_types::{Amount, BusinessDay};

use crate::{
    checksum::checksum,
    column::Column,
    encoding::MISSING,
    entry::Entry,
    layout::Layout,
    name::file_name,
    times::rfc3339,
    totals::{Sums, Totals},
};

/// The name and the version of the format, in the first row.
pub(crate) const FORMAT: [&str; 2] = ["TWQR-SETTLEMENT", "1"];
/// The name of the checksum, in the last row.
pub(crate) const CHECKSUM: &str = "SHA-256";

/// An accounting file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AccountingFile {
    /// The file name, as [`file_name`] makes it.
    pub name: String,
    /// The whole content of the file.
    pub bytes: Vec<u8>,
    /// The totals in the file.
    pub totals: Totals,
    /// Warnings for the reader of the file, in the order of its rows.
    pub warnings: Vec<Warning>,
}

/// A warning about one cell.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Warning {
    /// The row, counted from 1.
    pub row: u64,
    /// The column; `merchant_id` for the first row.
    pub column: Column,
    /// The kind of warning.
    pub what: WarningKind,
}

/// The kinds of warnings.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WarningKind {
    /// The cell has a character that the encoding cannot express; it is written as [`MISSING`].
    CharacterMissing,
    /// The cell begins like a formula of a spreadsheet. It is written unchanged.
    LooksLikeFormula,
}

impl fmt::Display for Warning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { row, column, what } = self;
        write!(f, "row {row}, {}: ", column.name())?;
        match what {
            WarningKind::CharacterMissing => {
                write!(
                    f,
                    "has a character that the encoding cannot express; it is written as {MISSING}; choose utf-8 to keep it"
                )
            }
            WarningKind::LooksLikeFormula => {
                f.write_str("begins like a formula; import the column as text if you open the file in a spreadsheet")
            }
        }
    }
}

/// The reason why a file cannot be written.
#[derive(Debug, thiserror::Error)]
pub enum WriteError {
    /// These entries do not belong in the file.
    #[error("{} of the entries do not belong in the file: {}", .0.len(), shortened(.0))]
    Unfit(Vec<UnfitEntry>),
    /// A row cannot be written.
    #[error("a row cannot be written: {0}")]
    Csv(#[from] csv::Error),
}

/// An entry that does not belong in a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnfitEntry {
    /// The TradeNo of the payment; for a refund, the RefundTradeNo follows it.
    pub trade_no: String,
    /// The reason why it does not belong in the file.
    pub reason: String,
}

/// How many entries an error text names at most.
const NAMED_MAX: usize = 10;

fn shortened(unfit: &[UnfitEntry]) -> String {
    let named = unfit.iter().take(NAMED_MAX).map(|UnfitEntry { trade_no, reason }| format!("{trade_no} {reason}"));
    let more = unfit.len().checked_sub(NAMED_MAX).filter(|more| *more > 0).map(|more| format!("and {more} more"));
    named.chain(more).collect::<Vec<_>>().join("; ")
}

/// Writes the file of a merchant. Each entry must belong to the merchant, count on the day, have an
/// amount of 1 to 2,147,483,647 TWD, have a RefundTradeNo if and only if it is a refund, and occur
/// once. The error lists all entries that break a rule.
pub fn write_file(
    merchant_id: &str,
    day: BusinessDay,
    entries: &[Entry],
    layout: &Layout,
) -> Result<AccountingFile, WriteError> {
    let mut sorted: Vec<&Entry> = entries.iter().collect();
    sorted.sort_unstable_by_key(|entry| (entry.settled_at, entry.identity()));
    let unfit = unfit(merchant_id, day, &sorted);
    if !unfit.is_empty() {
        return Err(WriteError::Unfit(unfit));
    }
    let mut rows = RowWriter::new(layout);
    rows.head(merchant_id, day)?;
    let mut totals = Totals::default();
    for entry in sorted {
        rows.detail(entry, day)?;
        totals.add(entry.issuer.label(), entry.kind, entry.trade_amount);
    }
    rows.totals(&totals)?;
    let (bytes, warnings) = rows.finish()?;
    Ok(AccountingFile { name: file_name(merchant_id, day), bytes, totals, warnings })
}

fn unfit(merchant_id: &str, day: BusinessDay, sorted: &[&Entry]) -> Vec<UnfitEntry> {
    let mut seen = HashSet::with_capacity(sorted.len());
    let mut unfit = Vec::new();
    for entry in sorted {
        let mut add_fault = |reason: String| {
            let trade_no = format!("{} {}", entry.trade_no, entry.refund_trade_no).trim_end().to_owned();
            unfit.push(UnfitEntry { trade_no, reason });
        };
        if &*entry.merchant_id != merchant_id {
            add_fault(format!("belongs to merchant {}, not {merchant_id}", entry.merchant_id));
        }
        if !day.contains(entry.booked_at) {
            add_fault(format!("counts at {}, not on {day}", rfc3339(entry.booked_at)));
        }
        if let Err(reason) = Amount::parse(entry.trade_amount) {
            add_fault(format!("has a trade amount that {reason}"));
        }
        let is_refund = entry.kind == crate::Kind::Refund;
        if is_refund == entry.refund_trade_no.is_empty() {
            add_fault("must have a RefundTradeNo if and only if it is a refund".to_owned());
        }
        if !seen.insert(entry.identity()) {
            add_fault(format!("occurs twice as {}", entry.kind.label()));
        }
    }
    unfit
}

/// Writes the rows of a file.
struct RowWriter<'a> {
    layout: &'a Layout,
    csv: csv::Writer<Vec<u8>>,
    row: u64,
    warnings: Vec<Warning>,
}

fn csv_writer(layout: &Layout) -> csv::Writer<Vec<u8>> {
    csv::WriterBuilder::new()
        .delimiter(layout.delimiter)
        .terminator(csv::Terminator::CRLF)
        .flexible(true)
        .from_writer(Vec::new())
}

impl<'a> RowWriter<'a> {
    fn new(layout: &'a Layout) -> Self {
        Self { layout, csv: csv_writer(layout), row: 0, warnings: Vec::new() }
    }

    fn row<C: AsRef<[u8]>>(&mut self, cells: impl IntoIterator<Item = C>) -> csv::Result<()> {
        self.row += 1;
        self.csv.write_record(cells)
    }

    fn warn(&mut self, column: Column, what: WarningKind) {
        self.warnings.push(Warning { row: self.row, column, what });
    }

    /// Adds a cell to the current row, and the warnings about it.
    fn cell(&mut self, column: Column, text: &str) -> csv::Result<()> {
        let fitted = self.layout.encoding.fit(text);
        if fitted != text {
            self.warn(column, WarningKind::CharacterMissing);
        }
        if column.is_free_text() && text.starts_with(['=', '+', '-', '@', '\t', '\r']) {
            self.warn(column, WarningKind::LooksLikeFormula);
        }
        self.csv.write_field(&*fitted)
    }

    fn end_of_row(&mut self) -> csv::Result<()> {
        self.csv.write_record(None::<&[u8]>)
    }

    fn head(&mut self, merchant_id: &str, day: BusinessDay) -> csv::Result<()> {
        self.row = 1;
        for text in ["H", FORMAT[0], FORMAT[1], self.layout.encoding.name()] {
            self.csv.write_field(text)?;
        }
        self.cell(Column::MerchantId, merchant_id)?;
        for text in [day.to_string(), day.cut_off().to_string(), rfc3339(day.from()), rfc3339(day.to())] {
            self.csv.write_field(text)?;
        }
        self.end_of_row()?;
        let columns = &self.layout.columns;
        self.row(std::iter::once("F").chain(columns.iter().map(|(column, _)| column.name())))?;
        self.row(std::iter::once("N").chain(columns.iter().map(|(_, heading)| heading.as_str())))
    }

    fn detail(&mut self, entry: &Entry, day: BusinessDay) -> csv::Result<()> {
        let layout = self.layout;
        let formats = layout.formats(day);
        self.row += 1;
        self.csv.write_field("D")?;
        for (column, _) in &layout.columns {
            self.cell(*column, &column.cell(entry, &formats))?;
        }
        self.end_of_row()
    }

    fn totals(&mut self, totals: &Totals) -> csv::Result<()> {
        for (issuer, sums) in &totals.by_issuer {
            self.row(total_cells("T", issuer.clone(), sums))?;
        }
        self.row(total_cells("E", totals.all.count().to_string(), &totals.all))
    }

    /// Encodes the rows and adds the row with the checksum over all of them.
    fn finish(self) -> csv::Result<(Vec<u8>, Vec<Warning>)> {
        let bytes = self.csv.into_inner().map_err(csv::IntoInnerError::into_error)?;
        let text = String::from_utf8_lossy(&bytes);
        let mut bytes = self.layout.encoding.encode(&text);
        let sum = checksum(&bytes);
        let mut last = csv_writer(self.layout);
        last.write_record(["S", CHECKSUM, &sum])?;
        bytes.extend(last.into_inner().map_err(csv::IntoInnerError::into_error)?);
        Ok((bytes, self.warnings))
    }
}

fn total_cells(record: &str, of: String, sums: &Sums) -> impl Iterator<Item = String> {
    [record.to_owned(), of].into_iter().chain(sums.cells())
}
