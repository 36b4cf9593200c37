//! The reasons for which a call is refused. A refusal means that nothing was accepted and nothing
//! was charged. It is plain data: the gRPC service and the POS HTTP form each make their own kind
//! of error from it.

use std::time::Duration;

use tonic::Code;
use tracing::warn;
use twqr_access::{AccessRefusal, Verdict};
use twqr_card_keys::NoKey;
use twqr_journal::JournalError;
use twqr_types::{Field, ShardId, StatusCode, Violations};

use crate::answers::Status;

/// The owner of the limit that a call exceeds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Limited {
    Caller,
    Merchant,
}

/// A resource that a caller may keep open for as long as it likes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Opened {
    Stream,
    Watch,
}

impl Opened {
    pub(crate) const ALL: [Self; 2] = [Self::Stream, Self::Watch];

    /// The kind of refusals in metrics and logs.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Stream => "streams",
            Self::Watch => "watches",
        }
    }
}

/// The reason why a call is refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// Fields of the request are out of their limits.
    Invalid(Violations),
    /// The order was created by another request. These are the POS document's names of the fields
    /// that differ.
    Conflict(Vec<String>),
    /// The policy does not accept the merchant's key that signed the request.
    KeyRefused,
    /// The nonce of the request's signature was used before.
    Replayed,
    /// Of who sent it.
    Access(AccessRefusal),
    /// Its caller or merchant sends too many calls per second; the next may begin after this time.
    RateExceeded(Limited, Duration),
    /// Its caller or merchant has too many calls in progress; another may be sent after this time.
    ConcurrencyExceeded(Limited, Duration),
    /// This ingress has the most pending calls that it may have.
    TooManyCalls,
    /// Its caller has the most streams, or the most watches, open that it may have.
    TooManyOpen(Opened),
    /// This ingress has the most open watches that it may have.
    TooManyWatches,
    /// The order has the most watches that it may have.
    TooManyWatchers,
    /// The journal did not take the record. The reason may name our hosts and files, so it is only
    /// in the log.
    NotAccepted,
    /// A request that changes nothing was not answered in time.
    NoAnswer,
    /// This ingress shuts down.
    ShuttingDown,
    /// The clock of this ingress is wrong, and with it the times that it would give the request.
    WrongClock,
}

impl Refusal {
    /// The inquiry type is neither payment nor refund.
    pub(crate) fn inquiry_type() -> Self {
        let mut violations = Violations::default();
        add_inquiry_type(&mut violations);
        Self::Invalid(violations)
    }

    /// Fields are out of their limits; `has_type` is false if the inquiry type is invalid, too.
    pub(crate) fn invalid_inquiry(mut violations: Violations, has_type: bool) -> Self {
        if !has_type {
            add_inquiry_type(&mut violations);
        }
        Self::Invalid(violations)
    }

    /// The journal did not take the record.
    pub(crate) fn not_accepted(error: &JournalError) -> Self {
        warn!(%error, "a call was refused: the journal did not accept its record");
        Self::NotAccepted
    }

    /// A key is missing without which the card token would be in the log for all to read.
    pub(crate) fn unprotected(lacking: &NoKey) -> Self {
        warn!(%lacking, "a call was refused");
        Self::NotAccepted
    }

    /// The shard has not answered since this process started, so it is unknown whether its router
    /// reads protected card tokens.
    pub(crate) fn silent_shard(shard: ShardId) -> Self {
        warn!(shard = shard.0, "a call was refused: its shard has not answered yet");
        Self::NotAccepted
    }

    /// The gRPC code of the refusal, by which metrics count it for both kinds of callers.
    pub(crate) fn code(&self) -> Code {
        match self {
            Self::Invalid(_) => Code::InvalidArgument,
            Self::Conflict(_) => Code::AlreadyExists,
            Self::KeyRefused | Self::Replayed => Code::Unauthenticated,
            Self::Access(refusal) => refusal.code(),
            Self::RateExceeded(..)
            | Self::ConcurrencyExceeded(..)
            | Self::TooManyCalls
            | Self::TooManyOpen(_)
            | Self::TooManyWatches
            | Self::TooManyWatchers => Code::ResourceExhausted,
            Self::NotAccepted | Self::NoAnswer | Self::ShuttingDown | Self::WrongClock => Code::Unavailable,
        }
    }

    /// What the log of who called says of the call. One that is refused because of our own state
    /// counts as let in.
    pub(crate) fn verdict(&self) -> Verdict {
        match self {
            Self::Invalid(_) => Verdict::Request("invalid-fields"),
            Self::Conflict(_) => Verdict::Request("conflict"),
            Self::KeyRefused => Verdict::Sender("signature"),
            Self::Replayed => Verdict::Sender("replayed"),
            Self::Access(refusal) => refused_caller(*refusal),
            Self::RateExceeded(..) => Verdict::Request("rate"),
            Self::ConcurrencyExceeded(..) => Verdict::Request("concurrency"),
            Self::TooManyCalls => Verdict::Request("overload"),
            Self::TooManyOpen(what) => Verdict::Request(what.name()),
            Self::TooManyWatches => Verdict::Request("watches"),
            Self::TooManyWatchers => Verdict::Request("watchers"),
            Self::NotAccepted | Self::NoAnswer | Self::ShuttingDown | Self::WrongClock => Verdict::LetIn,
        }
    }
}

/// What the log of who called says of a caller whose credential or rights do not suffice.
fn refused_caller(refusal: AccessRefusal) -> Verdict {
    match refusal {
        AccessRefusal::NotRead => Verdict::LetIn,
        AccessRefusal::NoCredential(_) | AccessRefusal::Denied(_) => Verdict::Sender("signature"),
        AccessRefusal::Operation(_) | AccessRefusal::Merchant | AccessRefusal::Role(_) => {
            Verdict::Sender("not-permitted")
        }
    }
}

/// What the log of who called says of a payment, refund or cancel with this answer. Many that our
/// rules refuse may be an attempt to get around them. A decline of an issuer is an ordinary answer,
/// whatever its code is.
pub(crate) fn verdict_of(status: &Status) -> Verdict {
    if !status.is_by_rules {
        return Verdict::LetIn;
    }
    let rules = [
        (StatusCode::REFUNDS_ABOVE_PAYMENT, "refunds-above-payment"),
        (StatusCode::STATE_FORBIDS_REFUND, "state-forbids-refund"),
        (StatusCode::NO_SUCH_ORDER, "no-such-order"),
        (StatusCode::BAD_CODE, "bad-code"),
        (StatusCode::NOT_A_PARTNER_STORE, "not-a-partner-store"),
        (StatusCode::STORE_CLOSED, "store-closed"),
        (StatusCode::AMOUNT_OVER_LIMIT, "amount-over-limit"),
    ];
    let broken = rules.into_iter().find(|(refusing, _)| *refusing == status.code);
    broken.map_or(Verdict::LetIn, |(_, rule)| Verdict::Request(rule))
}

impl From<AccessRefusal> for Refusal {
    fn from(refusal: AccessRefusal) -> Self {
        Self::Access(refusal)
    }
}

fn add_inquiry_type(violations: &mut Violations) {
    violations.add(Field::InquiryType, "must be INQUIRY_TYPE_PAYMENT or INQUIRY_TYPE_REFUND");
}

/// The text about a conflict, for both kinds of callers. The advice must be right for every
/// operation: a new number would charge again, refund again, or cancel nothing.
pub(crate) fn conflict_text(fields: &[String]) -> String {
    format!(
        "MerchantTradeNo was used for another request; these fields differ: {}. Nothing was changed. To repeat the order, or to \
         cancel it, send its original values; only another payment or another refund takes a new MerchantTradeNo",
        fields.join(", ")
    )
}

/// The text about a key that the policy does not accept, for both kinds of callers.
pub(crate) const KEY_REFUSED_TEXT: &str =
    "the merchant's key that signed this request is not accepted by the policy; nothing was changed";

/// The text about a replay, for both kinds of callers.
pub(crate) const REPLAYED_TEXT: &str = "a signed request with this nonce was received before, or the order has had too many \
     signed requests within minutes. This copy changed nothing. To get the result of the first copy, send an \
     inquiry, or sign the same request again with a new nonce and the same MerchantTradeNo";
