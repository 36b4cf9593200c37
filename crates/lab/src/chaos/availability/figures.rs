//! The figures of each phase, which is one kind of failure of one target: how long payments wait
//! while it lasts, and which end otherwise than approved.

use std::collections::BTreeMap;

use serde::Serialize;
use twqr_loadgen::{CallResult, TradeKey, latency_histogram};
use twqr_types::StatusCode;
use twqr_wire::pos::{OrderStatus, QueryResponse};

use super::{
    Target,
    faults::{Cause, Fault, How, target_name},
    load::Payment,
};
use crate::quantile::quantile_ms;

/// The figures of one phase.
#[derive(Clone, Debug, Default, Serialize)]
pub(super) struct Phase {
    /// The target of the failures; none in the calm phase.
    pub(super) target: String,
    /// How it failed.
    pub(super) how: String,
    /// The number of failures.
    pub(super) faults: usize,
    /// The longest stretch around a failure in which an affected half had no final answer, in ms:
    /// the median and the maximum over all failures.
    pub(super) pause_ms_median: u64,
    pub(super) pause_ms_max: u64,
    /// The p99 latency of payments that began between a failure and its recovery, in ms.
    pub(super) p99_ms_meanwhile: f64,
    /// The p99 latency of all payments of the phase, in ms.
    pub(super) p99_ms: f64,
    /// The payments of the phase; the issuers would approve all of them.
    pub(super) payments: usize,
    /// How many were first answered as in progress.
    pub(super) answered_in_progress: usize,
    /// How many ended otherwise than paid, by side and final StatusCode.
    pub(super) otherwise: usize,
    pub(super) otherwise_by_code: BTreeMap<String, usize>,
    /// Tasks between a failed worker's committed position and its successor's claim.
    pub(super) tasks_at_risk: u64,
}

impl Phase {
    /// The share of payments that ended otherwise, from 0.0 to 1.0.
    pub(super) fn share(&self) -> f64 {
        if self.payments == 0 { 0.0 } else { self.otherwise as f64 / self.payments as f64 }
    }
}

/// A failure with the time until which payments belong to it, in ms since the load began.
struct Window<'a> {
    fault: &'a Fault,
    end_ms: u64,
}

/// The figures of each phase, in the order in which the phases began.
pub(super) fn phases(
    payments: &[Payment],
    orders: &BTreeMap<TradeKey, QueryResponse>,
    faults: &[Fault],
    task_partitions: u32,
) -> Vec<Phase> {
    let ends = faults.iter().skip(1).map(|fault| fault.began_ms);
    let ends = ends.chain(faults.last().map(|fault| fault.ended_ms));
    let windows: Vec<Window<'_>> = faults.iter().zip(ends).map(|(fault, end_ms)| Window { fault, end_ms }).collect();
    // A payment belongs to the first failure that it met, or else to the calm.
    let mut by_window: Vec<Vec<&Payment>> = vec![Vec::new(); windows.len()];
    for payment in payments {
        let met = |window: &Window<'_>| payment.ended_ms() >= window.fault.began_ms && payment.began_ms < window.end_ms;
        let failure = windows.iter().position(|window| window.fault.what.is_some() && met(window));
        if let Some(at) = failure.or_else(|| windows.iter().position(met)) {
            by_window[at].push(payment);
        }
    }
    let mut phases: Vec<(Cause, Vec<usize>)> = Vec::new();
    for (at, window) in windows.iter().enumerate() {
        match phases.last_mut().filter(|(what, _)| *what == window.fault.what) {
            Some((_, members)) => members.push(at),
            None => phases.push((window.fault.what, vec![at])),
        }
    }
    let phase = |(what, members): (Cause, Vec<usize>)| {
        let target = what.map(|(target, _)| target);
        let groups = completions(payments, target, task_partitions);
        let pauses = members.iter().map(|at| longest_pause(&groups, &windows[*at])).collect();
        let members: Vec<_> = members.iter().map(|at| (windows[*at].fault, by_window[*at].as_slice())).collect();
        figures(what, &members, pauses, orders)
    };
    phases.into_iter().map(phase).collect()
}

fn figures(
    what: Cause,
    members: &[(&Fault, &[&Payment])],
    mut pauses: Vec<u64>,
    orders: &BTreeMap<TradeKey, QueryResponse>,
) -> Phase {
    pauses.sort_unstable();
    let (mut meanwhile, mut all) = (latency_histogram(), latency_histogram());
    let mut phase = Phase {
        target: what.map_or_else(|| "none".to_owned(), |(target, _)| target_name(target)),
        how: what.map_or("calm", |(_, how)| if how == How::Killed { "killed" } else { "suspended" }).to_owned(),
        faults: members.len(),
        pause_ms_median: pauses.get(pauses.len() / 2).copied().unwrap_or_default(),
        pause_ms_max: pauses.last().copied().unwrap_or_default(),
        tasks_at_risk: members.iter().map(|(fault, _)| fault.tasks_at_risk).sum(),
        ..Phase::default()
    };
    for (fault, payments) in members {
        for payment in *payments {
            all.saturating_record(payment.result.latency_us);
            if payment.began_ms <= fault.recovered_ms {
                meanwhile.saturating_record(payment.result.latency_us);
            }
            phase.payments += 1;
            phase.answered_in_progress += usize::from(payment.result.answer.is_ok() && !payment.is_final());
            if let Some(code) = otherwise(&payment.result, orders) {
                phase.otherwise += 1;
                let side = if payment.is_wallet { "wallet" } else { "fisc" };
                *phase.otherwise_by_code.entry(format!("{side} {code}")).or_default() += 1;
            }
        }
    }
    (phase.p99_ms_meanwhile, phase.p99_ms) = (quantile_ms(&meanwhile, 0.99), quantile_ms(&all, 0.99));
    phase
}

/// How a payment ended, if not as paid: the StatusCode, or why there is none.
pub(crate) fn otherwise(result: &CallResult, orders: &BTreeMap<TradeKey, QueryResponse>) -> Option<String> {
    if result.answer.as_ref().is_ok_and(|answer| answer.status_code == StatusCode::SUCCESS) {
        return None;
    }
    let Some(order) = orders.get(&result.key) else { return Some("no order".to_owned()) };
    match (order.order_status(), &order.payment) {
        (OrderStatus::Paid, _) => None,
        (OrderStatus::InProgress, _) => Some("in progress".to_owned()),
        (_, Some(payment)) => Some(payment.status_code.clone()),
        (_, None) => Some("no payment".to_owned()),
    }
}

/// When final answers arrived, in ms and sorted, for each group of payments that the failure of one
/// process hits as a whole.
fn completions(payments: &[Payment], target: Option<Target>, task_partitions: u32) -> Vec<Vec<u64>> {
    let by_partition = |payment: &Payment| payment.shard.map(|shard| u32::from(shard) % task_partitions.max(1));
    let group = |payment: &Payment| match target {
        Some(Target::Ingress) => Some(payment.ingress as u32),
        Some(Target::WalletWorker) => by_partition(payment).filter(|_| payment.is_wallet),
        Some(Target::FiscWorker) => by_partition(payment).filter(|_| !payment.is_wallet),
        Some(Target::Router | Target::Leader) | None => payment.shard.map(u32::from),
        Some(Target::Tracker) => Some(0),
    };
    let mut groups: BTreeMap<u32, Vec<u64>> = BTreeMap::new();
    for payment in payments.iter().filter(|payment| payment.is_final()) {
        if let Some(group) = group(payment) {
            groups.entry(group).or_default().push(payment.ended_ms());
        }
    }
    let mut groups: Vec<Vec<u64>> = groups.into_values().collect();
    for group in &mut groups {
        group.sort_unstable();
    }
    groups
}

/// The longest stretch without a final answer in any group, among those that reach into the window;
/// a stretch is cut off at the window's end.
fn longest_pause(groups: &[Vec<u64>], window: &Window<'_>) -> u64 {
    let began_ms = window.fault.began_ms;
    let in_group = |group: &Vec<u64>| {
        let first = group.partition_point(|at| *at < began_ms).saturating_sub(1);
        let until = group.partition_point(|at| *at < window.end_ms);
        let inside = group.get(first..until).unwrap_or_default();
        let last = inside.last().copied().unwrap_or(began_ms);
        let gaps = inside.windows(2).map(|two| two[1] - two[0]);
        gaps.chain([window.end_ms.saturating_sub(last)]).max().unwrap_or_default()
    };
    groups.iter().map(in_group).max().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use twqr_wire::pos::PayResponse;

    use super::*;

    /// A payment of a side and shard that began and was answered at these times, with this code.
    fn payment(number: u64, is_wallet: bool, shard: u16, (began_ms, ended_ms): (u64, u64), code: &str) -> Payment {
        let answer = Ok(PayResponse { status_code: code.into(), ..PayResponse::default() });
        let key = ("M".to_owned(), number.to_string());
        let result = CallResult { key, latency_us: (ended_ms - began_ms) * 1_000, answer };
        Payment { began_ms, ingress: usize::from(shard % 2), is_wallet, shard: Some(shard), result }
    }

    fn fault(target: Target, began_ms: u64, recovered_ms: u64) -> Fault {
        Fault { what: Some((target, How::Killed)), began_ms, recovered_ms, ended_ms: recovered_ms, tasks_at_risk: 2 }
    }

    /// Every 10 ms a payment of the wallet and one of FISC on shards 0 and 1, answered 1 ms later.
    /// The wallet's shard 1 answers nothing between 1,000 and 1,700 ms; one payment there fails.
    fn load() -> Vec<Payment> {
        let mut payments = Vec::new();
        for n in 0..400 {
            let at = n / 4 * 20;
            let (is_wallet, shard) = (n % 2 == 0, (n / 2 % 2) as u16);
            let stuck = is_wallet && shard == 1 && (1_000..1_700).contains(&at);
            let ended = if stuck { 1_700 } else { at + 1 };
            payments.push(payment(n, is_wallet, shard, (at, ended), if at == 1_500 && stuck { "982" } else { "000" }));
        }
        payments
    }

    #[test]
    fn a_pause_is_the_longest_stretch_without_an_answer_on_the_affected_half() {
        let faults = [Fault::calm(100, 900), fault(Target::WalletWorker, 1_000, 1_800)];
        let phases = phases(&load(), &BTreeMap::new(), &faults, 2);
        assert_eq!((phases[0].pause_ms_max, phases[0].how.as_str()), (20, "calm"));
        assert_eq!((phases[1].pause_ms_max, phases[1].faults), (1_700 - 981, 1));
        assert_eq!((phases[1].otherwise, phases[1].tasks_at_risk), (1, 2), "{:?}", phases[1]);
        assert_eq!(phases[1].otherwise_by_code, [("wallet no order".to_owned(), 1)].into());
        for (target, pause) in
            [(Target::FiscWorker, 20), (Target::Ingress, 20), (Target::Router, 20), (Target::Tracker, 20)]
        {
            let found = longest_pause(
                &completions(&load(), Some(target), 2),
                &Window { fault: &fault(target, 1_000, 1_800), end_ms: 1_800 },
            );
            assert_eq!(found, pause, "{target:?}: the other side still answers on each shard");
        }
    }

    #[test]
    fn an_order_that_was_paid_in_the_end_did_not_end_otherwise() {
        let of = |status: OrderStatus, code: &str| QueryResponse {
            order_status: Some(status.into()),
            payment: Some(twqr_wire::pos::PayResponse { status_code: code.into(), ..Default::default() }),
            ..QueryResponse::default()
        };
        let unfinished = payment(1, true, 0, (0, 9), "982");
        for (status, code, expected) in [
            (OrderStatus::Paid, "000", None),
            (OrderStatus::Failed, "982", Some("982")),
            (OrderStatus::InProgress, "", Some("in progress")),
        ] {
            let orders = [(unfinished.result.key.clone(), of(status, code))].into();
            assert_eq!(otherwise(&unfinished.result, &orders).as_deref(), expected);
        }
    }
}
