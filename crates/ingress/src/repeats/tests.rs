//! Which requests count as equal, and what their repeats get.

use twqr_types::{RawPay, UnixMs};

use super::*;
use crate::view::Outcome;

fn raw() -> RawPay {
    RawPay {
        merchant_id: "M1".into(),
        store_id: "S1".into(),
        gateway_trade_no: "G1".into(),
        merchant_trade_no: "T1".into(),
        card_token: "22ABCDEFGHIJKLMNOP".into(),
        trade_amount: 100,
        un_redeem: 10,
        ..RawPay::default()
    }
}

fn form(raw: RawPay) -> PayForm {
    PayForm::parse(raw).unwrap()
}

fn repeats() -> Repeats {
    Repeats::new(NonZeroUsize::new(1_000).unwrap())
}

fn failed() -> Arc<PayView> {
    let outcome = Outcome::Failed { status_code: "928".into(), status_desc: "balance".into() };
    Arc::new(PayView { trade_no: "T".into(), accepted_at: UnixMs(1), issuer: None, outcome })
}

#[test]
fn what_is_compared() {
    type Change = fn(&mut RawPay);
    let cases: [(&str, Change, bool); 12] = [
        ("nothing", |_| {}, true),
        ("send_time", |r| r.send_time = "20250310090807".into(), true),
        ("pos_trade_time", |r| r.pos_trade_time = "2025/03/10 09:08:07".into(), true),
        ("store_name", |r| r.store_name = "x".into(), true),
        ("pos_id", |r| r.pos_id = "x".into(), true),
        ("remark", |r| r.remark = "x".into(), true),
        ("store_id", |r| r.store_id = "S2".into(), false),
        ("gateway_trade_no", |r| r.gateway_trade_no = "G2".into(), false),
        ("card_token", |r| r.card_token = "22ABCDEFGHIJKLMNOQ".into(), false),
        ("trade_amount", |r| r.trade_amount = 101, false),
        ("un_redeem", |r| r.un_redeem = 11, false),
        ("store and gateway run together", |r| (r.store_id, r.gateway_trade_no) = ("S1G".into(), "1".into()), false),
    ];
    for (what, change, equal) in cases {
        let repeats = repeats();
        let Standing::First(_lead) = repeats.enter(&form(raw()), 1) else { panic!("{what}: not the first") };
        let mut other = raw();
        change(&mut other);
        match repeats.enter(&form(other), 2) {
            Standing::Running(flight) => assert!(equal && flight.correlation() == 1, "{what}"),
            Standing::Different => assert!(!equal, "{what}"),
            Standing::First(_) | Standing::Known(_) => panic!("{what}"),
        }
    }
}

#[tokio::test]
async fn joined_and_later_repeats_get_the_final_state() {
    let repeats = repeats();
    let Standing::First(lead) = repeats.enter(&form(raw()), 1) else { panic!("not the first") };
    let Standing::Running(flight) = repeats.enter(&form(raw()), 2) else { panic!("not running") };
    let (joined, ()) = tokio::join!(flight.ended(), async { lead.settle(failed()) });
    assert_eq!(joined, Some(failed()));
    assert_eq!(flight.ended().await, Some(failed()));
    assert!(matches!(repeats.enter(&form(raw()), 3), Standing::Known(view) if view == failed()));
}

#[tokio::test]
async fn a_first_call_that_ends_without_one_leaves_no_trace() {
    let repeats = repeats();
    let Standing::First(lead) = repeats.enter(&form(raw()), 1) else { panic!("not the first") };
    let Standing::Running(flight) = repeats.enter(&form(raw()), 2) else { panic!("not running") };
    let (joined, ()) = tokio::join!(flight.ended(), async { drop(lead) });
    assert_eq!(joined, None);
    let Standing::First(_second) = repeats.enter(&form(raw()), 3) else { panic!("the entry is still there") };
}
