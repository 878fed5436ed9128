"""Handshake of two processes, and the seal of every frame after it; pure, without sockets.

Over TCP, where anybody may connect:

    server                                                  client
      hello  {wire, name, nonce}                   ---->
                              <----   claim  {wire, name, role, nonce} + HMAC(secret, "client" + hello + claim)
      proof  HMAC(secret, "server" + hello + claim)  ---->
      frames                                       <--->      frames

Both proofs cover both nonces, both names and both versions. So a recorded handshake is of no use to anybody, and a proof cannot be sent back to
its sender. Two session keys, one a direction, are derived from the same bytes; a frame is

    length (4 bytes, of what follows) | HMAC-SHA256 of the rest, cut to 16 bytes | number (8 bytes) | payload

and its number is one more than that of the frame before, so a frame that was changed, forged, left out, repeated or moved is noticed.
HMAC is that of RFC 2104, its truncation is allowed by section 5. Nothing is encrypted: who can read the loopback device can read the
frames, but can neither make nor repeat one.

Over a Unix socket in a private folder the file system has let in whom it should, and the network loses and changes nothing. What is left there
are the names, so that who has died is not taken for who came after it, and the versions: no secret, no nonces, no seals, no numbers.
"""

from __future__ import annotations

import hmac
import json
import re
import secrets
import struct
from typing import Any, ClassVar, Final

from simtx.errors import SimtxError

WIRE_VERSION: Final = "1.0"
"""Version of the handshake and of the frames: the major part changes when an older side could not understand it."""
HANDSHAKE_LIMIT: Final = 4096
"""Bytes that a frame may have before the other side has shown the secret."""
OVERHEAD: Final = 24
"""Bytes of a sealed frame beside its length and its payload."""
SECRET_BYTES: Final = 32

_LEAST_SECRET: Final = 16
_MAC: Final = 16
_PROOF: Final = 32
_NONCE: Final = 32
_NAME: Final = 200
_LENGTH: Final = struct.Struct(">I")
_NUMBER: Final = struct.Struct(">Q")
_WELCOME: Final = b"{}"  # stands for the proof where none is needed
_VERSION: Final = re.compile(r"(\d{1,4})\.\d{1,4}")


class WireError(SimtxError, ConnectionError):
    """A connection between two processes cannot be made, or what came over it is not let in."""


class Refused(WireError):
    """The other side did not let us in; the text holds its reason."""


def new_secret() -> bytes:
    """A secret for the processes of one run, from the operating system's random numbers."""
    return secrets.token_bytes(SECRET_BYTES)


def checked_secret(secret: bytes) -> bytes:
    """The secret, if it is one.

    Raises:
        WireError: It is too short to protect anything.
    """
    if len(secret) < _LEAST_SECRET:
        raise WireError(f"the run's secret has {len(secret)} bytes; at least {_LEAST_SECRET} are needed")
    return secret


class Plain:
    """Frames of a connection that nobody else can reach: their length, and their payload."""

    __slots__ = ()
    overhead: ClassVar[int] = 0

    def seal(self, payload: bytes) -> bytes:
        """A frame to send, its length included."""
        return framed(payload)

    def open(self, frame: bytes) -> bytes:
        """The payload of a frame that came, without its length."""
        return frame


class Session:
    """Seals the frames of one direction of a connection, and opens those of the other one."""

    __slots__ = ("_received", "_receiving", "_sending", "_sent")
    overhead: ClassVar[int] = OVERHEAD

    def __init__(self, sending: bytes, receiving: bytes) -> None:
        self._sending = sending
        self._receiving = receiving
        self._sent = 0
        self._received = 0

    def seal(self, payload: bytes) -> bytes:
        """The next frame to send, its length included."""
        numbered = _NUMBER.pack(self._sent) + payload
        self._sent += 1
        mac = hmac.digest(self._sending, numbered, "sha256")[:_MAC]
        return _LENGTH.pack(_MAC + len(numbered)) + mac + numbered

    def open(self, frame: bytes) -> bytes:
        """The payload of a frame that came, without its length.

        Raises:
            WireError: It is not the next one that the other side has sealed.
        """
        if len(frame) < OVERHEAD:
            raise WireError(f"truncated frame: {len(frame)} bytes, and the least is {OVERHEAD}")
        numbered = frame[_MAC:]
        if not hmac.compare_digest(hmac.digest(self._receiving, numbered, "sha256")[:_MAC], frame[:_MAC]):
            raise WireError("unauthenticated frame: forged, or changed on the way")
        (number,) = _NUMBER.unpack_from(numbered)
        if number != self._received:
            what = "replayed" if number < self._received else "missing"
            raise WireError(f"{what} frame: number {number} came where {self._received} was expected")
        self._received += 1
        return numbered[_NUMBER.size :]


class ServerHandshake:
    """The server's side of one handshake.

    Args:
        secret: The run's secret; None: nobody else can reach the server.
        name: What the server is called.
    """

    __slots__ = ("_secret", "hello", "name", "role", "version")

    def __init__(self, secret: bytes | None, name: str) -> None:
        self._secret = secret
        self.hello = _dump({"wire": WIRE_VERSION, "name": name} | _nonce(secret))
        self.name = ""
        self.role = ""
        self.version = ""

    def answer(self, claim: bytes) -> tuple[bytes, Session | Plain]:
        """The server's proof, and the session, for a claim that is proved; `name`, `role` and `version` of the client are known then.

        Raises:
            WireError: It is no claim, is not proved, or comes from a newer version.
        """
        secret = self._secret
        body, proof = (claim, b"") if secret is None else (claim[:-_PROOF], claim[-_PROOF:])
        fields = _fields(body, "claim")
        version = _checked_version(fields)
        both = _both(self.hello, body)
        if secret is not None and not hmac.compare_digest(_keyed(secret, b"client", both), proof):
            raise WireError("unauthenticated: it does not have the run's secret")
        name, role = fields.get("name"), fields.get("role")
        named = is_name(name) and (role == "" or is_name(role))
        if not (named and (secret is None or _is_nonce(fields.get("nonce")))):
            raise WireError("malformed handshake: a claim has a name, a role and a nonce")
        self.name, self.role, self.version = str(name), str(role), version
        if secret is None:
            return _WELCOME, Plain()
        session = Session(_keyed(secret, b"to client", both), _keyed(secret, b"to server", both))
        return _keyed(secret, b"server", both), session


class ClientHandshake:
    """The client's side of one handshake.

    Args:
        secret: The run's secret; None: nobody else can reach the server.
        name: What the client is called.
        role: What it is, if the server is to know.
        expect: Name that the server must have; None: any.
    """

    __slots__ = ("_both", "_claim", "_expect", "_secret", "server", "version")

    def __init__(self, secret: bytes | None, name: str, role: str = "", expect: str | None = None) -> None:
        self._secret = secret
        self._claim = {"wire": WIRE_VERSION, "name": name, "role": role} | _nonce(secret)
        self._expect = expect
        self._both = b""
        self.server = ""
        self.version = ""

    def claim(self, hello: bytes) -> bytes:
        """Answer to the server's greeting.

        Raises:
            WireError: It is none, comes from a newer version or from a server that is not meant.
        """
        fields = _fields(hello, "greeting")
        self.version = _checked_version(fields)
        name, secret = fields.get("name"), self._secret
        if not is_name(name) or not (secret is None or _is_nonce(fields.get("nonce"))):
            raise WireError("malformed handshake: a greeting has a name and a nonce")
        if self._expect is not None and name != self._expect:
            raise WireError(f"'{name}' answers where '{self._expect}' is meant to be")
        self.server = str(name)
        body = _dump(self._claim)
        self._both = _both(hello, body)
        return body if secret is None else body + _keyed(secret, b"client", self._both)

    def finish(self, proof: bytes) -> Session | Plain:
        """The session, once the server has proved itself.

        Raises:
            Refused: The server does not let us in.
            WireError: It has not proved itself.
        """
        secret = self._secret
        if secret is None and proof == _WELCOME:
            return Plain()
        if secret is None or len(proof) != _PROOF:
            reason = _fields(proof, "proof").get("refused")
            raise Refused(f"'{self.server}' refuses: {printable(str(reason))}")
        if not hmac.compare_digest(_keyed(secret, b"server", self._both), proof):
            raise WireError("unauthenticated: it does not have the run's secret")
        return Session(_keyed(secret, b"to server", self._both), _keyed(secret, b"to client", self._both))


def refusal(reason: str) -> bytes:
    """Answer of a server instead of a proof."""
    return _dump({"refused": printable(reason)})


def framed(payload: bytes) -> bytes:
    """A frame without a seal."""
    return _LENGTH.pack(len(payload)) + payload


def printable(text: str) -> str:
    """Text of another process as a part of one line of ours."""
    return "".join(char if char.isprintable() else "?" for char in text[:_NAME])


def is_name(value: object) -> bool:
    """Return whether this can be the name of a process: 1 to 200 printable characters."""
    return isinstance(value, str) and 0 < len(value) <= _NAME and value.isprintable()


def _dump(fields: dict[str, str]) -> bytes:
    return json.dumps(fields, separators=(",", ":")).encode()


def _fields(payload: bytes, what: str) -> dict[str, Any]:
    try:
        fields = json.loads(payload)
    except (ValueError, RecursionError):
        fields = None
    if not isinstance(fields, dict):
        raise WireError(f"malformed handshake: the {what} is no JSON object")
    return fields


def _checked_version(fields: dict[str, Any]) -> str:
    version = fields.get("wire")
    match = _VERSION.fullmatch(version) if isinstance(version, str) else None
    if match is None:
        raise WireError("malformed handshake: no wire version, such as '1.0'")
    if match[1] != WIRE_VERSION.partition(".")[0]:
        raise WireError(
            f"wrong version: it speaks wire {version}, we speak {WIRE_VERSION}; use the same simtx on both sides"
        )
    return str(version)


def _nonce(secret: bytes | None) -> dict[str, str]:
    """Nonce that keeps a proof from being used twice, where there is one."""
    return {} if secret is None else {"nonce": secrets.token_hex(_NONCE)}


def _is_nonce(value: object) -> bool:
    return isinstance(value, str) and len(value) == 2 * _NONCE


def _both(hello: bytes, claim: bytes) -> bytes:
    return framed(hello) + framed(claim)  # with their lengths, so that no byte can move from one to the other


def _keyed(secret: bytes, purpose: bytes, both: bytes) -> bytes:
    return hmac.digest(secret, b"simtx " + purpose + b"\0" + both, "sha256")
