//! The reasons to refuse a call because of its caller.

use tonic::Code;
use twqr_callers::{Denial, Operation, Role};

/// The reason why a call is refused. Nothing in it depends on the order that the call is about, so
/// a refusal says nothing about the orders of other merchants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AccessRefusal {
    /// This process has not read the callers yet.
    NotRead,
    /// The call has neither an API key nor a certificate.
    NoCredential,
    /// The call has only one of the two, where both are needed.
    OneCredential,
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
            Self::NoCredential => "no-credential",
            Self::OneCredential => "one-credential",
            Self::Denied(Denial::UnknownKey) => "unknown-key",
            Self::Denied(Denial::KeyOutOfTime) => "key-out-of-time",
            Self::Denied(Denial::UnknownCertificate) => "unknown-certificate",
            Self::Operation(_) => "operation",
            Self::Merchant => "merchant",
            Self::Role(_) => "role",
        }
    }

    /// The reason in google.rpc.ErrorInfo, as the public contract names it.
    pub fn contract_reason(self) -> &'static str {
        match self {
            Self::NotRead => "CALLERS_NOT_READ",
            Self::NoCredential | Self::OneCredential => "NO_CREDENTIAL",
            Self::Denied(_) => "CREDENTIAL_REFUSED",
            Self::Operation(_) | Self::Merchant | Self::Role(_) => "NOT_PERMITTED",
        }
    }

    /// The gRPC code.
    pub fn code(self) -> Code {
        match self {
            Self::NotRead => Code::Unavailable,
            Self::NoCredential | Self::OneCredential | Self::Denied(_) => Code::Unauthenticated,
            Self::Operation(_) | Self::Merchant | Self::Role(_) => Code::PermissionDenied,
        }
    }

    /// The text for people. All credentials that are not accepted have the same one.
    pub fn text(self) -> String {
        match self {
            Self::NotRead => "this instance has not read its callers yet; try again".to_owned(),
            Self::NoCredential => {
                "send an API key (metadata `authorization: Bearer KEY`), or connect with a certificate".to_owned()
            }
            Self::OneCredential => {
                "send an API key (metadata `authorization: Bearer KEY`), and connect with a certificate of the same caller"
                    .to_owned()
            }
            Self::Denied(_) => "the API key or the certificate is not accepted".to_owned(),
            Self::Operation(operation) => format!("this caller may not use the operation {}", operation.name()),
            Self::Merchant => "this caller does not act for this merchant".to_owned(),
            Self::Role(role) => format!("this caller does not have the role {}", role.name()),
        }
    }
}
