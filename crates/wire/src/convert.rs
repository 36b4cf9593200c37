//! The only conversions between protobuf and domain types. Everything that is read is checked in
//! full. A fault names the field and never contains its value, since a value may be a credential.
//!
//! There is one file for each kind of log record; its functions are named `encode_x` and
//! `decode_x`, from domain values to bytes and back. The other files convert the messages within
//! the records (`x_out`, `x_from`).

mod alive;
mod backend_answers;
mod backend_calls;
mod callers;
mod card_tokens;
mod dead_letters;
mod fault;
mod forms;
mod holds;
mod hop_times;
mod ids;
mod known_protocols;
mod listings;
mod movement;
mod nonce;
mod operators;
mod order;
mod order_records;
mod outcomes;
mod payment;
mod policy;
mod refund;
mod reply_records;
mod state_records;
mod stored;
mod task_records;
mod witness;

pub use backend_answers::{BackendAnswer, backend_answer_from};
pub use backend_calls::{inquiry_out, transfer_out};
pub use callers::{CallerFault, caller_from, caller_out, decode_caller_change, encode_caller_change};
pub use dead_letters::{DeadLetter, decode_dead_letter, encode_dead_letter};
pub use fault::RecordFault;
pub use forms::{pay_form, raw_cancel, raw_pay, raw_query, raw_refund};
pub use holds::HeldTopic;
pub use hop_times::{HopTimes, with_hops};
pub use known_protocols::{KnownProtocol, Presence, ShownProcess, encode_presence};
pub use listings::{decode_listing_change, encode_listing_change};
pub use operators::{
    listing_change_from, listing_change_out, order_from, order_out, policy_change_from, policy_change_out,
    policy_checked, policy_from, policy_out,
};
pub use order_records::{
    Stamp, decode_record, decode_record_with_hops, encode_cancel, encode_due, encode_outcome, encode_pay, encode_query,
    encode_record, encode_refund, encode_watch,
};
pub use policy::{POLICY_BYTES_MAX, fit_into_record, policy_size_fault};
pub use reply_records::{ReplyContent, ReplyRecord, decode_reply, encode_reply, encode_reply_record};
pub use state_records::{
    BeginningsRead, StateBody, StateSubject, StatesEntry, UnreadableState, decode_beginnings_read,
    decode_marker_witness, decode_state, encode_marker, encode_order_state, encode_state, epoch_key, state_epoch,
    unreadable_state,
};
pub use stored::{decode_order, decode_policy_versions, encode_order, encode_policy_versions};
pub use task_records::{
    TaskRecord, WorkerPosition, decode_task_record, decode_task_record_with_hops, decode_worker_position, encode_task,
    encode_task_record, encode_worker_position,
};
pub use witness::LogWitness;
