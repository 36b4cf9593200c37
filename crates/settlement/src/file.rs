//! Writes the accounting file of one merchant and one business day. The same entries give the same
//! bytes, in whatever order they come.

use std::{collections::HashSet, fmt};

use sha2::{Digest, Sha256};
use twqr_types::{Amount, BusinessDay};

use crate::{
    column::Column,
    encoding::MISSING,
    entry::Entry,
    layout::Layout,
    name::file_name,
    times::rfc3339,
    totals::{Sums, Totals},
};

/// What the first row calls the format, and its version.
pub(crate) const FORMAT: [&str; 2] = ["TWQR-SETTLEMENT", "1"];
/// What the last row calls its checksum.
pub(crate) const CHECKSUM: &str = "SHA-256";

/// A written file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AccountingFile {
    /// Its name: [`file_name`].
    pub name: String,
    /// Its bytes.
    pub bytes: Vec<u8>,
    /// The totals that it states.
    pub totals: Totals,
    /// What whoever reads it should know, in the order of its rows.
    pub warnings: Vec<Warning>,
}

/// Something about one cell.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Warning {
    /// The row, counted from 1.
    pub row: u64,
    /// The column; `merchant_id` for the first row.
    pub column: Column,
    /// What it is.
    pub what: WarningKind,
}

/// What is to be known about a cell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WarningKind {
    /// It has a character that the encoding does not have; [`MISSING`] stands in its place.
    CharacterMissing,
    /// It begins so that a spreadsheet takes it for a formula. It is not changed.
    LooksLikeFormula,
}

impl fmt::Display for Warning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { row, column, what } = self;
        write!(f, "row {row}, {}: ", column.name())?;
        match what {
            WarningKind::CharacterMissing => {
                write!(f, "has a character that the encoding does not have, {MISSING} stands there; utf-8 has it")
            }
            WarningKind::LooksLikeFormula => {
                f.write_str("begins like a formula; take the columns in as text where a spreadsheet opens the file")
            }
        }
    }
}

/// The file cannot be written.
#[derive(Debug, thiserror::Error)]
pub enum WriteError {
    /// These entries do not belong into it.
    #[error("{} of the entries cannot stand in the file: {}", .0.len(), shortened(.0))]
    Unfit(Vec<Unfit>),
    /// A row cannot be written.
    #[error("a row cannot be written: {0}")]
    Csv(#[from] csv::Error),
}

/// An entry that does not belong into a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unfit {
    /// Its TradeNo, and for a refund the refund's.
    pub trade_no: String,
    /// What is wrong with it.
    pub reason: String,
}

/// How many unfit entries an error text names.
const NAMED_MAX: usize = 10;

fn shortened(unfit: &[Unfit]) -> String {
    let named = unfit.iter().take(NAMED_MAX).map(|Unfit { trade_no, reason }| format!("{trade_no} {reason}"));
    let more = unfit.len().checked_sub(NAMED_MAX).filter(|more| *more > 0).map(|more| format!("and {more} more"));
    named.chain(more).collect::<Vec<_>>().join("; ")
}

/// Writes the file of a merchant. Every entry must be the merchant's, settled on the day, with an
/// amount of 1 to 2,147,483,647 TWD, a refund's number where it is a refund and only there, and
/// stand there once; the error lists all that are not so.
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
    let mut rows = Rows::new(layout);
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

fn unfit(merchant_id: &str, day: BusinessDay, sorted: &[&Entry]) -> Vec<Unfit> {
    let mut seen = HashSet::with_capacity(sorted.len());
    let mut unfit = Vec::new();
    for entry in sorted {
        let mut refuse = |reason: String| {
            let trade_no = format!("{} {}", entry.trade_no, entry.refund_trade_no).trim_end().to_owned();
            unfit.push(Unfit { trade_no, reason });
        };
        if &*entry.merchant_id != merchant_id {
            refuse(format!("belongs to merchant {}, not {merchant_id}", entry.merchant_id));
        }
        if !day.contains(entry.settled_at) {
            refuse(format!("was settled at {}, not on {day}", rfc3339(entry.settled_at)));
        }
        if let Err(reason) = Amount::parse(entry.trade_amount) {
            refuse(format!("has a trade amount that {reason}"));
        }
        let is_refund = entry.kind == crate::Kind::Refund;
        if is_refund == entry.refund_trade_no.is_empty() {
            refuse("must have a refund's number if and only if it is a refund".to_owned());
        }
        if !seen.insert(entry.identity()) {
            refuse(format!("stands there twice as {}", entry.kind.label()));
        }
    }
    unfit
}

/// Rows on their way to bytes.
struct Rows<'a> {
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

impl<'a> Rows<'a> {
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

    /// Adds a cell to the row that is being written.
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
        let formats = layout.formats(day.cut_off());
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

    /// Encodes, and adds the checksum over all that stands before it.
    fn finish(self) -> csv::Result<(Vec<u8>, Vec<Warning>)> {
        let bytes = self.csv.into_inner().map_err(csv::IntoInnerError::into_error)?;
        let text = String::from_utf8_lossy(&bytes);
        let mut bytes = self.layout.encoding.encode(&text);
        let sum = hex(&bytes);
        let mut last = csv_writer(self.layout);
        last.write_record(["S", CHECKSUM, &sum])?;
        bytes.extend(last.into_inner().map_err(csv::IntoInnerError::into_error)?);
        Ok((bytes, self.warnings))
    }
}

fn total_cells(record: &str, of: String, sums: &Sums) -> impl Iterator<Item = String> {
    [record.to_owned(), of].into_iter().chain(sums.cells())
}

/// SHA-256 in lower-case hex.
pub(crate) fn hex(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let digit = |half: u8| char::from(DIGITS[usize::from(half)]);
    Sha256::digest(bytes).iter().flat_map(|byte| [digit(byte >> 4), digit(byte & 15)]).collect()
}
