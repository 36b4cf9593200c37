"""Client of the payment router twqr: charges once, even if calls fail."""

from .client import Client, Credentials, Options, Result
from .refusal import Refused
from .sign import canonical_text, sign
from .token import CardToken

__all__ = [
    "CardToken",
    "Client",
    "Credentials",
    "Options",
    "Refused",
    "Result",
    "canonical_text",
    "sign",
]
