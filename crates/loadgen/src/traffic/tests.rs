//! Tests of what is drawn: shares, forms, and that refunds and cancels are about paid payments.

use std::collections::BTreeMap;

use super::*;
use crate::{issuer_of, scenario::MerchantChoice};

const PHASE: &str = "[[phase]]\nkind = \"hold\"\nseconds = 1\nrate = 1\n";

fn traffic(more: &str) -> Traffic {
    let scenario = Scenario::parse(&format!("{PHASE}{more}")).unwrap();
    let merchants = MerchantList::generated(&scenario.merchants);
    Traffic::new(&scenario, merchants, "run", 0, 1).unwrap()
}

fn draw(traffic: &mut Traffic, count: usize) -> Vec<DrawnCall> {
    let mut recent = RecentPayments::default();
    let mut calls = Vec::new();
    for _ in 0..count {
        let call = traffic.draw(&mut recent);
        if let (CallKind::Pay, BuiltRequest::Pay(request)) = (call.kind, call.request.clone()) {
            let DrawnCall { merchant, order, is_declined, .. } = call;
            recent.remember_sent(SentPayment { merchant, order, is_declined, request: request.clone() });
            let trade_no = format!("T{order}");
            recent.remember_paid(PaidPayment { merchant, order, trade_no, request });
        }
        calls.push(call);
    }
    calls
}

#[test]
fn kinds_issuers_and_forms_have_their_weights() {
    let mut traffic = traffic(
        "[mix]\npay = 4\nrepeat = 1\nconflict = 1\ninvalid = 1\ninquiry = 1\nrefund = 1\ncancel = 1\nhttp = 0.3\ngrpc_stream = 0.5\n\
         declined = 0.2\n[issuers]\nwallet = 3\n392 = 1\n",
    );
    let calls = draw(&mut traffic, 10_000);
    let mut by_kind: BTreeMap<CallKind, usize> = BTreeMap::new();
    for call in &calls {
        *by_kind.entry(call.kind).or_default() += 1;
    }
    for (kind, count) in &by_kind {
        let expected = if *kind == CallKind::Pay { 4_000 } else { 1_000 };
        assert!(count.abs_diff(expected) < 200, "{kind:?}: {count}");
    }
    let share = |count: usize, of: usize| count as f64 / of as f64;
    let on = |channel| calls.iter().filter(|call| call.channel == channel).count();
    assert!((share(on(CallChannel::Http), calls.len()) - 0.3).abs() < 0.02);
    let is_payment = |call: &&DrawnCall| matches!(call.request, BuiltRequest::Pay(_));
    assert!((share(on(CallChannel::GrpcStream), calls.iter().filter(is_payment).count()) - 0.5).abs() < 0.02);
    assert!(calls.iter().filter(|call| call.channel == CallChannel::GrpcStream).all(|call| is_payment(&call)));
    let pays: Vec<&DrawnCall> = calls.iter().filter(|call| call.kind == CallKind::Pay).collect();
    assert!((share(pays.iter().filter(|call| call.is_declined).count(), pays.len()) - 0.2).abs() < 0.02);
    let is_wallet = |call: &&&DrawnCall| match &call.request {
        BuiltRequest::Pay(request) => issuer_of(&request.card_token) == Some(Issuer::Wallet),
        BuiltRequest::Query(_) | BuiltRequest::Refund(_) | BuiltRequest::Cancel(_) => false,
    };
    assert!((share(pays.iter().filter(is_wallet).count(), pays.len()) - 0.75).abs() < 0.03);
}

#[test]
fn a_payment_is_refunded_or_cancelled_at_most_once_and_every_number_is_new() {
    let calls = draw(&mut traffic("[mix]\npay = 1\nrefund = 1\ncancel = 1\n"), 3_000);
    let mut ended: Vec<u64> = calls.iter().filter(|call| call.kind != CallKind::Pay).map(|call| call.order).collect();
    let count = ended.len();
    ended.sort_unstable();
    ended.dedup();
    assert!(count > 1_000 && ended.len() == count);
    let mut numbers: Vec<u64> = calls
        .iter()
        .filter_map(|call| match call.kind {
            CallKind::Pay => Some(call.order),
            CallKind::Refund => Some(call.refund),
            CallKind::Repeat | CallKind::Conflict | CallKind::Invalid | CallKind::Inquiry | CallKind::Cancel => None,
        })
        .collect();
    let count = numbers.len();
    numbers.sort_unstable();
    numbers.dedup();
    assert_eq!(numbers.len(), count);
}

#[test]
fn merchants_are_even_skewed_or_hot() {
    let share_of_first = |more: &str| {
        let calls = draw(&mut traffic(more), 5_000);
        calls.iter().filter(|call| call.merchant == 0).count() as f64 / 5_000.0
    };
    assert!((share_of_first("[merchants]\ncount = 10\n") - 0.1).abs() < 0.02);
    assert!((share_of_first("[merchants]\ncount = 10\nhot_share = 0.8\n") - 0.82).abs() < 0.02);
    assert!((share_of_first("[merchants]\ncount = 10\nskew = 1.0\n") - 0.341).abs() < 0.03);
}

#[test]
fn a_merchant_file_names_merchants_and_keys_and_shows_no_key() {
    let choice = MerchantChoice::default();
    let list = MerchantList::parse("M1, secret one\n\nM2\n", &choice).unwrap();
    assert_eq!((list.id(0), list.key(0), list.id(1), list.key(1)), ("M1", "secret one", "M2", ""));
    assert_eq!(list.keys_file(), "[keys]\nM1 = \"secret one\"\n");
    assert!(!format!("{list:?}").contains("secret"));
    let error = MerchantList::parse("M1\nM12345678901,secret", &choice).unwrap_err();
    assert!(error.line == 2 && !error.to_string().contains("secret"), "{error}");
    assert!(MerchantList::parse("\n", &choice).is_err());
}

#[test]
fn an_invalid_payment_has_invalid_fields_and_threads_share_no_number() {
    let calls = draw(&mut traffic("[mix]\npay = 0\ninvalid = 1\n"), 10);
    assert!(calls.iter().all(|call| call.kind == CallKind::Invalid));
    let scenario = Scenario::parse(PHASE).unwrap();
    let merchants = MerchantList::generated(&scenario.merchants);
    let orders = |thread| {
        let mut traffic = Traffic::new(&scenario, merchants.clone(), "run", thread, 2).unwrap();
        draw(&mut traffic, 50).into_iter().map(|call| call.order).collect::<Vec<_>>()
    };
    assert!(orders(0).iter().all(|order| order % 2 == 0) && orders(1).iter().all(|order| order % 2 == 1));
}
