//! Prints the measurement: one JSON line, a table, and which goals were reached.

use serde_json::json;
use twqr_files::print_line;
use twqr_loadgen::Audit;

use super::figures::Phase;

/// The goals: the longest pause after a failure, and p99 over a phase, in ms.
const PAUSE_MS_GOAL: u64 = 1_500;
const P99_MS_GOAL: f64 = 2_500.0;

/// Prints the report.
pub(super) fn print(phases: &[Phase], found: &Audit, payments: usize, unanswered: usize) -> std::io::Result<()> {
    print_line(json!({
        "load": "open loop, Poisson, latency from the intended start, nothing trimmed",
        "payments": payments, "without_an_answer": unanswered,
        "charged_twice": found.charged_twice.len(), "lost": found.lost.len(), "contradicted": found.contradicted.len(),
        "phases": phases,
    }))?;
    print_line(
        "pause: the longest stretch without a final answer on the affected half; meanwhile: from the failure to the recovery",
    )?;
    print_line(format_args!(
        "{:<14} {:<9} {:>4} {:>10} {:>9} {:>14} {:>8} {:>8} {:>9} {:>7} {:>7}  missed goals",
        "target",
        "how",
        "n",
        "pause med",
        "max (ms)",
        "p99 meanwhile",
        "p99",
        "payments",
        "otherwise",
        "share",
        "tasks"
    ))?;
    for phase in phases {
        print_line(format_args!(
            "{:<14} {:<9} {:>4} {:>10} {:>9} {:>14.0} {:>8.0} {:>8} {:>9} {:>6.2}% {:>7}  {}",
            phase.target,
            phase.how,
            phase.faults,
            phase.pause_ms_median,
            phase.pause_ms_max,
            phase.p99_ms_meanwhile,
            phase.p99_ms,
            phase.payments,
            phase.otherwise,
            phase.share() * 100.0,
            phase.tasks_at_risk,
            missed_goals(phase).join(", "),
        ))?;
    }
    Ok(())
}

/// The goals that a phase missed. Only issuers that are not idempotent may lose payments, and only
/// as many as tasks were at risk.
fn missed_goals(phase: &Phase) -> Vec<&'static str> {
    let at_wallet: usize =
        phase.otherwise_by_code.iter().filter(|(code, _)| code.starts_with("wallet")).map(|(_, count)| count).sum();
    let others = phase.otherwise - at_wallet;
    [
        (phase.pause_ms_max > PAUSE_MS_GOAL, "pause"),
        (phase.p99_ms >= P99_MS_GOAL, "p99"),
        (at_wallet > 0, "wallet payments failed"),
        (others as u64 > phase.tasks_at_risk, "more failed than tasks at risk"),
    ]
    .into_iter()
    .filter_map(|(is_missed, name)| is_missed.then_some(name))
    .collect()
}
