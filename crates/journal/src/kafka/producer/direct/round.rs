//! Chooses the content of one request: a batch of each partition with waiting messages, up to the
//! maximum size of a request. After an outage of the brokers more messages may wait than fit, and a
//! broker closes the connection of a request that is too large.

use std::collections::BTreeMap;

use bytes::Bytes;

use super::queue::Queue;
use crate::Partition;

/// The size of a request, in bytes, above which no further batch is added. A broker takes 100 MB by
/// default.
pub(super) const ROUND_BYTES_MAX: usize = 16 << 20;

/// The batches of one request.
pub(super) type Round = BTreeMap<Partition, Bytes>;

/// Takes a batch of each of these partitions that has one, until they have more than `bytes_max`.
/// It begins with `first`, which is set to the partition that was left out, so that each has its
/// turn.
pub(super) fn next(
    queues: &mut BTreeMap<Partition, Queue>,
    is_led: impl Fn(Partition) -> bool,
    first: &mut Option<Partition>,
    bytes_max: usize,
) -> Round {
    let all = || queues.iter().filter(|(partition, queue)| is_led(**partition) && queue.is_ready());
    let mut in_turn: Vec<Partition> = all().map(|(partition, _)| *partition).collect();
    let begin = first.take().map_or(0, |first| in_turn.partition_point(|partition| *partition < first));
    in_turn.rotate_left(begin);
    let (mut round, mut bytes) = (Round::new(), 0);
    for partition in in_turn {
        if bytes > bytes_max {
            *first = Some(partition);
            break;
        }
        if let Some(records) = queues.get_mut(&partition).and_then(Queue::take) {
            bytes += records.len();
            round.insert(partition, records);
        }
    }
    round
}

#[cfg(test)]
mod tests {
    use std::{
        sync::Arc,
        time::{Duration, Instant},
    };

    use super::*;
    use crate::{Entry, Topic, kafka::producer::delivery::Delivery, kafka::producer::direct::queue::Message};

    fn partition(index: u32) -> Partition {
        Partition { topic: Topic::Orders, index }
    }

    fn queue(index: u32) -> Queue {
        let mut queue = Queue::default();
        queue.identify(index.into(), 0);
        let (delivery, _ack) = Delivery::new(partition(index), 1);
        let entry = Entry { key: Bytes::new(), value: Some(Bytes::from(vec![b'x'; 1_000])) };
        queue.add(Message { entry, delivery: Arc::new(delivery), until: Instant::now() + Duration::from_mins(1) });
        queue
    }

    #[test]
    fn what_one_request_leaves_out_begins_the_next_one() {
        let mut queues: BTreeMap<Partition, Queue> = (0..5).map(|index| (partition(index), queue(index))).collect();
        let mut first = None;
        let mut sent = Vec::new();
        for expected in [vec![0, 1], vec![2, 4], vec![]] {
            let round = next(&mut queues, |partition| partition.index != 3, &mut first, 1_500);
            sent.extend(round.keys().copied());
            assert_eq!(round.keys().map(|partition| partition.index).collect::<Vec<_>>(), expected);
        }
        assert_eq!((sent.len(), first), (4, None));
    }

    #[test]
    fn a_partition_that_always_has_something_does_not_keep_others_out() {
        let mut queues: BTreeMap<Partition, Queue> = (0..3).map(|index| (partition(index), queue(index))).collect();
        let (mut first, mut turns) = (None, Vec::new());
        for _ in 0..4 {
            let round = next(&mut queues, |_| true, &mut first, 500);
            for taken in round.into_keys() {
                turns.push(taken.index);
                queues.insert(taken, queue(taken.index));
            }
        }
        assert_eq!(turns, [0, 1, 2, 0]);
    }
}
