//! How often an ingress asks a shard whether its protocol version supports nonces.

use std::num::NonZeroU16;

use tokio::task::JoinSet;
use twqr_journal::{Partition, Topic};
use twqr_journal_sim::{Faults, Layout, Sim};
use twqr_order::EffectId;
use twqr_wire::convert::{ReplyContent, ReplyRecord};

use super::*;

#[tokio::test(start_paused = true)]
async fn a_silent_shard_is_asked_once_a_second_however_many_signed_calls_there_are() {
    let sim = Sim::new(Layout { shards: 1, task_partitions: 1 }, Faults::default(), 7);
    let router = RouterClient::on(&sim, ShardCount(NonZeroU16::MIN));
    let asked = || sim.records(Partition { topic: Topic::Orders, index: 0 }).len();
    let ask = |calls: usize| {
        let router = router.clone();
        let call = move || {
            let router = router.clone();
            async move { has_nonces(&router, ShardId(0)).await }
        };
        (0..calls).map(move |_| call()).collect::<JoinSet<_>>().join_all()
    };
    assert_eq!(ask(50).await, [false; 50]);
    assert_eq!(asked(), 1, "calls at once");
    assert_eq!(ask(50).await, [false; 50]);
    assert_eq!(asked(), 1, "calls right after it");
    tokio::time::sleep(ASK_AGAIN_AFTER).await;
    // A caller that gives up does not make the next one ask.
    drop(tokio::time::timeout(Duration::from_millis(10), has_nonces(&router, ShardId(0))).await);
    assert_eq!(ask(50).await, [false; 50]);
    assert_eq!(asked(), 2);
    router.pending.versions.learn(&ReplyRecord {
        id: Some(EffectId { shard: ShardId(0), offset: 0, n: 0 }),
        protocol_version: 3,
        ..ReplyRecord::broadcast(ReplyContent::NotFound)
    });
    assert_eq!(ask(50).await, [true; 50]);
    assert_eq!(asked(), 2, "its replies say it");
}
