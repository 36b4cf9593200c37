//! When a movement counts in the books: at the time of its record, but never before the time up to
//! which its shard's books were closed when the record landed.

use twqr_types::UnixMs;

use super::{
    check,
    fixtures::{self, WALLET, approved, refunded_result, reversed},
    world::World,
};
use crate::CancelStage;

impl World {
    fn charge_counts_at(&self, number: &str) -> i64 {
        self.payment(number).charge.booked_at().0
    }

    fn reversal_counts_at(&self, number: &str) -> i64 {
        match &self.payment(number).cancel.as_ref().unwrap().stage {
            CancelStage::Reversing(reversal) => reversal.booked_at().0,
            stage => panic!("{stage:?}"),
        }
    }
}

#[test]
fn a_movement_never_counts_before_a_closing_that_it_landed_behind() {
    check(&[
        ("a charge whose record lands behind the closing counts from the closed time on", |w| {
            w.pay("T", WALLET, 100);
            w.pay("U", WALLET, 100);
            let settled = w.at;
            w.charged("T", approved(100));
            w.at += 60_000;
            w.close_books(w.at);
            let closed = std::mem::replace(&mut w.at, settled);
            w.charged("U", approved(100));
            assert_eq!((w.charge_counts_at("T"), w.charge_counts_at("U")), (settled, closed));
            assert_eq!(w.payment("U").charge.changed_at, UnixMs(settled), "what callers see is unchanged");
        }),
        ("so does a refund, on its own shard, and a reversal", |w| {
            w.paid("T", WALLET, 100);
            w.refund("R", "T", 30);
            let settled = w.at;
            w.at += 60_000;
            w.close_books(w.at);
            let closed = std::mem::replace(&mut w.at, settled);
            w.refunded("T", "R", refunded_result(30));
            assert_eq!(w.refund_order("R").booked_at().0, closed);
            w.cancel("T", WALLET, 100);
            w.reversed("T", reversed());
            assert_eq!(w.reversal_counts_at("T"), closed);
        }),
        ("a closing moves nothing that was decided before it", |w| {
            w.paid("T", WALLET, 100);
            let settled = w.charge_counts_at("T");
            w.at += 60_000;
            w.close_books(w.at);
            w.refund("R", "T", 30);
            assert_eq!(w.charge_counts_at("T"), settled);
        }),
        ("books are never opened again, and never closed ahead of the clock", |w| {
            w.at += 60_000;
            let closed = w.at;
            w.close_books(closed);
            w.close_books(closed - 30_000);
            w.close_books(closed + 1);
            w.pay("T", WALLET, 100);
            w.at = closed - 40_000;
            w.charged("T", approved(100));
            assert_eq!(w.charge_counts_at("T"), closed);
        }),
        ("before protocol version 2 books are not closed", |w| {
            *w = World::new(fixtures::policy_with(|policy| policy.protocol_version = 1));
            w.pay("T", WALLET, 100);
            w.at += 60_000;
            w.close_books(w.at);
            w.at -= 60_000;
            w.charged("T", approved(100));
            assert_eq!(w.charge_counts_at("T"), w.at);
        }),
    ]);
}
