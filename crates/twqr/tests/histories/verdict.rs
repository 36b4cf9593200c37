//! The invariants of the architecture, checked against the log and what was heard after a history:
//! nothing is lost, nobody was contradicted, the rules are the same everywhere. Money is in
//! `audit`, decisions in `purity`.

use std::collections::{BTreeMap, BTreeSet};

use twqr_journal::{Partition, Topic};
use twqr_journal_sim::Sim;
use twqr_order::{CancelStage, Command, Movement, Order, Payment, PolicyChange, Record, RefundEntry};
use twqr_types::{Issuer, OrderKey, PayForm};
use twqr_wire::{
    backend::LedgerEntry,
    convert::{ReplyContent, StateBody, StatesEntry, decode_dead_letter, decode_record, decode_state},
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
        if !heard.forgotten.contains(&payment.key) {
            found.push(format!("I3: {} is cancelled, and no ingress was told", payment.key));
        }
    }
}

/// Whether a cancel's fields are the payment's.
fn is_own(form: &PayForm, payment: &Payment) -> bool {
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
        let end = orders.get(&key.to_bytes());
        for reply in replies {
            match (&reply.content, end) {
                (ReplyContent::Order(told), Some(end)) => {
                    if let Some(what) = contradiction(told, end) {
                        found.push(format!("I3: {key}: {what}: was told {told:?}, ended {end:?}"));
                    }
                }
                (ReplyContent::Order(told), None) => found.push(format!("I3: {key} was told {told:?}, is nothing")),
                (ReplyContent::NotFound, _) if heard.must_be_found.contains(correlation) => {
                    found.push(format!("I5: {key} was accepted and not found"));
                }
                _ => {}
            }
        }
    }
}

/// In what the end contradicts what was told, if it does.
fn contradiction(told: &Order, end: &Order) -> Option<&'static str> {
    match (told, end) {
        (Order::Payment(told), Order::Payment(end)) => of_payment(told, end),
        (Order::Refund(told), Order::Refund(end)) => (told.is_final() && told.phase != end.phase).then_some("refund"),
        (Order::EarlyCancel(_), Order::EarlyCancel(_)) => None,
        // It came after its cancel, and never charges.
        (Order::EarlyCancel(_), Order::Payment(end)) => {
            let stage = end.cancel.as_ref().map(|cancel| &cancel.stage);
            let refused = stage == Some(&CancelStage::NothingToReverse) && end.charge.failure().is_some();
            (!refused).then_some("charge after a cancel")
        }
        _ => Some("another kind of order"),
    }
}

fn of_payment(told: &Payment, end: &Payment) -> Option<&'static str> {
    if told.trade_no != end.trade_no {
        return Some("another number");
    }
    if !stays(&told.charge, &end.charge) {
        return Some("charge");
    }
    let kept = |told: &RefundEntry| {
        let entry = end.refunds.iter().find(|entry| entry.number == told.number);
        entry.is_some_and(|end| stays(&told.refund, &end.refund))
    };
    if !told.refunds.iter().all(kept) {
        return Some("refund of the payment");
    }
    let (Some(told), end) = (&told.cancel, &end.cancel) else { return None };
    let Some(end) = end else { return Some("cancel") };
    let holds = match (&told.stage, &end.stage) {
        (CancelStage::NothingToReverse, stage) => *stage == CancelStage::NothingToReverse,
        (CancelStage::Reversing(told_of), CancelStage::Reversing(end_of)) => {
            // A refusal holds until somebody asked again.
            let is_done = told_of.done().is_some();
            (!is_done && told.attempts != end.attempts) || stays(told_of, end_of)
        }
        (CancelStage::Reversing(told), _) => told.done().is_none(),
        _ => true,
    };
    (!holds).then_some("cancel")
}

/// A movement that was told final is that for good.
fn stays<A: PartialEq>(told: &Movement<A>, end: &Movement<A>) -> bool {
    !told.phase.is_final() || told.phase == end.phase
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
        .map(|record| decode_dead_letter(record.entry.value.unwrap()).unwrap())
        .filter(|letter| letter.topic == Topic::Orders.name())
        .map(|letter| (letter.partition, letter.offset))
        .collect();
    if places.len() < heard.unreadable {
        found.push(format!("I7: {} unreadable records, {} dead letters", heard.unreadable, places.len()));
    }
}
