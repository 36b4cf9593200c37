//! The times of a call's hops, which are part of the records that the call causes. They are kept
//! apart from the domain values, so that no decision can depend on them.

use bytes::{BufMut, Bytes, BytesMut};
use prost::Message;

use crate::{
    bus,
    hops::Hop,
    trace::{SpanId, TraceContext, TraceId},
};

/// The hops of a call so far, when a record is appended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct HopTimes {
    /// The number of the pending call; 0 if the record belongs to none.
    pub correlation: u64,
    /// When the record was appended: Unix µs by its writer's clock.
    pub appended_us: i64,
    /// In µs, by [`Hop`]. Time between two processes may be negative, since their clocks differ.
    us: [i64; Hop::ALL.len()],
    /// The span that caused the record; absent if telemetry is off.
    pub trace: Option<TraceContext>,
}

impl HopTimes {
    /// The times of a call that has only passed its ingress.
    pub fn new(correlation: u64, appended_us: i64) -> Self {
        Self { correlation, appended_us, ..Self::default() }
    }

    /// The time in a hop so far, in µs.
    pub fn us(&self, hop: Hop) -> i64 {
        self.us[hop as usize]
    }

    /// Adds time to a hop, in µs.
    pub fn add(&mut self, hop: Hop, us: i64) {
        let time = &mut self.us[hop as usize];
        *time = time.saturating_add(us);
    }

    /// Adds the time since the record was appended, which ends at `now_us`: Unix µs by the reader's
    /// clock.
    pub fn add_wait(&mut self, hop: Hop, now_us: i64) {
        self.add(hop, now_us.saturating_sub(self.appended_us));
    }
}

/// A record of any topic with these hops added. Every kind of record has them in a field of one
/// number, and protobuf allows fields in any order, so the record need not be decoded.
pub fn with_hops(record: &Bytes, times: &HopTimes) -> Bytes {
    let field = bus::ReplyRecord { hops: Some((*times).into()), ..bus::ReplyRecord::default() }.encode_to_vec();
    let mut whole = BytesMut::with_capacity(record.len() + field.len());
    whole.put_slice(record);
    whole.put_slice(&field);
    whole.freeze()
}

impl From<HopTimes> for bus::HopTimes {
    fn from(times: HopTimes) -> Self {
        let stay = |hop| u64::try_from(times.us(hop)).unwrap_or_default();
        Self {
            correlation: times.correlation,
            appended_us: times.appended_us,
            orders_wait_us: times.us(Hop::OrdersWait),
            router_us: stay(Hop::Router),
            tasks_wait_us: times.us(Hop::TasksWait),
            worker_wait_us: stay(Hop::WorkerWait),
            worker_us: stay(Hop::Worker),
            backend_us: stay(Hop::Backend),
            outcomes_wait_us: times.us(Hop::OutcomesWait),
            trace: times.trace.map(trace_out),
        }
    }
}

impl From<bus::HopTimes> for HopTimes {
    fn from(times: bus::HopTimes) -> Self {
        let mut read = Self::new(times.correlation, times.appended_us);
        let stay = |us| i64::try_from(us).unwrap_or(i64::MAX);
        for (hop, us) in [
            (Hop::OrdersWait, times.orders_wait_us),
            (Hop::Router, stay(times.router_us)),
            (Hop::TasksWait, times.tasks_wait_us),
            (Hop::WorkerWait, stay(times.worker_wait_us)),
            (Hop::Worker, stay(times.worker_us)),
            (Hop::Backend, stay(times.backend_us)),
            (Hop::OutcomesWait, times.outcomes_wait_us),
        ] {
            read.add(hop, us);
        }
        read.trace = times.trace.and_then(trace_from);
        read
    }
}

fn trace_out(context: TraceContext) -> bus::TraceContext {
    let trace_id = context.trace_id.get();
    bus::TraceContext {
        trace_id_high: (trace_id >> u64::BITS) as u64,
        trace_id_low: trace_id as u64,
        span_id: context.span_id.get(),
        sampled: context.is_sampled,
    }
}

/// The context of a record; `None` if it names no trace or no span.
fn trace_from(context: bus::TraceContext) -> Option<TraceContext> {
    let trace_id = (u128::from(context.trace_id_high) << u64::BITS) | u128::from(context.trace_id_low);
    let (trace_id, span_id) = (TraceId::new(trace_id)?, SpanId::new(context.span_id)?);
    Some(TraceContext { trace_id, span_id, is_sampled: context.sampled })
}
