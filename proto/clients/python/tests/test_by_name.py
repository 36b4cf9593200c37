"""The service config by name: a client without a copy finds the record that service-config-txt prints,
in a real answer of DNS."""

import json
import shlex
import socket
import struct
import subprocess
import threading
import unittest
from concurrent import futures

import grpc

from fake import TESTDATA, Fake, fails, paid
from twqr.pos.v1 import pos_pb2, pos_pb2_grpc

PROTO = TESTDATA.parents[1]
NAME = "pos.example.com"
TYPE_A, TYPE_TXT = 1, 16


def record():
    """The parts of the TXT record, each as bytes of one string."""
    printed = subprocess.run([PROTO / "service-config-txt", NAME], check=True, capture_output=True, text=True)
    owner, *kind_and_parts = shlex.split(printed.stdout)
    assert owner == f"_grpc_config.{NAME}." and kind_and_parts[:2] == ["IN", "TXT"], printed.stdout
    return [part.encode() for part in kind_and_parts[2:]]


class NameServer:
    """Answers that NAME is on this machine, and with the TXT record, over UDP and TCP."""

    def __init__(self, parts):
        self.parts = parts
        self.asked = set()
        self.tcp = socket.create_server(("127.0.0.1", 0))
        self.udp = socket.socket(type=socket.SOCK_DGRAM)
        self.udp.bind(self.tcp.getsockname())
        self.port = self.tcp.getsockname()[1]
        for serve in (self._serve_udp, self._serve_tcp):
            threading.Thread(target=serve, daemon=True).start()

    def _serve_udp(self):
        while True:
            try:
                query, address = self.udp.recvfrom(4096)
            except OSError:
                return
            answer = self._answer(query)
            # A longer answer does not fit: the bit TC asks for TCP.
            if len(answer) > 512:
                answer = answer[:2] + struct.pack("!HHHHH", 0x8780, 1, 0, 0, 0) + self._question(query)
            self.udp.sendto(answer, address)

    def _serve_tcp(self):
        while True:
            try:
                connection, _ = self.tcp.accept()
            except OSError:
                return
            with connection:
                (length,) = struct.unpack("!H", connection.recv(2, socket.MSG_WAITALL))
                answer = self._answer(connection.recv(length, socket.MSG_WAITALL))
                connection.sendall(struct.pack("!H", len(answer)) + answer)

    @staticmethod
    def _question(query):
        end = query.index(b"\0", 12) + 5
        return query[12:end]

    def _answer(self, query):
        question = self._question(query)
        (kind,) = struct.unpack("!H", question[-4:-2])
        is_config = question.startswith(b"\x0c_grpc_config")
        data = None
        if kind == TYPE_TXT and is_config:
            self.asked.add("config")
            data = b"".join(bytes([len(part)]) + part for part in self.parts)
        elif kind == TYPE_A and not is_config:
            data = socket.inet_aton("127.0.0.1")
        count = int(data is not None)
        answer = query[:2] + struct.pack("!HHHHH", 0x8580, 1, count, 0, 0) + question
        if data is not None:
            answer += struct.pack("!HHHIH", 0xC00C, kind, 1, 60, len(data)) + data
        return answer

    def close(self):
        self.udp.close()
        self.tcp.close()


class ByName(unittest.TestCase):
    def test_the_record_is_the_service_config(self):
        parts = record()
        self.assertTrue(all(len(part) <= 255 for part in parts))
        text = b"".join(parts).decode()
        self.assertTrue(text.startswith("grpc_config="))
        (choice,) = json.loads(text.removeprefix("grpc_config="))
        config = json.loads((PROTO / "service-config.json").read_text())
        self.assertEqual(choice, {"serviceConfig": config})

    def test_a_client_without_a_copy_retries_as_the_record_says(self):
        for parts, calls in [(record(), 3), ([b"no service config"], 1)]:
            fake = Fake(Pay=[fails(grpc.StatusCode.UNAVAILABLE)] * 2 + [paid()])
            server = grpc.server(futures.ThreadPoolExecutor(2))
            pos_pb2_grpc.add_PosServiceServicer_to_server(fake, server)
            port = server.add_insecure_port("127.0.0.1:0")
            server.start()
            names = NameServer(parts)
            options = [("grpc.service_config_disable_resolution", 0)]
            target = f"dns://127.0.0.1:{names.port}/{NAME}:{port}"
            with grpc.insecure_channel(target, options=options) as channel:
                request = pos_pb2.PayRequest(merchant_id="M1", merchant_trade_no="N1", trade_amount=1)
                try:
                    answer = pos_pb2_grpc.PosServiceStub(channel).Pay(request, timeout=10)
                    self.assertEqual(answer.status_code, "000")
                except grpc.RpcError as error:
                    self.assertEqual(error.code(), grpc.StatusCode.UNAVAILABLE)
            self.assertEqual((len(fake.calls), names.asked), (calls, {"config"}))
            server.stop(None)
            names.close()


if __name__ == "__main__":
    unittest.main()
