//! Every key of a scenario file: its form, range, default and meaning. The check of a file, the
//! text of `twqr-lab load --explain`, and the tests all read this table, so no key lacks an
//! explanation.

use std::fmt::Write;

use super::threshold::FIGURES;
use crate::ISSUERS;

/// The allowed values of a key.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Form {
    /// Any text at all.
    Text,
    /// A list of texts.
    Texts,
    /// A whole number from the first to the second.
    Whole(i64, i64),
    /// A number from the first to the second.
    Number(f64, f64),
    /// True or false.
    Flag,
    /// One of these texts.
    OneOf(&'static [&'static str]),
    /// A table that another part of the program checks.
    Foreign,
}

/// A key of a scenario file.
#[derive(Clone, Copy, Debug)]
pub struct ScenarioKey {
    /// The key's name with its table, such as `phase.rate`; `*` stands for any name.
    pub path: &'static str,
    pub(super) form: Form,
    /// The default as TOML; empty if the key is required or only some phases use it.
    pub default: &'static str,
    /// The meaning of the key.
    pub about: &'static str,
}

/// The default of `phase.knee_p99_ms`.
pub(super) const fn knee_p99_ms() -> f64 {
    50.0
}

const fn key(path: &'static str, form: Form, default: &'static str, about: &'static str) -> ScenarioKey {
    ScenarioKey { path, form, default, about }
}

const RATE: Form = Form::Number(0.0, 1_000_000.0);
const SECONDS: Form = Form::Number(0.0, 604_800.0);
const WEIGHT: Form = Form::Number(0.0, 1_000_000.0);
const SHARE: Form = Form::Number(0.0, 1.0);

/// Every key, in the order in which a file usually has them.
pub const KEYS: &[ScenarioKey] = &[
    key("description", Form::Text, "\"\"", "What the scenario shows; printed at the top of the report"),
    key("seed", Form::Whole(0, i64::MAX), "7", "Seed of start times, kinds of calls, amounts, merchants and codes"),
    key(
        "arrivals",
        Form::OneOf(&["poisson", "even"]),
        "\"poisson\"",
        "Random independent start times, or starts at equal distances",
    ),
    key(
        "thresholds",
        Form::Texts,
        "[]",
        "Conditions such as \"p99_ms <= 25\": a figure, one of < <= > >= ==, and a number. A missed one gives exit code 2",
    ),
    key(
        "slow_ms",
        Form::Number(0.1, 600_000.0),
        "100.0",
        "Calls that take longer than this, in ms, are listed in the report, each with the hop that took longer than usual",
    ),
    key(
        "phase.kind",
        Form::OneOf(&["hold", "ramp", "wave", "steps", "idle"]),
        "",
        "hold keeps `rate`; ramp goes straight from `rate` to `to_rate`; wave goes up and down between them; steps \
         climbs a staircase; idle sends nothing",
    ),
    key("phase.seconds", SECONDS, "", "Duration in s; of each level, in steps"),
    key("phase.rate", RATE, "", "Calls that start per second; the first rate of a ramp, wave or steps"),
    key("phase.to_rate", RATE, "", "The last rate of a ramp or of steps, the highest of a wave"),
    key("phase.period_s", SECONDS, "", "Duration of one up and down of a wave, in s"),
    key("phase.step", RATE, "", "Difference between two levels of steps"),
    key(
        "phase.knee_p99_ms",
        Form::Number(0.1, 600_000.0),
        "50.0",
        "Steps end after the first level of which more than 1 % take longer than this, in ms: the knee",
    ),
    key("phase.warm_up", Form::Flag, "false", "Leave the phase's calls out of all figures; they are still reconciled"),
    key("mix.pay", WEIGHT, "1.0", "Weight of new payments among all calls"),
    key("mix.repeat", WEIGHT, "0.0", "Weight of repeats of a recent payment, answered or not"),
    key("mix.conflict", WEIGHT, "0.0", "Weight of payments under a used number with another amount; must be refused"),
    key("mix.invalid", WEIGHT, "0.0", "Weight of payments with invalid fields; must be refused"),
    key("mix.inquiry", WEIGHT, "0.0", "Weight of inquiries about an answered payment"),
    key("mix.refund", WEIGHT, "0.0", "Weight of refunds of a paid payment, each payment at most once"),
    key("mix.cancel", WEIGHT, "0.0", "Weight of cancels of a paid payment"),
    key("mix.declined", SHARE, "0.0", "Share of the new payments with a code that the simulator declines (928)"),
    key("mix.http", SHARE, "0.0", "Share of the calls sent in the signed HTTP form; the others use gRPC"),
    key(
        "mix.grpc_stream",
        SHARE,
        "0.0",
        "Share of the calls for which a payment is sent over a stream (PayStream), one on each connection, instead of \
         by a gRPC call of its own; inquiries, refunds and cancels have no stream. With mix.http at most 1",
    ),
    key(
        "issuers.*",
        WEIGHT,
        "",
        "Weight of an issuer among new payments: `wallet` or an institution code of the default policy. Without any: \
         wallet 50, 389 and 004 25 each",
    ),
    key("merchants.count", Form::Whole(1, 9_999_999), "200", "Number of generated merchants"),
    key(
        "merchants.file",
        Form::Text,
        "\"\"",
        "A file with one merchant per line: the MerchantID, for the HTTP form a comma and the key. Replaces `count`",
    ),
    key("merchants.skew", Form::Number(0.0, 5.0), "0.0", "Exponent of Zipf's law over the merchants; 0 is even"),
    key("merchants.hot_share", SHARE, "0.0", "Share of the new payments that belong to the first merchant"),
    key("client.connections", Form::Whole(1, 1_024), "4", "gRPC connections to each endpoint"),
    key("client.threads", Form::Whole(1, 64), "1", "Threads that send; more if the generator is CPU-bound"),
    key("client.deadline_ms", Form::Whole(10, 600_000), "14000", "Deadline of one attempt, in ms"),
    key("client.attempts", Form::Whole(1, 10_000), "1", "Attempts for each call, under the same number"),
    key("client.retry_pause_ms", Form::Whole(1, 60_000), "50", "Pause before the next attempt, in ms"),
    key(
        "client.in_flight_max",
        Form::Whole(1, 1_000_000),
        "20000",
        "Calls in flight at most. A start beyond them is dropped, which makes the run invalid",
    ),
    key(
        "client.settle_s",
        Form::Whole(1, 3_600),
        "90",
        "Time that orders have to become final after the last start, in s",
    ),
    key(
        "client.hops_share",
        SHARE,
        "0.05",
        "Share of the calls that ask where their time goes (header twqr-hops), for the report",
    ),
    key(
        "system.shape",
        Form::OneOf(&["all-in-one", "process-for-each", "two-of-each"]),
        "\"all-in-one\"",
        "What is started: one process on the embedded journal; a process for each service on Kafka; two of each",
    ),
    key(
        "system.durability",
        Form::OneOf(&["disk", "replicated"]),
        "\"disk\"",
        "What the run needs: records on a disk, or on at least two of three brokers. A weaker system makes it invalid",
    ),
    key(
        "system.merchant_calls_per_s",
        Form::Whole(0, 1_000_000),
        "0",
        "The limit of each merchant at an ingress (fairness.merchant_calls_per_s); 0 for none",
    ),
    key(
        "system.orders_held",
        Form::Whole(0, 100_000_000),
        "0",
        "Paid orders that the system holds before the run; they are written to the log before the services start",
    ),
    key("fault.at_s", SECONDS, "", "When the failure begins, in s after the first start"),
    key(
        "fault.action",
        Form::OneOf(&["kill", "restart", "restart-all", "suspend", "kill-broker", "flood", "flood-caller"]),
        "",
        "kill, suspend and floods end after `for_s`; restart stops and starts one process, restart-all each in turn; \
         flood sends calls of a further merchant, flood-caller of a further caller. With a flood-caller the system \
         lets in only callers with API keys (access.required): four of them send the load that uses gRPC. A flood of \
         which no call is refused as too many makes the run invalid; a flood-caller needs such refusals for both of \
         its limits",
    ),
    key("fault.process", Form::Text, "", "The process: `up` or a name such as `router-0`; for kill-broker its number"),
    key(
        "fault.for_s",
        SECONDS,
        "",
        "How long a killed process is down, a suspended one stands still, or a flood lasts, in s",
    ),
    key(
        "fault.rate",
        Form::Number(0.0, 100_000.0),
        "",
        "The calls per second of a flood: inquiries of a further merchant, or of a further caller for its merchants",
    ),
    key(
        "fault.calls_per_s",
        Form::Whole(0, 1_000_000),
        "",
        "The limit of the caller that floods at each ingress, in calls per second (access.callers.calls_per_s)",
    ),
    key(
        "fault.calls_max",
        Form::Whole(0, 1_000_000),
        "",
        "The limit of the caller that floods at each ingress, in calls at once (access.callers.calls_max)",
    ),
    key(
        "validity.start_lag_p99_ms",
        Form::Number(0.1, 60_000.0),
        "5.0",
        "Highest p99 of the time from a call's intended start until the client sends it, in ms",
    ),
    key(
        "validity.generator_cpu_share",
        SHARE,
        "0.9",
        "Highest share of a core that one sending thread may use, averaged over 5 s",
    ),
    key(
        "validity.others_cpu_share",
        SHARE,
        "0.1",
        "Highest share of the machine's CPU that processes outside the run may use on average",
    ),
    key(
        "simulator",
        Form::Foreign,
        "",
        "The simulator's fault script, with the keys of a script file such as load-tests/samples/simulator.toml",
    ),
];

impl ScenarioKey {
    /// The allowed values in words.
    pub(super) fn allowed(&self) -> String {
        match self.form {
            Form::Text => "a text".into(),
            Form::Texts => "a list of texts".into(),
            Form::Whole(0, i64::MAX) => "a whole number from 0".into(),
            Form::Whole(low, high) => format!("a whole number from {low} to {high}"),
            Form::Number(low, high) => format!("a number from {low} to {high}"),
            Form::Flag => "true or false".into(),
            Form::OneOf(names) => names.join(", "),
            Form::Foreign => "a table".into(),
        }
    }
}

/// Explains every key and every figure, for `twqr-lab load --explain`.
pub fn explain() -> String {
    let mut text = String::from("Keys of a scenario file ([[phase]] and [[fault]] may appear several times):\n");
    for key in KEYS {
        let default = if key.default.is_empty() { String::new() } else { format!("; default {}", key.default) };
        let _ = write!(text, "\n{}\n    {}.\n    {}{default}\n", key.path, key.about, key.allowed());
    }
    let institutions: Vec<&str> = ISSUERS.iter().skip(1).map(|codes| codes.issuer.as_wire()).collect();
    let _ = write!(text, "\nIssuers: wallet, {}.\n", institutions.join(", "));
    text.push_str("\nFigures that a threshold may name:\n\n");
    for figure in FIGURES {
        let _ = writeln!(text, "{:<24} {}", figure.name, figure.about);
    }
    text
}
