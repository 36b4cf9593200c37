//! Runs all checks of a history after it has ended. This file has the checks for lost orders and
//! cancels, for different answers to one refund, for the policy's versions, and for dead letters.

use std::collections::{BTreeMap, BTreeSet};

use twqr_journal::{Partition, Topic};
use twqr_journal_sim::Sim;
use twqr_order::{Command, Order, Payment, PolicyChange, Record};
use twqr_types::{Issuer, OrderKey, PayForm};
use twqr_wire::convert::{StateBody, decode_dead_letter};

use crate::{
    answer_check::check_answers,
    ledger_check::check_ledger,
    log_reader::{Orders, order_records, state_entries, stored_orders},
    policies::newest_policy,
    replay_check::check_against_replay,
    reply_recorder::RecordedReplies,
    simulated_issuers::SimulatedIssuers,
};

/// Returns every violation of an invariant, as a text for people.
pub fn check(sim: &Sim, shards: u32, issuers: &SimulatedIssuers, replies: &RecordedReplies) -> Vec<String> {
    let (orders, records) = (stored_orders(sim, shards), order_records(sim, shards));
    let mut violations = Vec::new();
    check_orders_at_rest(&accepted_keys(&records), &orders, &mut violations);
    check_cancels_kept(&records, &orders, &mut violations);
    check_answers_forgotten(&orders, replies, &mut violations);
    check_answers(replies, &orders, &mut violations);
    check_ledger(&orders, issuers, &mut violations);
    check_against_replay(sim, shards, &orders, &mut violations);
    check_refund_results(&records, &mut violations);
    check_policies(sim, shards, &mut violations);
    check_dead_letters(sim, replies, &mut violations);
    violations
}

/// Whether every accepted order is stored and has nothing in progress.
pub fn all_at_rest(sim: &Sim, shards: u32) -> bool {
    let orders = stored_orders(sim, shards);
    accepted_keys(&order_records(sim, shards)).keys().all(|key| orders.get(key).is_some_and(Order::is_at_rest))
}

/// The key of every payment, refund and cancel in the log: each must have an order.
fn accepted_keys(records: &[Record]) -> BTreeMap<Vec<u8>, OrderKey> {
    let key = |record: &Record| match &record.command {
        Command::Pay(pay) => Some(pay.form.key.clone()),
        Command::Refund(refund) => Some(refund.form.key.clone()),
        Command::Cancel(cancel) => Some(cancel.form.key.clone()),
        _ => None,
    };
    records.iter().filter_map(key).map(|key| (key.to_bytes(), key)).collect()
}

/// I2: every accepted order is stored, and nothing of it stays in progress.
fn check_orders_at_rest(accepted: &BTreeMap<Vec<u8>, OrderKey>, orders: &Orders, violations: &mut Vec<String>) {
    for (bytes, key) in accepted {
        match orders.get(bytes) {
            None => violations.push(format!("I2: {key} was accepted and has no state")),
            Some(order) if !order.is_at_rest() => violations.push(format!("I2: {key} is still in progress: {order:?}")),
            Some(_) => {}
        }
    }
}

/// I2: a payment has a cancel if a cancel with its fields is in the log.
fn check_cancels_kept(records: &[Record], orders: &Orders, violations: &mut Vec<String>) {
    for record in records {
        let Command::Cancel(request) = &record.command else { continue };
        let key = &request.form.key;
        if let Some(Order::Payment(payment)) = orders.get(&key.to_bytes())
            && payment.cancel.is_none()
            && has_fields_of(&request.form, payment)
        {
            violations.push(format!("I2: the cancel of {key} is lost"));
        }
    }
}

/// Whether a cancel matches the payment; the order machine refuses one that does not.
fn has_fields_of(form: &PayForm, payment: &Payment) -> bool {
    let terms = &payment.terms;
    let un_redeem = if payment.issuer == Some(Issuer::Wallet) { form.un_redeem.twd() } else { 0 };
    terms.gateway_trade_no == form.gateway_trade_no
        && !terms.card_token.differs_from(&form.card_token, &form.key)
        && terms.trade_amount == form.trade_amount
        && terms.un_redeem.twd() == un_redeem
}

/// I3: a cancel makes each ingress discard its cached answer to the payment, which could be a
/// success.
fn check_answers_forgotten(orders: &Orders, replies: &RecordedReplies, violations: &mut Vec<String>) {
    for (ingress, key) in replies.remembered.difference(&replies.forgotten) {
        let payment = orders.get(&key.to_bytes()).and_then(Order::as_payment);
        let Some(cancel) = payment.and_then(|payment| payment.cancel.as_ref()) else { continue };
        let all_forgotten_at = replies.all_forgotten_at.get(ingress);
        if cancel.is_requested && all_forgotten_at.is_none_or(|at| *at <= cancel.requested_at) {
            violations.push(format!("I3: {key} has a cancel, and ingress {ingress} still remembers an answer"));
        }
    }
}

/// I3: a refund may ask its payment several times, and each time it gets the same result.
fn check_refund_results(records: &[Record], violations: &mut Vec<String>) {
    let mut first_results = BTreeMap::new();
    for record in records {
        let Command::RefundResult(result) = &record.command else { continue };
        let first = first_results.entry(result.key.clone()).or_insert(&result.result);
        if *first != &result.result {
            violations.push(format!("I3: refund {} got the results {first:?} and {:?}", result.key, result.result));
        }
    }
}

/// Protocol rule P7: the newest version of the policy reached the log and the checkpoints of every
/// shard.
fn check_policies(sim: &Sim, shards: u32, violations: &mut Vec<String>) {
    let Some(newest) = newest_policy(sim, 0) else { return violations.push("the log has no policy".to_owned()) };
    let differs = |other: Option<&PolicyChange>| other != Some(&newest);
    for shard in 0..shards {
        if differs(newest_policy(sim, shard).as_ref()) {
            violations.push(format!("shard {shard}: version {} of the policy is not in its log", newest.version));
        }
        let stored = state_entries(sim, shard).filter_map(|entry| match entry.body {
            StateBody::Policies(versions) => Some((entry.position, versions)),
            StateBody::Order(_) | StateBody::Listing(_) | StateBody::Marker | StateBody::Beginning { .. } => None,
        });
        let stored = stored.max_by_key(|(position, _)| *position).map(|(_, versions)| versions);
        if differs(stored.as_ref().and_then(|versions| versions.newest().map(|change| &**change))) {
            violations.push(format!("shard {shard}: version {} of the policy is not stored", newest.version));
        }
    }
}

/// I7: each unreadable record is in the dead letters, with its position.
fn check_dead_letters(sim: &Sim, replies: &RecordedReplies, violations: &mut Vec<String>) {
    let letters = sim.records(Partition { topic: Topic::DeadLetters, index: 0 });
    let positions: BTreeSet<(u32, u64)> = letters
        .into_iter()
        .map(|record| decode_dead_letter(record.entry.value.unwrap()).unwrap())
        .filter(|letter| letter.topic == Topic::Orders.name())
        .map(|letter| (letter.partition, letter.offset))
        .collect();
    if positions.len() < replies.unreadable_count {
        let (written, expected) = (positions.len(), replies.unreadable_count);
        violations.push(format!("I7: {expected} unreadable records, {written} dead letters"));
    }
}
