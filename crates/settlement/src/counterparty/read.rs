//! Reads a counterparty's file and collects its faults; reading continues after each fault. Each
//! line is one row, since no column can contain a line break. So an unclosed quote spoils one row
//! and not the rest of the file.

use std::{collections::HashSet, str::FromStr};

use csv::StringRecord;
use jiff::{Timestamp, civil::DateTime, tz::Offset};
use twqr_types::{Amount, InstitutionCode, TradeNo, UnixMs};

use super::{COLUMNS, CounterpartyFile, FileTrouble, Movement, MovementRow, Side, TRAILER, UnknownRow};
use crate::{checksum::checksum, encoding::without_mark, entry::Kind};

/// The longest line that is read, in bytes. All columns at their limits take less than 2 KiB.
const LINE_BYTES_MAX: usize = 16 * 1024;

/// Reads the file of a counterparty. Rows that cannot be used are listed with their faults.
pub fn read_movements(side: Side, bytes: &[u8]) -> CounterpartyFile {
    let file = CounterpartyFile {
        side,
        movements: Vec::new(),
        unknown_rows: Vec::new(),
        troubles: Vec::new(),
        is_recognised: false,
    };
    let mut reading = Reading { file, places: None, rows: 0, ended: false };
    let mut begin = 0;
    for (line, raw) in (1..).zip(bytes.split_inclusive(|byte| *byte == b'\n')) {
        let text = if line == 1 { without_mark(raw) } else { raw };
        let text = text.strip_suffix(b"\n").unwrap_or(text);
        let text = text.strip_suffix(b"\r").unwrap_or(text);
        if !text.is_empty() {
            reading.line(line, text, &bytes[..begin]);
        }
        begin += raw.len();
    }
    if !reading.ended {
        reading.trouble("the file is truncated: its trailer row is missing; request it again");
    }
    reading.file
}

/// The state of reading a file.
struct Reading {
    file: CounterpartyFile,
    /// The position of each column; `None` before the header row.
    places: Option<[usize; COLUMNS.len()]>,
    /// The number of rows between header and trailer.
    rows: u64,
    ended: bool,
}

impl Reading {
    fn trouble(&mut self, reason: impl Into<String>) {
        self.file.troubles.push(FileTrouble { side: self.file.side, reason: reason.into() });
    }

    fn unknown(&mut self, line: u64, reason: String) {
        self.file.unknown_rows.push(UnknownRow { side: self.file.side, line, reason });
    }

    fn line(&mut self, line: u64, text: &[u8], before: &[u8]) {
        if self.ended {
            return self.unknown(line, "is after the trailer row".to_owned());
        }
        let cells = match cells(text) {
            Ok(cells) if cells.get(0) == Some(TRAILER) => return self.trailer(&cells, before),
            Ok(cells) => cells,
            Err(reason) => {
                self.rows += 1;
                return self.unknown(line, reason);
            }
        };
        let places = match self.places {
            Some(places) => places,
            None => match header(&cells) {
                Ok(places) => {
                    self.places = Some(places);
                    self.file.is_recognised = true;
                    return;
                }
                Err(reason) => {
                    self.trouble(reason);
                    let usual = std::array::from_fn(|at| at);
                    self.places = Some(usual);
                    usual
                }
            },
        };
        self.rows += 1;
        match movement(self.file.side, &cells, places) {
            Ok(movement) => self.file.movements.push(MovementRow { line, movement }),
            Err(reasons) => self.unknown(line, reasons.join("; ")),
        }
    }

    fn trailer(&mut self, cells: &StringRecord, before: &[u8]) {
        self.ended = true;
        self.file.is_recognised = true;
        if cells.get(1) != Some(&self.rows.to_string()) {
            self.trouble(format!(
                "the file is truncated or damaged: it has {} rows, but its trailer states another number",
                self.rows
            ));
        }
        let sum = self.file.movements.iter().map(|listed| listed.movement.trade_amount).fold(0, i64::saturating_add);
        if self.file.unknown_rows.is_empty() && cells.get(2) != Some(&sum.to_string()) {
            self.trouble(format!(
                "the file is truncated or damaged: its rows add up to {sum} TWD, but its trailer states another sum"
            ));
        }
        if cells.get(3) != Some(&checksum(before)) {
            self.trouble("the file is truncated or damaged: its checksum does not match the one in its trailer");
        }
    }
}

fn cells(line: &[u8]) -> Result<StringRecord, String> {
    if line.len() > LINE_BYTES_MAX {
        return Err(format!("is longer than {LINE_BYTES_MAX} bytes"));
    }
    let text = std::str::from_utf8(line).map_err(|_| "is not UTF-8".to_owned())?;
    if text.chars().any(char::is_control) {
        return Err("has a control character, which is not allowed".to_owned());
    }
    let mut reader = csv::ReaderBuilder::new()
        .has_headers(false)
        .flexible(true)
        .buffer_capacity(line.len())
        .from_reader(text.as_bytes());
    let mut cells = StringRecord::new();
    match reader.read_record(&mut cells) {
        Ok(true) => Ok(cells),
        Ok(false) => Err("is empty".to_owned()),
        Err(error) => Err(format!("is not valid CSV: {error}")),
    }
}

/// Reads the position of each column from the header row. If columns are missing, the error names
/// them and says that the usual order is assumed.
fn header(cells: &StringRecord) -> Result<[usize; COLUMNS.len()], String> {
    let mut places = [0; COLUMNS.len()];
    let mut missing = Vec::new();
    for (place, column) in places.iter_mut().zip(COLUMNS) {
        match cells.iter().position(|cell| cell == column) {
            Some(at) => *place = at,
            None => missing.push(column),
        }
    }
    if missing.is_empty() {
        return Ok(places);
    }
    Err(format!(
        "the file has no {} in its header row; the columns are assumed to be in their usual order",
        missing.join(", ")
    ))
}

/// Reads the movement of a row; the error lists all faults of the row.
fn movement(side: Side, cells: &StringRecord, places: [usize; COLUMNS.len()]) -> Result<Movement, Vec<String>> {
    let found: HashSet<usize> = places.into_iter().filter(|at| *at < cells.len()).collect();
    if found.len() < COLUMNS.len() {
        return Err(vec![format!("has {} cells, too few for the columns", cells.len())]);
    }
    let [kind, institution, trade_no, refund_trade_no, merchant_id, merchant_trade_no, trade, debit, at] =
        places.map(|at| cells.get(at).unwrap_or_default());
    let kind = Kind::ALL.into_iter().find(|known| known.movement() == kind);
    let trade_amount = trade.parse().ok().and_then(|amount| Amount::parse(amount).ok());
    let debit_amount = debit.parse::<u32>().ok().filter(|amount| i32::try_from(*amount).is_ok());
    let at = time(at);
    let is_refund = kind == Some(Kind::Refund);
    let refund_fits = if is_refund { TradeNo::parse(refund_trade_no).is_ok() } else { refund_trade_no.is_empty() };
    let institution_fits = match side {
        Side::Wallet => institution.is_empty(),
        Side::Fisc => InstitutionCode::parse(institution).is_ok(),
    };
    let rules = [
        (kind.is_some(), "kind must be payment, refund or reversal"),
        (
            institution_fits,
            "institution must be empty in the wallet's file, and three letters or digits in FISC's file",
        ),
        (TradeNo::parse(trade_no).is_ok(), "trade_no must be a TradeNo of twqr"),
        (refund_fits, "refund_trade_no must be a RefundTradeNo of twqr in a refund, and empty in other rows"),
        (trade_amount.is_some(), "trade_amount must be whole TWD, 1 to 2147483647"),
        (debit_amount.is_some(), "debit_amount must be whole TWD, 0 to 2147483647"),
        (at.is_ok(), at.err().unwrap_or_default()),
    ];
    let read = || {
        Some(Movement {
            kind: kind?,
            institution: institution.into(),
            trade_no: trade_no.into(),
            refund_trade_no: refund_trade_no.into(),
            merchant_id: merchant_id.into(),
            merchant_trade_no: merchant_trade_no.into(),
            trade_amount: trade_amount?.twd(),
            debit_amount: i64::from(debit_amount?),
            at: at.ok()?,
        })
    };
    let broken: Vec<String> = rules.into_iter().filter(|(holds, _)| !holds).map(|(_, rule)| rule.to_owned()).collect();
    if broken.is_empty() { read().ok_or(broken) } else { Err(broken) }
}

/// Reads a time; the error says what is wrong with it.
fn time(raw: &str) -> Result<UnixMs, &'static str> {
    let taipei = Offset::constant(8);
    let at = match DateTime::strptime("%Y/%m/%d %H:%M:%S", raw) {
        Ok(local) => taipei.to_timestamp(local).ok(),
        Err(_) => Timestamp::from_str(raw).ok(),
    };
    let at = at.ok_or("at must be RFC 3339 or yyyy/MM/dd HH:mm:ss (Asia/Taipei)")?;
    let at = UnixMs(at.as_millisecond());
    if at.is_in_business_years() {
        Ok(at)
    } else {
        Err("at must have a year from 2000 to 2199, such as 2026 and not 115")
    }
}
