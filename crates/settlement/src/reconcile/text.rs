//! The text form of a report.

use std::fmt;

use super::{AmountDiffers, DetailDiffers, Duplicate, Item, MissingMovement, Report, ShiftedBooking};

impl fmt::Display for Item {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} {}", self.side, self.kind.movement(), self.trade_no)?;
        if !self.refund_trade_no.is_empty() {
            write!(f, " {}", self.refund_trade_no)?;
        }
        if !self.institution.is_empty() {
            write!(f, " institution {}", self.institution)?;
        }
        write!(f, " {}/{} {} TWD at {}", self.merchant_id, self.merchant_trade_no, self.trade_amount, self.at)?;
        match self.line {
            Some(line) => write!(f, " (line {line})"),
            None => Ok(()),
        }
    }
}

impl fmt::Display for MissingMovement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let near = if self.near_cut_off { ", near the cut-off: check the neighbouring day" } else { "" };
        write!(f, "{}{near}", self.item)
    }
}

impl fmt::Display for AmountDiffers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { item, ours, theirs } = self;
        write!(
            f,
            "{item}: trade {} here, {} there; debit {} here, {} there",
            ours.trade_amount, theirs.trade_amount, ours.debit_amount, theirs.debit_amount
        )
    }
}

impl fmt::Display for DetailDiffers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { item, field, ours, theirs } = self;
        write!(f, "{item}: {field} {ours:?} here, {theirs:?} there")
    }
}

impl fmt::Display for Duplicate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}, also on {} in line {}", self.item, self.also_on, self.also_line)
    }
}

impl fmt::Display for ShiftedBooking {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: on {} here, on {} there", self.item, self.ours, self.theirs)?;
        if self.is_confirmed {
            return Ok(());
        }
        write!(f, "; check their file of {}, which may have it, too", self.ours)
    }
}

fn list<T: fmt::Display>(f: &mut fmt::Formatter<'_>, title: &str, items: &[T]) -> fmt::Result {
    if items.is_empty() {
        return Ok(());
    }
    writeln!(f, "{title}: {}", items.len())?;
    items.iter().try_for_each(|item| writeln!(f, "  {item}"))
}

/// How many unknown rows are listed at most, since a damaged file may have nothing else.
const UNKNOWN_ROWS_MAX: usize = 20;

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "reconciliation of {}, cut-off {} Asia/Taipei", self.date, self.cut_off)?;
        writeln!(f, "matched: {} movements, {} TWD", self.matched.count, self.matched.amount)?;
        let troubles: Vec<String> =
            self.file_troubles.iter().map(|trouble| format!("{}: {}", trouble.side, trouble.reason)).collect();
        let unknown: Vec<String> =
            self.unknown_rows.iter().map(|row| format!("{} line {}: {}", row.side, row.line, row.reason)).collect();
        list(f, "faulty files", &troubles)?;
        list(f, "missing at the counterparty", &self.missing_there)?;
        list(f, "missing here", &self.missing_here)?;
        list(f, "amounts that differ", &self.amount_differs)?;
        list(f, "details that differ", &self.detail_differs)?;
        list(f, "duplicated at the counterparty", &self.duplicated)?;
        list(f, "duplicated here", &self.duplicated_here)?;
        list(f, "booked on another day", &self.booked_on_another_day)?;
        let (shown, more) = unknown.split_at(unknown.len().min(UNKNOWN_ROWS_MAX));
        list(f, "unknown rows", shown)?;
        if !more.is_empty() {
            writeln!(f, "  and {} more unknown rows", more.len())?;
        }
        f.write_str(if self.is_clean() { "clean\n" } else { "there are differences\n" })
    }
}
