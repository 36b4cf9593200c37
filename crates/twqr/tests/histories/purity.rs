//! Decisions are pure: whoever owns a shard decides the same, so that what is emitted again is the same.

use std::collections::{BTreeMap, BTreeSet};

use prost::Message;
use twqr_journal::{Partition, Topic, sim::Sim};
use twqr_order::{Command, Record};
use twqr_wire::bus::{EffectId, ReplyRecord, TasksRecord, task::Kind, tasks_record::Body};

use crate::heard::REPLIES;

/// An identity: shard, offset, number.
type Id = (u32, u64, u32);

fn id(id: Option<&EffectId>) -> Id {
    let id = id.unwrap();
    (id.shard, id.offset, id.n)
}

pub fn decisions_are_pure(sim: &Sim, records: &[Record], found: &mut Vec<String>) {
    tasks(sim, found);
    replies(sim, found);
    refunds_have_one_answer(records, found);
}

/// One form of each task, one charge of an order, one refund of a number.
fn tasks(sim: &Sim, found: &mut Vec<String>) {
    let mut tasks: BTreeMap<Id, BTreeSet<Vec<u8>>> = BTreeMap::new();
    let mut once: BTreeMap<(String, String, &str), BTreeSet<Id>> = BTreeMap::new();
    let partitions = [Topic::WalletTasks, Topic::FiscTasks].into_iter();
    for partition in partitions.flat_map(|topic| (0..2).map(move |index| Partition { topic, index })) {
        for record in sim.records(partition) {
            let Ok(record) = TasksRecord::decode(record.entry.value.unwrap()) else { continue };
            let Some(Body::Task(task)) = record.body else { continue };
            let id = id(task.id.as_ref());
            let key = task.key.clone().unwrap();
            match &task.kind {
                Some(Kind::Charge(_)) => {
                    once.entry((key.merchant_id, key.merchant_trade_no, "charge")).or_default().insert(id);
                }
                Some(Kind::Refund(refund)) => {
                    let number = refund.merchant_trade_no.clone();
                    once.entry((key.merchant_id, number, "refund")).or_default().insert(id);
                }
                Some(Kind::Reversal(_) | Kind::Inquire(_)) | None => {}
            }
            tasks.entry(id).or_default().insert(task.encode_to_vec());
        }
    }
    let forms = tasks.iter().filter(|(_, same)| same.len() > 1);
    found.extend(forms.map(|(id, _)| format!("task {id:?} was emitted in two forms")));
    let twice = once.iter().filter(|(_, ids)| ids.len() > 1);
    found.extend(twice.map(|(what, ids)| format!("I1: {what:?} has the tasks {ids:?}")));
}

/// One form of each reply.
fn replies(sim: &Sim, found: &mut Vec<String>) {
    let mut replies: BTreeMap<Id, BTreeSet<Vec<u8>>> = BTreeMap::new();
    for record in sim.records(REPLIES) {
        let reply = ReplyRecord::decode(record.entry.value.unwrap()).unwrap();
        if reply.id.is_some() {
            replies.entry(id(reply.id.as_ref())).or_default().insert(reply.encode_to_vec());
        }
    }
    let forms = replies.iter().filter(|(_, same)| same.len() > 1);
    found.extend(forms.map(|(id, _)| format!("reply {id:?} was emitted in two forms")));
}

/// However often a refund asks its payment, the answer is the same.
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
