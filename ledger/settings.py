"""Settings: read from the environment, checked before anything is opened.

Nothing set means embedded: PostgreSQL from the wheel and blobs in a folder, both under
`DAICHO_HOME`. `DAICHO_DATABASE_URL` means server mode: that PostgreSQL, and blobs in MinIO.
What is configured is used or is an error; nothing is tried instead.
"""

import os
import re
from collections.abc import Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Any, Literal, Self

import platformdirs
from pydantic import Field, SecretStr, ValidationError, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from ledger.errors import SettingsError

MINIO_FIELDS = (
    "endpoint",
    "access_key",
    "secret_key",
    "use_ssl",
    "bucket",
    "region",
    "ca_file",
    "connections_max",
    "object_lock",
    "object_lock_days",
)
LOGIN_KEY_CHARS_MIN = 32
URL_SCHEMES = ("postgresql://", "postgres://", "postgresql+asyncpg://")


_SERVER_PASSWORD = re.compile(r"DAICHO_SERVER_[A-Z0-9_]+_PASSWORD(_FILE)?")


def _default_home() -> Path:
    # PostgreSQL refuses to run as root, and another user cannot enter root's private home.
    as_root = hasattr(os, "geteuid") and os.geteuid() == 0
    return Path("/var/lib/daicho") if as_root else Path(platformdirs.user_data_dir("daicho", appauthor=False))


class Settings(BaseSettings):
    """Every field can be given by keyword or by the environment variable named beside it."""

    model_config = SettingsConfigDict(env_prefix="DAICHO_", extra="forbid", frozen=True)

    home: Path = Field(default_factory=_default_home)
    database_url: SecretStr | None = None
    blobs: Literal["filesystem", "minio"] | None = None
    blob_compression: Literal["none", "zstd"] = "none"

    minio_endpoint: str = Field(default="localhost:9000", validation_alias="MINIO_ENDPOINT")
    minio_access_key: str = Field(default="minioadmin", validation_alias="MINIO_ACCESS_KEY")
    minio_secret_key: SecretStr = Field(default=SecretStr("minioadmin"), validation_alias="MINIO_SECRET_KEY")
    minio_use_ssl: bool = Field(default=False, validation_alias="MINIO_USE_SSL")
    minio_bucket: str = Field(default="seo-gen-artifacts", validation_alias="MINIO_BUCKET")
    minio_region: str | None = Field(default=None, validation_alias="MINIO_REGION")
    minio_ca_file: Path | None = Field(default=None, validation_alias="MINIO_CA_FILE")
    minio_connections_max: int = Field(default=32, ge=1, le=1_000, validation_alias="MINIO_CONNECTIONS_MAX")
    minio_object_lock: Literal["governance", "compliance"] | None = Field(
        default=None, validation_alias="MINIO_OBJECT_LOCK"
    )
    minio_object_lock_days: int | None = Field(
        default=None, ge=1, le=36_500, validation_alias="MINIO_OBJECT_LOCK_DAYS"
    )

    projection: Literal["background", "external"] = "background"
    metrics: Literal["none", "opentelemetry"] = "none"
    log_format: Literal["console", "json"] = "console"
    log_level: Literal["debug", "info", "warning", "error"] = "warning"

    connect_timeout_seconds: float = Field(default=10.0, gt=0, le=300)
    emit_deadline_seconds: float = Field(default=30.0, gt=0, le=3600)
    emit_queue_events_max: int = Field(default=10_000, ge=1, le=1_000_000)
    emit_queue_bytes_max: int = Field(default=64 * 2**20, ge=2**20, le=2**32)
    emit_batch_events_max: int = Field(default=1_000, ge=1, le=10_000)
    reader_connections_max: int = Field(default=4, ge=1, le=100)
    server_connections_max: int = Field(default=50, ge=5, le=10_000)
    """To tenants' databases, per server and process."""
    connection_wait_seconds: float = Field(default=10.0, gt=0, le=300)

    login_key: SecretStr | None = None
    login_key_file: Path | None = None

    def __init__(self, **values: Any) -> None:
        # Fields with an alias are still given by their own name in Python.
        renamed = {
            f"MINIO_{name.upper()}": values.pop(f"minio_{name}")
            for name in MINIO_FIELDS
            if f"minio_{name}" in values
        }
        _refuse_misspelt(os.environ)
        try:
            super().__init__(**values, **renamed)
        except ValidationError as error:
            raise _settings_error(error) from None

    @model_validator(mode="after")
    def _one_meaning(self) -> Self:
        if self.database_url is not None:
            self._check_url(self.database_url.get_secret_value())
        given = sorted(name for name in self.model_fields_set if name.startswith("minio_"))
        if given and self.blob_backend != "minio":
            raise SettingsError(
                f"{given[0].upper()} is set, and blobs go to the file system",
                expected="DAICHO_DATABASE_URL (server mode) or DAICHO_BLOBS=minio beside MINIO_* settings",
                found="DAICHO_BLOBS=filesystem" if self.blobs else "neither",
                fix="Set one of them, or take the MINIO_* settings away",
            )
        self._check_blobs()
        return self

    def _check_blobs(self) -> None:
        if self.minio_ca_file is not None and not self.minio_use_ssl:
            raise SettingsError(
                "MINIO_CA_FILE is set, and the S3 server is not spoken to over TLS",
                fix="Set MINIO_USE_SSL=true, or take MINIO_CA_FILE away",
            )
        if (self.minio_object_lock is None) != (self.minio_object_lock_days is None):
            raise SettingsError(
                "Of MINIO_OBJECT_LOCK and MINIO_OBJECT_LOCK_DAYS only one is set",
                expected="both, as in MINIO_OBJECT_LOCK=governance and MINIO_OBJECT_LOCK_DAYS=30, or neither",
                fix="Set the other one too",
            )
        if self.blob_compression != "none" and self.blob_backend == "minio":
            raise SettingsError(
                "DAICHO_BLOB_COMPRESSION is set, and blobs go to an S3 server",
                expected="DAICHO_BLOB_COMPRESSION=none, as only the file system's store compresses",
                fix="Take it away",
            )

    @staticmethod
    def _check_url(url: str) -> None:
        if not url.startswith(URL_SCHEMES):
            raise SettingsError(
                "DAICHO_DATABASE_URL is not a PostgreSQL URL",
                expected="postgresql://user:password@host:port/database",
                found=f"a value that begins with {url.split(':', 1)[0][:20]!r}",
                fix="Set it, or unset it for the embedded PostgreSQL",
            )

    def secret_login_key(self) -> str | None:
        """DAICHO_LOGIN_KEY, or what DAICHO_LOGIN_KEY_FILE holds; None where neither is set."""
        if self.login_key is not None and self.login_key_file is not None:
            raise SettingsError(
                "Both DAICHO_LOGIN_KEY and DAICHO_LOGIN_KEY_FILE are set", fix="Unset one of them"
            )
        key = self.login_key.get_secret_value() if self.login_key is not None else None
        if self.login_key_file is not None:
            key = read_secret_file("DAICHO_LOGIN_KEY_FILE", self.login_key_file)
        if key is not None and len(key) < LOGIN_KEY_CHARS_MIN:
            raise SettingsError(
                "The login key is too short to be one",
                expected=f"at least {LOGIN_KEY_CHARS_MIN} random characters",
                found=f"{len(key)}",
                fix="Make one: openssl rand -base64 32",
            )
        return key

    @property
    def is_embedded(self) -> bool:
        return self.database_url is None

    @property
    def blob_backend(self) -> Literal["filesystem", "minio"]:
        if self.blobs is not None:
            return self.blobs
        return "filesystem" if self.is_embedded else "minio"


def read_secret_file(variable: str, path: Path) -> str:
    """The first line of the file that `variable` names."""
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        said = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
        raise SettingsError(
            f"The file that {variable} names cannot be read", found=said, fix="Correct its name or its rights"
        ) from None
    if not lines or not lines[0]:
        raise SettingsError(
            f"The file that {variable} names is empty", fix="Put the secret in its first line"
        )
    return lines[0]


def _refuse_misspelt(environment: Mapping[str, str]) -> None:
    # A misspelt DAICHO_DATABASE_URL would quietly mean the embedded server.
    known = {f"DAICHO_{name.upper()}" for name in Settings.model_fields if not name.startswith("minio_")}
    known |= {"DAICHO_TENANT"}
    for name in sorted(environment.keys() - known):
        if _SERVER_PASSWORD.fullmatch(name):
            continue
        if name.startswith("DAICHO_") and (meant := get_close_matches(name, known, 1, 0.85)):
            raise SettingsError(
                f"{name} is set, and there is no such setting",
                expected=f"{meant[0]}, which is spelt alike",
                fix="Correct the name, or unset it",
            )


def _settings_error(error: ValidationError) -> SettingsError:
    for item in error.errors(include_input=False):
        ours = item.get("ctx", {}).get("error")
        if isinstance(ours, SettingsError):  # raised by a validator, and wrapped on its way out
            return ours
    # Never the input value: it may be a password.
    items = error.errors(include_input=False)
    problems = "; ".join(f"{_variable(item['loc'])}: {item['msg']}" for item in items)
    return SettingsError(f"Settings are not valid: {problems}", fix="Correct the setting named")


def _variable(location: tuple[int | str, ...]) -> str:
    name = str(location[0]) if location else "settings"
    return name if name.startswith("MINIO_") else f"DAICHO_{name.upper()}"
