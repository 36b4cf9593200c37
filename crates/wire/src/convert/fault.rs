//! The reasons for which a log record is unusable.

use twqr_types::Violations;

/// The reason why a log record is unusable. It is written to `dead-letters` beside the record, so
/// it never contains a value of the record.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RecordFault {
    /// The bytes are not protobuf, or were cut off.
    #[error("the bytes are not a protobuf record")]
    NotProtobuf,
    /// The record has another version of the format.
    #[error("the record has version {0}; this build reads version 1")]
    Version(u32),
    /// A field that the format requires is absent.
    #[error("{0} is missing")]
    Missing(&'static str),
    /// A field is out of its range.
    #[error("{field}: {problem}")]
    Invalid {
        /// The name of the field.
        field: &'static str,
        /// The fault, without the value.
        problem: String,
    },
    /// The record cannot be applied, because this build cannot read the stored state of its order:
    /// a decision made without that state could contradict earlier ones.
    #[error("the state of its order cannot be read by this build")]
    UnreadableOrder,
    /// The request within the record is out of its limits.
    #[error("the request is out of its limits: {0}")]
    Form(Violations),
}

impl RecordFault {
    /// Makes the fault of a field that does not parse, from the parser's error.
    pub(crate) fn invalid(field: &'static str) -> impl FnOnce(String) -> Self {
        move |problem| Self::Invalid { field, problem }
    }

    /// The phase or result belongs to another kind of movement than the field it was found in.
    pub(crate) fn other_movement(field: &'static str) -> Self {
        Self::Invalid { field, problem: "is that of another kind of movement".to_owned() }
    }
}

/// Unwraps a message field that the format requires; protobuf makes every one optional.
pub(crate) fn need<T>(value: Option<T>, what: &'static str) -> Result<T, RecordFault> {
    value.ok_or(RecordFault::Missing(what))
}

/// Accepts only the version of the format that this build reads.
pub(crate) fn check_version(version: u32) -> Result<(), RecordFault> {
    if version == crate::RECORD_VERSION { Ok(()) } else { Err(RecordFault::Version(version)) }
}
