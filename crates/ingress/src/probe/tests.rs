//! How often a shard is asked whether it knows nonces.

use std::{num::NonZeroU16, sync::Arc};

use tokio::task::JoinSet;
use twqr_card_keys::CardKeys;
use twqr_journal::{Partition, Topic};
use twqr_journal_sim::{Faults, Layout, Sim};
use twqr_order::EffectId;
use twqr_service::SystemClock;
use twqr_types::StatusCode;
use twqr_wire::convert::{ReplyContent, ReplyRecord};

use super::*;
use crate::{
    admission::{Admission, AdmissionSettings},
    pending_calls::PendingCalls,
    protocol_versions::ProtocolVersions,
};

fn client(sim: &Sim) -> RouterClient {
    let shards = ShardCount(NonZeroU16::MIN);
    let settings = AdmissionSettings { delay: Duration::from_millis(100), limit_min: 8, limit_max: 100 };
    let (admission, _to_measure) = Admission::new(settings, shards);
    let versions = ProtocolVersions::new(shards, CardKeys::default(), false);
    RouterClient {
        journal: sim.session("ingress-0"),
        shards,
        pending: PendingCalls::new(0, versions, 100, StatusCode::FISC_ABNORMAL, admission.clone()),
        admission,
        clock: Arc::new(SystemClock),
        card_keys: CardKeys::default(),
    }
}

#[tokio::test(start_paused = true)]
async fn a_silent_shard_is_asked_once_a_second_however_many_signed_calls_there_are() {
    let sim = Sim::new(Layout { shards: 1, task_partitions: 1 }, Faults::default(), 7);
    let router = client(&sim);
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
