//! `replies` and `dead-letters` fail: the shard takes payments, emits their tasks and writes
//! checkpoints as before, and the process is degraded.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

#[path = "support/stage.rs"]
mod stage;

use stage::{ORDERS, STATES, pause, pay, query, sim, start, worked_to};
use twqr_journal::{Entry, Journal, Partition, Topic};
use twqr_journal_sim::{Faults, Sim};
use twqr_service::PartState;
use twqr_wire::convert::{ReplyContent, StateBody, decode_reply, decode_state};

const TASKS: Partition = Partition { topic: Topic::WalletTasks, index: 0 };
const REPLIES: Partition = Partition { topic: Topic::Replies, index: 0 };

/// The highest position of the markers.
fn marker(sim: &Sim) -> u64 {
    let marker = |record: twqr_journal::Record| {
        let entry = decode_state(record.entry.value?).ok()?;
        matches!(entry.body, StateBody::Marker).then_some(entry.position)
    };
    sim.records(STATES).into_iter().filter_map(marker).max().unwrap_or_default()
}

fn resets(sim: &Sim) -> usize {
    let is_reset = |record: &twqr_journal::Record| {
        matches!(decode_reply(record.entry.value.clone().unwrap()).unwrap().content, ReplyContent::RulesChanged)
    };
    sim.records(REPLIES).iter().filter(|record| is_reset(record)).count()
}

#[tokio::test(start_paused = true)]
async fn a_failure_of_replies_or_dead_letters_stops_no_payment() {
    for (topic, part) in [(Topic::Replies, "router/replies"), (Topic::DeadLetters, "dead-letters")] {
        let sim = sim(Faults::default());
        let router = start(&sim, "router-0");
        pause(1_000).await;
        sim.set_faults(Faults { failing_topic: Some(topic), ..Faults::default() });
        let caller = sim.session("ingress");
        for number in ["T1", "T2", "T3"] {
            caller.append(ORDERS, vec![Entry::plain("not a record")]).await.unwrap();
            query(&*caller).await;
            pay(&*caller, number).await;
            pause(1_000).await;
        }
        assert_eq!(sim.records(TASKS).len(), 3, "{topic:?}");
        assert!(marker(&sim) >= worked_to(&sim), "{topic:?}: checkpoints reach the end");
        let claims = router.health.report();
        assert!(router.health.is_ready(), "{topic:?}: {claims:?}");
        assert!(matches!(claims[part], PartState::Degraded(_)), "{topic:?}: {claims:?}");
        let before = resets(&sim);

        sim.set_faults(Faults::default());
        caller.append(ORDERS, vec![Entry::plain("not a record")]).await.unwrap();
        pause(3_000).await;
        assert_eq!(router.health.report()[part], PartState::Ready, "{topic:?}");
        let expected = before + usize::from(topic == Topic::Replies);
        assert_eq!(resets(&sim), expected, "{topic:?}: its ingress may have missed a broadcast");
    }
}
