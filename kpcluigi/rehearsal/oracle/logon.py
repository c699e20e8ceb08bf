"""O5LOGON: a password proved in both directions without being sent, by the 11g SHA-1 verifier."""

from __future__ import annotations

import hashlib
import secrets

from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

VERIFIER_11G = 0x1B25


def _aes(key: bytes, data: bytes, encrypts: bool) -> bytes:
    cipher = Cipher(algorithms.AES(key), modes.CBC(bytes(16)))
    step = cipher.encryptor() if encrypts else cipher.decryptor()
    return step.update(data) + step.finalize()


class Logon:
    """One attempt of one user. An unknown user gets a challenge like any other's."""

    def __init__(self, password: str | None) -> None:
        self._password = password
        self._salt = secrets.token_bytes(10)
        known = secrets.token_hex(16) if password is None else password
        self._verifier = hashlib.sha1(known.encode() + self._salt).digest() + bytes(4)
        self._server_part = secrets.token_bytes(48)
        self._key = b""

    def challenge(self) -> list[tuple[str, str, int]]:
        """What the client is asked with: name, value and flags."""
        part = _aes(self._verifier, self._server_part, encrypts=True)
        return [
            ("AUTH_SESSKEY", part.hex().upper(), 0),
            ("AUTH_VFR_DATA", self._salt.hex().upper(), VERIFIER_11G),
        ]

    def is_right(self, answer: dict[str, str]) -> bool:
        """Whether the client knows the password."""
        try:
            client_part = _aes(self._verifier, bytes.fromhex(answer["AUTH_SESSKEY"]), False)
            mixed = bytes(
                a ^ b for a, b in zip(self._server_part[16:40], client_part[16:40], strict=True)
            )
            key = hashlib.md5(mixed[:16]).digest() + hashlib.md5(mixed[16:]).digest()
            self._key = key[:24]
            plain = _aes(self._key, bytes.fromhex(answer["AUTH_PASSWORD"]), False)
        except (KeyError, ValueError):
            return False
        given = plain[16 : -plain[-1]]
        return self._password is not None and secrets.compare_digest(given, self._password.encode())

    def proof(self) -> str:
        """What shows the client that this server knows the password too."""
        text = secrets.token_bytes(16) + b"SERVER_TO_CLIENT" + bytes([16]) * 16
        return _aes(self._key, text, encrypts=True).hex().upper()
