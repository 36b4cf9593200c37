//! Times are in µs after the call's arrival, by the ingress' clock.

use twqr_types::{MerchantId, MerchantTradeNo};

use super::*;

const OWN: u64 = 7;

/// The hops in a reply: by hop, with the wait for the reply.
fn times(of: &[(Hop, i64)]) -> HopTimes {
    let mut times = HopTimes::new(OWN, 0);
    for (hop, us) in of {
        times.add(*hop, *us);
    }
    times
}

/// A call whose request was appended at 100, and which read replies at these times.
fn asked(replies: &[(HopTimes, u64)], waited_until: u64) -> impl Fn(u64) -> String {
    let began = Instant::now();
    let at = move |us| began + Duration::from_micros(us);
    let progress = Progress {
        request: Some((OWN, at(100))),
        followed: Duration::ZERO,
        times: replies.last().map(|(times, us)| (*times, at(*us))),
        waited_until: Some(at(waited_until)),
        ..Progress::default()
    };
    move |us| progress.report(began, at(us)).to_string()
}

/// A payment without a difference of clocks: 900 µs from the append to the reply.
const WAY: [(Hop, i64); 7] = [
    (Hop::OrdersWait, 200),
    (Hop::Router, 100),
    (Hop::TasksWait, 50),
    (Hop::Worker, 50),
    (Hop::Backend, 300),
    (Hop::OutcomesWait, 120),
    (Hop::RepliesWait, 80),
];

/// The way with these hops changed.
fn way_with(changes: &[(Hop, i64)]) -> HopTimes {
    let mut way = times(&WAY);
    for (hop, us) in changes {
        way.add(*hop, *us);
    }
    way
}

/// A name, the hops of each reply with the time of its arrival, the time of the answer, and the
/// text.
type Case<'a> = (&'a str, &'a [(HopTimes, u64)], u64, String);

#[test]
fn the_hops_of_every_kind_of_call_are_its_whole_time() {
    let rest = "router=100us tasks_wait=50us worker=50us backend=300us outcomes_wait=120us";
    let cases: [Case<'_>; 7] = [
        (
            "an ordinary payment",
            &[(way_with(&[]), 1_000)],
            1_000,
            format!("total=1020us ingress=100us orders_wait=200us {rest} replies_wait=80us reply=20us"),
        ),
        (
            "the router's clock is ahead by 60: its queues seem longer, those behind it shorter",
            &[(way_with(&[(Hop::OrdersWait, 60), (Hop::RepliesWait, -60)]), 1_000)],
            1_000,
            format!("total=1020us ingress=100us orders_wait=260us {rest} replies_wait=20us reply=20us"),
        ),
        (
            "and by 100, so that one queue seems negative",
            &[(way_with(&[(Hop::OrdersWait, 100), (Hop::RepliesWait, -100)]), 1_000)],
            1_000,
            format!("total=1020us ingress=100us orders_wait=280us {rest} reply=20us"),
        ),
        (
            "a clock was set back by 150 meanwhile",
            &[(way_with(&[(Hop::OrdersWait, -150)]), 1_000)],
            1_000,
            format!("total=1020us ingress=100us orders_wait=50us {rest} replies_wait=80us reply=20us unknown=150us"),
        ),
        (
            "a clock runs too fast: the stays alone are longer than the whole",
            &[(way_with(&[(Hop::Backend, 1_000)]), 1_000)],
            1_000,
            "total=1020us ingress=100us router=100us worker=50us backend=750us reply=20us".into(),
        ),
        ("no reply until the deadline", &[], 1_000, "total=1020us ingress=100us reply=20us unknown=900us".into()),
        (
            "a reply that the order is unresolved, and then one without hops",
            &[(way_with(&[]), 1_000)],
            1_015,
            format!("total=1020us ingress=100us orders_wait=200us {rest} replies_wait=80us reply=5us unknown=15us"),
        ),
    ];
    for (name, replies, waited_until, expected) in cases {
        assert_eq!(asked(replies, waited_until)(1_020), expected, "{name}");
    }
}

#[test]
fn a_call_without_a_request_of_its_own_is_the_ingress_work_or_unknown() {
    let began = Instant::now();
    let report = |followed| {
        let progress = Progress { followed: Duration::from_micros(followed), ..Progress::default() };
        progress.report(began, began + Duration::from_micros(50)).to_string()
    };
    assert_eq!(report(0), "total=50us ingress=50us", "answered from memory, or refused");
    assert_eq!(report(30), "total=50us ingress=20us unknown=30us", "it followed the first call");
}

#[test]
fn the_hops_of_another_call_are_not_taken() {
    let hops = CallHops::begin("Pay", true, || None, Instant::now()).unwrap();
    let key = OrderKey {
        merchant_id: MerchantId::parse("M1".to_owned()).unwrap(),
        merchant_trade_no: MerchantTradeNo::parse("1".to_owned()).unwrap(),
    };
    assert_eq!(hops.appended(OWN, 0, &key), HopTimes::new(OWN, 0), "no trace: telemetry is off");
    hops.replied(Some(HopTimes::new(OWN + 1, 0)), 5);
    assert!(hops.progress().times.is_none());
    hops.replied(Some(HopTimes::new(OWN, 0)), 5);
    let times = hops.progress().times.map(|(times, _)| times.us(Hop::RepliesWait));
    assert_eq!(times, Some(5));
}
