//! The reconciliation: equal books are clean, and each difference that a test makes is reported in
//! its category and in no other.

#![allow(unreachable_pub, dead_code, missing_docs, clippy::unwrap_used, reason = "a test fails by panicking")]

#[path = "support/books.rs"]
mod books;

use proptest::prelude::*;
use serde_json::Value;
use twqr_settlement::{Entry, Kind, Movement, Report, Side, read_movements, reconcile, write_movements};
use twqr_types::BusinessDay;

use books::{all_kinds, books, day, entries, entry, files, movement};

/// The names and lengths of the lists of a report that are not empty.
fn found(report: &Report) -> Vec<String> {
    let Value::Object(lists) = serde_json::to_value(report).unwrap() else { return Vec::new() };
    let full = lists.into_iter().filter(|(_, list)| list.as_array().is_some_and(|list| !list.is_empty()));
    full.map(|(name, list)| format!("{name} {}", list.as_array().map_or(0, Vec::len))).collect()
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
    let at = |ms: i64| {
        let at = day().from().plus(ms);
        Entry { settled_at: at, booked_at: at, ..entry(1, Kind::Payment, "", day()) }
    };
    for (ms, near) in [(0, true), (600_000, true), (600_001, false), (85_799_999, false), (86_399_999, true)] {
        let report = reconcile(books(day(), &[at(ms)], &files(&[])), &[]);
        assert_eq!(report.missing_there[0].near_cut_off, near, "{ms}");
        let report =
            reconcile(books(day(), &[], &files(&[Movement { at: day().from().plus(ms), ..movement(&at(ms)) }])), &[]);
        assert_eq!(report.missing_here[0].near_cut_off, near, "{ms}");
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
}

/// A movement that landed behind our closing of a day counts on the next day with us, and on its
/// own day with the counterparty.
#[test]
fn a_movement_that_landed_late_is_booked_on_another_day_and_never_missing() {
    let mut days = ThreeDays::new();
    let landed_late = Entry { booked_at: day().to(), ..days.ours[1].remove(0) };
    days.ours[2].push(landed_late.clone());
    let report = days.report([false, true]);
    assert_eq!(found(&report), ["booked_on_another_day 1"]);
    let booked = &report.booked_on_another_day[0];
    assert_eq!((booked.ours.as_str(), booked.theirs.as_str()), ("2025-03-11", "2025-03-10"));
    assert!(report.is_clean());
    let report = reconcile(books(day().next(), &[landed_late], &files(&[])), &[]);
    assert!(report.missing_there[0].near_cut_off, "without the file of the day before it may be there");
}
