//! The reasons to refuse a call because of its caller.

use tonic::Code;
use twqr_callers::{Denial, Operation, Role};

/// What a call lacks of the credentials that its listener demands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MissingCredential {
    /// An API key or a certificate: either is enough.
    Either,
    /// An API key and a certificate.
    Both,
    /// The API key beside the certificate.
    Key,
    /// The certificate beside the API key.
    Certificate,
}

/// The reason why a call is refused. Nothing in it depends on the order that the call is about, so
/// a refusal says nothing about the orders of other merchants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AccessRefusal {
    /// This process has not read the callers yet.
    NotRead,
    /// The call does not show the credentials that the listener demands.
    NoCredential(MissingCredential),
    /// The credential belongs to no caller, or not at this time.
    Denied(Denial),
    /// The caller may not do this.
    Operation(Operation),
    /// The caller does not act for the merchant.
    Merchant,
    /// The caller does not have this role.
    Role(Role),
}

/// The reasons in metrics.
pub(crate) const REASONS: [&str; 9] = [
    "not-read",
    "no-credential",
    "one-credential",
    "unknown-key",
    "key-out-of-time",
    "unknown-certificate",
    "operation",
    "merchant",
    "role",
];

impl AccessRefusal {
    /// The reason in metrics and logs.
    pub(crate) fn reason(self) -> &'static str {
        match self {
            Self::NotRead => "not-read",
            Self::NoCredential(MissingCredential::Either | MissingCredential::Both) => "no-credential",
            Self::NoCredential(MissingCredential::Key | MissingCredential::Certificate) => "one-credential",
            Self::Denied(Denial::UnknownKey) => "unknown-key",
            Self::Denied(Denial::KeyOutOfTime) => "key-out-of-time",
            Self::Denied(Denial::UnknownCertificate) => "unknown-certificate",
            Self::Operation(_) => "operation",
            Self::Merchant => "merchant",
            Self::Role(_) => "role",
        }
    }

    /// The gRPC code.
    pub fn code(self) -> Code {
        match self {
            Self::NotRead => Code::Unavailable,
            Self::NoCredential(_) | Self::Denied(_) => Code::Unauthenticated,
            Self::Operation(_) | Self::Merchant | Self::Role(_) => Code::PermissionDenied,
        }
    }

    /// The text for people. All credentials that are not accepted have the same one.
    pub fn text(self) -> String {
        match self {
            Self::NotRead => "this instance has not read its callers yet; try again".to_owned(),
            Self::NoCredential(missing) => missing.text().to_owned(),
            Self::Denied(_) => "the API key or the certificate is not accepted".to_owned(),
            Self::Operation(operation) => format!("this caller may not use the operation {}", operation.name()),
            Self::Merchant => "this caller does not act for this merchant".to_owned(),
            Self::Role(role) => format!("this caller does not have the role {}", role.name()),
        }
    }
}

impl MissingCredential {
    /// What is missing, and how to send it, for people.
    fn text(self) -> &'static str {
        match self {
            Self::Either => "send an API key (metadata `authorization: Bearer KEY`), or connect with a certificate",
            Self::Both => {
                "the API key and the certificate are missing: send the key as metadata `authorization: Bearer KEY`, \
                 and connect with a certificate of the same caller"
            }
            Self::Key => {
                "the API key is missing, which is demanded beside the certificate: send it as metadata \
                 `authorization: Bearer KEY`"
            }
            Self::Certificate => {
                "the certificate is missing, which is demanded beside the API key: connect with a certificate of the \
                 same caller"
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_names_the_credential_that_is_missing_and_no_other() {
        use MissingCredential::{Both, Certificate, Either, Key};
        for (missing, begins, reason, asks_for) in [
            (Either, "send an API key", "no-credential", [true, true]),
            (Both, "the API key and the certificate are missing", "no-credential", [true, true]),
            (Key, "the API key is missing", "one-credential", [true, false]),
            (Certificate, "the certificate is missing", "one-credential", [false, true]),
        ] {
            let refusal = AccessRefusal::NoCredential(missing);
            let text = refusal.text();
            assert!(text.starts_with(begins), "{text}");
            let asked = ["Bearer KEY", "connect with a certificate"].map(|advice| text.contains(advice));
            assert_eq!((asked, refusal.reason()), (asks_for, reason), "{text}");
            assert_eq!(refusal.code(), Code::Unauthenticated);
            assert!(REASONS.contains(&reason));
        }
    }
}
