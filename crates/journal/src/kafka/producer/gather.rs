//! Gathers appends, so that few requests carry many records while the process is busy.
//!
//! A request to a broker costs far more than a record in it, and the client library puts only one
//! partition into a request. So after each round of requests there is a short pause, which grows
//! with the number of records of the round; appends that arrive meanwhile form the next round. At a
//! low rate, rounds and pauses stay small, and an append outside a pause is sent at once, so an
//! idle system loses no time. At a high rate, both grow up to the longest pause.

use std::{
    sync::{Condvar, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use super::delivery::QUEUED_MESSAGES_MAX;
use crate::kafka::lock;

/// The pause after a round for each record in it: rounds grow where more records than one arrive in
/// this time.
const PAUSE: Duration = Duration::from_micros(500);
/// The longest pause. With a shorter one a busy machine answers later, because it is full of
/// requests (`load-tests/README.md`).
const PAUSE_MAX: Duration = Duration::from_millis(5);

/// Decides when appends are sent. `T` is an append.
pub(super) struct Gather<T> {
    state: Mutex<State<T>>,
    changed: Condvar,
}

struct State<T> {
    /// The next round.
    waiting: Vec<T>,
    /// How many records it has.
    records: usize,
    /// When it may begin.
    pause_ends: Instant,
    /// The round before is still being handed to the client library.
    is_sending: bool,
    is_closed: bool,
}

impl<T> Gather<T> {
    pub(super) fn new() -> Self {
        let (waiting, pause_ends) = (Vec::new(), Instant::now());
        let state = State { waiting, records: 0, pause_ends, is_sending: false, is_closed: false };
        Self { state: Mutex::new(state), changed: Condvar::new() }
    }

    /// Sends an append of so many records with `send` at once, or lets it wait for the next round.
    /// Returns it if too many records wait already, or after [`Gather::close`].
    pub(super) fn add(&self, append: T, records: usize, send: impl FnOnce(T)) -> Result<(), T> {
        let mut state = lock(&self.state);
        if state.is_closed || state.records >= QUEUED_MESSAGES_MAX {
            return Err(append);
        }
        let now = Instant::now();
        if state.waiting.is_empty() && !state.is_sending && now >= state.pause_ends {
            state.pause_ends = now + pause(records);
            // Under the lock, so that no later append is sent before this one.
            send(append);
            return Ok(());
        }
        state.waiting.push(append);
        state.records += records;
        if state.waiting.len() == 1 {
            self.changed.notify_one();
        }
        Ok(())
    }

    /// Sends round after round until [`Gather::close`].
    pub(super) fn run(&self, mut send: impl FnMut(T)) {
        let mut state = lock(&self.state);
        while !state.is_closed {
            let left = state.pause_ends.saturating_duration_since(Instant::now());
            state = match (state.waiting.is_empty(), left) {
                (true, _) => self.wait(state),
                (false, Duration::ZERO) => self.send_round(state, &mut send),
                (false, left) => self.changed.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0,
            };
        }
    }

    /// Sends what waits without the lock, so that appends are taken meanwhile.
    fn send_round<'a>(
        &'a self,
        mut state: MutexGuard<'a, State<T>>,
        send: &mut impl FnMut(T),
    ) -> MutexGuard<'a, State<T>> {
        let (round, records) = (std::mem::take(&mut state.waiting), std::mem::take(&mut state.records));
        state.is_sending = true;
        drop(state);
        round.into_iter().for_each(send);
        let mut state = lock(&self.state);
        state.is_sending = false;
        state.pause_ends = Instant::now() + pause(records);
        self.changed.notify_all();
        state
    }

    /// Sends what waits, and takes nothing more.
    pub(super) fn close(&self, send: impl FnMut(T)) {
        let mut state = lock(&self.state);
        state.is_closed = true;
        while state.is_sending {
            state = self.wait(state);
        }
        std::mem::take(&mut state.waiting).into_iter().for_each(send);
        self.changed.notify_all();
    }

    fn wait<'a>(&self, state: MutexGuard<'a, State<T>>) -> MutexGuard<'a, State<T>> {
        self.changed.wait(state).unwrap_or_else(PoisonError::into_inner)
    }
}

/// The pause after a round with so many records.
fn pause(records: usize) -> Duration {
    PAUSE.saturating_mul(u32::try_from(records).unwrap_or(u32::MAX)).min(PAUSE_MAX)
}

#[cfg(test)]
mod tests {
    use std::{sync::mpsc, thread};

    use super::*;

    /// Appends a number as one record; returns whether it was sent within the call.
    fn add(gather: &Gather<u32>, append: u32) -> bool {
        let mut is_sent = false;
        gather.add(append, 1, |_| is_sent = true).unwrap();
        is_sent
    }

    #[test]
    fn an_append_that_meets_no_pause_is_sent_at_once() {
        let gather = Gather::new();
        assert!(add(&gather, 1));
        lock(&gather.state).pause_ends = Instant::now();
        assert!(add(&gather, 2));
    }

    #[test]
    fn an_append_never_overtakes_one_that_waits_or_is_being_sent() {
        let gather = Gather::new();
        lock(&gather.state).is_sending = true;
        assert!(!add(&gather, 1), "the round before is still being sent");
        lock(&gather.state).is_sending = false;
        assert!(!add(&gather, 2), "the first one still waits");
        let mut sent = Vec::new();
        gather.close(|append| sent.push(append));
        assert_eq!(sent, [1, 2]);
    }

    #[test]
    fn appends_during_a_pause_form_one_round_whose_pause_grows_with_its_records() {
        let gather = Gather::new();
        let far = Instant::now() + Duration::from_hours(1);
        lock(&gather.state).pause_ends = far;
        assert!((0..3).all(|append| !add(&gather, append)));
        thread::scope(|scope| {
            let (sender, sent) = mpsc::channel();
            scope.spawn(|| gather.run(move |append| sender.send((append, Instant::now())).unwrap()));
            assert!(sent.try_recv().is_err());
            lock(&gather.state).pause_ends = Instant::now();
            gather.changed.notify_all();
            let round: Vec<(u32, Instant)> = sent.iter().take(3).collect();
            assert_eq!(round.iter().map(|(append, _)| *append).collect::<Vec<_>>(), [0, 1, 2]);
            // Waits until the round is over.
            gather.close(|_| ());
            assert!(lock(&gather.state).pause_ends >= round[2].1 + pause(3));
        });
        assert!(pause(1) < pause(2));
        assert_eq!(pause(usize::MAX), PAUSE_MAX);
    }

    #[test]
    fn appends_of_one_thread_are_sent_in_order_while_others_append() {
        const EACH: u32 = 20_000;
        let gather = Gather::new();
        let log = Mutex::new(Vec::new());
        let send = |append: (u32, u32)| lock(&log).push(append);
        thread::scope(|scope| {
            scope.spawn(|| gather.run(send));
            let writers: Vec<_> = (0..3)
                .map(|writer| {
                    let gather = &gather;
                    scope.spawn(move || {
                        for number in 0..EACH {
                            gather.add((writer, number), 1, send).unwrap();
                            if number % 1_000 == 0 {
                                thread::sleep(Duration::from_millis(3));
                            }
                        }
                    })
                })
                .collect();
            for writer in writers {
                writer.join().unwrap();
            }
            gather.close(send);
        });
        let appends = lock(&log);
        assert_eq!(appends.len(), 3 * EACH as usize);
        for writer in 0..3 {
            assert!(appends.iter().filter(|(of, _)| *of == writer).map(|(_, number)| *number).eq(0..EACH));
        }
    }

    #[test]
    fn closing_sends_what_waits_and_refuses_what_follows() {
        let gather = Gather::new();
        assert!(add(&gather, 1));
        lock(&gather.state).pause_ends = Instant::now() + Duration::from_hours(1);
        assert!(!add(&gather, 2));
        let mut sent = Vec::new();
        gather.close(|append| sent.push(append));
        assert_eq!(sent, [2]);
        assert_eq!(gather.add(3, 1, |_| ()), Err(3));
    }
}
