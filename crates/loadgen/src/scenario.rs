//! A load scenario: what is sent when, by which merchants, to what kind of system, which failures
//! are caused, and which figures the run must reach. It is a TOML file; [`Scenario::parse`] names
//! every fault in it with its line. `scenario/keys.rs` explains each key.

mod check;
mod keys;
mod threshold;

use std::{collections::BTreeMap, time::Duration};

use serde::Deserialize;

pub use keys::{KEYS, ScenarioKey, explain};
pub use threshold::{FIGURES, FigureName, Threshold};

/// A scenario, as it is written in TOML. `keys.rs` has the meaning, range and default of each
/// field.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Scenario {
    /// What the scenario shows, for the report.
    pub description: String,
    /// The seed of all draws.
    pub seed: u64,
    /// How starts are spread over time.
    pub arrivals: Arrivals,
    /// The parts of the run, in order; at least one.
    #[serde(rename = "phase")]
    pub phases: Vec<LoadPhase>,
    /// Weights of the kinds of calls.
    pub mix: Mix,
    /// Weights of the issuers of new payments: `wallet` or an institution code.
    pub issuers: BTreeMap<String, f64>,
    /// The merchants that send.
    pub merchants: MerchantChoice,
    /// How the client behaves.
    pub client: ClientChoice,
    /// The system that is started for the run.
    pub system: SystemChoice,
    /// Failures that are caused while the load runs.
    #[serde(rename = "fault")]
    pub faults: Vec<PlannedFault>,
    /// The limits beyond which a run is invalid.
    pub validity: ValidityLimits,
    /// Conditions such as `p99_ms <= 25`.
    pub thresholds: Vec<String>,
    /// Calls that take longer are listed with the hop that made them slow, in ms.
    pub slow_ms: f64,
    /// The simulator's fault script.
    pub simulator: toml::Table,
}

/// How starts are spread over time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Arrivals {
    /// At random times, independent of each other.
    Poisson,
    /// At equal distances.
    Even,
}

/// The course of the rate within a phase.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum PhaseKind {
    /// One constant rate.
    Hold,
    /// A straight line from `rate` to `to_rate`.
    Ramp,
    /// Up and down between `rate` and `to_rate`, each `period_s`.
    Wave,
    /// From `rate` up to `to_rate` by `step`; each level takes `seconds`. Ends at the knee.
    Steps,
    /// No starts at all.
    Idle,
}

/// A part of a run.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LoadPhase {
    /// The course of the rate.
    pub kind: PhaseKind,
    /// Duration in s; of each level, where there are levels.
    pub seconds: f64,
    /// Starts per second.
    #[serde(default)]
    pub rate: f64,
    /// The other rate of a ramp, a wave or steps.
    #[serde(default)]
    pub to_rate: f64,
    /// Duration of a wave in s.
    #[serde(default)]
    pub period_s: f64,
    /// Difference between two levels, in starts per second.
    #[serde(default)]
    pub step: f64,
    /// Steps end after the first level whose p99 is above this, in ms.
    #[serde(default = "keys::knee_p99_ms")]
    pub knee_p99_ms: f64,
    /// Whether its calls are left out of the figures.
    #[serde(default)]
    pub warm_up: bool,
}

/// The weights of the kinds of calls, and shares of payments.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Mix {
    /// New payments, each under a new number.
    pub pay: f64,
    /// The same payment again, perhaps while the first one runs.
    pub repeat: f64,
    /// An earlier number with another amount.
    pub conflict: f64,
    /// Payments with invalid fields.
    pub invalid: f64,
    /// Inquiries about a payment.
    pub inquiry: f64,
    /// Refunds of a paid payment.
    pub refund: f64,
    /// Cancels of a paid payment.
    pub cancel: f64,
    /// Share of the new payments that their issuer declines.
    pub declined: f64,
    /// Share of the calls that use the signed HTTP form.
    pub http: f64,
    /// Share of the calls, payments only, that are sent over streams.
    pub grpc_stream: f64,
}

/// The merchants that send.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct MerchantChoice {
    /// Number of generated merchants.
    pub count: u32,
    /// A file with one merchant per line; empty: generated ones.
    pub file: String,
    /// Exponent of Zipf's law over the merchants; 0 is even.
    pub skew: f64,
    /// Share of the payments that belong to the first merchant.
    pub hot_share: f64,
}

/// The client's behaviour.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ClientChoice {
    /// Connections to each endpoint.
    pub connections: u32,
    /// Threads that send.
    pub threads: u32,
    /// Deadline of one attempt, in ms.
    pub deadline_ms: u64,
    /// Attempts for each call.
    pub attempts: u32,
    /// Pause between attempts, in ms.
    pub retry_pause_ms: u64,
    /// Calls in flight at most; further starts are dropped.
    pub in_flight_max: u32,
    /// Time that orders have to become final after the last start, in s.
    pub settle_s: u64,
    /// Share of the calls that ask for their hops.
    pub hops_share: f64,
}

/// How the services are started.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum SystemShape {
    /// One process on the embedded journal.
    AllInOne,
    /// A process for each service, on Kafka.
    ProcessForEach,
    /// Two of each service, on Kafka.
    TwoOfEach,
}

/// How durable an acknowledged record must be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Durability {
    /// On a disk, or acknowledged by a broker.
    Disk,
    /// On at least two brokers of three.
    Replicated,
}

/// The system that is started for the run.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct SystemChoice {
    /// How the services are divided into processes.
    pub shape: SystemShape,
    /// The durability that the run requires; a weaker system makes it invalid.
    pub durability: Durability,
    /// The limit of each merchant at an ingress, in calls per second; 0 for none.
    pub merchant_calls_per_s: u32,
    /// Orders that the system holds before the run.
    pub orders_held: u64,
}

/// The kinds of planned faults.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum FaultAction {
    /// SIGKILL, and a new start after `for_s`.
    Kill,
    /// SIGTERM, and a new start at once.
    Restart,
    /// SIGTERM and a new start of each process in turn.
    RestartAll,
    /// SIGSTOP, and SIGCONT after `for_s`.
    Suspend,
    /// SIGKILL of a broker, and a new start after `for_s`.
    KillBroker,
    /// Calls of a further merchant at `rate` for `for_s`, apart from the load.
    Flood,
    /// The same of a further caller with limits of its own, for merchants of its own. The system
    /// then lets in only callers, and callers send the load.
    FloodCaller,
}

impl FaultAction {
    /// Whether calls are sent apart from the load.
    pub const fn is_flood(self) -> bool {
        matches!(self, Self::Flood | Self::FloodCaller)
    }
}

/// A failure that is caused while the load runs.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PlannedFault {
    /// When it begins, in s after the first start.
    pub at_s: f64,
    /// The fault that is caused at the process or broker.
    pub action: FaultAction,
    /// The process, such as `router-0`, or the broker's number.
    #[serde(default)]
    pub process: String,
    /// How long it lasts, in s.
    #[serde(default)]
    pub for_s: f64,
    /// The calls per second of a flood.
    #[serde(default)]
    pub rate: f64,
    /// The limit of a caller that floods, in calls per second.
    #[serde(default)]
    pub calls_per_s: u32,
    /// The limit of a caller that floods, in calls at once.
    #[serde(default)]
    pub calls_max: u32,
}

/// The limits beyond which a run is invalid.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ValidityLimits {
    /// Highest p99 of the generator's own lateness, in ms.
    pub start_lag_p99_ms: f64,
    /// Highest share of a core that a sending thread may use in any 5 s.
    pub generator_cpu_share: f64,
    /// Highest share of the machine that other processes may use on average.
    pub others_cpu_share: f64,
}

/// A fault in a scenario file.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {place}: {what}")]
pub struct ScenarioFault {
    /// The line, from 1.
    pub line: usize,
    /// The key, such as `phase.rate`.
    pub place: String,
    /// The fault, and the allowed values.
    pub what: String,
}

impl Scenario {
    /// Parses and checks a file's text. Returns every fault, in the order of lines.
    pub fn parse(text: &str) -> Result<Self, Vec<ScenarioFault>> {
        check::parse(text)
    }

    /// The planned flood of a caller, of which a scenario has at most one.
    pub fn flood_of_caller(&self) -> Option<&PlannedFault> {
        self.faults.iter().find(|fault| fault.action == FaultAction::FloodCaller)
    }

    /// The thresholds; malformed ones were refused by [`Scenario::parse`].
    pub fn checked_thresholds(&self) -> Vec<Threshold> {
        self.thresholds.iter().filter_map(|text| Threshold::parse(text).ok()).collect()
    }

    /// Multiplies every rate and the limits of merchants and callers, and every duration and fault
    /// time.
    #[must_use]
    pub fn scaled(mut self, rates: f64, times: f64) -> Self {
        for phase in &mut self.phases {
            (phase.rate, phase.to_rate, phase.step) = (phase.rate * rates, phase.to_rate * rates, phase.step * rates);
            (phase.seconds, phase.period_s) = (phase.seconds * times, phase.period_s * times);
        }
        for fault in &mut self.faults {
            (fault.at_s, fault.for_s) = (fault.at_s * times, fault.for_s * times);
            fault.rate *= rates;
            // At the same latency, calls in progress are proportional to the rate.
            (fault.calls_per_s, fault.calls_max) =
                (scaled_limit(fault.calls_per_s, rates), scaled_limit(fault.calls_max, rates));
        }
        self.system.merchant_calls_per_s = scaled_limit(self.system.merchant_calls_per_s, rates);
        self
    }
}

/// Multiplies a limit, which stays at least 1, since 0 means no limit.
fn scaled_limit(limit: u32, factor: f64) -> u32 {
    let whole = Duration::from_secs_f64((f64::from(limit) * factor).ceil()).as_secs();
    u32::try_from(whole).unwrap_or(u32::MAX)
}

impl Default for Scenario {
    fn default() -> Self {
        Self {
            description: String::new(),
            seed: 7,
            arrivals: Arrivals::Poisson,
            phases: Vec::new(),
            mix: Mix::default(),
            issuers: BTreeMap::new(),
            merchants: MerchantChoice::default(),
            client: ClientChoice::default(),
            system: SystemChoice::default(),
            faults: Vec::new(),
            validity: ValidityLimits::default(),
            thresholds: Vec::new(),
            slow_ms: 100.0,
            simulator: toml::Table::new(),
        }
    }
}

impl Default for Mix {
    fn default() -> Self {
        Self {
            pay: 1.0,
            repeat: 0.0,
            conflict: 0.0,
            invalid: 0.0,
            inquiry: 0.0,
            refund: 0.0,
            cancel: 0.0,
            declined: 0.0,
            http: 0.0,
            grpc_stream: 0.0,
        }
    }
}

impl Default for MerchantChoice {
    fn default() -> Self {
        Self { count: 200, file: String::new(), skew: 0.0, hot_share: 0.0 }
    }
}

impl Default for ClientChoice {
    fn default() -> Self {
        Self {
            connections: 4,
            threads: 1,
            deadline_ms: 14_000,
            attempts: 1,
            retry_pause_ms: 50,
            in_flight_max: 20_000,
            settle_s: 90,
            hops_share: 0.05,
        }
    }
}

impl Default for SystemChoice {
    fn default() -> Self {
        Self { shape: SystemShape::AllInOne, durability: Durability::Disk, merchant_calls_per_s: 0, orders_held: 0 }
    }
}

impl Default for ValidityLimits {
    fn default() -> Self {
        Self { start_lag_p99_ms: 5.0, generator_cpu_share: 0.9, others_cpu_share: 0.1 }
    }
}

#[cfg(test)]
mod tests;
