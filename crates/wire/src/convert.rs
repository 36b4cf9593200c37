//! Between protobuf and domain types: the only door. Whatever comes in is checked in full; an error
//! names the field and never repeats a value, since values may be credentials.

mod effects;
mod fault;
mod forms;
mod ids;
mod movement;
mod order;
mod outcomes;
mod payment;
mod policy;
mod records;
mod refund;
mod states;

pub use effects::{forget_reply, reply_out, rules_changed_reply, subject_from, task_out};
pub use fault::RecordFault;
pub use forms::{cancel_form, pay_form, pay_request, query_form, refund_form};
pub use ids::{effect_id_out, key_out};
pub use movement::{approval_from, approval_out};
pub use order::{order_from, order_out};
pub use payment::{payment_from, payment_out};
pub use policy::{
    limits_from, policy_change_from, policy_change_out, policy_checked, policy_from, policy_out, policy_versions_from,
    policy_versions_out,
};
pub use records::{
    Stamp, cancel_record, dead_letter, decode_record, due_record, encode_record, outcome_record, pay_record,
    query_record, refund_record, watch_record,
};
pub use states::{StateBody, StatesEntry, UnreadableState, decode_state, encode_state, unreadable_state};
