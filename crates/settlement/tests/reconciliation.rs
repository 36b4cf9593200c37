//! The counterparties' files and the reconciliation: equal books are clean, and each difference
//! that a test makes is reported in its category and in no other.

#![allow(unreachable_pub, dead_code, missing_docs, clippy::unwrap_used, reason = "a test fails by panicking")]

#[path = "support/books.rs"]
mod books;

use proptest::prelude::*;
use serde_json::Value;
use twqr_settlement::{
    Books, CounterpartyFile, Entry, Kind, Movement, Report, Side, read_movements, reconcile, write_movements,
};
use twqr_types::{BusinessDay, Issuer};

use books::{day, entries, entry, files, movement, number};

fn books<'a>(day: BusinessDay, entries: &'a [Entry], files: &'a [CounterpartyFile]) -> Books<'a> {
    Books { day, entries, files }
}

/// The names and lengths of the lists of a report that are not empty.
fn found(report: &Report) -> Vec<String> {
    let Value::Object(lists) = serde_json::to_value(report).unwrap() else { return Vec::new() };
    let full = lists.into_iter().filter(|(_, list)| list.as_array().is_some_and(|list| !list.is_empty()));
    full.map(|(name, list)| format!("{name} {}", list.as_array().map_or(0, Vec::len))).collect()
}

/// One movement of each kind for each counterparty.
fn all_kinds(day: BusinessDay) -> Vec<Entry> {
    let kinds = [Kind::Payment, Kind::Refund, Kind::Cancel];
    let each = kinds.into_iter().flat_map(|kind| ["", "391"].map(|institution| (kind, institution)));
    (0..).zip(each).map(|(n, (kind, institution))| entry(n, kind, institution, day)).collect()
}

type Change = fn(&mut Vec<Entry>, &mut Vec<Movement>);

#[test]
fn each_difference_is_reported_in_its_category() {
    let changes: [(&str, Change, &[&str], u64); 14] = [
        ("nothing", |_, _| (), &[], 6),
        ("lost there", |_, theirs| drop(theirs.remove(1)), &["missing_there 1"], 5),
        ("lost here", |ours, _| drop(ours.remove(2)), &["missing_here 1"], 5),
        ("trade amount", |_, theirs| theirs[0].trade_amount += 1, &["amount_differs 1"], 5),
        ("debit amount", |_, theirs| theirs[3].debit_amount -= 1, &["amount_differs 1"], 5),
        ("another institution", |_, theirs| theirs[1].institution = "004".into(), &["detail_differs 1"], 5),
        ("another merchant", |_, theirs| theirs[1].merchant_id = "M2".into(), &["detail_differs 1"], 5),
        ("another number", |ours, _| ours[2].merchant_trade_no = "x".into(), &["detail_differs 1"], 5),
        ("twice there", |_, theirs| theirs.push(theirs[4].clone()), &["duplicated 1"], 6),
        ("thrice there", |_, theirs| theirs.extend([theirs[5].clone(), theirs[5].clone()]), &["duplicated 2"], 6),
        ("twice here", |ours, _| ours.push(ours[0].clone()), &["duplicated_here 1"], 6),
        (
            "a TradeNo that is not ours",
            |_, theirs| theirs.push(Movement { trade_no: "T1".into(), ..theirs[0].clone() }),
            &["unknown_rows 1"],
            6,
        ),
        (
            "the other counterparty's",
            |_, theirs| theirs[0].institution = "391".into(),
            &["missing_here 1", "missing_there 1"],
            5,
        ),
        (
            "a refund reported as a reversal",
            |_, theirs| (theirs[2].kind, theirs[2].refund_trade_no) = (Kind::Cancel, "".into()),
            &["missing_here 1", "missing_there 1"],
            5,
        ),
    ];
    for (name, change, expected, matched) in changes {
        let mut ours = all_kinds(day());
        let mut theirs: Vec<Movement> = ours.iter().map(movement).collect();
        change(&mut ours, &mut theirs);
        let report = reconcile(books(day(), &ours, &files(&theirs)), &[]);
        assert_eq!(found(&report), expected, "{name}");
        assert_eq!((report.matched.count, report.is_clean()), (matched, expected.is_empty()), "{name}");
        let text = report.to_string();
        assert!(text.ends_with(if expected.is_empty() { "\nclean\n" } else { "\nthere are differences\n" }), "{text}");
    }
}

/// Entries of the day before, the day and the day after, and the counterparties' movements of each
/// day.
struct ThreeDays {
    ours: [Vec<Entry>; 3],
    theirs: [Vec<Movement>; 3],
}

impl ThreeDays {
    fn new() -> Self {
        let days = [day().previous(), day(), day().next()];
        let of = |day: BusinessDay| {
            let shift = day.from().since(self::day().from()) / 1_000_000;
            let number_of = |n: u64| n.wrapping_add_signed(shift + 1_000);
            (0..3).map(|n| entry(number_of(n), Kind::Payment, "391", day)).collect::<Vec<_>>()
        };
        let ours = days.map(of);
        let theirs = [0, 1, 2].map(|at: usize| ours[at].iter().map(movement).collect());
        Self { ours, theirs }
    }

    /// Reconciles the day. `given` says which neighbours' counterparty files are given.
    fn report(&self, given: [bool; 2]) -> Report {
        let [before, on, after] = [0, 1, 2].map(|at: usize| files(&self.theirs[at]));
        let [before, after] =
            [(before, given[0]), (after, given[1])].map(|(files, given)| if given { files } else { Vec::new() });
        let neighbours = [books(day().previous(), &self.ours[0], &before), books(day().next(), &self.ours[2], &after)];
        reconcile(books(day(), &self.ours[1], &on), &neighbours)
    }
}

#[test]
fn a_movement_on_the_neighbouring_day_is_reported_as_booked_on_another_day() {
    let mut days = ThreeDays::new();
    assert!(days.report([true, true]).is_clean());
    let late = days.theirs[0].remove(0);
    days.theirs[1].push(late);
    let report = days.report([false, false]);
    assert_eq!(found(&report), ["booked_on_another_day 1"]);
    let booked = &report.booked_on_another_day[0];
    assert_eq!((booked.ours.as_str(), booked.theirs.as_str()), ("2025-03-09", "2025-03-10"));
    assert!(!report.is_clean(), "the counterparty's file of the day before may have the movement, too");
    assert!(days.report([true, false]).is_clean());

    let mut days = ThreeDays::new();
    let late = days.theirs[1].remove(0);
    days.theirs[2].push(late);
    assert_eq!(found(&days.report([false, false])), ["missing_there 1"]);
    let report = days.report([false, true]);
    assert_eq!(found(&report), ["booked_on_another_day 1"]);
    assert_eq!(report.booked_on_another_day[0].theirs, "2025-03-11");
    assert!(report.is_clean());
    days.theirs[2].last_mut().unwrap().trade_amount += 1;
    assert_eq!(found(&days.report([false, true])), ["amount_differs 1"]);
}

#[test]
fn a_row_on_two_days_is_reported_as_a_duplicate() {
    let mut days = ThreeDays::new();
    let twice = days.theirs[0][0].clone();
    days.theirs[1].push(twice);
    let report = days.report([true, true]);
    assert_eq!(found(&report), ["duplicated 1"]);
    assert_eq!(report.duplicated[0].also_on, "2025-03-09");
    let mut days = ThreeDays::new();
    let twice = days.theirs[1][0].clone();
    days.theirs[2].push(twice);
    assert_eq!(found(&days.report([true, true])), ["duplicated 1"]);
}

#[test]
fn a_missing_movement_near_the_cut_off_is_marked() {
    let at = |ms: i64| Entry { settled_at: day().from().plus(ms), ..entry(1, Kind::Payment, "", day()) };
    for (ms, near) in [(0, true), (600_000, true), (600_001, false), (85_799_999, false), (86_399_999, true)] {
        let report = reconcile(books(day(), &[at(ms)], &files(&[])), &[]);
        assert_eq!(report.missing_there[0].near_cut_off, near, "{ms}");
        let report =
            reconcile(books(day(), &[], &files(&[Movement { at: day().from().plus(ms), ..movement(&at(ms)) }])), &[]);
        assert_eq!(report.missing_here[0].near_cut_off, near, "{ms}");
    }
}

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
        (format!("payment,391,X{},,M1,T1,1,1,2025/03/10 09:08:07", &number[1..]), "trade_no must be a TradeNo of ours"),
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
fn only_the_first_unknown_rows_are_listed_and_the_others_counted() {
    let day = day();
    for (rows, shown, more) in [(20, 20, None), (21, 20, Some("  and 1 more unknown rows\n"))] {
        let mut bytes = write_movements(&[]).unwrap();
        bytes.extend(b"x\n".repeat(rows));
        let report = reconcile(books(day, &[], &[read_movements(Side::Fisc, &bytes)]), &[]);
        let text = report.to_string();
        assert_eq!((report.unknown_rows.len(), text.matches("fisc line ").count()), (rows, shown), "{text}");
        assert!(text.contains("  and ") == more.is_some() && text.contains(more.unwrap_or_default()), "{text}");
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
    fn equal_books_are_clean(entries in entries()) {
        let theirs: Vec<Movement> = entries.iter().map(movement).collect();
        let report = reconcile(books(day(), &entries, &files(&theirs)), &[]);
        prop_assert!(report.is_clean(), "{}", report);
        prop_assert_eq!(report.matched.count, entries.len() as u64);
    }

    #[test]
    fn the_same_books_in_any_order_give_the_same_report(
        (ours, shuffled) in entries().prop_flat_map(|all| (Just(all.clone()), Just(all).prop_shuffle())),
        theirs in entries(),
    ) {
        let theirs: Vec<Movement> = theirs.iter().map(movement).collect();
        let files = files(&theirs);
        let reports = [&ours, &shuffled].map(|ours| reconcile(books(day(), ours, &files), &[]));
        prop_assert_eq!(&reports[0], &reports[1]);
    }

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
