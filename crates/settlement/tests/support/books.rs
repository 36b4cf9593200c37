//! Entries and the counterparties' movements of them, fixed and random.

use proptest::prelude::*;
use twqr_settlement::{Books, CounterpartyFile, Entry, Kind, Movement, Side, read_movements, write_movements};
use twqr_types::{BusinessDay, CutOff, Issuer, ShardId, TradeNo, UnixMs};

/// 2025-03-10, from midnight to midnight.
pub fn day() -> BusinessDay {
    BusinessDay::parse("2025-03-10", CutOff::default()).unwrap()
}

/// The TradeNo of the order whose first record is at this offset.
pub fn number(offset: u64) -> Box<str> {
    TradeNo::new(ShardId(3), offset, UnixMs(1_741_500_000_000)).as_str().into()
}

/// The `n`th entry of a day: 100 TWD, settled half an hour and `n` seconds after the day begins,
/// and accepted 2 s before that.
pub fn entry(n: u64, kind: Kind, institution: &str, day: BusinessDay) -> Entry {
    let is_refund = kind == Kind::Refund;
    let settled_at = day.from().plus(1_800_000 + n.cast_signed() * 1_000);
    Entry {
        kind,
        merchant_id: "M001".into(),
        store_id: "S1".into(),
        gateway_trade_no: format!("G{n}").into(),
        merchant_trade_no: format!("T{n}").into(),
        pos_id: "P1".into(),
        trade_no: number(n),
        refund_trade_no: if is_refund { number(1_000_000 + n) } else { "".into() },
        issuer: Issuer::from_wire(institution).unwrap(),
        payment_type: if institution.is_empty() { 1 } else { 8 },
        trade_amount: 100,
        debit_amount: 90,
        redeem_amount: if kind == Kind::Payment { -10 } else { 10 },
        store_redeem_amount: 0,
        accepted_at: settled_at.plus(-2_000),
        settled_at,
        booked_at: settled_at,
    }
}

/// One movement of each kind for each counterparty.
pub fn all_kinds(day: BusinessDay) -> Vec<Entry> {
    let kinds = [Kind::Payment, Kind::Refund, Kind::Cancel];
    let each = kinds.into_iter().flat_map(|kind| ["", "391"].map(|institution| (kind, institution)));
    (0..).zip(each).map(|(n, (kind, institution))| entry(n, kind, institution, day)).collect()
}

fn kinds() -> impl Strategy<Value = Kind> {
    prop_oneof![Just(Kind::Payment), Just(Kind::Refund), Just(Kind::Cancel)]
}

/// Up to 40 different entries of one merchant and one day, with random texts and amounts.
pub fn entries() -> impl Strategy<Value = Vec<Entry>> {
    let institution = prop_oneof![Just(""), Just("391"), Just("004"), Just("8A2")];
    let texts = ("\\PC{0,20}", "\\PC{1,60}", "[=+@,;|\t\"'\\-店😀a1]{0,20}");
    let times = (0_i64..86_400_000, 0_i64..200_000_000);
    let one = (kinds(), institution, 1_i64..=i64::from(i32::MAX), texts, times);
    prop::collection::vec(one, 0..40).prop_map(|all| {
        let mut entries = Vec::new();
        for (n, (kind, institution, amount, (gateway, merchant, pos), (settled, before))) in (0..).zip(all) {
            let settled_at = day().from().plus(settled);
            entries.push(Entry {
                gateway_trade_no: gateway.into(),
                merchant_trade_no: merchant.into(),
                pos_id: pos.into(),
                trade_amount: amount,
                debit_amount: amount - 1,
                settled_at,
                booked_at: settled_at,
                accepted_at: settled_at.plus(-before),
                ..entry(n, kind, institution, day())
            });
        }
        entries
    })
}

/// The counterparty's movement for an entry; it took effect 300 ms before we settled it.
pub fn movement(entry: &Entry) -> Movement {
    Movement {
        kind: entry.kind,
        institution: entry.issuer.as_wire().into(),
        trade_no: entry.trade_no.clone(),
        refund_trade_no: entry.refund_trade_no.clone(),
        merchant_id: entry.merchant_id.clone(),
        merchant_trade_no: entry.merchant_trade_no.clone(),
        trade_amount: entry.trade_amount,
        debit_amount: entry.debit_amount,
        at: entry.settled_at.plus(-300),
    }
}

/// The files of both counterparties with these movements, after reading them.
pub fn files(movements: &[Movement]) -> Vec<CounterpartyFile> {
    let of = |side: Side| {
        let is_wallet = side == Side::Wallet;
        let own = movements.iter().filter(|movement| movement.institution.is_empty() == is_wallet);
        read_movements(side, &write_movements(own).unwrap())
    };
    vec![of(Side::Wallet), of(Side::Fisc)]
}

/// Our entries of a day, and the counterparties' files of it.
pub fn books<'a>(day: BusinessDay, entries: &'a [Entry], files: &'a [CounterpartyFile]) -> Books<'a> {
    Books { day, entries, files }
}
