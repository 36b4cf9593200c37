//! Why a record cannot be used.

use twqr_types::Violations;

/// Why a record of the log cannot be used. Goes to the dead letters with the record; never contains
/// a value.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RecordFault {
    /// Not protobuf, or cut off.
    #[error("the bytes are no protobuf record")]
    NotProtobuf,
    /// Another version of the format.
    #[error("the record's version is {0}, this build reads version 1")]
    Version(u32),
    /// Something that the format demands is not there.
    #[error("{0} is missing")]
    Missing(&'static str),
    /// Something is out of its range.
    #[error("{field}: {problem}")]
    Invalid {
        /// Which field.
        field: &'static str,
        /// What is wrong, without the value.
        problem: String,
    },
    /// Nobody may decide about its order: what was decided so far cannot be read by this build.
    #[error("the state of its order cannot be read by this build")]
    UnreadableOrder,
    /// The request within the record is out of its limits.
    #[error("the request is out of its limits: {0}")]
    Form(Violations),
}

impl RecordFault {
    /// For a field that does not parse.
    pub(crate) fn invalid(field: &'static str) -> impl FnOnce(String) -> Self {
        move |problem| Self::Invalid { field, problem }
    }
}

/// The message in an optional field.
pub(crate) fn need<T>(value: Option<T>, what: &'static str) -> Result<T, RecordFault> {
    value.ok_or(RecordFault::Missing(what))
}

/// The version that this build reads, or a fault.
pub(crate) fn check_version(version: u32) -> Result<(), RecordFault> {
    if version == crate::RECORD_VERSION { Ok(()) } else { Err(RecordFault::Version(version)) }
}
