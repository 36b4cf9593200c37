//! Decides when a connection must be aborted, because a transfer would arrive too late: it is not
//! written in time, it is not confirmed in time, or this process was paused.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak},
    task::Waker,
    time::Duration,
};

use tokio::time::Instant;
use twqr_service::Clock;
use twqr_types::UnixMs;

/// How long after its `send_by` a transfer may be written to the socket, in ms, if it was handed
/// over in time.
pub(super) const LATE_WRITE_MS: u64 = 500;
/// How long after it was handed over a transfer must be known to be delivered, in ms.
pub(super) const CONFIRM_MS: u64 = 2_500;
/// How long this process may be paused before its connections are aborted, in ms.
pub(super) const PAUSE_MS_MAX: u64 = 1_500;
/// How long after the answer to a ping, or after the start, the next ping is sent, in ms.
pub(super) const PING_INTERVAL_MS: u64 = 1_000;
/// How long the backend may take to answer a ping, in ms.
pub(super) const PING_TIMEOUT_MS: u64 = 1_250;
/// The time between two checks, in ms.
pub(super) const BEAT_MS: u64 = 250;

const PING_INTERVAL: Duration = Duration::from_millis(PING_INTERVAL_MS);

/// A call that the transport has taken.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Handed {
    /// Its identity; later calls have higher ones.
    pub(crate) call_id: u64,
    /// How many bytes it has on the connection.
    pub(crate) len: u64,
    /// The time after which it must not be written; `None` for an inquiry.
    pub(crate) send_by: Option<UnixMs>,
}

/// The transfers of one connection that may not be delivered yet.
pub(crate) struct Delivery {
    clock: Arc<dyn Clock>,
    state: Mutex<State>,
}

#[derive(Clone, Copy, Debug)]
struct Now {
    wall: UnixMs,
    monotonic: Instant,
}

#[derive(Debug)]
struct Unconfirmed {
    call_id: u64,
    /// How many bytes of calls precede its end on the connection.
    end: u64,
    handed_at: Instant,
    /// The last moment at which it may be written, by both clocks: one of them may be set.
    write_by: Now,
}

/// At most one ping has no answer, so an answer always belongs to it.
#[derive(Clone, Copy, Debug)]
enum Ping {
    DueAt(Instant),
    /// The value of `written` at its place.
    Sent {
        at: Instant,
        written: u64,
    },
}

#[derive(Debug)]
struct State {
    /// In the order in which they were handed over; the first ones may have been written.
    unconfirmed: VecDeque<Unconfirmed>,
    /// How many bytes of calls were handed over.
    handed: u64,
    /// How many bytes of calls the socket has taken.
    written: u64,
    ping: Ping,
    /// When the connection was checked last.
    beat: Now,
    /// The reason why the connection must not be used any more.
    aborted: Option<&'static str>,
    /// Wakes the task that owns the socket.
    waker: Option<Waker>,
}

impl Delivery {
    pub(super) fn new(clock: Arc<dyn Clock>) -> Self {
        let beat = Now { wall: clock.now(), monotonic: Instant::now() };
        let state = State {
            unconfirmed: VecDeque::new(),
            handed: 0,
            written: 0,
            ping: Ping::DueAt(beat.monotonic + PING_INTERVAL),
            beat,
            aborted: None,
            waker: None,
        };
        Self { clock, state: Mutex::new(state) }
    }

    /// Notes that the transport has taken a call.
    pub(crate) fn hand_over(&self, call: Handed) {
        let now = self.now();
        let mut state = self.state();
        state.handed += call.len;
        if let Some(send_by) = call.send_by {
            let left_ms = u64::try_from(send_by.since(now.wall)).unwrap_or(0);
            let write_by = Now {
                wall: send_by.plus(LATE_WRITE_MS.cast_signed()),
                monotonic: now.monotonic + Duration::from_millis(left_ms + LATE_WRITE_MS),
            };
            let end = state.handed;
            let transfer = Unconfirmed { call_id: call.call_id, end, handed_at: now.monotonic, write_by };
            state.unconfirmed.push_back(transfer);
        }
    }

    /// Notes the answer to a call: this call and all before it were delivered.
    pub(crate) fn answered(&self, call_id: u64) {
        self.state().confirm(|transfer| transfer.call_id <= call_id);
    }

    /// Closes the connection abortively: what it has not delivered is discarded.
    pub(crate) fn abort(&self, why: &'static str) {
        self.state().abort(why);
    }

    /// Fails if the connection must not be used any more. `waker` is woken when that changes.
    pub(super) fn check_usable(&self, waker: &Waker) -> Result<(), &'static str> {
        let mut state = self.state();
        if !state.waker.as_ref().is_some_and(|known| known.will_wake(waker)) {
            state.waker = Some(waker.clone());
        }
        state.aborted.map_or(Ok(()), Err)
    }

    /// Fails if nothing may be written to the socket any more.
    pub(super) fn check_write(&self) -> Result<(), &'static str> {
        let now = self.now();
        let mut state = self.state();
        state.check(now);
        state.aborted.map_or(Ok(()), Err)
    }

    /// Notes how many bytes of calls the socket has taken in all.
    pub(super) fn written(&self, data: u64) {
        self.state().written = data;
    }

    /// Whether a ping must be sent now. If so, it counts as sent.
    pub(super) fn take_ping(&self) -> bool {
        let now = Instant::now();
        let mut state = self.state();
        let is_due = state.is_ping_due(now);
        if is_due {
            state.ping = Ping::Sent { at: now, written: state.written };
        }
        is_due
    }

    /// Notes the answer to the ping: what was written before it was delivered.
    pub(super) fn ping_answered(&self) {
        let mut state = self.state();
        if let Ping::Sent { written, .. } = state.ping {
            state.confirm(|transfer| transfer.end <= written);
            state.ping = Ping::DueAt(Instant::now() + PING_INTERVAL);
        }
    }

    pub(super) fn beat(&self) {
        let now = self.now();
        let mut state = self.state();
        state.check(now);
        state.beat = now;
        if state.is_ping_due(now.monotonic) {
            state.wake();
        }
    }

    fn now(&self) -> Now {
        Now { wall: self.clock.now(), monotonic: Instant::now() }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn confirm(&mut self, is_delivered: impl Fn(&Unconfirmed) -> bool) {
        while self.unconfirmed.pop_front_if(|transfer| is_delivered(transfer)).is_some() {}
    }

    /// Aborts the connection if a rule demands it.
    fn check(&mut self, now: Now) {
        let is_past = |limit: &Now| now.wall > limit.wall || now.monotonic > limit.monotonic;
        let pause = Duration::from_millis(PAUSE_MS_MAX);
        let resumed =
            Now { wall: self.beat.wall.plus(PAUSE_MS_MAX.cast_signed()), monotonic: self.beat.monotonic + pause };
        let mut unwritten = self.unconfirmed.iter().rev().take_while(|transfer| transfer.end > self.written);
        let is_late = unwritten.any(|transfer| is_past(&transfer.write_by));
        let oldest = self.unconfirmed.front().map(|transfer| transfer.handed_at);
        let confirm = Duration::from_millis(CONFIRM_MS);
        if is_late {
            self.abort("a transfer could not be written in time");
        } else if oldest.is_some_and(|handed_at| now.monotonic > handed_at + confirm) {
            self.abort("the backend has not confirmed in time that a transfer was delivered");
        } else if self.is_ping_overdue(now.monotonic) {
            self.abort("the backend has not answered a ping in time");
        } else if is_past(&resumed) {
            self.abort("this process stood still");
        }
    }

    fn is_ping_due(&self, now: Instant) -> bool {
        matches!(self.ping, Ping::DueAt(at) if now >= at)
    }

    fn is_ping_overdue(&self, now: Instant) -> bool {
        matches!(self.ping, Ping::Sent { at, .. } if now > at + Duration::from_millis(PING_TIMEOUT_MS))
    }

    fn abort(&mut self, why: &'static str) {
        if self.aborted.is_none() {
            self.aborted = Some(why);
            self.wake();
        }
    }

    fn wake(&mut self) {
        if let Some(waker) = self.waker.take() {
            waker.wake();
        }
    }
}

/// Checks the connection regularly until it is closed.
pub(super) async fn watch(delivery: Weak<Delivery>) {
    let mut beats = tokio::time::interval(Duration::from_millis(BEAT_MS));
    beats.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        beats.tick().await;
        let Some(delivery) = delivery.upgrade() else { return };
        delivery.beat();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicI64, Ordering};

    use super::*;

    const BEGAN: UnixMs = UnixMs(1_700_000_000_000);

    /// The virtual time, and what a test adds to it.
    struct SteppedClock(Instant, Arc<AtomicI64>);

    impl Clock for SteppedClock {
        fn now(&self) -> UnixMs {
            BEGAN.plus(i64::try_from(self.0.elapsed().as_millis()).unwrap() + self.1.load(Ordering::Relaxed))
        }
    }

    /// A step of a test.
    #[derive(Clone, Copy)]
    enum Do {
        /// Hands over a transfer of 10 bytes whose `send_by` is so many ms after the start.
        HandOver(u64, i64),
        Write(u64),
        Answer(u64),
        /// Sends a ping that is answered at once.
        Ping,
        /// Sends a ping.
        Ask,
        /// Receives the answer to the ping.
        Answered,
        /// Passes time while the process runs.
        Run(u64),
        /// Passes time while the process is stopped.
        Stop(u64),
        SetClock(i64),
    }

    async fn play(steps: &[Do]) -> Option<&'static str> {
        let added = Arc::new(AtomicI64::new(0));
        let delivery = Delivery::new(Arc::new(SteppedClock(Instant::now(), added.clone())));
        for step in steps {
            match *step {
                Do::HandOver(call_id, send_by) => {
                    delivery.hand_over(Handed { call_id, len: 10, send_by: Some(BEGAN.plus(send_by)) });
                }
                Do::Write(data) => delivery.written(data),
                Do::Answer(call_id) => delivery.answered(call_id),
                Do::Ping => {
                    assert!(delivery.take_ping() && !delivery.take_ping(), "one ping is due");
                    delivery.ping_answered();
                }
                Do::Ask => assert!(delivery.take_ping()),
                Do::Answered => delivery.ping_answered(),
                Do::Run(ms) => {
                    for _ in 0..ms / BEAT_MS {
                        tokio::time::advance(Duration::from_millis(BEAT_MS)).await;
                        delivery.beat();
                    }
                }
                Do::Stop(ms) => tokio::time::advance(Duration::from_millis(ms)).await,
                Do::SetClock(ms) => added.store(ms, Ordering::Relaxed),
            }
        }
        delivery.check_write().err()
    }

    const LATE: Option<&str> = Some("a transfer could not be written in time");
    const UNCONFIRMED: Option<&str> = Some("the backend has not confirmed in time that a transfer was delivered");
    const SILENT: Option<&str> = Some("the backend has not answered a ping in time");
    const STOPPED: Option<&str> = Some("this process stood still");

    #[tokio::test(start_paused = true)]
    async fn a_connection_is_aborted_as_soon_as_a_transfer_might_arrive_too_late() {
        use Do::{Answer, Answered, Ask, HandOver, Ping, Run, SetClock, Stop, Write};
        let (first, second) = (HandOver(1, 1_000), HandOver(2, 2_000));
        let cases: [(&str, &[Do], Option<&str>); 18] = [
            ("nothing is sent", &[Run(10_000)], None),
            ("written in time, and waiting for the network", &[first, Write(10), Run(2_500)], None),
            ("not written, and still in time", &[first, Run(1_500)], None),
            ("not written in time", &[first, Run(1_750)], LATE),
            ("written in part", &[first, Write(9), Run(1_750)], LATE),
            ("a later one is written in time", &[first, second, Write(10), Answer(1), Run(2_250)], None),
            ("a later one is not", &[first, second, Write(10), Answer(1), Run(2_750)], LATE),
            ("the clock is set back", &[first, SetClock(-60_000), Run(1_750)], LATE),
            ("the clock is set on", &[first, Run(250), SetClock(1_400)], LATE),
            ("stopped, then resumed", &[first, Write(10), Answer(1), Stop(1_501)], STOPPED),
            ("stopped with a transfer in memory", &[first, Stop(1_501)], LATE),
            ("stopped for a moment", &[first, Write(10), Answer(1), Stop(1_500)], None),
            ("never confirmed", &[first, Write(10), Run(2_750)], UNCONFIRMED),
            ("confirmed by the answer", &[first, Write(10), Answer(1), Run(4_000)], None),
            ("confirmed by a later answer", &[first, second, Write(20), Answer(2), Run(4_000)], None),
            ("confirmed by a ping", &[first, Write(10), Run(1_000), Ping, Run(4_000)], None),
            (
                "an answer to a ping before it says nothing",
                &[Run(1_000), Ask, HandOver(1, 2_000), Write(10), Run(250), Answered, Run(2_500)],
                UNCONFIRMED,
            ),
            ("a ping without an answer", &[Run(1_000), Ask, Run(1_500)], SILENT),
        ];
        for (name, steps, expected) in cases {
            assert_eq!(play(steps).await, expected, "{name}");
        }
    }
}
