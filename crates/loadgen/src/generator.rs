//! The open-loop generator of scenarios. A pacer thread names each start at its time; sending
//! threads draw the call, send it and record it. Each sending thread has a runtime and connections
//! of its own, so a call never changes threads. Latency counts from the intended start.

mod answer;
mod hop_sample;
mod http_client;
mod progress;
mod record;
mod sender;

use std::{
    net::SocketAddr,
    sync::{Arc, atomic::Ordering},
    thread::JoinHandle,
    time::{Instant, SystemTime},
};

use tokio::sync::mpsc;
use twqr_tls::ClientTls;

use crate::{
    CallerKey,
    scenario::Scenario,
    schedule::{IntendedStart, Schedule, Segment, SystemPacerClock, pace},
    traffic::{MerchantList, Traffic},
};

pub use hop_sample::HopSample;
pub use http_client::signed_request;
pub use progress::{LoadProgress, ProgressNow};
pub use record::{CallRecord, Reply};

use sender::SentCalls;

#[cfg(test)]
pub(crate) use record::tests as record_tests;

/// The endpoints to which calls are sent.
#[derive(Clone, Debug)]
pub struct Targets {
    /// URIs of the public gRPC API, such as `http://127.0.0.1:17051`.
    pub grpc: Vec<String>,
    /// The address of the HTTP form; needed if the scenario uses it.
    pub http: Option<SocketAddr>,
    /// The certificates for URIs that begin with `https://`.
    pub tls: Option<ClientTls>,
    /// The callers that send over gRPC, one on each connection in turn; if there are none, calls
    /// show no API key.
    pub callers: Vec<CallerKey>,
}

/// A run under way.
#[derive(Debug)]
pub struct LoadRun {
    progress: Arc<LoadProgress>,
    pacer: JoinHandle<()>,
    senders: Vec<JoinHandle<SentCalls>>,
    segments: Vec<Segment>,
    began: SystemTime,
    run: String,
}

/// Everything that a run recorded.
#[derive(Debug)]
pub struct RecordedRun {
    /// One record for each call that was handed to a sending thread, by intended start.
    pub records: Vec<CallRecord>,
    /// The hops of the calls that asked for them and got them.
    pub hops: Vec<HopSample>,
    /// The segments that the records name.
    pub segments: Vec<Segment>,
    /// Starts that were left out because too many calls were in flight.
    pub dropped: u64,
    /// When the run began.
    pub began: SystemTime,
    /// The beginning of the run's MerchantTradeNos.
    pub run: String,
}

impl RecordedRun {
    /// The calls that count in figures: all but those of warm-up phases.
    pub fn measured(&self) -> impl Iterator<Item = &CallRecord> {
        let is_warm_up =
            |record: &CallRecord| self.segments.get(usize::from(record.segment)).is_some_and(|s| s.warm_up);
        self.records.iter().filter(move |record| !is_warm_up(record))
    }
}

/// A run cannot begin.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// An endpoint is not a URI.
    #[error("{0:?} is not an address; use the form http://HOST:PORT, such as http://127.0.0.1:17051")]
    Endpoint(String),
    /// The scenario uses the HTTP form, and no address of it is known.
    #[error("the scenario sends calls in the HTTP form (mix.http), but its address is not known; name it with --http")]
    NoHttp,
    /// The weights are no distribution.
    #[error("the scenario's weights: {0}")]
    Weights(#[from] rand::distr::weighted::Error),
    /// A thread or its runtime cannot be started.
    #[error("a sending thread: {0}")]
    Thread(#[from] std::io::Error),
}

impl LoadRun {
    /// Starts the threads; the first call starts as soon as the schedule says. The run's
    /// MerchantTradeNos begin with `run`, which no earlier run may have used.
    pub fn start(
        scenario: &Scenario,
        merchants: &MerchantList,
        targets: &Targets,
        run: &str,
    ) -> Result<Self, LoadError> {
        if scenario.mix.http > 0.0 && targets.http.is_none() {
            return Err(LoadError::NoHttp);
        }
        let schedule = Schedule::new(scenario);
        let segments = schedule.segments().to_vec();
        let progress = Arc::new(LoadProgress::new(&segments));
        let began = SystemTime::now();
        let began_at = Instant::now();
        let threads = scenario.client.threads.max(1);
        let mut senders = Vec::new();
        let mut inputs = Vec::new();
        for thread in 0..threads {
            let (input, starts) = mpsc::unbounded_channel();
            inputs.push(input);
            let sender = sender::Sender::new(
                Traffic::new(scenario, merchants.clone(), run, thread, threads)?,
                merchants.clone(),
                scenario.client.clone(),
                targets,
                progress.clone(),
                began_at,
            )?;
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            let name = format!("load-sender-{thread}");
            senders.push(std::thread::Builder::new().name(name).spawn(move || runtime.block_on(sender.run(starts)))?);
        }
        let (shared, in_flight_max) = (progress.clone(), u64::from(scenario.client.in_flight_max));
        let pacer = std::thread::Builder::new().name("load-pacer".to_owned()).spawn(move || {
            pace_run(schedule, &shared, &inputs, in_flight_max, began_at);
        })?;
        Ok(Self { progress, pacer, senders, segments, began, run: run.to_owned() })
    }

    /// The counters of the run so far; they also end the run early.
    pub fn progress(&self) -> Arc<LoadProgress> {
        self.progress.clone()
    }

    /// Waits until every call is answered or given up. Blocks the thread.
    pub fn finish(self) -> RecordedRun {
        drop(self.pacer.join());
        let (mut records, mut hops) = (Vec::new(), Vec::new());
        for sent in self.senders.into_iter().map(|sender| sender.join().unwrap_or_default()) {
            records.extend(sent.records);
            hops.extend(sent.hops);
        }
        records.sort_by_key(|record| record.intended_us);
        RecordedRun {
            records,
            hops,
            segments: self.segments,
            dropped: self.progress.now().dropped,
            began: self.began,
            run: self.run,
        }
    }
}

fn pace_run(
    schedule: Schedule,
    progress: &LoadProgress,
    inputs: &[mpsc::UnboundedSender<IntendedStart>],
    in_flight_max: u64,
    began: Instant,
) {
    let mut turn = 0;
    let hand_over = |start: IntendedStart, _now_ns| {
        // A pacer that is late never waits, so it looks here too.
        if progress.stop.load(Ordering::Relaxed) {
            return false;
        }
        if progress.in_flight.load(Ordering::Relaxed) >= in_flight_max {
            progress.dropped.fetch_add(1, Ordering::Relaxed);
            return true;
        }
        progress.begin(start.segment);
        turn = (turn + 1) % inputs.len();
        inputs[turn].send(start).is_ok()
    };
    let mut clock = SystemPacerClock::new(began, || progress.stop.load(Ordering::Relaxed));
    pace(schedule, &mut clock, |level| progress.is_past_knee(level), hand_over);
    progress.pacing_ended.store(true, Ordering::Relaxed);
}
