//! The details of a refusal for programs, the same at every gRPC API: an ErrorInfo with its reason,
//! and when the request may be sent again.

use std::{collections::HashMap, time::Duration};

use tonic_types::ErrorDetails;

/// Returns the details of a refusal for the reason `name` of the contract `domain`. A program may
/// send the same request again after `retry_after`; `None`: it must not. `metadata` is what the
/// contract names at the reason. Nothing was charged.
pub fn refusal_details(
    domain: &str,
    name: &str,
    retry_after: Option<Duration>,
    metadata: impl IntoIterator<Item = (String, String)>,
) -> ErrorDetails {
    let common = [("retryable".to_owned(), retry_after.is_some().to_string()), ("charged".to_owned(), "no".to_owned())];
    let metadata: HashMap<String, String> = metadata.into_iter().chain(common).collect();
    let mut details = ErrorDetails::with_error_info(name, domain, metadata);
    if retry_after.is_some() {
        details.set_retry_info(retry_after);
    }
    details
}
