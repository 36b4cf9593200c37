//! Reconciles a business day: matches the movements that twqr settled with those in the
//! counterparties' files.

mod report;
mod text;

use std::collections::HashMap;

use twqr_types::{BusinessDay, Issuer, UnixMs};

use crate::{
    counterparty::{CounterpartyFile, MovementRow, Side},
    entry::{Entry, Identity},
};

pub use report::{
    AmountDiffers, Amounts, DetailDiffers, Duplicate, Item, MatchedTotals, MissingMovement, Report, ShiftedBooking,
};

/// How close to the cut-off a missing movement must be, in ms, to be marked: the other side may
/// have booked it on the neighbouring day.
pub const NEAR_CUT_OFF_MS: i64 = 600_000;

/// The movements of both sides on one business day.
#[derive(Clone, Copy, Debug)]
pub struct Books<'a> {
    /// The business day.
    pub day: BusinessDay,
    /// The movements that count on the day with us.
    pub entries: &'a [Entry],
    /// The counterparties' files of the day.
    pub files: &'a [CounterpartyFile],
}

impl Books<'_> {
    fn has_file(&self, side: Side) -> bool {
        self.files.iter().any(|file| file.side == side)
    }
}

/// The identity of a movement, and the counterparty that it concerns.
type Key<'a> = (Side, Identity<'a>);

/// A row in a file of a counterparty.
#[derive(Clone, Copy)]
struct CounterpartyRow<'a> {
    side: Side,
    row: &'a MovementRow,
}

/// An entry or a row in the books of a neighbouring day.
#[derive(Clone, Copy)]
struct NeighbourRecord<'a, T> {
    books: Books<'a>,
    record: T,
}

fn side_of(entry: &Entry) -> Side {
    match entry.issuer {
        Issuer::Wallet => Side::Wallet,
        Issuer::Institution(_) => Side::Fisc,
    }
}

fn our_key(entry: &Entry) -> Key<'_> {
    (side_of(entry), entry.identity())
}

impl<'a> CounterpartyRow<'a> {
    fn key(self) -> Key<'a> {
        let movement = &self.row.movement;
        (self.side, (movement.kind, &movement.trade_no, &movement.refund_trade_no))
    }
}

fn their_rows(files: &[CounterpartyFile]) -> impl Iterator<Item = CounterpartyRow<'_>> {
    files.iter().flat_map(|file| file.movements.iter().map(|row| CounterpartyRow { side: file.side, row }))
}

/// Reconciles a day. If the books of the neighbouring days are given, a movement that one side has
/// on the day and the other side on a neighbouring day is reported as booked on another day instead
/// of missing.
pub fn reconcile(day: Books<'_>, neighbours: &[Books<'_>]) -> Report {
    let mut matching = Matching::new(day, neighbours);
    let ours = matching.collect_ours(day.entries);
    let theirs = matching.collect_theirs(day.files);
    for (key, entry) in &ours {
        match theirs.get(key) {
            Some(row) => matching.match_both(entry, *row),
            None => matching.report_only_ours(*key, entry),
        }
    }
    for (key, row) in theirs.iter().filter(|(key, _)| !ours.contains_key(*key)) {
        matching.report_only_theirs(*key, *row);
    }
    matching.report.sort();
    matching.report
}

/// The state of a reconciliation.
struct Matching<'a> {
    day: Books<'a>,
    our_neighbours: HashMap<Key<'a>, NeighbourRecord<'a, &'a Entry>>,
    their_neighbours: HashMap<Key<'a>, NeighbourRecord<'a, CounterpartyRow<'a>>>,
    report: Report,
}

impl<'a> Matching<'a> {
    fn new(day: Books<'a>, neighbours: &'a [Books<'a>]) -> Self {
        let mut our_neighbours = HashMap::new();
        let mut their_neighbours = HashMap::new();
        for books in neighbours {
            our_neighbours.extend(
                books.entries.iter().map(|record| (our_key(record), NeighbourRecord { books: *books, record })),
            );
            their_neighbours.extend(
                their_rows(books.files).map(|record| (record.key(), NeighbourRecord { books: *books, record })),
            );
        }
        Self { day, our_neighbours, their_neighbours, report: Report::new(day.day, day.files) }
    }

    /// Collects our entries by key. An entry that occurs twice, or also on a neighbouring day, is
    /// reported and counted once.
    fn collect_ours(&mut self, entries: &'a [Entry]) -> HashMap<Key<'a>, &'a Entry> {
        let mut ours: HashMap<Key<'a>, &'a Entry> = HashMap::with_capacity(entries.len());
        for entry in entries {
            if ours.insert(our_key(entry), entry).is_some() || self.our_neighbours.contains_key(&our_key(entry)) {
                self.report.duplicated_here.push(Item::ours(entry));
            }
        }
        ours
    }

    /// Collects the counterparties' rows by key. A row that occurs twice, or also on a neighbouring
    /// day, is reported and counted once.
    fn collect_theirs(&mut self, files: &'a [CounterpartyFile]) -> HashMap<Key<'a>, CounterpartyRow<'a>> {
        let mut theirs: HashMap<Key<'a>, CounterpartyRow<'a>> = HashMap::new();
        for row in their_rows(files) {
            let first = theirs.get(&row.key()).map(|first| (self.day.day, first.row.line));
            let elsewhere = || self.their_neighbours.get(&row.key()).map(|row| (row.books.day, row.record.row.line));
            let also = first.or_else(elsewhere);
            if first.is_none() {
                theirs.insert(row.key(), row);
            }
            if let Some((day, line)) = also {
                let (also_on, also_line) = (day.to_string(), line);
                self.report.duplicated.push(Duplicate { item: Item::theirs(row.side, row.row), also_on, also_line });
            }
        }
        theirs
    }

    fn match_both(&mut self, entry: &Entry, row: CounterpartyRow<'_>) {
        if self.compare(entry, row) {
            self.report.matched.count += 1;
            self.report.matched.amount += entry.trade_amount;
        }
    }

    /// Compares amounts and details, and reports the differences. Returns whether there are none.
    fn compare(&mut self, entry: &Entry, row: CounterpartyRow<'_>) -> bool {
        let movement = &row.row.movement;
        let item = || Item { line: Some(row.row.line), ..Item::ours(entry) };
        let ours = Amounts { trade_amount: entry.trade_amount, debit_amount: entry.debit_amount };
        let theirs = Amounts { trade_amount: movement.trade_amount, debit_amount: movement.debit_amount };
        if ours != theirs {
            self.report.amount_differs.push(AmountDiffers { item: item(), ours, theirs });
        }
        let mut details = 0;
        for (field, ours, theirs) in [
            ("institution", entry.issuer.as_wire(), &movement.institution),
            ("merchant_id", &entry.merchant_id, &movement.merchant_id),
            ("merchant_trade_no", &entry.merchant_trade_no, &movement.merchant_trade_no),
        ] {
            if *ours != **theirs {
                details += 1;
                let (ours, theirs) = (ours.to_owned(), theirs.to_string());
                self.report.detail_differs.push(DetailDiffers { item: item(), field, ours, theirs });
            }
        }
        ours == theirs && details == 0
    }

    fn report_only_ours(&mut self, key: Key<'a>, entry: &Entry) {
        if let Some(elsewhere) = self.their_neighbours.get(&key).copied() {
            if self.compare(entry, elsewhere.record) {
                let is_confirmed = self.day.has_file(key.0);
                let (ours, theirs) = (self.day.day.to_string(), elsewhere.books.day.to_string());
                let item = Item { line: Some(elsewhere.record.row.line), ..Item::ours(entry) };
                self.report.booked_on_another_day.push(ShiftedBooking { item, ours, theirs, is_confirmed });
            }
            return;
        }
        let is_booked_late = entry.booked_at > entry.settled_at;
        let near_cut_off = is_booked_late || self.is_near_cut_off(entry.settled_at);
        self.report.missing_there.push(MissingMovement { item: Item::ours(entry), near_cut_off });
    }

    fn report_only_theirs(&mut self, key: Key<'a>, row: CounterpartyRow<'_>) {
        let Some(elsewhere) = self.our_neighbours.get(&key).copied() else {
            let near_cut_off = self.is_near_cut_off(row.row.movement.at);
            let item = Item::theirs(row.side, row.row);
            return self.report.missing_here.push(MissingMovement { item, near_cut_off });
        };
        if self.their_neighbours.contains_key(&key) {
            // Both sides have it on the neighbouring day; this row was reported as a duplicate
            // already.
            return;
        }
        if self.compare(elsewhere.record, row) {
            let is_confirmed = elsewhere.books.has_file(key.0);
            let (ours, theirs) = (elsewhere.books.day.to_string(), self.day.day.to_string());
            let item = Item { line: Some(row.row.line), ..Item::ours(elsewhere.record) };
            self.report.booked_on_another_day.push(ShiftedBooking { item, ours, theirs, is_confirmed });
        }
    }

    fn is_near_cut_off(&self, at: UnixMs) -> bool {
        let near = |edge: UnixMs| at.since(edge).saturating_abs() <= NEAR_CUT_OFF_MS;
        near(self.day.day.from()) || near(self.day.day.to())
    }
}
