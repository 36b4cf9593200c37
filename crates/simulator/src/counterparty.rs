//! The files that the wallet and FISC deliver at the end of a day, for the reconciliation: the
//! ledger's movements as CSV.

use twqr_settlement::{Kind, Movement, Side, write_movements};
use twqr_types::{Issuer, UnixMs};
use twqr_wire::backend::{LedgerEntry, ledger_entry};

use crate::movements;

/// The file of one side: its movements from `from` until before `to`, in the ledger's order. The
/// error names the value that cannot be written as CSV.
pub fn counterparty_file(entries: &[LedgerEntry], side: Side, from: UnixMs, to: UnixMs) -> Result<Vec<u8>, String> {
    let in_range = |entry: &&LedgerEntry| (from.0..to.0).contains(&entry.at_ms);
    let is_wallet = |entry: &LedgerEntry| Issuer::from_wire(&entry.institution) == Ok(Issuer::Wallet);
    let of_side = |entry: &&LedgerEntry| is_wallet(entry) == (side == Side::Wallet);
    let chosen: Vec<Movement> = movements(entries).filter(in_range).filter(of_side).filter_map(movement).collect();
    write_movements(&chosen).map_err(|error| error.to_string())
}

fn movement(entry: &LedgerEntry) -> Option<Movement> {
    let kind = match entry.kind() {
        ledger_entry::Kind::Charged => Kind::Payment,
        ledger_entry::Kind::Refunded => Kind::Refund,
        ledger_entry::Kind::Reversed => Kind::Cancel,
        ledger_entry::Kind::Unspecified
        | ledger_entry::Kind::Declined
        | ledger_entry::Kind::RefundDeclined
        | ledger_entry::Kind::ReversalDeclined
        | ledger_entry::Kind::Repeated => return None,
    };
    Some(Movement {
        kind,
        institution: entry.institution.as_str().into(),
        trade_no: entry.trade_no.as_str().into(),
        refund_trade_no: entry.refund_trade_no.as_str().into(),
        merchant_id: entry.merchant_id.as_str().into(),
        merchant_trade_no: entry.merchant_trade_no.as_str().into(),
        trade_amount: entry.trade_amount,
        debit_amount: entry.debit_amount,
        at: UnixMs(entry.at_ms),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_has_the_movements_of_one_side_and_one_day() {
        let entry = |kind: ledger_entry::Kind, institution: &str, at_ms: i64| LedgerEntry {
            kind: kind.into(),
            institution: institution.into(),
            trade_no: format!("T{at_ms}"),
            merchant_id: "M1".into(),
            trade_amount: 5,
            at_ms,
            ..LedgerEntry::default()
        };
        let entries = [
            entry(ledger_entry::Kind::Charged, "", 9),
            entry(ledger_entry::Kind::Charged, "", 10),
            entry(ledger_entry::Kind::Repeated, "", 11),
            entry(ledger_entry::Kind::Reversed, "", 12),
            entry(ledger_entry::Kind::Refunded, "391", 13),
            entry(ledger_entry::Kind::Declined, "391", 14),
            entry(ledger_entry::Kind::Charged, "", 20),
        ];
        for (side, rows) in
            [(Side::Wallet, ["payment,,T10", "reversal,,T12"].as_slice()), (Side::Fisc, &["refund,391,T13"])]
        {
            let file = counterparty_file(&entries, side, UnixMs(10), UnixMs(20)).unwrap();
            let text = String::from_utf8(file).unwrap();
            let lines: Vec<&str> = text.lines().collect();
            assert_eq!(lines.len(), rows.len() + 2, "{text}");
            for (line, row) in lines.iter().skip(1).zip(rows) {
                assert!(line.starts_with(row), "{line}");
            }
        }
    }
}
