//! Writes the file of a counterparty, for the simulator and for tests.

use super::{COLUMNS, Movement, TRAILER};
use crate::{checksum::checksum, times::rfc3339};

/// Writes a file of these movements, in their order. It is written in memory, where no error is
/// expected.
pub fn write_movements<'a>(movements: impl IntoIterator<Item = &'a Movement>) -> Result<Vec<u8>, csv::Error> {
    let mut rows = writer(Vec::new());
    rows.write_record(COLUMNS)?;
    let (mut count, mut sum) = (0_u64, 0_i64);
    for movement in movements {
        count += 1;
        sum = sum.saturating_add(movement.trade_amount);
        rows.write_record([
            movement.kind.movement(),
            &movement.institution,
            &movement.trade_no,
            &movement.refund_trade_no,
            &movement.merchant_id,
            &movement.merchant_trade_no,
            &movement.trade_amount.to_string(),
            &movement.debit_amount.to_string(),
            &rfc3339(movement.at),
        ])?;
    }
    let body = rows.into_inner().map_err(csv::IntoInnerError::into_error)?;
    let checksum = checksum(&body);
    let mut trailer = writer(body);
    trailer.write_record([TRAILER, &count.to_string(), &sum.to_string(), &checksum])?;
    trailer.into_inner().map_err(|error| error.into_error().into())
}

fn writer(to: Vec<u8>) -> csv::Writer<Vec<u8>> {
    csv::WriterBuilder::new().terminator(csv::Terminator::CRLF).flexible(true).from_writer(to)
}
