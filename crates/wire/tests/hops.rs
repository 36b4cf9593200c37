//! The hops of a call are added to records of every topic without a change of anything else.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use twqr_order::{Command, HoldRecord, Process, Record};
use twqr_types::UnixMs;
use twqr_wire::{
    convert::{
        HopTimes, ReplyContent, ReplyRecord, TaskRecord, decode_record, decode_record_with_hops, decode_reply,
        decode_task_record_with_hops, encode_record, encode_reply_record, encode_task_record, with_hops,
    },
    hops::Hop,
    trace::TraceContext,
};

fn times() -> HopTimes {
    let mut times = HopTimes::new(7, 1_700_000_000_000_000);
    for (us, hop) in (1..).zip([Hop::Router, Hop::WorkerWait, Hop::Worker, Hop::Backend]) {
        times.add(hop, us);
    }
    for (us, hop) in (-1..).zip([Hop::OrdersWait, Hop::TasksWait, Hop::OutcomesWait]) {
        times.add(hop, us);
    }
    times.trace = TraceContext::parse("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01");
    assert!(times.trace.is_some());
    times
}

#[test]
fn hops_added_to_a_record_of_any_topic_are_read_and_change_nothing_else() {
    let intent = || HoldRecord::Intent(Process { name: "router-0".into(), nonce: 1 });
    let record =
        encode_record(&Record { at: UnixMs(5), signed_by: None, nonce: None, command: Command::Hold(intent()) });
    let (read, hops) = decode_record_with_hops(with_hops(&record, &times())).unwrap();
    assert_eq!((encode_record(&read), hops), (record.clone(), Some(times())));
    assert_eq!(decode_record(record).unwrap().at, UnixMs(5));

    let task = encode_task_record(&TaskRecord::Hold(intent()));
    let (read, hops) = decode_task_record_with_hops(with_hops(&task, &times())).unwrap();
    assert_eq!((encode_task_record(&read), hops), (task, Some(times())));

    let reply = ReplyRecord::broadcast(ReplyContent::NotFound);
    let bytes = with_hops(&encode_reply_record(&reply), &times());
    let measured = ReplyRecord { hops: Some(times()), ..reply };
    assert_eq!(decode_reply(bytes.clone()).unwrap(), measured);
    assert_eq!(encode_reply_record(&measured), bytes);
}
