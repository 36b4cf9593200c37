//! The log of callers: a line for each call that was let in, or that was refused because of its
//! caller or of its request. Equal calls within a short time share a line with their number, so
//! that a flood of calls makes a bounded number of lines.

use std::{
    collections::BTreeMap,
    mem::take,
    net::IpAddr,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use tracing::{info, warn};

/// How long equal calls are collected before their line is written, in ms.
const COLLECT_MS: u64 = 5_000;
/// The most lines of each standing that are collected at once; further calls of that standing share
/// a line for each result.
const LINES_MAX: usize = 256;
/// The number of standings.
const STANDINGS: usize = 3;

/// What became of a call, with the reason of a refusal.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Verdict {
    /// It was let in.
    #[default]
    LetIn,
    /// It was refused because of who sent it.
    Sender(&'static str),
    /// It was refused because of what it asked: it is outside its limits, or against the rules.
    Request(&'static str),
}

/// A call: who sent it from where, for what, and what became of it.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct AccessEvent {
    /// The caller or merchant, and by what it was known; never a credential. Empty if it is not
    /// known.
    pub who: String,
    /// The address of the connection; absent if it is not known.
    pub from: Option<IpAddr>,
    /// The method that was called.
    pub method: &'static str,
    /// Whether the call was let in or refused.
    pub verdict: Verdict,
}

/// What is known of who sent a call. Each standing has lines of its own: a flood of calls that
/// anyone can send, from many addresses, must not hide a caller who is known.
#[derive(Clone, Copy)]
enum Standing {
    /// Nothing is known.
    Unknown,
    /// A name that may be false: the call was refused because of who sent it.
    Claimed,
    /// It is this caller.
    Known,
}

impl Standing {
    fn of(event: &AccessEvent) -> Self {
        match event.verdict {
            _ if event.who.is_empty() => Self::Unknown,
            Verdict::Sender(_) => Self::Claimed,
            Verdict::LetIn | Verdict::Request(_) => Self::Known,
        }
    }
}

/// The log of one listener.
#[derive(Clone, Debug)]
pub struct AccessLog(Arc<Collected>);

#[derive(Debug)]
struct Collected {
    listener: &'static str,
    /// The lines of each standing, with the numbers of their calls.
    counts: Mutex<[BTreeMap<AccessEvent, u64>; STANDINGS]>,
}

impl AccessLog {
    /// The log of the listener with this name.
    pub fn new(listener: &'static str) -> Self {
        Self(Arc::new(Collected { listener, counts: Mutex::default() }))
    }

    /// Adds a call. Its line is written within five seconds, or when the process ends before.
    pub fn note(&self, event: AccessEvent) {
        if self.0.add(event) {
            let log = self.clone();
            tokio::spawn(async move {
                tokio::time::sleep(Duration::from_millis(COLLECT_MS)).await;
                log.0.write();
            });
        }
    }
}

impl Collected {
    /// Returns whether this is the first call since the lines were written.
    fn add(&self, event: AccessEvent) -> bool {
        let mut counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        let is_first = counts.iter().all(BTreeMap::is_empty);
        let lines = &mut counts[Standing::of(&event) as usize];
        let has_place = lines.len() < LINES_MAX || lines.contains_key(&event);
        let line = if has_place { event } else { AccessEvent { verdict: event.verdict, ..AccessEvent::default() } };
        *lines.entry(line).or_default() += 1;
        is_first
    }

    fn take(&self) -> impl Iterator<Item = (AccessEvent, u64)> + use<> {
        take(&mut *self.counts.lock().unwrap_or_else(PoisonError::into_inner)).into_iter().flatten()
    }

    fn write(&self) {
        let listener = self.listener;
        for (AccessEvent { who, from, method, verdict }, calls) in self.take() {
            let from = from.map(|address| address.to_string()).unwrap_or_default();
            match verdict {
                Verdict::LetIn => info!(listener, who, from, method, calls, "calls were let in"),
                Verdict::Sender(reason) => {
                    warn!(listener, reason, who, from, method, calls, "calls were refused because of who sent them");
                }
                Verdict::Request(reason) => {
                    warn!(listener, reason, who, from, method, calls, "calls were refused because of what they asked");
                }
            }
        }
    }
}

impl Drop for Collected {
    fn drop(&mut self) {
        self.write();
    }
}

#[cfg(test)]
impl AccessLog {
    /// The calls that are noted but not written yet, with the number of equal calls.
    pub(crate) fn noted(&self) -> Vec<(AccessEvent, u64)> {
        let mut noted: Vec<_> = self.0.take().collect();
        noted.sort();
        noted
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(who: &str, verdict: Verdict) -> AccessEvent {
        AccessEvent { who: who.to_owned(), from: Some([10, 0, 0, 7].into()), method: "Pay", verdict }
    }

    #[tokio::test(start_paused = true)]
    async fn equal_calls_share_a_line_until_it_is_written() {
        let log = AccessLog::new("grpc");
        let merchant = Verdict::Sender("merchant");
        for (who, verdict) in [("a", Verdict::LetIn), ("b", Verdict::LetIn), ("a", Verdict::LetIn), ("a", merchant)] {
            log.note(event(who, verdict));
        }
        let expected = [(event("a", Verdict::LetIn), 2), (event("a", merchant), 1), (event("b", Verdict::LetIn), 1)];
        assert_eq!(log.noted(), expected);
        log.note(event("a", Verdict::LetIn));
        tokio::time::sleep(Duration::from_millis(2 * COLLECT_MS)).await;
        assert_eq!(log.noted(), [], "it was written");
    }

    #[tokio::test(start_paused = true)]
    async fn a_flood_of_callers_costs_a_bounded_number_of_lines_and_each_call_is_counted() {
        let log = AccessLog::new("grpc");
        for number in 0..10_000 {
            log.note(event(&format!("caller {number}"), Verdict::Request("rate")));
        }
        let noted = log.noted();
        assert_eq!(noted.len(), LINES_MAX + 1);
        assert_eq!(noted.iter().map(|(_, calls)| calls).sum::<u64>(), 10_000);
    }

    #[tokio::test(start_paused = true)]
    async fn a_flood_from_strangers_hides_no_known_caller() {
        let log = AccessLog::new("pos_http");
        let stranger = Verdict::Sender("signature");
        for number in 0_u32..10_000 {
            for who in ["", "merchant M1"] {
                log.note(AccessEvent { from: Some(std::net::Ipv4Addr::from(number).into()), ..event(who, stranger) });
            }
        }
        let known = [event("merchant M2", Verdict::LetIn), event("merchant M2", Verdict::Request("rate"))];
        known.clone().into_iter().for_each(|event| log.note(event));
        let noted = log.noted();
        assert!(known.iter().all(|event| noted.contains(&(event.clone(), 1))), "{noted:?}");
        assert!(noted.len() <= STANDINGS * (LINES_MAX + 1), "{}", noted.len());
        assert_eq!(noted.iter().map(|(_, calls)| calls).sum::<u64>(), 20_002);
    }
}
