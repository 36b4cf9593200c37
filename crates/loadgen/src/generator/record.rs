//! The record of one call, which is small so that a run of millions of calls fits into memory.

use tonic::Code;

use crate::traffic::{CallChannel, CallKind};

/// How a call ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reply {
    /// A response with this StatusCode.
    Status([u8; 3]),
    /// A gRPC error.
    Grpc(Code),
    /// The HTTP form answered with this HTTP status, or not in the agreed form.
    Http(u16),
    /// The connection of the HTTP form failed, or it had no answer in time.
    Broken,
}

/// One call with its answer.
#[derive(Clone, Copy, Debug)]
pub struct CallRecord {
    /// The kind of the call.
    pub kind: CallKind,
    /// How it was sent.
    pub channel: CallChannel,
    /// Whether the payment was made to be declined.
    pub is_declined: bool,
    /// The index of its segment.
    pub segment: u16,
    /// The merchant's index.
    pub merchant: u32,
    /// The number of the payment that it is about.
    pub order: u64,
    /// The refund's own number; 0 for other calls.
    pub refund: u64,
    /// The amount that was sent, in TWD.
    pub amount: i64,
    /// The DebitAmount of the answer, in TWD.
    pub debit: i64,
    /// Times since the beginning of the run, in µs: when it was to start, when it was sent, and
    /// when its last attempt ended.
    pub intended_us: u64,
    /// When the first attempt was sent.
    pub sent_us: u64,
    /// When the last attempt ended.
    pub answered_us: u64,
    /// When its result was final; 0 if it was never seen to be.
    pub final_us: u64,
    /// Whether the answer left the result open.
    pub is_in_progress: bool,
    /// What a cancel that was in progress answered later, when it was sent again and its result was
    /// known. `None` for other calls.
    pub later_reply: Option<Reply>,
    /// Whether the order existed before.
    pub is_repeat: bool,
    /// The number of attempts.
    pub attempts: u16,
    /// How the last attempt ended.
    pub reply: Reply,
}

/// StatusCodes of the HTTP form that mean that the request was not accepted.
const HTTP_REFUSALS: [&[u8; 3]; 4] = [b"301", b"901", b"904", b"905"];

impl CallRecord {
    /// Whether the system accepted the request: its answer is about an order.
    pub fn is_accepted(&self) -> bool {
        match self.reply {
            Reply::Status(code) => {
                let is_refused = HTTP_REFUSALS.contains(&&code) || [b"804", b"940"].contains(&&code);
                !(self.channel == CallChannel::Http && is_refused)
            }
            Reply::Grpc(_) | Reply::Http(_) | Reply::Broken => false,
        }
    }

    /// The reason why the call is an error: it has no answer, or not the one that its kind must
    /// have.
    pub fn error(&self) -> Option<String> {
        let is_refused_field = match self.reply {
            Reply::Grpc(Code::InvalidArgument) => self.kind == CallKind::Invalid,
            Reply::Grpc(Code::AlreadyExists) => self.kind == CallKind::Conflict,
            Reply::Status(code) if self.channel == CallChannel::Http => {
                [b"804", b"940"].contains(&&code) && matches!(self.kind, CallKind::Invalid | CallKind::Conflict)
            }
            Reply::Status(_) | Reply::Grpc(_) | Reply::Http(_) | Reply::Broken => false,
        };
        if is_refused_field {
            return None;
        }
        match (self.kind, self.reply) {
            // The payment was cancelled meanwhile.
            (CallKind::Conflict, Reply::Status(code)) if &code == b"812" => None,
            (CallKind::Invalid | CallKind::Conflict, Reply::Status(code)) => {
                Some(format!("{} request answered {}", self.kind.name(), text(code)))
            }
            (CallKind::Inquiry, Reply::Status(code)) if &code != b"000" => {
                Some(format!("inquiry answered {}", text(code)))
            }
            (_, Reply::Status(code)) if !self.is_accepted() => Some(format!("StatusCode {}", text(code))),
            (_, Reply::Status(_)) => None,
            (_, Reply::Grpc(code)) => Some(format!("{code:?}")),
            (_, Reply::Http(status)) => Some(format!("HTTP {status}")),
            (_, Reply::Broken) => Some("connection broken".to_owned()),
        }
    }

    /// The result as reports group it: a StatusCode, or the reason why there is none.
    pub fn result(&self) -> String {
        match self.reply {
            Reply::Status(code) if self.is_in_progress => format!("{} in progress", text(code)),
            Reply::Status(code) => text(code),
            Reply::Grpc(code) => format!("{code:?}"),
            Reply::Http(status) => format!("HTTP {status}"),
            Reply::Broken => "connection broken".to_owned(),
        }
    }

    /// The reply that tells the result; `None` if it was never known.
    pub fn known_reply(&self) -> Option<Reply> {
        if self.is_in_progress { self.later_reply } else { Some(self.reply) }
    }

    /// Whether the answer says 000.
    pub fn is_success(&self) -> bool {
        self.reply == Reply::Status(*b"000")
    }

    /// Time from the intended start to the answer, in µs.
    pub fn latency_us(&self) -> u64 {
        self.answered_us.saturating_sub(self.intended_us)
    }

    /// Time from the intended start until the client sent the call, in µs.
    pub fn start_lag_us(&self) -> u64 {
        self.sent_us.saturating_sub(self.intended_us)
    }
}

fn text(code: [u8; 3]) -> String {
    String::from_utf8_lossy(&code).into_owned()
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// A payment that was answered 000 after 2 ms.
    pub(crate) fn paid(order: u64, intended_us: u64) -> CallRecord {
        CallRecord {
            kind: CallKind::Pay,
            channel: CallChannel::Grpc,
            is_declined: false,
            segment: 0,
            merchant: 0,
            order,
            refund: 0,
            amount: 9,
            debit: 9,
            intended_us,
            sent_us: intended_us + 50,
            answered_us: intended_us + 2_000,
            final_us: intended_us + 2_000,
            is_in_progress: false,
            later_reply: None,
            is_repeat: false,
            attempts: 1,
            reply: Reply::Status(*b"000"),
        }
    }

    #[test]
    fn an_error_is_a_call_without_the_answer_that_its_kind_must_have() {
        use CallKind::{Conflict, Inquiry, Invalid, Pay};
        for (kind, is_http, reply, expected) in [
            (Pay, false, Reply::Status(*b"000"), None),
            (Pay, false, Reply::Status(*b"928"), None),
            (Pay, false, Reply::Grpc(Code::Unavailable), Some("Unavailable")),
            (Pay, false, Reply::Grpc(Code::InvalidArgument), Some("InvalidArgument")),
            (Pay, true, Reply::Status(*b"301"), Some("StatusCode 301")),
            (Pay, true, Reply::Status(*b"804"), Some("StatusCode 804")),
            (Pay, true, Reply::Http(500), Some("HTTP 500")),
            (Pay, true, Reply::Broken, Some("connection broken")),
            (Invalid, false, Reply::Grpc(Code::InvalidArgument), None),
            (Invalid, true, Reply::Status(*b"804"), None),
            (Invalid, false, Reply::Status(*b"000"), Some("invalid request answered 000")),
            (Conflict, false, Reply::Grpc(Code::AlreadyExists), None),
            (Conflict, true, Reply::Status(*b"804"), None),
            (Conflict, false, Reply::Status(*b"000"), Some("conflict request answered 000")),
            (Conflict, false, Reply::Status(*b"812"), None),
            (Inquiry, false, Reply::Status(*b"916"), Some("inquiry answered 916")),
        ] {
            let channel = if is_http { CallChannel::Http } else { CallChannel::Grpc };
            let record = CallRecord { kind, channel, reply, ..paid(1, 0) };
            assert_eq!(record.error().as_deref(), expected, "{kind:?} {reply:?}");
        }
    }
}
