"""Signs requests with an independent library for HTTP message signatures (RFC 9421) and sends each
of them twice: the first time it is answered, the second time refused."""

import base64
import json
import uuid

import requests
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat
from http_message_signatures import HTTPMessageSigner, HTTPSignatureKeyResolver, algorithms

SECRET = b"0123456789abcdef0123456789abcdef"


def keys():
    """The private key of each algorithm, and its entry in the file with the merchants' keys."""
    edwards, ecdsa = ed25519.Ed25519PrivateKey.generate(), ec.generate_private_key(ec.SECP256R1())
    pem = lambda key: key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    public = lambda key: key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()
    return [
        ("hmac", algorithms.HMAC_SHA256, SECRET, "hmac-sha256", base64.b64encode(SECRET).decode()),
        ("edwards", algorithms.ED25519, pem(edwards), "ed25519", public(edwards)),
        ("ecdsa", algorithms.ECDSA_P256_SHA256, pem(ecdsa), "ecdsa-p256-sha256", public(ecdsa)),
    ]


def key_file(all_keys):
    lines = ["[keys.M1]", 'sign = "example-key"']
    for name, _, _, algorithm, text in all_keys:
        lines.append(f'{name} = {{ alg = "{algorithm}", key = """{text}""" }}')
    return "\n".join(lines) + "\n"


class Resolver(HTTPSignatureKeyResolver):
    def __init__(self, private):
        self.private = private

    def resolve_private_key(self, key_id):
        return self.private

    def resolve_public_key(self, key_id):
        raise NotImplementedError


def signed(base, key, operation, body):
    name, algorithm, private, _, _ = key
    text = json.dumps(body).encode()
    request = requests.Request("POST", f"{base}/Pos/{operation}", data=text,
                               headers={"Content-Type": "application/json"}).prepare()
    signer = HTTPMessageSigner(signature_algorithm=algorithm, key_resolver=Resolver(private))
    signer.sign(request, key_id=name, nonce=uuid.uuid4().hex, label="pos", include_alg=True, body=text,
                covered_component_ids=("@method", "@path", "@authority", "content-digest", "content-type"))
    return request


def send(request):
    with requests.Session() as session:
        answer = session.send(request, timeout=20)
    assert answer.status_code == 200, answer
    return answer.json()


def main(base, all_keys):
    for key in all_keys:
        number = uuid.uuid4().hex
        payment = {"MerchantID": "M1", "MerchantTradeNo": number, "CardToken": "22abcdefghijklmnop", "TradeAmount": 120}
        first = signed(base, key, "Payment", payment)
        answer = send(first)
        assert (answer["StatusCode"], answer["IsRep"]) == ("000", "0"), answer
        again = send(signed(base, key, "Payment", payment))
        assert (again["StatusCode"], again["IsRep"], again["TradeNo"]) == ("000", "1", answer["TradeNo"]), again
        inquiry = {"MerchantID": "M1", "MerchantTradeNo": number, "InquiryType": "P"}
        refund = {"MerchantID": "M1", "MerchantTradeNo": number + "-r", "TradeNo": answer["TradeNo"], "TradeAmount": 20}
        used = [first]
        for operation, body in [("Inquiry", inquiry), ("Refund", refund), ("Cancel", payment)]:
            request = signed(base, key, operation, body)
            answer = send(request)
            assert answer["StatusCode"] == "000", (operation, answer)
            # A replayed inquiry moves no money, and is answered again.
            if operation != "Inquiry":
                used.append(request)
        for request in used:
            answer = send(request)
            assert answer["StatusCode"] == "301" and "nonce" in answer["StatusDesc"], answer
        moved = signed(base, key, "Inquiry", inquiry)
        moved.url = moved.url.replace("/Pos/", "/Other/")
        assert send(moved)["StatusCode"] == "904"
        print(f"test-api: {key[3]}: four operations accepted, each replay that may move money refused")


