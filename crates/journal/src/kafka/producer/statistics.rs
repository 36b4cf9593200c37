//! Exports the client library's statistics of the producer: its brokers, and the amounts that it
//! has sent.

use rdkafka::{Statistics, statistics::Broker};

use crate::metrics::{self, BrokerFigures};

/// How often the client library reports, in ms.
pub(super) const INTERVAL_MS: &str = "5000";

/// Shows one report.
pub(super) fn show(statistics: &Statistics) {
    metrics::producer(
        statistics.msg_cnt,
        statistics.txmsgs.max(0).cast_unsigned(),
        statistics.tx_bytes.max(0).cast_unsigned(),
    );
    statistics.brokers.values().filter_map(figures).for_each(|figures| metrics::broker(&figures));
}

/// The addresses to connect to first are listed as brokers, too, without a number.
fn figures(broker: &Broker) -> Option<BrokerFigures> {
    let rtt = broker.rtt.as_ref().filter(|window| window.cnt > 0);
    (broker.nodeid >= 0).then(|| BrokerFigures {
        id: broker.nodeid,
        is_up: broker.state == "UP",
        rtt_us: rtt.map(|window| window.p99),
        errors: broker.txerrs + broker.txretries + broker.req_timeouts,
    })
}

#[cfg(test)]
mod tests {
    use rdkafka::statistics::Window;

    use super::*;

    #[test]
    fn only_brokers_with_a_number_are_shown() {
        let seed = Broker { nodeid: -1, state: "UP".to_owned(), ..Broker::default() };
        assert!(figures(&seed).is_none());
        let rtt = Some(Window { cnt: 3, p99: 1_500, ..Window::default() });
        let broker =
            Broker { nodeid: 2, rtt, txerrs: 1, txretries: 2, req_timeouts: 3, state: "DOWN".to_owned(), ..seed };
        let shown = figures(&broker).unwrap();
        assert_eq!((shown.id, shown.is_up, shown.rtt_us, shown.errors), (2, false, Some(1_500), 6));
        let idle = Broker { nodeid: 2, rtt: Some(Window::default()), ..Broker::default() };
        assert_eq!(figures(&idle).unwrap().rtt_us, None, "a broker without requests keeps its last figure");
    }
}
