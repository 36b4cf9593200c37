"""The content of an error: whether the request was refused and may be sent again."""

from dataclasses import dataclass

import grpc
from google.rpc import error_details_pb2, status_pb2

DOMAIN = "twqr.pos.v1"
DETAILS = "grpc-status-details-bin"
# With these codes the request was not carried out, even if a proxy answered. After every other
# error without details of the router it may have been accepted.
NOT_CARRIED_OUT = {
    grpc.StatusCode.INVALID_ARGUMENT,
    grpc.StatusCode.ALREADY_EXISTS,
    grpc.StatusCode.UNAUTHENTICATED,
    grpc.StatusCode.PERMISSION_DENIED,
    grpc.StatusCode.UNIMPLEMENTED,
}


class Refused(Exception):
    """The request was not accepted: it charged, refunded and cancelled nothing."""

    def __init__(self, code: grpc.StatusCode, reason: str, message: str) -> None:
        super().__init__(f"{reason or code.name}: {message}")
        self.code = code
        #: The reason, such as FIELD_VIOLATIONS (proto/errors.md); empty if the router gave none.
        self.reason = reason


@dataclass(frozen=True)
class Failure:
    """A failed call."""

    code: grpc.StatusCode
    message: str
    reason: str = ""
    #: The request was not accepted. Otherwise that is unknown.
    is_refusal: bool = False
    #: The same request may succeed later.
    is_retryable: bool = True
    #: The delay that the router asks for, in seconds.
    delay_s: float = 0.0

    def refused(self) -> Refused:
        return Refused(self.code, self.reason, self.message)


def failure_of(error: grpc.RpcError) -> Failure:
    """Reads ErrorInfo and RetryInfo of an error."""
    code, message = error.code(), error.details() or ""
    reason, retryable, charged, delay_s = "", "", "", 0.0
    for key, value in error.trailing_metadata() or ():
        if key != DETAILS:
            continue
        for detail in status_pb2.Status.FromString(value).details:
            info, retry = error_details_pb2.ErrorInfo(), error_details_pb2.RetryInfo()
            if detail.Unpack(info) and info.domain == DOMAIN:
                reason = info.reason
                retryable, charged = info.metadata.get("retryable"), info.metadata.get("charged")
            elif detail.Unpack(retry):
                delay_s = retry.retry_delay.ToTimedelta().total_seconds()
    if charged == "no":
        return Failure(code, message, reason, True, retryable == "true", delay_s)
    if code in NOT_CARRIED_OUT:
        return Failure(code, message, reason, True, False)
    return Failure(code, message, delay_s=delay_s)
