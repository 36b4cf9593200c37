//! A process measures its clock over the simulated journal, whose brokers have the right time.

use std::sync::atomic::{AtomicI64, Ordering};

use twqr_journal_sim::{Faults, Layout, Sim};
use twqr_service::{CancellationToken, Health, PartState};
use twqr_wire::convert::{KnownProtocol, ShownProcess};

use super::*;

const EPOCH_MS: i64 = 1_790_000_000_000;
const BOUND_MS: u64 = 200;

/// A clock that can be set; the brokers have the same one without the skew.
struct WrongClock {
    began: Instant,
    skew_ms: AtomicI64,
}

impl Clock for WrongClock {
    fn now(&self) -> UnixMs {
        UnixMs(EPOCH_MS + self.skew_ms.load(Ordering::Relaxed)).plus(elapsed_ms(self.began))
    }
}

fn elapsed_ms(began: Instant) -> i64 {
    i64::try_from(began.elapsed().as_millis()).unwrap()
}

struct MeasuredProcess {
    sim: Sim,
    wall: Arc<WrongClock>,
    clock: Arc<MeasuredClock>,
    context: Context,
}

impl MeasuredProcess {
    /// A process whose clock is ahead by so much, on brokers that stamp records or do not.
    async fn begin(skew_ms: i64, faults: Faults, is_stamped: bool) -> Self {
        let sim = Sim::new(Layout { shards: 1, task_partitions: 1 }, faults, 7);
        let began = Instant::now();
        if is_stamped {
            sim.stamp_with(move || EPOCH_MS + elapsed_ms(began));
        }
        let wall = Arc::new(WrongClock { began, skew_ms: AtomicI64::new(skew_ms) });
        let clock = MeasuredClock::new(wall.clone(), BOUND_MS);
        let context = Context { clock: clock.clone(), shutdown: CancellationToken::new(), health: Health::default() };
        context.health.deciding_part("ingress").ready();
        ClockMeter::begin(sim.session("a"), clock.clone(), vec!["a".to_owned()], &context).await;
        Self { sim, wall, clock, context }
    }

    fn state(&self) -> PartState {
        self.context.health.report()[CLOCK_PART].clone()
    }
}

async fn seconds(s: u64) {
    tokio::time::sleep(Duration::from_secs(s)).await;
}

#[tokio::test(start_paused = true)]
async fn a_wrong_clock_turns_the_process_unready_from_the_start_until_it_is_set_right() {
    let slow = Faults { append_delay_ms_max: 40, ..Faults::default() };
    let stage = MeasuredProcess::begin(5_000, slow, true).await;
    assert!(stage.clock.is_skewed() && !stage.context.health.is_ready());
    let PartState::NotReady(why) = stage.state() else { panic!("{:?}", stage.state()) };
    assert!(why.contains("ms ahead of the brokers' clocks, clock_skew_max_ms is 200"), "{why}");
    assert_eq!(stage.context.health.dead(), None, "a restart would not set the clock");
    stage.wall.skew_ms.store(100, Ordering::Relaxed);
    assert!(!stage.clock.is_skewed());
    seconds(1).await;
    assert!(stage.context.health.is_ready(), "{:?}", stage.state());
    stage.wall.skew_ms.store(-5_000, Ordering::Relaxed);
    seconds(1).await;
    assert!(!stage.context.health.is_ready(), "{:?}", stage.state());
}

#[tokio::test(start_paused = true)]
async fn a_clock_within_the_bound_stays_ready_while_appends_are_slow_and_fail() {
    let faults =
        Faults { append_delay_ms_max: 3_000, append_lost: 300, ack_lost: 300, append_late: 100, ..Faults::default() };
    for skew_ms in [-200, 0, 200] {
        let stage = MeasuredProcess::begin(skew_ms, faults.clone(), true).await;
        for _ in 0..120 {
            seconds(1).await;
            assert!(!stage.clock.is_skewed() && stage.context.health.is_ready(), "{:?}", stage.state());
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_clock_that_is_not_measured_is_reported_and_stops_nothing() {
    let stage = MeasuredProcess::begin(5_000, Faults::default(), false).await;
    let PartState::Degraded(why) = stage.state() else { panic!("{:?}", stage.state()) };
    assert!(why.contains("message.timestamp.type"), "{why}");
    assert!(stage.context.health.is_ready() && !stage.clock.is_skewed());
    let stage = MeasuredProcess::begin(0, Faults::default(), true).await;
    assert_eq!(stage.state(), PartState::Ready);
    stage.sim.set_faults(Faults { failing_topic: Some(Topic::Replies), ..Faults::default() });
    seconds(70).await;
    assert!(matches!(stage.state(), PartState::Degraded(_)), "{:?}", stage.state());
}

#[tokio::test(start_paused = true)]
async fn each_measurement_shows_the_process_and_what_its_build_knows() {
    let stage = MeasuredProcess::begin(0, Faults::default(), true).await;
    seconds(3).await;
    let partitions = stage.sim.session("b").partitions(Topic::Replies);
    let records = (0..partitions).flat_map(|index| stage.sim.records(Partition { topic: Topic::Replies, index }));
    let shown: Vec<_> = records.map(|record| KnownProtocol::of_reply(&record.entry.value.unwrap())).collect();
    let process = ShownProcess::Member("a".into());
    let itself = KnownProtocol { process, newest: twqr_order::PROTOCOL_VERSION_NEWEST };
    assert!(shown.len() >= 3 && shown.iter().all(|shown| *shown == [itself.clone()]), "{shown:?}");
}
