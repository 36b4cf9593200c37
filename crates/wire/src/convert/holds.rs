//! The records by which processes agree on the holder of a partition, within the records of
//! `orders` and of the task topics. A reader that wants only these finds them by the first bytes of
//! a record.

use bytes::Bytes;
use prost::encoding::{WireType, decode_key, decode_varint};
use twqr_order::{Command, HoldRecord, Record};
use twqr_types::UnixMs;

use super::{
    order_records::{decode_record, encode_record},
    task_records::{TaskRecord, decode_task_record, encode_task_record},
};

/// The fields of a record of `orders` that hold such a record: claim, alive, doubt, release and
/// intent.
const ON_ORDERS: [u32; 5] = [3, 14, 15, 16, 17];
/// The fields of a record of a task topic that hold such a record: claim, release, intent, alive
/// and doubt.
const ON_TASKS: [u32; 5] = [2, 3, 5, 6, 7];

/// The kind of the topic whose partitions are shared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HeldTopic {
    /// Shards of `orders`, held by routers.
    Orders,
    /// Partitions of `wallet-tasks` or `fisc-tasks`, held by workers.
    Tasks,
}

impl HeldTopic {
    /// Writes a record by which processes share a partition; `at` is the writer's clock.
    pub fn encode_hold(self, at: UnixMs, hold: HoldRecord) -> Bytes {
        match self {
            Self::Orders => encode_record(&Record { at, signed_by: None, nonce: None, command: Command::Hold(hold) }),
            Self::Tasks => encode_task_record(&TaskRecord::Hold(hold)),
        }
    }

    /// Reads a record if it is one by which processes share a partition. Any other record costs
    /// only a look at its first bytes.
    pub fn decode_hold(self, record: &Bytes) -> Option<HoldRecord> {
        let body = first_message(record)?;
        match self {
            Self::Orders if ON_ORDERS.contains(&body) => {
                let Command::Hold(hold) = decode_record(record.clone()).ok()?.command else { return None };
                Some(hold)
            }
            Self::Tasks if ON_TASKS.contains(&body) => match decode_task_record(record.clone()).ok()? {
                TaskRecord::Hold(hold) => Some(hold),
                TaskRecord::Task(_) => None,
            },
            Self::Orders | Self::Tasks => None,
        }
    }
}

/// The number of the first field that holds a message or text; numbers before it are skipped.
fn first_message(record: &Bytes) -> Option<u32> {
    let mut rest = &record[..];
    loop {
        match decode_key(&mut rest).ok()? {
            (field, WireType::LengthDelimited) => return Some(field),
            (_, WireType::Varint) => drop(decode_varint(&mut rest).ok()?),
            (_, _) => return None,
        }
    }
}

#[cfg(test)]
mod tests {
    use twqr_order::{Alive, Process, Query, ReplyTo};
    use twqr_types::{MerchantId, MerchantTradeNo, OrderKey};

    use super::*;

    fn holds() -> Vec<HoldRecord> {
        let by = || Process { name: "router-0".into(), nonce: u64::MAX };
        let claim = |replaces| HoldRecord::Claim { owner: "router-0".into(), nonce: 5, replaces };
        let alive =
            |is_leaving| HoldRecord::Alive(Alive { claim: 0, position: 9, by: by(), is_leaving, protocol_known: 3 });
        vec![
            claim(None),
            claim(Some(0)),
            claim(Some(7)),
            HoldRecord::Release { claim: 0 },
            HoldRecord::Intent(by()),
            alive(false),
            alive(true),
            HoldRecord::Doubt(by()),
        ]
    }

    #[test]
    fn holds_are_read_as_they_were_written_on_both_topics() {
        for topic in [HeldTopic::Orders, HeldTopic::Tasks] {
            for hold in holds() {
                let written = topic.encode_hold(UnixMs(1_790_000_000_000), hold.clone());
                assert_eq!(topic.decode_hold(&written), Some(hold), "{topic:?}");
            }
        }
    }

    #[test]
    fn other_records_and_unreadable_ones_are_no_holds() {
        let key = OrderKey {
            merchant_id: MerchantId::parse("M1".into()).unwrap(),
            merchant_trade_no: MerchantTradeNo::parse("T1".into()).unwrap(),
        };
        let reply_to = ReplyTo { partition: 0, correlation: 0, until: UnixMs(0) };
        let query = Command::Query(Query { key, reply_to, watch: false, keep: false });
        let query = encode_record(&Record { at: UnixMs(1), signed_by: None, nonce: None, command: query });
        for bytes in [query, Bytes::new(), Bytes::from_static(b"\xff\xff\xff"), Bytes::from_static(b"\x08\x01\x1a\x7f")]
        {
            assert_eq!(HeldTopic::Orders.decode_hold(&bytes), None, "{bytes:?}");
            assert_eq!(HeldTopic::Tasks.decode_hold(&bytes), None, "{bytes:?}");
        }
    }

    #[test]
    fn a_claim_that_replaces_none_has_the_bytes_that_earlier_builds_read() {
        let claim = HoldRecord::Claim { owner: "r".into(), nonce: 1, replaces: None };
        let expected = b"\x08\x01\x10\x07\x1a\x0c\x0a\x01r\x11\x01\0\0\0\0\0\0\0";
        assert_eq!(HeldTopic::Orders.encode_hold(UnixMs(7), claim).as_ref(), expected);
    }
}
