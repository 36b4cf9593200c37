//! Finds settings that are allowed one by one but cannot work together, and broker addresses that
//! cannot exist.

use std::{
    collections::BTreeMap,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
};

use twqr_order::{HELD_BACK_MS_MAX, PROTOCOL_VERSION_NEWEST, Policy, Resolution, RouteTarget};

/// Lists listeners that need the same port. Port 0 is any free port.
pub(crate) fn port_faults(listeners: &[(&str, SocketAddr)]) -> Vec<String> {
    let mut faults = Vec::new();
    for (at, (key, address)) in listeners.iter().enumerate() {
        let shares =
            |(_, other): &&(&str, SocketAddr)| other.port() == address.port() && overlap(other.ip(), address.ip());
        if address.port() != 0
            && let Some((other, _)) = listeners[..at].iter().find(shares)
        {
            faults.push(format!("{key} is {address}, must have another port than {other}"));
        }
    }
    faults
}

/// Whether two listeners on one port exclude each other at these addresses.
fn overlap(a: IpAddr, b: IpAddr) -> bool {
    let is_every =
        |ip: IpAddr, other: IpAddr| ip == IpAddr::V6(Ipv6Addr::UNSPECIFIED) || (ip.is_unspecified() && other.is_ipv4());
    let (a, b) = (a.to_canonical(), b.to_canonical());
    a == b || is_every(a, b) || is_every(b, a)
}

/// Lists issuers of a policy whose times cannot work; each fault begins with the key in the policy
/// document.
///
/// - A window must be longer than a call may take, and than a worker's connection may hold a
///   request back by a clock that is behind, seen by a clock that is ahead; otherwise "not known"
///   would not prove absence (protocol rule P6).
/// - A caller must wait longer than it takes to find out that a call was lost.
pub(crate) fn timing_faults(
    policy: &Policy,
    call_timeout_ms: u64,
    clock_skew_max_ms: u64,
    answer_within_ms: u64,
) -> Vec<String> {
    let listed = policy.issuers.iter().enumerate().map(|(at, rules)| (rules.issuer, format!("issuers[{at}]."), ""));
    let routed = policy.routes.iter().enumerate().filter_map(|(at, route)| match route.target {
        RouteTarget::Issuer(issuer) => Some((issuer, format!("routes[{at}]: "), "the default of ")),
        RouteTarget::Refuse => None,
    });
    let mut places: BTreeMap<_, (String, &str)> = BTreeMap::new();
    for (issuer, place, source) in listed.chain(routed) {
        places.entry(issuer).or_insert((place, source));
    }
    let signed = |ms: u64| i64::try_from(ms).unwrap_or(i64::MAX);
    let (call_timeout_ms, answer_within_ms) = (signed(call_timeout_ms), signed(answer_within_ms));
    let clock_skew_max_ms = signed(clock_skew_max_ms);
    let held_back_ms = HELD_BACK_MS_MAX.saturating_add(clock_skew_max_ms.saturating_mul(2));
    // A document without the number keeps the one in force; a new system has the newest.
    let policy = &Policy { protocol_version: PROTOCOL_VERSION_NEWEST, ..policy.clone() };
    let mut faults = Vec::new();
    for (issuer, (place, source)) in places {
        let Resolution { window_ms, first_delay_ms, .. } = policy.issuer(issuer).resolution;
        let place = format!("{place}{source}window_ms");
        let known_after_ms = policy.send_within_ms.saturating_add(window_ms).saturating_add(first_delay_ms);
        if window_ms <= call_timeout_ms {
            faults.push(format!("{place}: is {window_ms}, must be above call_timeout_ms, which is {call_timeout_ms}"));
        } else if window_ms <= held_back_ms {
            faults.push(format!(
                "{place}: is {window_ms}, must be above {held_back_ms}: a worker's connection may hold a request back for {HELD_BACK_MS_MAX}, and two clocks may differ by twice clock_skew_max_ms, which is {clock_skew_max_ms}"
            ));
        } else if known_after_ms >= answer_within_ms {
            faults.push(format!(
                "{place}: is {window_ms}, and with send_within_ms and first_delay_ms {known_after_ms}, must be below answer_within_ms, which is {answer_within_ms}"
            ));
        }
    }
    faults
}

/// Lists broker addresses that are not `host:port`; an empty list of brokers is allowed.
pub(crate) fn bootstrap_faults(bootstrap: &str) -> Vec<String> {
    let brokers = bootstrap.split(',').map(str::trim).filter(|_| !bootstrap.is_empty());
    let wrong = brokers.filter(|broker| !is_host_and_port(broker));
    wrong
        .map(|broker| {
            format!(
                "kafka.bootstrap contains {broker:?}, must be host:port with a port of 1 to 65535, separated by commas"
            )
        })
        .collect()
}

/// Whether this is a host name or an IP address, and a port.
pub(crate) fn is_host_and_port(address: &str) -> bool {
    let Some((host, port)) = address.rsplit_once(':') else { return false };
    let is_port = port.bytes().all(|byte| byte.is_ascii_digit()) && port.parse::<u16>().is_ok_and(|port| port > 0);
    let ipv6 = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
    is_port && ipv6.map_or_else(|| is_host(host), |ip| ip.parse::<Ipv6Addr>().is_ok())
}

/// Whether this is a host name or an IPv4 address.
fn is_host(host: &str) -> bool {
    let is_label = |label: &str| {
        let letter = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_');
        (1..=63).contains(&label.len()) && label.chars().all(letter) && !label.starts_with('-') && !label.ends_with('-')
    };
    let name = host.strip_suffix('.').unwrap_or(host);
    if name.len() > 253 || !name.split('.').all(is_label) {
        return false;
    }
    let is_number = name.rsplit('.').next().is_some_and(|last| last.bytes().all(|byte| byte.is_ascii_digit()));
    !is_number || host.parse::<Ipv4Addr>().is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_broker_is_a_host_and_a_port() {
        for good in ["", "localhost:9092", "b-1.kafka_x.example:9092, 10.0.0.1:1,[::1]:65535", "kafka.svc.:9092"] {
            assert_eq!(bootstrap_faults(good), [""; 0], "{good}");
        }
        for bad in [
            " ",
            "localhost",
            "localhost:",
            ":9092",
            "localhost:0",
            "localhost:65536",
            "localhost:+9092",
            "a:1,",
            "a:1,,b:2",
            "a:1;b:2",
            "a:1 b:2",
            "PLAINTEXT://a:1",
            "999.1.1.1:9092",
            "10.0.0:9092",
            "::1:9092",
            "[::g]:9092",
            "-a:1",
            "a..b:1",
            "店:1",
        ] {
            assert_eq!(bootstrap_faults(bad).len(), 1, "{bad}: {:?}", bootstrap_faults(bad));
        }
        assert_eq!(bootstrap_faults("a,b:0,c:1").len(), 2);
    }

    #[test]
    fn listeners_share_no_port() {
        let faults = |a: &str, b: &str| port_faults(&[("grpc", a.parse().unwrap()), ("admin", b.parse().unwrap())]);
        for (a, b) in [
            ("127.0.0.1:1", "127.0.0.1:1"),
            ("0.0.0.0:1", "127.0.0.1:1"),
            ("127.0.0.1:1", "[::]:1"),
            ("[::ffff:127.0.0.1]:1", "127.0.0.1:1"),
        ] {
            assert_eq!(faults(a, b), [format!("admin is {b}, must have another port than grpc")], "{a} {b}");
        }
        for (a, b) in [
            ("127.0.0.1:1", "127.0.0.1:2"),
            ("127.0.0.1:0", "127.0.0.1:0"),
            ("127.0.0.1:1", "127.0.0.2:1"),
            ("0.0.0.0:1", "[::1]:1"),
        ] {
            assert_eq!(faults(a, b), [""; 0], "{a} {b}");
        }
    }
}
