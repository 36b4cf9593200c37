//! Checks whether the checksum, counts and totals of an accounting file match its rows. No layout
//! is needed, because a file names its columns.

use std::fmt;

use csv::StringRecord;
use twqr_types::Amount;

use crate::{
    checksum::checksum,
    column::Column,
    encoding::{Encoding, without_mark},
    entry::Kind,
    file::{CHECKSUM, FORMAT},
    totals::Totals,
};

/// The content of a valid file: its merchant, its day and its totals.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VerifiedFile {
    /// The merchant of the file.
    pub merchant_id: String,
    /// The business day, `YYYY-MM-DD`.
    pub date: String,
    /// The totals in the file.
    pub totals: Totals,
}

/// All faults of a file.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub struct FileFaults(pub Vec<FileFault>);

/// A fault of a file or of one of its rows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileFault {
    /// The row, counted from 1; `None` if the fault concerns the whole file.
    pub row: Option<u64>,
    /// What is wrong.
    pub what: String,
}

impl fmt::Display for FileFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.row {
            Some(row) => write!(f, "row {row}: {}", self.what),
            None => f.write_str(&self.what),
        }
    }
}

impl fmt::Display for FileFaults {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.iter().map(FileFault::to_string).collect::<Vec<_>>().join("; "))
    }
}

/// Checks a file; the error lists every fault.
pub fn verify_file(bytes: &[u8]) -> Result<VerifiedFile, FileFaults> {
    let whole = |what: &str| FileFaults(vec![FileFault { row: None, what: what.to_owned() }]);
    let (encoding, delimiter) = encoding_and_delimiter(bytes)
        .ok_or_else(|| whole("is not an accounting file: it must begin with H, TWQR-SETTLEMENT, 1 and its encoding"))?;
    let text = encoding.decode(bytes).ok_or_else(|| whole(&format!("is not valid {}", encoding.name())))?;
    let mut reader = csv::ReaderBuilder::new()
        .delimiter(delimiter)
        .terminator(csv::Terminator::CRLF)
        .has_headers(false)
        .flexible(true)
        .from_reader(text.as_bytes());
    let mut check = Check::default();
    for row in reader.records() {
        check.row(&row.map_err(|error| whole(&format!("is not valid CSV: {error}")))?);
    }
    check.end(bytes, delimiter);
    let Check { merchant_id, date, totals, faults, .. } = check;
    if faults.is_empty() { Ok(VerifiedFile { merchant_id, date, totals }) } else { Err(FileFaults(faults)) }
}

/// Reads the encoding and the delimiter from the first row of a file. The beginning of that row is
/// ASCII in every encoding.
fn encoding_and_delimiter(bytes: &[u8]) -> Option<(Encoding, u8)> {
    let line = without_mark(bytes).split(|byte| *byte == b'\r').next()?;
    let delimiter = *line.get(1)?;
    let cells: Vec<&[u8]> = line.splitn(5, |byte| *byte == delimiter).collect();
    let [b"H", format, version, encoding, _] = cells.as_slice() else { return None };
    let known = *format == FORMAT[0].as_bytes() && *version == FORMAT[1].as_bytes();
    let encoding = Encoding::from_name(std::str::from_utf8(encoding).ok()?)?;
    known.then_some((encoding, delimiter))
}

/// The parts of a file, in their order.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
enum Part {
    #[default]
    Begin,
    Head,
    Fields,
    Headings,
    Details,
    Totals,
    End,
    Checksum,
}

/// The state of checking a file.
#[derive(Default)]
struct Check {
    row: u64,
    part: Part,
    merchant_id: String,
    date: String,
    columns: Vec<Option<Column>>,
    totals: Totals,
    stated_issuers: Vec<String>,
    faults: Vec<FileFault>,
}

impl Check {
    fn fault(&mut self, what: impl Into<String>) {
        self.faults.push(FileFault { row: Some(self.row), what: what.into() });
    }

    fn row(&mut self, row: &StringRecord) {
        self.row += 1;
        let part = match row.get(0) {
            Some("H") => Part::Head,
            Some("F") => Part::Fields,
            Some("N") => Part::Headings,
            Some("D") => Part::Details,
            Some("T") => Part::Totals,
            Some("E") => Part::End,
            Some("S") => Part::Checksum,
            _ => return self.fault("is of an unknown kind: the first cell must be H, F, N, D, T, E or S"),
        };
        let may_repeat = matches!(part, Part::Details | Part::Totals);
        if part < self.part || (part == self.part && !may_repeat) {
            self.fault("is in the wrong place: the order is H, F, N, D, T, E, S");
        }
        self.part = part;
        match part {
            Part::Head => {
                row.get(4).unwrap_or_default().clone_into(&mut self.merchant_id);
                row.get(5).unwrap_or_default().clone_into(&mut self.date);
            }
            Part::Fields => self.fields(row),
            Part::Details => self.detail(row),
            Part::Totals => self.total(row),
            Part::End => self.grand_total(row),
            Part::Begin | Part::Headings | Part::Checksum => {}
        }
    }

    fn fields(&mut self, row: &StringRecord) {
        self.columns = row.iter().skip(1).map(Column::from_name).collect();
        for column in [Column::Kind, Column::Issuer, Column::TradeAmount] {
            if !self.columns.contains(&Some(column)) {
                self.fault(format!("has no column {}, which is needed to check the totals", column.name()));
            }
        }
    }

    fn detail(&mut self, row: &StringRecord) {
        if row.len() != self.columns.len() + 1 {
            let want = self.columns.len() + 1;
            return self.fault(format!("has {} cells, must have {want}", row.len()));
        }
        let cell = |wanted: Column| {
            let at = self.columns.iter().position(|column| *column == Some(wanted));
            at.and_then(|at| row.get(at + 1)).unwrap_or_default()
        };
        let kind = Kind::ALL.into_iter().find(|kind| kind.label() == cell(Column::Kind));
        let amount = cell(Column::TradeAmount).parse().ok().and_then(|amount| Amount::parse(amount).ok());
        match (kind, amount) {
            (Some(kind), Some(amount)) => self.totals.add(cell(Column::Issuer), kind, amount.twd()),
            (None, _) => self.fault("kind must be PAYMENT, REFUND or CANCEL"),
            (_, None) => self.fault("trade_amount must be whole TWD, 1 to 2147483647"),
        }
    }

    fn total(&mut self, row: &StringRecord) {
        let issuer = row.get(1).unwrap_or_default();
        let sums = self.totals.by_issuer.get(issuer).copied().unwrap_or_default();
        if !row.iter().skip(2).eq(sums.cells().iter().map(String::as_str)) {
            self.fault(format!(
                "the totals of issuer {issuer} differ from those of its rows: {}",
                sums.cells().join(", ")
            ));
        }
        self.stated_issuers.push(issuer.to_owned());
    }

    fn grand_total(&mut self, row: &StringRecord) {
        let all = self.totals.all;
        if row.get(1) != Some(&all.count().to_string()) {
            self.fault(format!("states {} records, but the file has {}", row.get(1).unwrap_or("no"), all.count()));
        }
        if !row.iter().skip(2).eq(all.cells().iter().map(String::as_str)) {
            self.fault(format!("the totals differ from those of the rows: {}", all.cells().join(", ")));
        }
        if !self.stated_issuers.iter().eq(self.totals.by_issuer.keys()) {
            self.fault("there must be one T row for each issuer that has D rows, sorted by issuer, and no other T row");
        }
    }

    /// Checks the last row, which must have exactly the bytes that we write. The checksum covers
    /// all bytes before it.
    fn end(&mut self, bytes: &[u8], delimiter: u8) {
        let whole = |what: &str| FileFault { row: None, what: what.to_owned() };
        if self.part != Part::Checksum {
            return self.faults.push(whole("is cut off: the last row must be S with the checksum"));
        }
        let body = bytes.strip_suffix(b"\r\n").unwrap_or(bytes);
        let (before, last) = bytes.split_at(body.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1));
        let expected = ["S", CHECKSUM, &checksum(before)].join(&*char::from(delimiter).to_string()) + "\r\n";
        if last != expected.as_bytes() {
            self.faults.push(whole("the checksum does not match: the file was changed or damaged"));
        }
    }
}
