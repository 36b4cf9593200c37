//! The counterparties' files: what is written is read back unchanged, a damaged file is always
//! detected, and each fault of a row is reported without quoting the row.

#![allow(unreachable_pub, dead_code, missing_docs, clippy::unwrap_used, reason = "a test fails by panicking")]

#[path = "support/books.rs"]
mod books;

use proptest::prelude::*;
use twqr_settlement::{Kind, Movement, Side, read_movements, reconcile, write_movements};
use twqr_types::Issuer;

use books::{all_kinds, books, day, entries, entry, files, movement, number};

#[test]
fn a_file_with_a_fault_in_every_row_says_what_is_wrong_with_the_rows() {
    let written = write_movements(&all_kinds(day()).iter().map(movement).collect::<Vec<_>>()).unwrap();
    let changed = String::from_utf8(written).unwrap().replace("2025-", "0114-");
    let refusal = read_movements(Side::Fisc, changed.as_bytes()).refusal().unwrap();
    for part in ["cannot be used: ", "checksum", "line 2 institution must be", "line 6 ", "; 1 more lines have faults"]
    {
        assert!(refusal.contains(part), "{part}: {refusal}");
    }
    assert!(!refusal.contains("is not a counterparty file") && refusal.matches("at must have a year").count() == 5);
    let foreign = read_movements(Side::Fisc, b"a;b\n1;2\n").refusal().unwrap();
    assert!(foreign.starts_with("is not a counterparty file: ") && foreign.contains("line 1 has 1 cells"), "{foreign}");
}

#[test]
fn an_invalid_row_is_reported_and_the_others_are_read() {
    let number = number(7);
    let cases = [
        (format!("gift,391,{number},,M1,T1,1,1,2025/03/10 09:08:07"), "kind must be payment, refund or reversal"),
        (format!("payment,,{number},,M1,T1,1,1,2025/03/10 09:08:07"), "institution must be"),
        (format!("payment,3911,{number},,M1,T1,1,1,2025/03/10 09:08:07"), "institution must be"),
        (format!("payment,391,X{},,M1,T1,1,1,2025/03/10 09:08:07", &number[1..]), "trade_no must be a TradeNo of twqr"),
        (format!("payment,391,{number},{number},M1,T1,1,1,2025/03/10 09:08:07"), "refund_trade_no must be"),
        (format!("refund,391,{number},,M1,T1,1,1,2025/03/10 09:08:07"), "refund_trade_no must be"),
        (format!("payment,391,{number},,M1,T1,0,1,2025/03/10 09:08:07"), "trade_amount must be"),
        (
            format!("payment,391,{number},,M1,T1,1.5,-1,2025/03/10 09:08:07"),
            "trade_amount must be whole TWD, 1 to 2147483647; debit_amount",
        ),
        (format!("payment,391,{number},,M1,T1,1,1,2025/02/30 09:08:07"), "at must be"),
        (format!("payment,391,{number},,M1,T1,1,1,115/03/10 09:08:07"), "at must have a year from 2000 to 2199"),
        (format!("payment,391,{number},,M1,T1,1,1,0115/03/10 09:08:07"), "at must have a year"),
        (format!("payment,391,{number},,M1,T1,1,1,0115-03-10T09:08:07+08:00"), "at must have a year"),
        (format!("payment,391,{number},,M1,T1,1,1,2569/03/10 09:08:07"), "at must have a year"),
        (format!("payment,391,{number},,M1,T1,1,1"), "has 8 cells"),
        (format!("payment,391,\"{number},,M1,T1,1,1,2025/03/10 09:08:07"), "too few"),
        (format!("payment,391,{number},,M1\u{7},T1,1,1,2025/03/10 09:08:07"), "control character"),
        ("x".repeat(20_000), "longer than 16384 bytes"),
    ];
    for (row, expected) in cases {
        let good = format!("payment,391,{number},,M1,T1,1,1,2025-03-10T01:08:07Z");
        let columns =
            "kind,institution,trade_no,refund_trade_no,merchant_id,merchant_trade_no,trade_amount,debit_amount,at";
        let file = format!("{columns}\r\n{row}\r\n\r\n{good}\r\n");
        let file = read_movements(Side::Fisc, file.as_bytes());
        assert_eq!((file.unknown_rows.len(), file.unknown_rows[0].line), (1, 2), "{row}");
        assert!(file.unknown_rows[0].reason.contains(expected), "{row}: {}", file.unknown_rows[0].reason);
        assert_eq!((file.movements.len(), file.movements[0].line), (1, 4), "{row}");
        assert_eq!(file.movements[0].movement.at.taipei(), "2025/03/10 09:08:07");
        assert_eq!(file.troubles.len(), 1, "the trailer row is missing");
    }
    let file = read_movements(Side::Wallet, b"\xff\xff\n");
    assert!(file.unknown_rows[0].reason.contains("UTF-8"));
}

#[test]
fn columns_are_found_by_the_header_row_and_its_absence_is_reported() {
    let number = number(7);
    let row = |text: &str| read_movements(Side::Fisc, text.as_bytes());
    let turned = format!(
        "\u{feff}at,debit_amount,trade_amount,merchant_trade_no,merchant_id,refund_trade_no,trade_no,institution,kind,note\n\
         2025/03/10 09:08:07,1,2,T1,M1,,{number},391,payment,hello\n"
    );
    let usual = format!("payment,391,{number},,M1,T1,2,1,2025/03/10 09:08:07\n");
    assert_eq!(row(&turned).movements[0].movement, row(&usual).movements[0].movement);
    assert_eq!((row(&turned).troubles.len(), row(&usual).troubles.len()), (1, 2));
    assert!(row(&usual).troubles[0].reason.contains("has no kind, institution"));
}

#[test]
fn each_part_of_the_trailer_is_checked_against_the_rows() {
    let file = String::from_utf8(write_movements(&[movement(&entry(1, Kind::Payment, "", day()))]).unwrap()).unwrap();
    let tail = file.find("trailer,1,100,").unwrap();
    for (trailer, expected) in [
        (file[tail..].to_owned(), None),
        (file[tail..].replacen(",1,", ",2,", 1), Some("it has 1 rows, but its trailer states another number")),
        (
            file[tail..].replacen(",100,", ",101,", 1),
            Some("its rows add up to 100 TWD, but its trailer states another sum"),
        ),
        ("trailer,1,100,00\r\n".to_owned(), Some("its checksum")),
        (String::new(), Some("its trailer row is missing")),
    ] {
        let read = read_movements(Side::Wallet, (file[..tail].to_owned() + &trailer).as_bytes());
        let reasons: Vec<&str> = read.troubles.iter().map(|trouble| trouble.reason.as_str()).collect();
        assert_eq!((reasons.len(), read.movements.len()), (usize::from(expected.is_some()), 1), "{reasons:?}");
        assert!(expected.is_none_or(|expected| reasons[0].contains(expected)), "{reasons:?}");
        let report = reconcile(books(day(), &[entry(1, Kind::Payment, "", day())], &[read]), &[]);
        assert_eq!((report.matched.count, report.is_clean()), (1, expected.is_none()));
    }
}

#[test]
fn a_reason_never_quotes_its_row() {
    let file = read_movements(
        Side::Fisc,
        b"payment,391,22SECRETSECRETSECR,,M,T,SECRET,SECRET,SECRET\nSECRET\ntrailer,SECRET,SECRET,SECRET\nSECRET",
    );
    assert_eq!(file.unknown_rows.len(), 3);
    assert!(!format!("{file:?}").contains("SECRET"), "{file:?}");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn a_written_file_is_read_back_unchanged(entries in entries()) {
        let movements: Vec<Movement> = entries.iter().map(movement).collect();
        for (file, is_wallet) in files(&movements).iter().zip([true, false]) {
            let own = movements.iter().filter(|movement| movement.institution.is_empty() == is_wallet);
            prop_assert!(own.eq(file.movements.iter().map(|listed| &listed.movement)));
            prop_assert!(file.unknown_rows.is_empty() && file.troubles.is_empty(), "{:?}", file);
        }
    }

    #[test]
    fn a_truncation_or_a_changed_byte_is_always_detected(
        entries in entries(), at in any::<prop::sample::Index>(), byte in any::<u8>(),
    ) {
        let movements: Vec<Movement> = entries.iter().filter(|e| e.issuer == Issuer::Wallet).map(movement).collect();
        let bytes = write_movements(&movements).unwrap();
        let at = at.index(bytes.len() - 2);
        let cut = read_movements(Side::Wallet, &bytes[..at]);
        prop_assert!(!cut.troubles.is_empty());
        let mut changed = bytes.clone();
        changed[at] = byte;
        let file = read_movements(Side::Wallet, &changed);
        prop_assert_eq!(file.troubles.is_empty() && file.unknown_rows.is_empty(), changed == bytes);
    }
}
