"""A router that answers by a script, and tests of the client on a real connection to it."""

import subprocess
import tempfile
import time
from concurrent import futures
from contextlib import contextmanager
from pathlib import Path

import grpc
from google.protobuf import any_pb2, duration_pb2
from google.rpc import error_details_pb2, status_pb2

from twqr import Client, Options
from twqr.pos.v1 import pos_pb2, pos_pb2_grpc

TESTDATA = Path(__file__).resolve().parents[2] / "testdata"
QUICK = Options(call_s=2.0, settle_s=6.0)


class Fake(pos_pb2_grpc.PosServiceServicer):
    """Each call takes the next step of its method's script; the last one is repeated."""

    def __init__(self, **scripts):
        self.scripts = scripts
        self.calls = []

    def _next(self, method, request, context):
        metadata = dict(context.invocation_metadata())
        self.calls.append((method, request, context.time_remaining(), metadata, time.monotonic()))
        script = self.scripts[method]
        step = script.pop(0) if len(script) > 1 else script[0]
        return step(context) if callable(step) else step

    def Pay(self, request, context):
        return self._next("Pay", request, context)

    def Refund(self, request, context):
        return self._next("Refund", request, context)

    def Cancel(self, request, context):
        return self._next("Cancel", request, context)

    def Query(self, request, context):
        return self._next("Query", request, context)

    def methods(self):
        return [method for method, *_ in self.calls]


def fails(code, reason=None, retryable=False, delay_s=None):
    """A step that ends a call with this error; without a reason it says nothing of the payment."""

    def step(context):
        if reason is None:
            context.abort(code, "failed")
        info = error_details_pb2.ErrorInfo(reason=reason, domain="twqr.pos.v1")
        info.metadata.update({"retryable": str(retryable).lower(), "charged": "no"})
        details = [info]
        if delay_s is not None:
            delay = duration_pb2.Duration()
            delay.FromMilliseconds(int(delay_s * 1000))
            details.append(error_details_pb2.RetryInfo(retry_delay=delay))
        status = status_pb2.Status(code=code.value[0], message=reason)
        for detail in details:
            packed = any_pb2.Any()
            packed.Pack(detail)
            status.details.append(packed)
        context.set_trailing_metadata([("grpc-status-details-bin", status.SerializeToString())])
        context.abort(code, reason)

    return step


def silent(context):
    """A step that never answers."""
    time.sleep(30) if context.time_remaining() is None else time.sleep(context.time_remaining())
    context.abort(grpc.StatusCode.DEADLINE_EXCEEDED, "late")


def paid(code="000"):
    return pos_pb2.PayResponse(status_code=code, trade_no="T" * 25)


def order(status, code="000"):
    return pos_pb2.QueryResponse(status_code="000", order_status=status, payment=paid(code))


NO_ORDER = pos_pb2.QueryResponse(status_code="916")


@contextmanager
def serving(fake, options=QUICK, server_credentials=None, **arguments):
    server = grpc.server(futures.ThreadPoolExecutor(4))
    pos_pb2_grpc.add_PosServiceServicer_to_server(fake, server)
    if server_credentials is None:
        port = server.add_insecure_port("127.0.0.1:0")
    else:
        port = server.add_secure_port("127.0.0.1:0", server_credentials)
    server.start()
    try:
        with Client(f"127.0.0.1:{port}", options=options, **arguments) as client:
            yield client
    finally:
        server.stop(None)


@contextmanager
def certificates():
    with tempfile.TemporaryDirectory() as folder:
        subprocess.run([TESTDATA / "certs", folder], check=True)
        yield Path(folder)
