//! Computes the resources that a load needs from the costs of a payment.

use super::costs::{
    BROKER_US, FISC_WORKER_US, FRAME_BYTES, INGRESS_US, MEASURED_RATE, OUTCOME_BYTES, PAY_BYTES, RATE_PER_SHARD,
    RATE_PER_TASK_PARTITION, READ_MODEL_ROW_BYTES, READ_MODEL_TIMELINE_BYTES, REPLY_BYTES, ROUTER_US, STATE_BYTES,
    STATES_PER_PAYMENT, STORE_BYTES, TASK_BYTES, TRACKER_US, WALLET_WORKER_US,
};

/// The load to plan for.
#[derive(Clone, Copy, Debug)]
pub(super) struct Load {
    /// Payments per second at the busiest time.
    pub(super) tps: u64,
    /// The average rate in percent of that.
    pub(super) average_percent: u64,
    pub(super) replication: u64,
    pub(super) retention_hours: u64,
    pub(super) orders_kept_days: u64,
    /// Cores of each pod, and of each broker.
    pub(super) pod_cores: u64,
    pub(super) broker_cores: u64,
}

/// One number of the plan.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Figure {
    pub(super) name: &'static str,
    pub(super) value: u64,
    pub(super) unit: &'static str,
    pub(super) basis: Basis,
    /// The basis of the computation.
    pub(super) from: String,
}

/// The reliability of a number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Basis {
    Measured,
    Extrapolated,
    Chosen,
}

impl Basis {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Measured => "measured",
            Self::Extrapolated => "extrapolated",
            Self::Chosen => "chosen",
        }
    }
}

/// The limits of the layout (`shards` and `kafka.replies_partitions` in the configuration).
const SHARDS_MAX: u64 = 1_024;
const REPLIES_PARTITIONS_MAX: u64 = 1_024;
/// The payments per second of one deployment: of its shards, and of its tracker, whichever is less.
const RATE_PER_DEPLOYMENT: u64 = {
    let of_shards = SHARDS_MAX * RATE_PER_SHARD;
    let of_tracker = TRACKER_CORES_MAX * US_PER_S * USED_PERCENT / 100 / TRACKER_US;
    if of_shards < of_tracker { of_shards } else { of_tracker }
};
/// How many shards one task partition may serve.
const SHARDS_PER_TASK_PARTITION_MAX: u64 = 128;
/// The numbers that new topics have at least.
const SHARDS_LEAST: u64 = 4;
const REPLIES_PARTITIONS_LEAST: u64 = 16;
/// The share of a core that is planned for, in percent: the rest is for failures and peaks.
const USED_PERCENT: u64 = 60;
/// Processes of each service at least, so that one takes over from the other.
const PROCESSES_LEAST: u64 = 2;
/// Up to so many routers each keeps the states of all shards (`standby`).
const STANDBY_ROUTERS_MAX: u64 = 4;
/// The cores that one tracker can use; its highest rate was not measured.
const TRACKER_CORES_MAX: u64 = 4;
/// How much more than the newest states `order-states` has until it is compacted, in percent.
const UNCOMPACTED_PERCENT: u64 = 50;
const US_PER_S: u64 = 1_000_000;
const GB: u64 = 1_000_000_000;

/// Computes the plan. A load that is beyond one deployment is divided among several; all numbers
/// but the first are those of each.
pub(super) fn plan(load: &Load) -> Vec<Figure> {
    let deployments = load.tps.div_ceil(RATE_PER_DEPLOYMENT);
    let each = Load { tps: load.tps.div_ceil(deployments), ..*load };
    let pods = Pods::of(&each);
    let mut figures = vec![Figure {
        name: "deployments",
        value: deployments,
        unit: "",
        basis: if deployments == 1 { Basis::Chosen } else { Basis::Extrapolated },
        from: format!(
            "{RATE_PER_DEPLOYMENT} payments/s on each: {SHARDS_MAX} shards at most, and one tracker reads all states"
        ),
    }];
    figures.extend(layout(&each, &pods));
    figures.extend(pods.figures(&each));
    figures.extend(storage(&each, &pods));
    figures
}

/// The cores that this CPU time for each payment takes, with the planned reserve.
fn cores(tps: u64, us: u64) -> u64 {
    (tps * us * 100).div_ceil(US_PER_S * USED_PERCENT).max(1)
}

/// How many processes of each service, and brokers.
struct Pods {
    ingress: u64,
    router: u64,
    wallet_worker: u64,
    fisc_worker: u64,
    brokers: u64,
}

impl Pods {
    fn of(load: &Load) -> Self {
        let pods = |us: u64| cores(load.tps, us).div_ceil(load.pod_cores).max(PROCESSES_LEAST);
        let broker_us = BROKER_US * load.replication;
        Self {
            ingress: pods(INGRESS_US),
            router: pods(ROUTER_US),
            wallet_worker: pods(WALLET_WORKER_US),
            fisc_worker: pods(FISC_WORKER_US),
            brokers: cores(load.tps, broker_us).div_ceil(load.broker_cores).max(load.replication),
        }
    }

    fn has_standbys(&self) -> bool {
        self.router <= STANDBY_ROUTERS_MAX
    }

    fn figures(&self, load: &Load) -> Vec<Figure> {
        let basis = of_rate(load.tps);
        let service = |name, value, us: u64| {
            let from = format!("{us} µs of CPU a payment, {} cores used by {USED_PERCENT} %", load.pod_cores);
            let is_least = value == PROCESSES_LEAST && cores(load.tps, us) <= load.pod_cores;
            let basis = if is_least { Basis::Chosen } else { basis };
            Figure { name, value, unit: "pods", basis, from }
        };
        let broker = format!(
            "{BROKER_US} µs of CPU a payment and copy, {} cores used by {USED_PERCENT} %; at least one for each copy",
            load.broker_cores
        );
        vec![
            service("ingress", self.ingress, INGRESS_US),
            service("router", self.router, ROUTER_US),
            service("wallet-worker", self.wallet_worker, WALLET_WORKER_US),
            service("fisc-worker", self.fisc_worker, FISC_WORKER_US),
            service("tracker", PROCESSES_LEAST, TRACKER_US),
            Figure {
                name: "cores of each tracker",
                value: cores(load.tps, TRACKER_US),
                unit: "cores",
                basis,
                from: format!("{TRACKER_US} µs of CPU a payment; every tracker reads all states"),
            },
            Figure { name: "brokers", value: self.brokers, unit: "pods", basis: broker_basis(load), from: broker },
        ]
    }
}

fn of_rate(tps: u64) -> Basis {
    if tps <= MEASURED_RATE { Basis::Measured } else { Basis::Extrapolated }
}

/// Costs of brokers were measured with one copy only.
fn broker_basis(load: &Load) -> Basis {
    if load.replication == 1 { of_rate(load.tps) } else { Basis::Extrapolated }
}

fn layout(load: &Load, pods: &Pods) -> Vec<Figure> {
    let shards = load.tps.div_ceil(RATE_PER_SHARD).max(SHARDS_LEAST);
    let replies_partitions = (pods.ingress * 2).clamp(REPLIES_PARTITIONS_LEAST, REPLIES_PARTITIONS_MAX);
    let task_partitions = load
        .tps
        .div_ceil(RATE_PER_TASK_PARTITION)
        .max(shards.div_ceil(SHARDS_PER_TASK_PARTITION_MAX))
        .max(if load.tps > MEASURED_RATE { pods.wallet_worker.max(pods.fisc_worker) } else { 1 })
        .min(shards);
    vec![
        Figure {
            name: "shards",
            value: shards,
            unit: "",
            basis: of_rate(load.tps),
            from: format!("{RATE_PER_SHARD} payments/s on each, {SHARDS_LEAST} at least"),
        },
        Figure {
            name: "task_partitions",
            value: task_partitions,
            unit: "",
            basis: of_rate(load.tps),
            from: format!("{RATE_PER_TASK_PARTITION} payments/s on each, and one for each worker"),
        },
        Figure {
            name: "kafka.replies_partitions",
            value: replies_partitions,
            unit: "",
            basis: Basis::Chosen,
            from: "two for each ingress, for rollouts".to_owned(),
        },
    ]
}

/// Bytes that a payment adds to topics that are kept for `retention_hours`.
const KEPT_BYTES: u64 = PAY_BYTES + OUTCOME_BYTES + TASK_BYTES + 3 * FRAME_BYTES;
/// Bytes of all states of a payment that are written.
const STATES_BYTES: u64 = STATES_PER_PAYMENT * (STATE_BYTES + FRAME_BYTES);
/// Bytes of all records of a payment.
const WRITTEN_BYTES: u64 = KEPT_BYTES + STATES_BYTES + REPLY_BYTES + FRAME_BYTES;

fn storage(load: &Load, pods: &Pods) -> Vec<Figure> {
    let average =
        |seconds: u64| (u128::from(load.tps) * u128::from(load.average_percent) * u128::from(seconds)).div_ceil(100);
    let orders = average(load.orders_kept_days * 86_400);
    let kept = average(load.retention_hours * 3_600) * u128::from(KEPT_BYTES);
    let states = orders * u128::from((STATE_BYTES + FRAME_BYTES) * (100 + UNCOMPACTED_PERCENT)) / 100;
    let per_broker = |bytes: u128| gb((bytes * u128::from(load.replication)).div_ceil(u128::from(pods.brokers)));
    let routers_with_order = if pods.has_standbys() { pods.router } else { 1 };
    let store = (orders * u128::from(STORE_BYTES * routers_with_order)).div_ceil(u128::from(pods.router));
    // Trackers and standbys read the states; every other record has one reader.
    let state_readers = PROCESSES_LEAST + if pods.has_standbys() { pods.router - 1 } else { 0 };
    let read_model = orders * u128::from(READ_MODEL_ROW_BYTES + READ_MODEL_TIMELINE_BYTES);
    let read = KEPT_BYTES + REPLY_BYTES + FRAME_BYTES + STATES_BYTES * state_readers;
    let copied = WRITTEN_BYTES * (load.replication - 1);
    let mbit = |bytes: u64| (load.tps * bytes * 8).div_ceil(1_000_000);
    let network = format!("{WRITTEN_BYTES} bytes a payment, and {} copies between brokers", load.replication - 1);
    let figure = |name, value, unit, basis, from: String| Figure { name, value, unit, basis, from };
    // The sizes of records were measured, but no network and no disk over such a time.
    let long = Basis::Extrapolated;
    vec![
        figure("network into all brokers", mbit(WRITTEN_BYTES + copied), "Mbit/s", long, network),
        figure(
            "network out of all brokers",
            mbit(read + copied),
            "Mbit/s",
            long,
            format!("one reader of each record, {state_readers} of each state, and the copies"),
        ),
        figure(
            "disk of each broker, requests",
            per_broker(kept),
            "GB",
            long,
            format!(
                "{KEPT_BYTES} bytes a payment for {} h at {} % of the peak",
                load.retention_hours, load.average_percent
            ),
        ),
        figure(
            "disk of each broker, states",
            per_broker(states),
            "GB",
            long,
            format!("{orders} orders of {STATE_BYTES} bytes, and {UNCOMPACTED_PERCENT} % not compacted yet"),
        ),
        figure(
            "disk of each router",
            gb(store),
            "GB",
            long,
            format!("{STORE_BYTES} bytes an order, on {routers_with_order} of {} routers", pods.router),
        ),
        figure(
            "disk of each tracker",
            gb(read_model),
            "GB",
            long,
            format!("{READ_MODEL_ROW_BYTES} bytes an order and {READ_MODEL_TIMELINE_BYTES} of its timeline, on each"),
        ),
        figure(
            "standby (1: true, 0: false)",
            u64::from(pods.has_standbys()),
            "",
            Basis::Chosen,
            format!("up to {STANDBY_ROUTERS_MAX} routers; with more, each would read and keep every order"),
        ),
    ]
}

fn gb(bytes: u128) -> u64 {
    u64::try_from(bytes.div_ceil(u128::from(GB))).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOAD: Load = Load {
        tps: 1_000,
        average_percent: 25,
        replication: 3,
        retention_hours: 168,
        orders_kept_days: 365,
        pod_cores: 2,
        broker_cores: 8,
    };

    fn value(load: &Load, name: &str) -> u64 {
        plan(load).into_iter().find(|figure| figure.name == name).unwrap().value
    }

    #[test]
    fn a_plan_follows_from_the_costs() {
        for (load, name, expected) in [
            (Load { tps: 1, ..LOAD }, "shards", 4),
            (Load { tps: 1, ..LOAD }, "router", 2),
            (Load { tps: 1, ..LOAD }, "brokers", 3),
            (Load { tps: 1, replication: 1, ..LOAD }, "brokers", 1),
            (Load { tps: 4_000, ..LOAD }, "shards", 4),
            (Load { tps: 4_000, ..LOAD }, "task_partitions", 1),
            (Load { tps: 4_001, ..LOAD }, "shards", 5),
            (Load { tps: 50_000, ..LOAD }, "shards", 50),
        ] {
            assert_eq!(value(&load, name), expected, "{name} at {load:?}");
        }
        // A day of 4,000/s at a quarter: 86.4 million orders.
        let day = Load { tps: 4_000, orders_kept_days: 1, replication: 1, ..LOAD };
        let expected = (86_400_000 * (STATE_BYTES + FRAME_BYTES) * 3 / 2).div_ceil(GB);
        assert_eq!(value(&day, "disk of each broker, states"), expected);
        let expected = (86_400_000 * (READ_MODEL_ROW_BYTES + READ_MODEL_TIMELINE_BYTES)).div_ceil(GB);
        assert_eq!(value(&day, "disk of each tracker"), expected);
    }

    #[test]
    fn what_was_not_measured_is_called_extrapolated() {
        for (tps, replication, name, expected) in [
            (4_000, 3, "shards", Basis::Measured),
            (4_001, 3, "shards", Basis::Extrapolated),
            (4_000, 1, "brokers", Basis::Measured),
            (4_000, 3, "brokers", Basis::Extrapolated),
            (100, 3, "router", Basis::Chosen),
            (100, 3, "disk of each router", Basis::Extrapolated),
            (100, 3, "disk of each tracker", Basis::Extrapolated),
        ] {
            let figures = plan(&Load { tps, replication, ..LOAD });
            let figure = figures.iter().find(|figure| figure.name == name).unwrap();
            assert_eq!(figure.basis, expected, "{name} at {tps}/s with {replication} copies");
        }
    }

    #[test]
    fn more_load_never_needs_less() {
        let mut loads: Vec<Load> = (0..17).map(|power| Load { tps: 1 << power, ..LOAD }).collect();
        loads.extend([70_000, 73_000].map(|tps| Load { tps, ..LOAD }));
        let grows = ["shards", "task_partitions", "ingress", "router", "wallet-worker", "brokers"];
        for pair in loads.windows(2) {
            for name in grows {
                let (less, more) = (value(&pair[0], name), value(&pair[1], name));
                assert!(less <= more, "{name}: {less} at {}/s, {more} at {}/s", pair[0].tps, pair[1].tps);
            }
        }
        let more_copies = Load { replication: 5, ..LOAD };
        assert!(value(&LOAD, "network into all brokers") < value(&more_copies, "network into all brokers"));
        let longer = Load { retention_hours: 8_760, orders_kept_days: 3_650, ..LOAD };
        for disk in ["broker, requests", "broker, states", "router", "tracker"] {
            let name = format!("disk of each {disk}");
            assert!(value(&LOAD, &name) < value(&longer, &name), "{name}");
        }
    }

    #[test]
    fn a_load_beyond_a_deployment_is_divided_among_several() {
        for (tps, deployments) in [(RATE_PER_DEPLOYMENT, 1), (RATE_PER_DEPLOYMENT + 1, 2), (583_000, 5)] {
            let load = Load { tps, ..LOAD };
            assert_eq!(value(&load, "deployments"), deployments, "{tps}/s");
            for tps in [tps, 10_000_000] {
                let load = Load { tps, pod_cores: 1, broker_cores: 1, ..LOAD };
                assert!(value(&load, "shards") <= SHARDS_MAX, "{tps}/s");
                assert!(value(&load, "kafka.replies_partitions") <= REPLIES_PARTITIONS_MAX, "{tps}/s");
                assert!(value(&load, "task_partitions") <= value(&load, "shards"), "{tps}/s");
                assert!(value(&load, "deployments") * value(&load, "shards") * RATE_PER_SHARD >= tps, "{tps}/s");
            }
        }
    }
}
