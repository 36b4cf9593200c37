//! Replays a recorded log and compares every order's state with the state recorded beside it.
//!
//! An earlier build made the recording. It holds both sample days with all their payments, refunds,
//! cancels and faults. So the test fails if a decision has changed, or if this build cannot read a
//! stored record. `tests/golden/README.md` describes the file.

use std::sync::Arc;

use bytes::{Buf, Bytes};
use twqr_consumer::DeadLetters;
use twqr_journal::{Entry, Record};
use twqr_journal_sim::{Faults, Layout, Sim};
use twqr_order::{Order, PolicyVersions};
use twqr_service::{CancellationToken, Context, Health, SystemClock};
use twqr_types::ShardId;
use twqr_wire::convert::{StateBody, StatesEntry, decode_state, encode_state};

use crate::{
    MemoryStore,
    batch::{Batch, DecodedRecord},
    metrics,
    outgoing::Reading,
    shard::Shard,
    store::ShardStore,
};

const RECORDING: &[u8] = include_bytes!("../tests/golden/days-2727eef.lz4");

/// The number of states that this build encodes in other bytes than the recorded ones, with the
/// same meaning. It is zero until the format of orders changes in a compatible way.
const STATES_IN_ANOTHER_FORM: usize = 0;

/// One shard of the recording.
struct RecordedShard {
    /// The shard's whole log, from its first record on.
    records: Vec<Record>,
    /// The newest record of `order-states` for each order.
    states: Vec<Bytes>,
}

fn read_recording() -> Vec<RecordedShard> {
    let mut input = Bytes::from(lz4_flex::block::decompress_size_prepended(RECORDING).unwrap());
    let shards = input.get_u32();
    let shards = (0..shards).map(|_| read_shard(&mut input)).collect();
    assert!(input.is_empty(), "{} bytes are left over", input.len());
    shards
}

fn read_shard(input: &mut Bytes) -> RecordedShard {
    let record = |input: &mut Bytes| {
        let offset = input.get_u64();
        Record { offset, entry: Entry::plain(read_bytes(input)) }
    };
    let records = (0..input.get_u32()).map(|_| record(input)).collect();
    let states = (0..input.get_u32()).map(|_| read_bytes(input)).collect();
    RecordedShard { records, states }
}

fn read_bytes(input: &mut Bytes) -> Bytes {
    let length = input.get_u32() as usize;
    input.split_to(length)
}

/// Applies the shard's log as a router does; without a checkpoint, so every order stays in memory.
async fn replay(id: ShardId, records: Vec<Record>) -> Shard {
    let mut shard =
        Shard::new(id, ShardStore::new(id.0, Arc::new(MemoryStore::default())), PolicyVersions::default(), 0);
    let sim = Sim::new(Layout { shards: 1, task_partitions: 1 }, Faults::default(), 0);
    let (clock, health) = (Arc::new(SystemClock), Health::default());
    let context = Context { clock, shutdown: CancellationToken::new(), health };
    let dead_letters = DeadLetters::new(sim.session("router-0"), &context, metrics::DEAD_LETTERS);
    let mut batch = Batch::new(&dead_letters, Reading::now(&SystemClock));
    for record in records {
        let record = DecodedRecord::decode(record);
        shard.load_targets(record.readable().into_iter()).await.unwrap();
        batch.apply(&mut shard, record).unwrap();
        shard.end_batch();
    }
    shard
}

/// Decodes a recorded state with this build.
fn read_state(bytes: &Bytes) -> (StatesEntry, Order) {
    let entry = decode_state(bytes.clone()).expect("this build must read every state that is stored");
    match &entry.body {
        StateBody::Order(order) => (entry.clone(), (**order).clone()),
        StateBody::Policies(_) | StateBody::Listing(_) | StateBody::Marker | StateBody::Beginning { .. } => {
            panic!("the recording has only orders")
        }
    }
}

#[tokio::test]
async fn replaying_the_recorded_days_gives_the_recorded_states() {
    let (mut records, mut orders, mut in_another_form) = (0, 0, 0);
    let mut differences = Vec::new();
    for (index, recorded) in (0..).zip(read_recording()) {
        records += recorded.records.len();
        let shard = replay(ShardId(index), recorded.records).await;
        for bytes in &recorded.states {
            let (entry, expected) = read_state(bytes);
            orders += 1;
            in_another_form += usize::from(encode_state(&entry).1 != *bytes);
            let replayed = shard.hot(expected.key());
            if replayed != Some(&expected) {
                differences.push(format!("{}:\nrecorded {expected:?}\nreplayed {replayed:?}", expected.key()));
            }
        }
        assert_eq!(shard.dirty.len(), recorded.states.len(), "shard {index} has other orders than the recording");
    }
    println!("{records} records, {orders} orders, {in_another_form} of them written in another form");
    assert!(differences.is_empty(), "{} of {orders} orders differ; the first is {}", differences.len(), differences[0]);
    assert_eq!(in_another_form, STATES_IN_ANOTHER_FORM, "the format in which orders are stored has changed");
    assert!(orders > 1_000 && records > orders, "the recording is not empty");
}
