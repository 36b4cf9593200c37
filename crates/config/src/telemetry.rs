//! The section `[telemetry]`: which calls are traced, and where their spans go.

use serde::{Deserialize, Serialize};

/// The section `[telemetry]`. With an empty `endpoint` nothing is traced.
#[derive(Clone, Debug, Deserialize, Serialize, PartialEq)]
#[serde(deny_unknown_fields, default)]
pub struct TelemetryConfig {
    /// The collector, such as `https://collector:4317` or `http://127.0.0.1:4317`; empty: telemetry
    /// is off.
    pub endpoint: String,
    /// How the collector is spoken to.
    pub protocol: TelemetryProtocol,
    /// The share of calls without a trace of their caller that are traced: 0 to 1.
    pub sample_ratio: f64,
    /// How long a call may take before it is traced in any case, in ms: 1 to 60,000.
    pub slow_ms: u64,
}

/// How OTLP is spoken.
#[derive(Clone, Copy, Debug, Deserialize, Serialize, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub enum TelemetryProtocol {
    /// gRPC over HTTP/2.
    Grpc,
    /// Protobuf over HTTP.
    Http,
}

impl Default for TelemetryConfig {
    fn default() -> Self {
        Self { endpoint: String::new(), protocol: TelemetryProtocol::Grpc, sample_ratio: 0.0, slow_ms: 2_000 }
    }
}

impl TelemetryConfig {
    /// Lists what is wrong, each fault with its key. `has_authority` says whether
    /// `tls.telemetry.ca_file` is set.
    pub(crate) fn faults(&self, has_authority: bool) -> Vec<String> {
        let mut faults = Vec::new();
        let Self { endpoint, sample_ratio, slow_ms, .. } = self;
        let secure = endpoint.strip_prefix("https://");
        let is_uri = secure.or_else(|| endpoint.strip_prefix("http://")).is_some_and(|rest| {
            let (host, path) = rest.split_once('/').unwrap_or((rest, ""));
            host.len() > 1 && !rest.contains(char::is_whitespace) && !path.contains('?')
        });
        if !endpoint.is_empty() && !is_uri {
            faults.push(format!("telemetry.endpoint is {endpoint:?}, must be empty or such as https://collector:4317"));
        } else if secure.is_some() != has_authority {
            faults.push(format!(
                "telemetry.endpoint is {endpoint:?}, must begin with https:// if tls.telemetry.ca_file names the authority of \
                 the collector, and only then"
            ));
        }
        if !(0.0..=1.0).contains(sample_ratio) {
            faults.push(format!("telemetry.sample_ratio is {sample_ratio}, must be 0 to 1"));
        }
        if !(1..=60_000).contains(slow_ms) {
            faults.push(format!("telemetry.slow_ms is {slow_ms}, must be 1 to 60000"));
        }
        faults
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_fault_is_named_with_its_key() {
        let faults = |config: TelemetryConfig| config.faults(false).len();
        let off = TelemetryConfig::default;
        assert_eq!(faults(off()), 0);
        for endpoint in ["http://127.0.0.1:4317", "http://otel.observability.svc:4318/v1/traces"] {
            assert_eq!(faults(TelemetryConfig { endpoint: endpoint.into(), ..off() }), 0, "{endpoint}");
        }
        for endpoint in ["collector:4317", "ftp://collector:4317", "https://", "http://", "http://a b:1"] {
            assert_eq!(faults(TelemetryConfig { endpoint: endpoint.into(), ..off() }), 1, "{endpoint}");
        }
        for (endpoint, has_authority, count) in [
            ("https://collector:4317", true, 0),
            ("https://collector:4317", false, 1),
            ("http://collector:4317", true, 1),
            ("", true, 1),
        ] {
            let config = TelemetryConfig { endpoint: endpoint.into(), ..off() };
            assert_eq!(config.faults(has_authority).len(), count, "{endpoint}, {has_authority}");
        }
        let wrong = TelemetryConfig { sample_ratio: f64::NAN, slow_ms: 0, ..off() };
        assert_eq!(faults(wrong), 2);
    }
}
