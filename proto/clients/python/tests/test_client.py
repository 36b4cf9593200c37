"""What must be right: deadlines, repeats, inquiries, credentials, and that no token is shown."""

import json
import pickle
import tempfile
import unittest
from importlib import resources

import grpc

from fake import NO_ORDER, QUICK, TESTDATA, Fake, certificates, fails, order, paid, serving, silent
from twqr import CardToken, Client, Credentials, Options, Refused, canonical_text, sign
from twqr.pos.v1 import pos_pb2

PAID, FAILED = pos_pb2.ORDER_STATUS_PAID, pos_pb2.ORDER_STATUS_FAILED
IN_PROGRESS = pos_pb2.ORDER_STATUS_IN_PROGRESS
CANCELLED = pos_pb2.ORDER_STATUS_FULLY_REFUNDED
TEXT = "22abcdefghijklmnop"
TOKEN = CardToken(TEXT)


def payment():
    return pos_pb2.PayRequest(merchant_id="M1", merchant_trade_no="N1", trade_amount=100)


def cancel():
    return pos_pb2.CancelRequest(merchant_id="M1", merchant_trade_no="N1", trade_amount=100)


class Payments(unittest.TestCase):
    def test_an_unavailable_router_gets_the_same_number_again(self):
        fake = Fake(Pay=[fails(grpc.StatusCode.UNAVAILABLE)] * 2 + [paid()])
        with serving(fake) as client:
            result = client.pay(payment(), TOKEN)
        self.assertEqual((result.status, result.inquiries), (PAID, 0))
        self.assertEqual(fake.methods(), ["Pay"] * 3)
        for _, request, remaining, *_ in fake.calls:
            self.assertEqual((request.merchant_trade_no, request.card_token), ("N1", TEXT))
            self.assertLess(remaining, 2 * QUICK.call_s)

    def test_a_call_without_an_answer_is_inquired_about_until_it_is_final(self):
        states = [order(IN_PROGRESS), fails(grpc.StatusCode.INTERNAL), order(PAID)]
        fake = Fake(Pay=[silent], Query=states)
        with serving(fake, Options(call_s=0.3, settle_s=6)) as client:
            result = client.pay(payment(), TOKEN)
        self.assertEqual((result.status, result.answer.status_code), (PAID, "000"))
        self.assertEqual(fake.methods(), ["Pay", "Query", "Query", "Query"])

    def test_an_answer_in_progress_is_inquired_about_whatever_its_code(self):
        for status, code in [(PAID, "000"), (FAILED, "983")]:
            fake = Fake(Pay=[paid("982")], Query=[order(IN_PROGRESS), order(status, code)])
            with serving(fake) as client:
                result = client.pay(payment(), TOKEN)
            self.assertEqual((result.status, result.answer.status_code), (status, code))

    def test_a_payment_that_was_not_accepted_is_sent_again_under_its_number(self):
        fake = Fake(Pay=[fails(grpc.StatusCode.UNKNOWN), paid()], Query=[NO_ORDER])
        with serving(fake) as client:
            result = client.pay(payment(), TOKEN)
        self.assertEqual((result.status, result.attempts), (PAID, 2))
        self.assertEqual(fake.methods(), ["Pay", "Query", "Pay"])

    def test_a_payment_after_its_cancel_never_charges(self):
        fake = Fake(Pay=[paid("812")], Query=[NO_ORDER])
        with serving(fake) as client:
            self.assertEqual(client.pay(payment(), TOKEN).status, FAILED)

    def test_what_is_not_known_within_the_bound_stays_in_progress(self):
        fake = Fake(Pay=[paid("982")], Query=[order(IN_PROGRESS)])
        with serving(fake, Options(settle_s=0.5)) as client:
            result = client.pay(payment(), TOKEN)
        self.assertEqual((result.status, result.is_final), (IN_PROGRESS, False))

    def test_a_refusal_that_cannot_succeed_is_raised_and_not_repeated(self):
        fake = Fake(Pay=[fails(grpc.StatusCode.INVALID_ARGUMENT, "FIELD_VIOLATIONS")])
        with serving(fake) as client, self.assertRaises(Refused) as raised:
            client.pay(payment(), TOKEN)
        self.assertEqual(raised.exception.reason, "FIELD_VIOLATIONS")
        self.assertEqual(fake.methods(), ["Pay"])

    def test_a_refusal_after_an_unknown_attempt_says_nothing_about_the_first(self):
        refused = fails(grpc.StatusCode.UNAUTHENTICATED, "KEY_REFUSED")
        fake = Fake(Pay=[fails(grpc.StatusCode.UNKNOWN), refused], Query=[NO_ORDER, order(PAID)])
        with serving(fake) as client:
            self.assertEqual(client.pay(payment(), TOKEN).status, PAID)
        self.assertEqual(fake.methods(), ["Pay", "Query", "Pay", "Query"])

    def test_a_busy_router_is_left_alone_for_as_long_as_it_asks(self):
        busy = fails(grpc.StatusCode.RESOURCE_EXHAUSTED, "TOO_BUSY", retryable=True, delay_s=0.4)
        fake = Fake(Pay=[busy, paid()])
        with serving(fake) as client:
            result = client.pay(payment(), TOKEN)
        self.assertEqual((result.status, fake.methods()), (PAID, ["Pay", "Pay"]))
        self.assertGreaterEqual(fake.calls[1][4] - fake.calls[0][4], 0.4)

    def test_the_next_address_is_tried(self):
        fake = Fake(Pay=[paid()], Query=[NO_ORDER])
        with serving(fake) as client:
            broken = grpc.insecure_channel("127.0.0.1:1")
            client._stubs.insert(0, type(client.stub)(broken))
            self.assertEqual(client.pay(payment(), TOKEN).status, PAID)
            broken.close()


class RefundsAndCancels(unittest.TestCase):
    def test_a_refund_is_inquired_about_as_a_refund(self):
        given_back = pos_pb2.QueryResponse(
            status_code="000",
            order_status=pos_pb2.ORDER_STATUS_REFUND_SUCCEEDED,
            refund=pos_pb2.RefundResponse(status_code="000"),
        )
        fake = Fake(Refund=[fails(grpc.StatusCode.UNKNOWN)], Query=[given_back])
        request = pos_pb2.RefundRequest(merchant_id="M1", merchant_trade_no="R1", trade_amount=1)
        with serving(fake) as client:
            result = client.refund(request)
        self.assertEqual(result.status, pos_pb2.ORDER_STATUS_REFUND_SUCCEEDED)
        self.assertEqual(fake.calls[1][1].inquiry_type, pos_pb2.INQUIRY_TYPE_REFUND)

    def test_a_cancel_without_an_answer_is_sent_again(self):
        cancelled = pos_pb2.CancelResponse(status_code="000")
        fake = Fake(Cancel=[fails(grpc.StatusCode.UNKNOWN), cancelled], Query=[order(PAID)])
        with serving(fake) as client:
            self.assertEqual(client.cancel(cancel(), TOKEN).status, CANCELLED)
        self.assertEqual(fake.methods(), ["Cancel", "Query", "Cancel"])

    def test_a_cancel_that_finds_no_payment_is_done(self):
        fake = Fake(Cancel=[pos_pb2.CancelResponse(status_code="916")])
        with serving(fake) as client:
            self.assertEqual(client.cancel(cancel(), TOKEN).status, FAILED)


class Safety(unittest.TestCase):
    def test_no_card_token_is_shown_or_stored(self):
        for text in [repr(TOKEN), str(TOKEN), f"{TOKEN}", f"{TOKEN!r:>40}", str([TOKEN]), "%s" % TOKEN]:
            self.assertNotIn(TEXT, text)
        with self.assertRaises(TypeError):
            pickle.dumps(TOKEN)
        with serving(Fake(Pay=[paid()])) as client:
            request = payment()
            result = client.pay(request, TOKEN)
            self.assertNotIn(TEXT, f"{request} {result}")
            request.card_token = TEXT
            with self.assertRaises(ValueError) as raised:
                client.pay(request, TOKEN)
            self.assertNotIn(TEXT, str(raised.exception))

    def test_signatures_are_those_of_the_router(self):
        for vector in json.loads((TESTDATA / "signatures.json").read_text()):
            self.assertEqual(canonical_text(vector["fields"]), vector["text"], vector["name"])
            self.assertEqual(sign(vector["fields"], vector["key"]), vector["sign"], vector["name"])

    def test_the_service_config_is_that_of_the_contract(self):
        shipped = resources.files("twqr").joinpath("service-config.json").read_text()
        self.assertEqual(shipped, (TESTDATA / "../../service-config.json").read_text())

    def test_the_api_key_is_read_for_each_call(self):
        fake = Fake(Pay=[paid()])
        with tempfile.NamedTemporaryFile("w+") as file:
            with serving(fake, credentials=Credentials(api_key_file=file.name)) as client:
                for key in ["old", "new"]:
                    file.seek(0)
                    file.truncate()
                    print(key, file=file, flush=True)
                    client.pay(payment(), TOKEN)
        self.assertEqual([call[3]["authorization"] for call in fake.calls], ["Bearer old", "Bearer new"])
        self.assertNotIn("secret", repr(Credentials(api_key=lambda: "secret")))

    def test_an_api_key_leaves_the_machine_only_by_tls(self):
        def refusal(address, **credentials):
            try:
                Client(address, credentials=Credentials(**credentials)).close()
            except ValueError as error:
                return str(error)

        addresses = json.loads((TESTDATA / "addresses.json").read_text())
        self.assertGreaterEqual(len(addresses), 20)
        for case in addresses:
            address, is_here = case["address"], case["is_here"]
            for key in [{"api_key": lambda: "secret"}, {"api_key_file": "/absent"}]:
                refused = refusal(address, **key)
                self.assertEqual(refused is None, is_here, address)
                if refused is not None:
                    self.assertTrue(refused.startswith(f"{address} has no TLS"), refused)
        key = {"api_key": lambda: "secret"}
        with self.assertRaises(ValueError):
            Client("127.0.0.1:1", "10.0.0.1:1", credentials=Credentials(**key))
        with certificates() as folder:
            self.assertIsNone(refusal("router.example:1", ca_file=folder / "ca.pem", **key))
        self.assertIsNone(refusal("router.example:1", api_key_in_plain_text=True, **key))
        self.assertIsNone(refusal("router.example:1"))

    def test_the_connection_is_authenticated_on_both_sides(self):
        with certificates() as folder:
            read = lambda name: (folder / name).read_bytes()
            server = grpc.ssl_server_credentials(
                [(read("server.key"), read("server.pem"))], read("ca.pem"), True
            )
            files = {"ca_file": folder / "ca.pem"}
            own = {"certificate_file": folder / "client.pem", "key_file": folder / "client.key"}
            fake = Fake(Pay=[paid()], Query=[NO_ORDER])
            quick = Options(call_s=1, settle_s=1)
            with serving(fake, server_credentials=server, credentials=Credentials(**files, **own)) as client:
                self.assertEqual(client.pay(payment(), TOKEN).status, PAID)
            with serving(fake, quick, server, credentials=Credentials(**files)) as client:
                self.assertEqual(client.pay(payment(), TOKEN).status, IN_PROGRESS)
            self.assertEqual(fake.methods(), ["Pay"])


if __name__ == "__main__":
    unittest.main()
