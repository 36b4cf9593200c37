//! The closings of a shard's books survive restarts and takeovers: a movement whose record lands
//! behind a closing counts behind it, whichever router decides it.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

#[path = "support/stage.rs"]
mod stage;

use std::sync::Arc;

use stage::{ORDERS, Router, STATES, pause, pay, start_on};
use twqr_journal::{Entry, Journal, Partition, Topic};
use twqr_journal_sim::{Faults, Sim};
use twqr_order::{Approval, Command, MovementOutcome, Outcome, PaymentType, Record, TaskResult};
use twqr_router::MemoryStore;
use twqr_service::{Clock, SystemClock};
use twqr_types::UnixMs;
use twqr_wire::convert::{StateBody, TaskRecord, decode_state, decode_task_record, encode_record};

const TASKS: Partition = Partition { topic: Topic::WalletTasks, index: 0 };

fn kill(router: &Router) {
    router.session.crash();
    router.running.abort();
}

async fn append(sim: &Sim, at: UnixMs, command: Command) {
    let record = encode_record(&Record { at, signed_by: None, nonce: None, command });
    sim.session("other").append(ORDERS, vec![Entry::plain(record)]).await.unwrap();
}

/// The approval of the only charge, as a worker reports it.
fn approval(sim: &Sim) -> Command {
    let tasks =
        sim.records(TASKS).into_iter().filter_map(|record| match decode_task_record(record.entry.value?).ok()? {
            TaskRecord::Task(task) => Some(task),
            TaskRecord::Hold(_) => None,
        });
    let task = tasks.last().unwrap();
    let approval = Approval {
        payment_type: PaymentType::StoredValue,
        debit_amount: 1,
        redeem_name: "".into(),
        redeem_amount: 0,
        store_redeem_amount: 0,
        invoice_vehicle: "".into(),
        mer_mem_token: "".into(),
        card_name: "".into(),
        card_no_masked: "".into(),
        issuer_trade_no: "".into(),
    };
    let movement = MovementOutcome::Charge(TaskResult::Done(approval));
    Command::Outcome(Box::new(Outcome { key: task.key, task: task.id, movement }))
}

/// When the newest state of the payment says that it counts.
fn counts_at(sim: &Sim) -> UnixMs {
    let states = sim.records(STATES).into_iter().filter_map(|record| decode_state(record.entry.value?).ok());
    let paid = states.filter_map(|state| match state.body {
        StateBody::Order(order) => {
            order.as_payment().filter(|payment| payment.is_paid()).map(|payment| payment.charge.booked_at())
        }
        StateBody::Policies(_) | StateBody::Listing(_) | StateBody::Marker | StateBody::Beginning { .. } => None,
    });
    paid.last().unwrap()
}

#[tokio::test(start_paused = true)]
async fn a_closing_holds_on_whichever_router_decides_what_lands_behind_it() {
    let faults = Faults { everybody_owns_all: true, session_timeout_ms: 60_000, ..Faults::default() };
    for (name, is_killed, keeps_store, killed_after_ms) in [
        ("the same router", false, true, 0),
        ("its successor, after a checkpoint, with its store", true, true, 5_000),
        ("its successor, after a checkpoint, from order-states", true, false, 5_000),
        ("its successor, by a replay", true, true, 1),
    ] {
        let (sim, store) = (stage::sim(faults.clone()), Arc::new(MemoryStore::default()));
        let first = start_on(&sim, "router-0", store.clone());
        pause(1_000).await;
        pay(&*sim.session("caller"), "T").await;
        pause(1_000).await;
        let settled = SystemClock.now().plus(-3_600_000);
        let closed = settled.plus(60_000);
        append(&sim, SystemClock.now(), Command::CloseBooks(closed)).await;
        pause(killed_after_ms).await;
        let mut last = first;
        if is_killed {
            kill(&last);
            last = start_on(&sim, "router-1", if keeps_store { store } else { Arc::default() });
            pause(5_000).await;
        }
        append(&sim, settled, approval(&sim)).await;
        pause(1_000).await;
        assert_eq!(counts_at(&sim), closed, "{name}");
        // An older closing opens nothing again, and a repeat changes nothing.
        append(&sim, SystemClock.now(), Command::CloseBooks(settled)).await;
        append(&sim, settled, approval(&sim)).await;
        pause(1_000).await;
        assert_eq!(counts_at(&sim), closed, "{name}, again");
        kill(&last);
    }
}
