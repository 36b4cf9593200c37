//! Matches what we settled on a day against what the counterparties say that they did.

mod report;
mod text;

use std::collections::HashMap;

use twqr_types::{BusinessDay, Issuer, UnixMs};

use crate::{
    counterparty::{CounterpartyFile, Listed, Side},
    entry::{Entry, Identity},
};

pub use report::{AmountDiffers, Amounts, BookedElsewhere, DetailDiffers, Duplicate, Item, Matched, Missing, Report};

/// How near to the cut-off a missing movement is so that the other side may have booked it on the
/// neighbouring day, in ms.
pub const NEAR_CUT_OFF_MS: i64 = 600_000;

/// What both sides have in their books for one business day.
#[derive(Clone, Copy, Debug)]
pub struct Books<'a> {
    /// The day.
    pub day: BusinessDay,
    /// What we settled on it.
    pub entries: &'a [Entry],
    /// The counterparties' files of it.
    pub files: &'a [CounterpartyFile],
}

impl Books<'_> {
    fn has_file(&self, side: Side) -> bool {
        self.files.iter().any(|file| file.side == side)
    }
}

/// A movement, and whose side of the counterparties it is on.
type Key<'a> = (Side, Identity<'a>);

/// A row of theirs.
#[derive(Clone, Copy)]
struct Theirs<'a> {
    side: Side,
    listed: &'a Listed,
}

/// Somewhere on a neighbouring day.
#[derive(Clone, Copy)]
struct Elsewhere<'a, T> {
    books: Books<'a>,
    what: T,
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

impl<'a> Theirs<'a> {
    fn key(self) -> Key<'a> {
        let movement = &self.listed.movement;
        (self.side, (movement.kind, &movement.trade_no, &movement.refund_trade_no))
    }
}

fn their_rows(files: &[CounterpartyFile]) -> impl Iterator<Item = Theirs<'_>> {
    files.iter().flat_map(|file| file.movements.iter().map(|listed| Theirs { side: file.side, listed }))
}

/// Reconciles a day. With the neighbouring days' books, a movement that one side has on the day and
/// the other on a neighbour is listed as booked on another day instead of missing.
pub fn reconcile(day: Books<'_>, neighbours: &[Books<'_>]) -> Report {
    let mut matching = Matching::new(day, neighbours);
    let ours = matching.take_ours(day.entries);
    let theirs = matching.take_theirs(day.files);
    for (key, entry) in &ours {
        match theirs.get(key) {
            Some(row) => matching.both(entry, *row),
            None => matching.only_ours(*key, entry),
        }
    }
    for (key, row) in theirs.iter().filter(|(key, _)| !ours.contains_key(*key)) {
        matching.only_theirs(*key, *row);
    }
    matching.report.sort();
    matching.report
}

struct Matching<'a> {
    day: Books<'a>,
    our_neighbours: HashMap<Key<'a>, Elsewhere<'a, &'a Entry>>,
    their_neighbours: HashMap<Key<'a>, Elsewhere<'a, Theirs<'a>>>,
    report: Report,
}

impl<'a> Matching<'a> {
    fn new(day: Books<'a>, neighbours: &'a [Books<'a>]) -> Self {
        let mut our_neighbours = HashMap::new();
        let mut their_neighbours = HashMap::new();
        for books in neighbours {
            our_neighbours.extend(books.entries.iter().map(|what| (our_key(what), Elsewhere { books: *books, what })));
            their_neighbours
                .extend(their_rows(books.files).map(|what| (what.key(), Elsewhere { books: *books, what })));
        }
        Self { day, our_neighbours, their_neighbours, report: Report::of(day.day, day.files) }
    }

    /// Our entries by key; what stands there twice is reported, and counts once.
    fn take_ours(&mut self, entries: &'a [Entry]) -> HashMap<Key<'a>, &'a Entry> {
        let mut ours: HashMap<Key<'a>, &'a Entry> = HashMap::with_capacity(entries.len());
        for entry in entries {
            if ours.insert(our_key(entry), entry).is_some() || self.our_neighbours.contains_key(&our_key(entry)) {
                self.report.duplicated_here.push(Item::ours(entry));
            }
        }
        ours
    }

    /// Their rows by key; what stands there twice, or on a neighbouring day as well, is reported,
    /// and counts once.
    fn take_theirs(&mut self, files: &'a [CounterpartyFile]) -> HashMap<Key<'a>, Theirs<'a>> {
        let mut theirs: HashMap<Key<'a>, Theirs<'a>> = HashMap::new();
        for row in their_rows(files) {
            let first = theirs.get(&row.key()).map(|first| (self.day.day, first.listed.line));
            let elsewhere = || self.their_neighbours.get(&row.key()).map(|row| (row.books.day, row.what.listed.line));
            let also = first.or_else(elsewhere);
            if first.is_none() {
                theirs.insert(row.key(), row);
            }
            if let Some((day, line)) = also {
                let (also_on, also_line) = (day.to_string(), line);
                self.report.duplicated.push(Duplicate { item: Item::theirs(row.side, row.listed), also_on, also_line });
            }
        }
        theirs
    }

    fn both(&mut self, entry: &Entry, row: Theirs<'_>) {
        if self.agree(entry, row) {
            self.report.matched.count += 1;
            self.report.matched.amount += entry.trade_amount;
        }
    }

    /// Whether they say the same of a movement; what differs is reported.
    fn agree(&mut self, entry: &Entry, row: Theirs<'_>) -> bool {
        let movement = &row.listed.movement;
        let item = || Item { line: Some(row.listed.line), ..Item::ours(entry) };
        let ours = Amounts { trade_amount: entry.trade_amount, debit_amount: entry.debit_amount };
        let theirs = Amounts { trade_amount: movement.trade_amount, debit_amount: movement.debit_amount };
        if ours != theirs {
            self.report.amount_differs.push(AmountDiffers { item: item(), ours, theirs });
        }
        let mut details = 0;
        for (field, ours, theirs) in [
            ("institution", entry.issuer.institution(), &movement.institution),
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

    fn only_ours(&mut self, key: Key<'a>, entry: &Entry) {
        if let Some(elsewhere) = self.their_neighbours.get(&key).copied() {
            if self.agree(entry, elsewhere.what) {
                let is_confirmed = self.day.has_file(key.0);
                let (ours, theirs) = (self.day.day.to_string(), elsewhere.books.day.to_string());
                let item = Item { line: Some(elsewhere.what.listed.line), ..Item::ours(entry) };
                self.report.booked_on_another_day.push(BookedElsewhere { item, ours, theirs, is_confirmed });
            }
            return;
        }
        let near_cut_off = self.near_cut_off(entry.settled_at);
        self.report.missing_there.push(Missing { item: Item::ours(entry), near_cut_off });
    }

    fn only_theirs(&mut self, key: Key<'a>, row: Theirs<'_>) {
        let Some(elsewhere) = self.our_neighbours.get(&key).copied() else {
            let near_cut_off = self.near_cut_off(row.listed.movement.at);
            let item = Item::theirs(row.side, row.listed);
            return self.report.missing_here.push(Missing { item, near_cut_off });
        };
        if self.their_neighbours.contains_key(&key) {
            return; // Listed as duplicated: both sides agree about the neighbouring day.
        }
        if self.agree(elsewhere.what, row) {
            let is_confirmed = elsewhere.books.has_file(key.0);
            let (ours, theirs) = (elsewhere.books.day.to_string(), self.day.day.to_string());
            let item = Item { line: Some(row.listed.line), ..Item::ours(elsewhere.what) };
            self.report.booked_on_another_day.push(BookedElsewhere { item, ours, theirs, is_confirmed });
        }
    }

    fn near_cut_off(&self, at: UnixMs) -> bool {
        let near = |edge: UnixMs| at.since(edge).saturating_abs() <= NEAR_CUT_OFF_MS;
        near(self.day.day.from()) || near(self.day.day.to())
    }
}
