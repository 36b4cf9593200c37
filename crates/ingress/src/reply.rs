//! A record of the replies partition, as the calls that wait understand it.

use bytes::Bytes;
use prost::Message;
use twqr_wire::{RECORD_VERSION, bus};

/// An answer of the router.
#[derive(Debug)]
pub(crate) struct Reply {
    /// Offset and number of its cause on the order's shard: of two answers about one order the greater is the newer.
    pub(crate) at: (u64, u32),
    /// The order was there before the request.
    pub(crate) repeat: bool,
    pub(crate) answer: Answer,
}

/// What it says.
#[derive(Debug)]
pub(crate) enum Answer {
    /// The order as it is.
    Order(Box<bus::Payment>),
    NotFound,
    /// The POS document's names of the fields that differ.
    Conflict(Vec<String>),
    TooManyWatchers,
}

impl Reply {
    /// The correlation and the answer in a record; the error says why there is none in it.
    pub(crate) fn decode(bytes: Bytes) -> Result<(u64, Self), &'static str> {
        use bus::reply_record::Body;
        let record = bus::ReplyRecord::decode(bytes).map_err(|_| "the bytes are no protobuf record")?;
        if record.version != RECORD_VERSION {
            return Err("the record has a version that this build does not read");
        }
        let answer = match record.body.ok_or("the record has no body")? {
            Body::Payment(payment) => Answer::Order(Box::new(payment)),
            Body::NotFound(_) => Answer::NotFound,
            Body::Conflict(conflict) => Answer::Conflict(conflict.fields),
            Body::TooManyWatchers(_) => Answer::TooManyWatchers,
        };
        let at = record.id.map_or((0, 0), |id| (id.offset, id.n));
        Ok((record.correlation, Self { at, repeat: record.repeat, answer }))
    }

    /// Whether it ends the wait of a payment: everything else may still change.
    pub(crate) fn settles_payment(&self) -> bool {
        match &self.answer {
            Answer::Order(payment) => is_final(payment),
            Answer::Conflict(_) => true,
            Answer::NotFound | Answer::TooManyWatchers => false,
        }
    }
}

/// Paid or failed: it stays so.
pub(crate) fn is_final(payment: &bus::Payment) -> bool {
    use bus::payment::Phase;
    match &payment.phase {
        Some(Phase::Paid(_) | Phase::Failed(_)) => true,
        Some(Phase::Paying(_) | Phase::Unresolved(_) | Phase::Asking(_)) | None => false,
    }
}
