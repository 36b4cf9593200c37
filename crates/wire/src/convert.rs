//! Between protobuf and domain types: the only door. Whatever comes in is checked in full; an error names the field and never
//! repeats a value, since values may be credentials.

mod fault;
mod forms;
mod order_in;
mod order_out;
mod policy;
mod records;
mod states;

pub use fault::RecordFault;
pub use forms::{pay_form, pay_request, query_form};
pub use order_in::{approval_from, payment_from};
pub use order_out::{approval_out, effect_id_out, key_out, payment_out, reply_out, task_out};
pub use policy::{policy_from, policy_out};
pub use records::{dead_letter, decode_record, due_record, encode_record, outcome_record, pay_record, query_record};
pub use states::{StateBody, StatesEntry, decode_state, encode_state};
