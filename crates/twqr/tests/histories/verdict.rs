//! The invariants of the architecture, checked against the log and what was heard after a history:
//! nothing is lost, nobody was contradicted, the rules are the same everywhere. Money is in
//! `audit`, decisions in `purity`.

use std::collections::{BTreeMap, BTreeSet};

use prost::Message;
use twqr_journal::{Partition, Topic};
use twqr_journal_sim::Sim;
use twqr_order::{Command, Order, PolicyChange, Record};
use twqr_types::{Issuer, OrderKey, PayForm};
use twqr_wire::{
    backend::LedgerEntry,
    bus::{self, DeadLetter, cancel::Stage, movement::Phase, order::Order as Told, reply_record::Body},
    convert::{StateBody, StatesEntry, decode_record, decode_state, order_out},
};

use crate::{audit, heard::Heard, purity, rules::newest_rules};

/// Of each order, its newest state.
pub type Orders = BTreeMap<Vec<u8>, Order>;

/// Every readable record of a shard's checkpoints.
fn states(sim: &Sim, index: u32) -> impl Iterator<Item = StatesEntry> {
    let records = sim.records(Partition { topic: Topic::OrderStates, index });
    records.into_iter().filter_map(|record| decode_state(record.entry.value?).ok())
}

/// Of each order, the state with the highest position.
pub fn orders(sim: &Sim, shards: u32) -> Orders {
    let mut newest: BTreeMap<Vec<u8>, (u64, Order)> = BTreeMap::new();
    for entry in (0..shards).flat_map(|index| states(sim, index)) {
        let StateBody::Order(order) = entry.body else { continue };
        let key = order.key().to_bytes();
        if newest.get(&key).is_none_or(|(position, _)| *position < entry.position) {
            newest.insert(key, (entry.position, *order));
        }
    }
    newest.into_iter().map(|(key, (_, order))| (key, order)).collect()
}

/// Every readable record of `orders`.
pub fn records(sim: &Sim, shards: u32) -> Vec<Record> {
    let records = (0..shards).flat_map(|index| sim.records(Partition { topic: Topic::Orders, index }));
    records.filter_map(|record| decode_record(record.entry.value?).ok()).collect()
}

/// Every key for which a payment, a refund or a cancel is in the log: an order must be there.
fn accepted(records: &[Record]) -> BTreeMap<Vec<u8>, OrderKey> {
    let key = |record: &Record| match &record.command {
        Command::Pay(pay) => Some(pay.form.key.clone()),
        Command::Refund(refund) => Some(refund.form.key.clone()),
        Command::Cancel(cancel) => Some(cancel.form.key.clone()),
        _ => None,
    };
    records.iter().filter_map(key).map(|key| (key.to_bytes(), key)).collect()
}

/// Whether nothing of any order is in progress.
pub fn all_at_rest(sim: &Sim, shards: u32) -> bool {
    let orders = orders(sim, shards);
    accepted(&records(sim, shards)).keys().all(|key| orders.get(key).is_some_and(Order::is_at_rest))
}

/// Everything that is wrong.
pub fn check(sim: &Sim, shards: u32, ledger: &[LedgerEntry], heard: &Heard) -> Vec<String> {
    let (orders, records) = (orders(sim, shards), records(sim, shards));
    let mut found = Vec::new();
    none_lost(&accepted(&records), &orders, &mut found);
    no_cancel_is_lost(&records, &orders, heard, &mut found);
    nobody_was_contradicted(heard, &orders, &mut found);
    audit::money_agrees(&orders, ledger, &mut found);
    purity::decisions_are_pure(sim, shards, &orders, &mut found);
    refunds_have_one_answer(&records, &mut found);
    the_rules_are_the_same(sim, shards, &mut found);
    dead_letters(sim, heard, &mut found);
    found
}

/// I2: every accepted order comes to rest.
fn none_lost(accepted: &BTreeMap<Vec<u8>, OrderKey>, orders: &Orders, found: &mut Vec<String>) {
    for (bytes, key) in accepted {
        match orders.get(bytes) {
            None => found.push(format!("I2: {key} was accepted and has no state")),
            Some(order) if !order.is_at_rest() => found.push(format!("I2: {key} never came to rest: {order:?}")),
            Some(_) => {}
        }
    }
}

/// I2: a payment whose own cancel is in the log has one, and every ingress was told to forget what
/// it knew of it.
fn no_cancel_is_lost(records: &[Record], orders: &Orders, heard: &Heard, found: &mut Vec<String>) {
    for record in records {
        let Command::Cancel(request) = &record.command else { continue };
        let key = &request.form.key;
        if let Some(Order::Payment(payment)) = orders.get(&key.to_bytes())
            && payment.cancel.is_none()
            && is_own(&request.form, payment)
        {
            found.push(format!("I2: the cancel of {key} is lost"));
        }
    }
    for payment in orders.values().filter_map(Order::as_payment).filter(|payment| payment.cancel.is_some()) {
        let key = (payment.key.merchant_id.to_string(), payment.key.merchant_trade_no.to_string());
        if !heard.forgotten.contains(&key) {
            found.push(format!("I3: {} is cancelled, and no ingress was told", payment.key));
        }
    }
}

/// Whether a cancel's fields are the payment's.
fn is_own(form: &PayForm, payment: &twqr_order::Payment) -> bool {
    let terms = &payment.terms;
    let un_redeem = if payment.issuer == Some(Issuer::Wallet) { form.un_redeem.twd() } else { 0 };
    terms.gateway_trade_no == form.gateway_trade_no
        && terms.card_token == form.card_token.digest(&form.key)
        && terms.trade_amount == form.trade_amount
        && terms.un_redeem.twd() == un_redeem
}

/// I3 and I5: a final answer is the order's final state; after a request was acknowledged its order
/// is found.
fn nobody_was_contradicted(heard: &Heard, orders: &Orders, found: &mut Vec<String>) {
    for (correlation, replies) in &heard.replies {
        let key = &heard.about[correlation];
        let end = orders.get(&key.to_bytes()).and_then(|order| order_out(order).order);
        for reply in replies {
            match (&reply.body, &end) {
                (Some(Body::Order(told)), Some(end)) => {
                    if let Some(what) = contradiction(told.order.as_ref().unwrap(), end) {
                        found.push(format!("I3: {key}: {what}: was told {told:?}, ended {end:?}"));
                    }
                }
                (Some(Body::Order(told)), None) => found.push(format!("I3: {key} was told {told:?}, is nothing")),
                (Some(Body::NotFound(_)), _) if heard.must_be_found.contains(correlation) => {
                    found.push(format!("I5: {key} was accepted and not found"));
                }
                _ => {}
            }
        }
    }
}

/// In what the end contradicts what was told, if it does.
fn contradiction(told: &Told, end: &Told) -> Option<&'static str> {
    match (told, end) {
        (Told::Payment(told), Told::Payment(end)) => of_payment(told, end),
        (Told::Refund(told), Told::Refund(end)) => {
            let is_final = matches!(told.phase, Some(bus::refund::Phase::Succeeded(_) | bus::refund::Phase::Failed(_)));
            (is_final && told.phase != end.phase).then_some("refund")
        }
        (Told::Cancelled(_), Told::Cancelled(_)) => None,
        // It came after its cancel, and never charges.
        (Told::Cancelled(_), Told::Payment(end)) => {
            let cancel = end.cancel.as_ref().and_then(|cancel| cancel.stage.as_ref());
            let charge = end.charge.as_ref().and_then(|charge| charge.phase.as_ref());
            let refused = matches!((cancel, charge), (Some(Stage::Nothing(_)), Some(Phase::Failed(_))));
            (!refused).then_some("charge after a cancel")
        }
        _ => Some("another kind of order"),
    }
}

fn of_payment(told: &bus::Payment, end: &bus::Payment) -> Option<&'static str> {
    if told.trade_no != end.trade_no {
        return Some("another number");
    }
    if !stays(told.charge.as_ref(), end.charge.as_ref()) {
        return Some("charge");
    }
    let entry = |number: &str| end.refunds.iter().find(|entry| entry.merchant_trade_no == number);
    let kept = |told: &bus::RefundEntry| {
        entry(&told.merchant_trade_no).is_some_and(|end| stays(told.refund.as_ref(), end.refund.as_ref()))
    };
    if !told.refunds.iter().all(kept) {
        return Some("refund of the payment");
    }
    let (Some(told), end) = (&told.cancel, &end.cancel) else { return None };
    let Some(end) = end else { return Some("cancel") };
    let holds = match (&told.stage, &end.stage) {
        (Some(Stage::Nothing(_)), stage) => matches!(stage, Some(Stage::Nothing(_))),
        (Some(Stage::Reversing(told_of)), Some(Stage::Reversing(end_of))) => {
            // A refusal holds until somebody asked again.
            let is_done = matches!(told_of.phase, Some(Phase::Reversed(_)));
            (!is_done && told.attempts != end.attempts) || stays(Some(told_of), Some(end_of))
        }
        (Some(Stage::Reversing(told)), _) => !matches!(told.phase, Some(Phase::Reversed(_))),
        _ => true,
    };
    (!holds).then_some("cancel")
}

/// A movement that was told final is that for good.
fn stays(told: Option<&bus::Movement>, end: Option<&bus::Movement>) -> bool {
    let phase = |movement: Option<&bus::Movement>| movement.and_then(|movement| movement.phase.clone());
    match phase(told) {
        Some(Phase::Approved(_) | Phase::Refunded(_) | Phase::Reversed(_) | Phase::Failed(_)) => {
            phase(told) == phase(end)
        }
        Some(Phase::Sent(_) | Phase::UnresolvedMs(_) | Phase::Asking(_)) | None => true,
    }
}

/// I3: however often a refund asks its payment, the answer is the same.
fn refunds_have_one_answer(records: &[Record], found: &mut Vec<String>) {
    let mut answers = BTreeMap::new();
    for record in records {
        let Command::RefundResult(result) = &record.command else { continue };
        let first = answers.entry(result.key.clone()).or_insert(&result.result);
        if *first != &result.result {
            found.push(format!("I3: refund {} was answered {first:?} and {:?}", result.key, result.result));
        }
    }
}

/// All shards end with what the policy's shard took last, in the log as in what routers kept.
fn the_rules_are_the_same(sim: &Sim, shards: u32, found: &mut Vec<String>) {
    let Some(newest) = newest_rules(sim, 0) else { return found.push("there are no rules".to_owned()) };
    let differs = |other: Option<&PolicyChange>| other != Some(&newest);
    for index in 0..shards {
        if differs(newest_rules(sim, index).as_ref()) {
            found.push(format!("shard {index}: version {} did not come", newest.version));
        }
        let kept = states(sim, index).filter_map(|entry| match entry.body {
            StateBody::Policies(versions) => Some((entry.position, versions)),
            StateBody::Order(_) | StateBody::Marker => None,
        });
        let kept = kept.max_by_key(|(position, _)| *position).map(|(_, versions)| versions);
        if differs(kept.as_ref().and_then(|versions| versions.newest().map(|change| &**change))) {
            found.push(format!("shard {index}: its router did not keep version {}", newest.version));
        }
    }
}

/// I7: what nobody can read is kept, with its place.
fn dead_letters(sim: &Sim, heard: &Heard, found: &mut Vec<String>) {
    let letters = sim.records(Partition { topic: Topic::DeadLetters, index: 0 });
    let places: BTreeSet<(u32, u64)> = letters
        .into_iter()
        .map(|record| DeadLetter::decode(record.entry.value.unwrap()).unwrap())
        .filter(|letter| letter.topic == Topic::Orders.name())
        .map(|letter| (letter.partition, letter.offset))
        .collect();
    if places.len() < heard.unreadable {
        found.push(format!("I7: {} unreadable records, {} dead letters", heard.unreadable, places.len()));
    }
}
