//! Clients of the public API and of the operators' API: connections, retries that cannot charge
//! twice, answers as JSON, and progress on a terminal.

mod answer;
mod api_key;
mod attempts;
mod business_day;
mod connect;
mod progress_bar;
mod request_line;
mod settled;

pub use answer::{cancel_json, code_name, error_json, inquiry_json, payment_json, refund_json, refusal_reason};
pub use api_key::{Sender, use_api_key};
pub use attempts::{Answer, Attempts, pay};
pub use business_day::{business_day, check_bounds, cut_offs};
pub use connect::{CALL_MS_MAX, Connection, certificates, channel, connect, operators, use_certificates};
pub use progress_bar::ProgressBar;
pub use request_line::{Problem, parse};
pub use settled::{BooksRange, settled};
