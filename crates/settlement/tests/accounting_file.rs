//! The accounting file: its exact bytes, which are the same for the same entries in any order. A
//! written file is valid, and a file with a changed byte never is.

#![allow(unreachable_pub, dead_code, missing_docs, clippy::unwrap_used, reason = "a test fails by panicking")]

#[path = "support/books.rs"]
mod books;

use proptest::prelude::*;
use twqr_settlement::{
    Column, ColumnConfig, Entry, Kind, Layout, LayoutConfig, Warning, WarningKind, WriteError, verify_file, write_file,
};
use twqr_types::{BusinessDay, CutOff, CutOffs, UnixMs};

use books::{day, entries, entry, number};

/// A layout with few columns, so that the expected files are short.
fn narrow(encoding: &str, delimiter: &str, more: &[Column]) -> Layout {
    let columns = [Column::Kind, Column::TradeNo, Column::RefundTradeNo, Column::Issuer, Column::TradeAmount];
    let config = |column: &Column| ColumnConfig { field: column.name().into(), heading: column.heading().into() };
    let columns = columns.iter().chain(more).map(config).collect();
    let config =
        LayoutConfig { encoding: encoding.into(), delimiter: delimiter.into(), columns, ..LayoutConfig::default() };
    config.layout().unwrap()
}

fn any_layout() -> impl Strategy<Value = Layout> {
    let texts = [Column::GatewayTradeNo, Column::MerchantTradeNo, Column::PosId, Column::NetAmount, Column::Late];
    let encoding = prop_oneof![Just("utf-8"), Just("utf-8-bom"), Just("big5")];
    let delimiter = prop_oneof![Just(","), Just(";"), Just("|"), Just("\t")];
    let configured = (encoding, delimiter).prop_map(move |(encoding, delimiter)| narrow(encoding, delimiter, &texts));
    prop_oneof![configured, Just(Layout::default())]
}

#[test]
fn a_file_has_the_documented_rows() {
    let settled_late = Entry { accepted_at: day().from().plus(-1), ..entry(3, Kind::Payment, "004", day()) };
    let entries = [
        settled_late,
        entry(2, Kind::Refund, "", day()),
        Entry { trade_amount: 250, ..entry(1, Kind::Payment, "", day()) },
        entry(4, Kind::Cancel, "004", day()),
    ];
    let layout = narrow("utf-8", ",", &[Column::SettledAt, Column::Late, Column::AcceptedDate, Column::NetAmount]);
    let file = write_file("M001", day(), &entries, &layout).unwrap();
    let text = String::from_utf8(file.bytes).unwrap();
    let (body, checksum) = text.split_at(text.find("\r\nS,").unwrap() + 2);
    let [one, two, refund, three, four] = [1, 2, 1_000_002, 3, 4].map(number);
    let expected = format!(
        "H,TWQR-SETTLEMENT,1,utf-8,M001,2025-03-10,00:00,2025-03-10T00:00:00.000+08:00,2025-03-11T00:00:00.000+08:00
F,kind,trade_no,refund_trade_no,issuer,trade_amount,settled_at,late,accepted_date,net_amount
N,交易類別,街口交易序號,退款交易序號,發卡機構,交易金額,入帳時間,跨日入帳,交易日,淨額
D,PAYMENT,{one},,wallet,250,2025/03/10 00:30:01,,2025/03/10,250
D,REFUND,{two},{refund},wallet,100,2025/03/10 00:30:02,,2025/03/10,-100
D,PAYMENT,{three},,004,100,2025/03/10 00:30:03,LATE,2025/03/09,100
D,CANCEL,{four},,004,100,2025/03/10 00:30:04,,2025/03/10,-100
T,004,1,100,0,0,1,100,0
T,wallet,1,250,1,100,0,0,150
E,4,2,350,1,100,1,100,150
"
    );
    assert_eq!(body.replace("\r\n", "\n"), expected);
    assert_eq!(checksum.len(), "S,SHA-256,\r\n".len() + 64);
    assert_eq!((file.name.as_str(), file.warnings.as_slice()), ("settlement-M001-20250310.csv", &[][..]));
}

#[test]
fn a_day_without_movements_gives_a_valid_file() {
    let file = write_file("M001", day(), &[], &Layout::default()).unwrap();
    assert_eq!(verify_file(&file.bytes).unwrap().totals, file.totals);
    assert_eq!((file.totals.all.count(), file.totals.by_issuer.len()), (0, 0));
}

#[test]
fn characters_that_big5_cannot_express_are_replaced_with_a_warning() {
    let odd =
        Entry { gateway_trade_no: "😀店".into(), pos_id: "收銀1".into(), ..entry(1, Kind::Payment, "", day()) };
    let more = [Column::GatewayTradeNo, Column::PosId];
    let file = write_file("M001", day(), std::slice::from_ref(&odd), &narrow("big5", ",", &more)).unwrap();
    let missing = |row, column| Warning { row, column, what: WarningKind::CharacterMissing };
    assert_eq!(file.warnings, [missing(4, Column::GatewayTradeNo)]);
    // The bytes of □店 and 收銀1 in Big5.
    let cells = b"\xa1\xbc\xa9\xb1,\xa6\xac\xbb\xc81\r\n";
    assert!(file.bytes.windows(cells.len()).any(|window| window == cells));
    assert!(verify_file(&file.bytes).is_ok());
    let file = write_file("M001", day(), &[odd], &narrow("utf-8", ",", &more)).unwrap();
    assert!(file.warnings.is_empty());
    let merchant = Entry { merchant_id: "M😀".into(), ..entry(1, Kind::Payment, "", day()) };
    let file = write_file("M😀", day(), &[merchant], &narrow("big5", ",", &[])).unwrap();
    assert_eq!(file.warnings, [missing(1, Column::MerchantId)]);
}

#[test]
fn a_cell_like_a_formula_is_written_unchanged_with_a_warning() {
    let odd = Entry { merchant_trade_no: "=1+1".into(), ..entry(1, Kind::Payment, "", day()) };
    let file = write_file("M001", day(), &[odd], &narrow("utf-8", ",", &[Column::MerchantTradeNo])).unwrap();
    let warning = Warning { row: 4, column: Column::MerchantTradeNo, what: WarningKind::LooksLikeFormula };
    assert_eq!(file.warnings, [warning]);
    assert!(String::from_utf8(file.bytes).unwrap().contains(",=1+1\r\n"));
}

#[test]
fn the_error_lists_all_entries_that_do_not_belong() {
    let good = entry(1, Kind::Payment, "", day());
    for (entries, expected) in [
        (vec![Entry { merchant_id: "M2".into(), ..good.clone() }], "belongs to merchant M2, not M001"),
        (
            vec![Entry { booked_at: day().to(), ..good.clone() }],
            "counts at 2025-03-11T00:00:00.000+08:00, not on 2025-03-10",
        ),
        (vec![Entry { trade_amount: 0, ..good.clone() }], "must be above 0"),
        (vec![Entry { refund_trade_no: number(9), ..good.clone() }], "if and only if it is a refund"),
        (vec![Entry { kind: Kind::Refund, ..good.clone() }], "if and only if it is a refund"),
        (vec![good.clone(), Entry { settled_at: day().from(), ..good.clone() }], "occurs twice as PAYMENT"),
    ] {
        let error = write_file("M001", day(), &entries, &Layout::default()).unwrap_err();
        assert!(error.to_string().contains(expected), "{error}");
    }
    let many: Vec<Entry> = (0..12).map(|n| Entry { trade_amount: 0, ..entry(n, Kind::Payment, "", day()) }).collect();
    let error = write_file("M001", day(), &many, &Layout::default()).unwrap_err();
    assert!(error.to_string().starts_with("12 of the entries") && error.to_string().ends_with("and 2 more"), "{error}");
    assert!(matches!(error, WriteError::Unfit(unfit) if unfit.len() == 12));
}

#[test]
fn late_movements_are_marked_by_the_cut_off() {
    let cut_off = CutOff::parse("23:00").unwrap();
    let business_day = BusinessDay::parse("2025-03-10", cut_off).unwrap();
    let layout = narrow("utf-8", ",", &[Column::Late, Column::AcceptedDate]);
    for (accepted_at, cells) in [
        (business_day.from(), ",,2025/03/10\r\n"),
        (business_day.from().plus(-1), ",LATE,2025/03/09\r\n"),
        (UnixMs(0), ",LATE,1970/01/01\r\n"),
    ] {
        let entry = Entry { accepted_at, ..entry(1, Kind::Payment, "", business_day) };
        let file = write_file("M001", business_day, &[entry], &layout).unwrap();
        assert!(String::from_utf8(file.bytes).unwrap().contains(cells), "{cells}");
    }
}

/// The cut-off moves from 02:00 to 23:00, so the day has 21 hours.
#[test]
fn late_movements_of_a_day_at_a_changed_cut_off_are_marked_by_its_beginning() {
    let cut_off = |text: &str| CutOff::parse(text).unwrap();
    let date = BusinessDay::parse("2025-03-10", cut_off("23:00")).unwrap();
    let day = CutOffs::new(cut_off("02:00"), vec![(date.noon().plus(-86_400_000), cut_off("23:00"))]).day(date);
    assert_eq!(day.to().since(day.from()), 21 * 3_600_000);
    let layout = narrow("utf-8", ",", &[Column::Late, Column::AcceptedDate]);
    for (accepted_at, cells) in [
        (day.to().plus(-1), ",,2025/03/10\r\n"),
        (day.from(), ",,2025/03/10\r\n"),
        (day.from().plus(-1), ",LATE,2025/03/09\r\n"),
    ] {
        let entry = Entry { accepted_at, ..entry(1, Kind::Payment, "", day) };
        let file = String::from_utf8(write_file("M001", day, &[entry], &layout).unwrap().bytes).unwrap();
        assert!(file.contains(cells), "{cells}: {file}");
        let head = "2025-03-10,23:00,2025-03-10T02:00:00.000+08:00,2025-03-10T23:00:00.000+08:00";
        assert!(file.contains(head), "{file}");
    }
}

#[test]
fn a_forged_file_contradicts_its_own_totals() {
    use sha2::Digest;
    let entries = [entry(1, Kind::Payment, "", day()), entry(2, Kind::Refund, "391", day())];
    let file = write_file("M001", day(), &entries, &narrow("utf-8", ",", &[])).unwrap();
    let text = String::from_utf8(file.bytes).unwrap();
    let body = &text[..text.find("S,SHA").unwrap()];
    let row = |prefix: &str| body.lines().find(|line| line.starts_with(prefix)).unwrap().to_owned() + "\r\n";
    for (change, expected) in [
        (body.replacen(",100\r\n", ",101\r\n", 1), "the totals of issuer"),
        (body.replace("T,wallet,1", "T,wallet,2"), "the totals of issuer wallet"),
        (body.replace(&row("T,391"), ""), "one T row for each issuer"),
        (body.replace(&row("D,REFUND"), ""), "states 2 records, but the file has 1"),
        (body.replace("E,2,1,100", "E,2,1,99"), "the totals differ from those of the rows: 1, 100, 1, 100, 0, 0, 0"),
        (body.replace("D,REFUND", "D,GIFT"), "kind must be PAYMENT, REFUND or CANCEL"),
        (body.replace("D,REFUND", "X,REFUND"), "unknown kind"),
        (body.replace(&row("E,"), ""), "cut off"),
        (body.replace(&row("F,"), &(row("F,") + &row("F,"))), "wrong place"),
        (body.replace("D,REFUND,", "D,"), "has 5 cells, must have 6"),
        (body.replace("trade_amount", "amount"), "has no column trade_amount"),
        (body.replace("SETTLEMENT,1", "SETTLEMENT,2"), "is not an accounting file"),
    ] {
        assert_ne!(change, body, "{expected}");
        let sum = sha2::Sha256::digest(&change);
        let forged = format!("{change}S,SHA-256,{sum:x}\r\n");
        let forged = if expected == "cut off" { change } else { forged };
        let faults = verify_file(forged.as_bytes()).unwrap_err();
        assert!(faults.to_string().contains(expected), "{expected}: {faults}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    #[test]
    fn the_same_entries_in_any_order_give_the_same_bytes(
        layout in any_layout(),
        (entries, shuffled) in entries().prop_flat_map(|all| (Just(all.clone()), Just(all).prop_shuffle())),
    ) {
        let file = write_file("M001", day(), &entries, &layout).unwrap();
        prop_assert_eq!(file, write_file("M001", day(), &shuffled, &layout).unwrap());
    }

    #[test]
    fn a_written_file_is_valid_and_states_its_totals(layout in any_layout(), entries in entries()) {
        let file = write_file("M001", day(), &entries, &layout).unwrap();
        let verified = verify_file(&file.bytes).unwrap();
        let sum = |kind| entries.iter().filter(|e| e.kind == kind).map(|e| e.trade_amount).sum::<i64>();
        prop_assert_eq!(verified.totals.all.payments.amount, sum(Kind::Payment));
        prop_assert_eq!(verified.totals.all.net(), sum(Kind::Payment) - sum(Kind::Refund) - sum(Kind::Cancel));
        prop_assert_eq!(verified.totals.all.count(), entries.len() as u64);
        prop_assert_eq!(&verified.totals, &file.totals);
        prop_assert_eq!((verified.merchant_id.as_str(), verified.date.as_str()), ("M001", "2025-03-10"));
    }

    #[test]
    fn a_changed_byte_or_a_truncation_is_always_detected(
        layout in any_layout(), entries in entries(), at in any::<prop::sample::Index>(), byte in any::<u8>(),
    ) {
        let bytes = write_file("M001", day(), &entries, &layout).unwrap().bytes;
        let at = at.index(bytes.len());
        prop_assert!(verify_file(&bytes[..at]).is_err());
        let mut changed = bytes.clone();
        changed[at] = byte;
        prop_assert_eq!(verify_file(&changed).is_ok(), changed == bytes);
    }
}

/// A movement of the last minute whose record lands after the day was closed.
#[test]
fn a_movement_that_lands_late_is_in_the_file_of_the_day_on_which_it_counts() {
    let settled_at = day().previous().to().plus(-1_000);
    let late =
        Entry { settled_at, accepted_at: settled_at, booked_at: day().from(), ..entry(1, Kind::Payment, "", day()) };
    let file = write_file("M001", day(), std::slice::from_ref(&late), &Layout::default()).unwrap();
    let text = String::from_utf8(file.bytes).unwrap();
    let row = text.lines().find(|row| row.starts_with("D,")).unwrap();
    assert!(row.contains("2025/03/09 23:59:59") && row.contains("LATE"), "{row}");
    let error = write_file("M001", day().previous(), &[late], &Layout::default()).unwrap_err();
    assert!(error.to_string().contains("counts at 2025-03-10T00:00:00.000+08:00, not on 2025-03-09"), "{error}");
}
