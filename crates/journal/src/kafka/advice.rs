//! What to do about a problem with the brokers, by the message of the client library. The library
//! names the broker and the failure, but not the configuration key of this project that is wrong.

/// Words of the library, and what to do about what they report.
const KNOWN: [(&str, &str); 10] = [
    (
        "SASL authentication error",
        "the brokers do not let this user in: check the password in kafka.password_file, and sasl.username and sasl.mechanism in kafka.properties",
    ),
    (
        "certificate verify failed",
        "the brokers' certificate is not trusted: ssl.ca.location in kafka.properties must name the file of the authority that signed it, and the certificate must be for the host in kafka.bootstrap",
    ),
    ("alert certificate required", CERTIFICATE),
    ("alert certificate unknown", CERTIFICATE),
    ("alert certificate expired", CERTIFICATE),
    ("alert bad certificate", CERTIFICATE),
    ("alert unknown ca", CERTIFICATE),
    ("OpenSSL not available at build time", "this build has no TLS and no SCRAM: build it with --features kafka-tls"),
    ("opic authorization failed", RIGHTS),
    ("roup authorization failed", RIGHTS),
];

/// The connection ended during a login, so nothing is known of the login itself.
const BROKEN_OFF: &str = "Local: Broker transport failure";

const CERTIFICATE: &str = "the brokers refuse the certificate of this process: ssl.certificate.location and ssl.key.location in kafka.properties must name a certificate that is valid, of an authority that the brokers trust, and its key";

const RIGHTS: &str = "this user lacks a right: `twqr topics acls` prints those that each program needs";

/// The advice about a problem; `None` if there is none.
pub(super) fn advice(problem: &str) -> Option<&'static str> {
    if problem.contains(BROKEN_OFF) {
        return None;
    }
    KNOWN.iter().find(|(words, _)| problem.contains(words)).map(|(_, advice)| *advice)
}

/// The problem, followed by what to do about it.
pub(super) fn with_advice(problem: String) -> String {
    match advice(&problem) {
        Some(advice) => format!("{problem}; {advice}"),
        None => problem,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_problem_that_is_known_is_followed_by_what_to_do() {
        for (problem, expected) in [
            (
                "ssl://broker/1: SASL authentication error: Authentication failed due to invalid credentials with SASL mechanism SCRAM-SHA-512",
                "kafka.password_file",
            ),
            ("SSL handshake failed: error:0A000086:SSL routines::certificate verify failed", "ssl.ca.location"),
            (
                "Receive failed: error:0A00045C:SSL routines::tlsv13 alert certificate required: SSL alert number 116",
                "ssl.certificate.location",
            ),
            ("SSL handshake failed: error:0A000416:SSL routines::sslv3 alert certificate unknown", "ssl.key.location"),
            ("SSL handshake failed: error:0A000418:SSL routines::tlsv1 alert unknown ca", "that the brokers trust"),
            ("SSL handshake failed: error:0A000412:SSL routines::ssl/tls alert bad certificate", "ssl.key.location"),
            ("SSL handshake failed: error:0A000415:SSL routines::ssl/tls alert certificate expired", "that is valid"),
            ("Unsupported value: OpenSSL not available at build time", "kafka-tls"),
            ("Broker: Topic authorization failed", "topics acls"),
        ] {
            let whole = with_advice(problem.to_owned());
            assert!(whole.starts_with(problem) && whole.contains(expected), "{whole}");
        }
        for unexplained in [
            "Connection refused",
            "SASL authentication error: SaslAuthenticateRequest failed: Local: Broker transport failure (after 0ms in state DOWN)",
        ] {
            assert_eq!(with_advice(unexplained.to_owned()), unexplained);
        }
    }
}
