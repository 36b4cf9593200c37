"""The calls of the public API, each until its result is known or a bound is reached."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from importlib import resources
from pathlib import Path

import grpc

from .plain_text import leaves_machine
from .pos.v1 import pos_pb2, pos_pb2_grpc
from .refusal import Failure, failure_of
from .token import CardToken

SUCCESS = "000"
CANCELLED = "812"
NO_SUCH_ORDER = "916"
IN_PROGRESS = pos_pb2.ORDER_STATUS_IN_PROGRESS
PAUSE_S_FIRST = 0.2
PAUSE_S_MAX = 2.0
ASKED_PAUSE_S_MAX = 30.0


@dataclass(frozen=True)
class Credentials:
    """The caller's credentials. Without files, nothing is encrypted: for loopback only."""

    #: PEM files: the router's certificate authority, and the caller's certificate with its key.
    ca_file: str | None = None
    certificate_file: str | None = None
    key_file: str | None = None
    #: The API key: a file that holds it, which is read for each call, or a function.
    api_key_file: str | None = None
    api_key: Callable[[], str] | None = field(default=None, repr=False)
    #: Whether the API key may leave this machine without TLS, for a closed network.
    api_key_in_plain_text: bool = False

    def check_way(self, target: str) -> None:
        """Raises ValueError if others could read the API key on the network to this address."""
        has_key = self.api_key is not None or self.api_key_file is not None
        if has_key and not self.api_key_in_plain_text and not self._has_tls() and leaves_machine(target):
            raise ValueError(
                f"{target} has no TLS, so others could read the API key on the network: name the router's "
                "authority in ca_file, or, if the network is closed, set api_key_in_plain_text"
            )

    def _has_tls(self) -> bool:
        return self.ca_file is not None or self.certificate_file is not None

    def channel(self) -> grpc.ChannelCredentials | None:
        if not self._has_tls():
            return None
        return grpc.ssl_channel_credentials(
            _read(self.ca_file), _read(self.key_file), _read(self.certificate_file)
        )

    def metadata(self) -> list[tuple[str, str]]:
        if self.api_key is not None:
            return [("authorization", f"Bearer {self.api_key()}")]
        if self.api_key_file is not None:
            return [("authorization", f"Bearer {Path(self.api_key_file).read_text().strip()}")]
        return []


@dataclass(frozen=True)
class Options:
    """Bounds in seconds."""

    #: The deadline of each call.
    call_s: float = 14.0
    #: The longest time of a method, including retries and inquiries.
    settle_s: float = 60.0


@dataclass(frozen=True)
class Result:
    """The outcome of an order."""

    #: The OrderStatus. ORDER_STATUS_IN_PROGRESS: not known within the bound; call again.
    status: int
    #: The newest answer about the order; absent if there was none.
    answer: object | None
    attempts: int
    inquiries: int

    @property
    def is_final(self) -> bool:
        return self.status != IN_PROGRESS


class Client:
    """Calls one router at these addresses. It may be used by many threads at once. Raises
    ValueError if the API key would leave this machine without TLS."""

    def __init__(
        self,
        *targets: str,
        credentials: Credentials = Credentials(),
        options: Options = Options(),
    ) -> None:
        for target in targets:
            credentials.check_way(target)
        config = resources.files("twqr").joinpath("service-config.json").read_text()
        secure = credentials.channel()
        arguments = [("grpc.service_config", config)]
        self._channels = [
            grpc.insecure_channel(target, options=arguments)
            if secure is None
            else grpc.secure_channel(target, secure, options=arguments)
            for target in targets
        ]
        self._stubs = [pos_pb2_grpc.PosServiceStub(channel) for channel in self._channels]
        self._credentials = credentials
        self._options = options
        self._turn = 0
        self._lock = threading.Lock()

    def close(self) -> None:
        for channel in self._channels:
            channel.close()

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def stub(self) -> pos_pb2_grpc.PosServiceStub:
        """The generated stub, for calls that this client does not wrap. It retries UNAVAILABLE."""
        return self._stubs[self._turn % len(self._stubs)]

    def pay(self, request: pos_pb2.PayRequest, card_token: CardToken) -> Result:
        """Sends one payment. The card token is separate, so that the request may be logged. Raises
        Refused if nothing was accepted and the same request cannot succeed."""
        sent = _with_token(request, card_token)
        settling = _Settling(self, request, pos_pb2.INQUIRY_TYPE_PAYMENT)
        return settling.run("Pay", sent, pos_pb2.ORDER_STATUS_PAID)

    def refund(self, request: pos_pb2.RefundRequest) -> Result:
        """Sends one refund, which has its own number. Raises Refused like pay."""
        settling = _Settling(self, request, pos_pb2.INQUIRY_TYPE_REFUND)
        return settling.run("Refund", request, pos_pb2.ORDER_STATUS_REFUND_SUCCEEDED)

    def cancel(self, request: pos_pb2.CancelRequest, card_token: CardToken) -> Result:
        """Cancels a payment: sends the cancel again until it has a result. A cancelled payment has
        the status ORDER_STATUS_FULLY_REFUNDED, and one that never was ORDER_STATUS_FAILED."""
        sent = _with_token(request, card_token)
        settling = _Settling(self, request, pos_pb2.INQUIRY_TYPE_PAYMENT)
        return settling.run("Cancel", sent, pos_pb2.ORDER_STATUS_FULLY_REFUNDED)

    def query(self, request: pos_pb2.QueryRequest) -> pos_pb2.QueryResponse:
        """Inquires once."""
        return self._call("Query", request, self._options.call_s)

    def _call(self, method: str, request: object, timeout_s: float) -> object:
        return getattr(self.stub, method)(
            request, timeout=timeout_s, metadata=self._credentials.metadata()
        )

    def _turn_to_next(self) -> None:
        with self._lock:
            self._turn += 1


class _Settling:
    """One order until it has a result."""

    def __init__(self, client: Client, order: object, inquiry_type: int) -> None:
        self._client = client
        self._inquiry = pos_pb2.QueryRequest(
            inquiry_type=inquiry_type,
            merchant_id=order.merchant_id,
            merchant_trade_no=order.merchant_trade_no,
        )
        self._until = time.monotonic() + client._options.settle_s
        self._pause_s = PAUSE_S_FIRST
        self._attempts = self._inquiries = 0
        self._answer: object | None = None

    def run(self, method: str, request: object, success: int) -> Result:
        may_be_accepted = False
        while True:
            self._attempts += 1
            answer = self._try(method, request)
            if isinstance(answer, Failure):
                if answer.is_refusal and not answer.is_retryable and not may_be_accepted:
                    raise answer.refused()
                may_be_accepted |= not answer.is_refusal
                if not self._pause(answer.delay_s):
                    return self._result(IN_PROGRESS)
                if not may_be_accepted:
                    continue
            else:
                may_be_accepted = True
                self._answer = answer
                if answer.status_code == SUCCESS:
                    return self._result(success)
                if method == "Cancel" and answer.status_code == NO_SUCH_ORDER:
                    return self._result(pos_pb2.ORDER_STATUS_FAILED)
            status = self._inquire(is_answered=not isinstance(answer, Failure))
            if status is not None and not self._must_repeat(method, answer, status):
                return self._result(status)
            if not self._pause():
                return self._result(IN_PROGRESS)

    def _must_repeat(self, method: str, answer: object, status: int) -> bool:
        """A cancel without an answer may not have arrived, whatever the payment's state is."""
        if method != "Cancel" or status == pos_pb2.ORDER_STATUS_FULLY_REFUNDED:
            return False
        return isinstance(answer, Failure)

    def _inquire(self, is_answered: bool) -> int | None:
        """Inquires until the state is final or the bound is reached; absent if no order was
        accepted, which may still happen."""
        while True:
            self._inquiries += 1
            found = self._try("Query", self._inquiry)
            delay_s = found.delay_s if isinstance(found, Failure) else 0.0
            if not isinstance(found, Failure):
                if found.status_code == NO_SUCH_ORDER:
                    is_cancelled = is_answered and self._answer.status_code == CANCELLED
                    return pos_pb2.ORDER_STATUS_FAILED if is_cancelled else None
                if found.HasField("order_status"):
                    is_refund = self._inquiry.inquiry_type == pos_pb2.INQUIRY_TYPE_REFUND
                    self._answer = found.refund if is_refund else found.payment
                    if found.order_status != IN_PROGRESS:
                        return found.order_status
            if not self._pause(delay_s):
                return IN_PROGRESS

    def _try(self, method: str, request: object) -> object | Failure:
        left_s = max(self._until - time.monotonic(), 0.001)
        try:
            return self._client._call(method, request, min(self._client._options.call_s, left_s))
        except grpc.RpcError as error:
            self._client._turn_to_next()
            return failure_of(error)

    def _pause(self, asked_s: float = 0.0) -> bool:
        """Waits before the next call; returns false if the bound is reached first."""
        pause_s = min(asked_s, ASKED_PAUSE_S_MAX) + self._pause_s * random.uniform(0.5, 1.0)
        self._pause_s = min(self._pause_s * 2, PAUSE_S_MAX)
        time.sleep(max(min(pause_s, self._until - time.monotonic()), 0.0))
        return time.monotonic() < self._until

    def _result(self, status: int) -> Result:
        return Result(status, self._answer, self._attempts, self._inquiries)


def _read(file: str | None) -> bytes | None:
    return None if file is None else Path(file).read_bytes()


def _with_token(request: object, card_token: CardToken) -> object:
    if request.card_token:
        raise ValueError("card_token: leave it empty in the request, and give a CardToken")
    sent = type(request)()
    sent.CopyFrom(request)
    sent.card_token = card_token.reveal()
    return sent
