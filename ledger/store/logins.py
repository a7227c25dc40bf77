"""Logins: the passwords with which this process logs in as a tenant's roles.

No password is kept anywhere. Each follows from one key and the role's name, and the server holds a verifier
of it (SCRAM-SHA-256, RFC 5802 and 7677), made here, so that no password travels or lands in a log:

    password = base64url( HMAC-SHA256( key, "daicho:login:v1" || 0x00 || role name ) )

Role names are random and never used twice, so a password says nothing about another.
"""

import base64
import hashlib
import hmac
import os
from dataclasses import dataclass, field

_DOMAIN = b"daicho:login:v1\x00"
_KEY_SALT = b"daicho:login-key:v1"
_SALT_BYTES = 16
# A password of 256 bits is not found by guessing, however fast one guess is; the thousands of rounds
# that protect what people think of would make every new connection 10 ms dearer.
_ITERATIONS = 1


@dataclass(frozen=True)
class Logins:
    """`key` None: logins have no password. They work only where the server asks for none, as the
    embedded one does, whose socket lies in a folder that nobody else may enter."""

    key: bytes | None = field(default=None, repr=False)

    @classmethod
    def from_password(cls, password: str) -> "Logins":
        """Keyed by a password that people chose: stretched (scrypt, RFC 7914), which takes some 50 ms."""
        stretched = hashlib.scrypt(password.encode(), salt=_KEY_SALT, n=2**14, r=8, p=1, dklen=32)
        return cls(stretched)

    def password(self, role_name: str) -> str | None:
        if self.key is None:
            return None
        digest = hmac.digest(self.key, _DOMAIN + role_name.encode(), "sha256")
        return base64.urlsafe_b64encode(digest).rstrip(b"=").decode()

    def verifier(self, role_name: str) -> str | None:
        """What `CREATE ROLE … PASSWORD` takes in place of the password."""
        password = self.password(role_name)
        return None if password is None else scram_verifier(password, os.urandom(_SALT_BYTES))


def scram_verifier(password: str, salt: bytes, iterations: int = _ITERATIONS) -> str:
    """`SCRAM-SHA-256$iterations:salt$StoredKey:ServerKey` (RFC 5803, as PostgreSQL writes it)."""
    salted = hashlib.pbkdf2_hmac("sha256", password.encode(), salt, iterations)
    stored_key = hashlib.sha256(hmac.digest(salted, b"Client Key", "sha256")).digest()
    server_key = hmac.digest(salted, b"Server Key", "sha256")
    salt_, stored_, server_ = (base64.b64encode(part).decode() for part in (salt, stored_key, server_key))
    return f"SCRAM-SHA-256${iterations}:{salt_}${stored_}:{server_}"
