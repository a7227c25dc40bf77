"""Settings: what is configured is used or is an error, and no secret is ever shown."""

import os
import socket
import time
from pathlib import Path
from typing import Any

import pytest

from blobstore import BlobStoreMisconfigured, MinioConnection, ObjectLock
from ledger import Ledger, Settings
from ledger.composition import blob_backend
from ledger.errors import SettingsError, StoreUnavailable
from ledger.store.server import server_at_url

URL = "postgresql://me:s3cr3t-pw@db.example:6543/daicho"
SECRET = "s3cr3t-pw"


@pytest.fixture(autouse=True)
def _clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith(("DAICHO_", "MINIO_"))]:
        if name != "DAICHO_TEST_HOME":
            monkeypatch.delenv(name)


def test_with_nothing_set_everything_is_embedded() -> None:
    settings = Settings()
    assert settings.is_embedded
    assert settings.blob_backend == "filesystem"
    assert settings.projection == "background"
    assert settings.home.is_absolute()


def test_the_home_is_that_of_the_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("DAICHO_HOME", str(tmp_path))
    assert Settings().home == tmp_path


def test_a_database_url_means_server_mode_with_minio_and_its_usual_defaults(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("DAICHO_DATABASE_URL", URL)
    settings = Settings()
    assert not settings.is_embedded
    assert settings.blob_backend == "minio"
    assert (settings.minio_endpoint, settings.minio_access_key, settings.minio_use_ssl) == (
        "localhost:9000", "minioadmin", False
    )  # fmt: skip
    assert settings.minio_secret_key.get_secret_value() == "minioadmin"
    assert settings.minio_bucket == "seo-gen-artifacts"
    assert "seo-gen-artifacts" in blob_backend(settings).describe()


def test_minio_settings_come_from_their_usual_names(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {
        "DAICHO_DATABASE_URL": URL,
        "MINIO_ENDPOINT": "minio:9001",
        "MINIO_ACCESS_KEY": "key",
        "MINIO_SECRET_KEY": SECRET,
        "MINIO_USE_SSL": "true",
        "MINIO_BUCKET": "bodies",
    }.items():
        monkeypatch.setenv(name, value)
    settings = Settings()
    assert (settings.minio_endpoint, settings.minio_use_ssl, settings.minio_bucket) == (
        "minio:9001", True, "bodies"
    )  # fmt: skip
    assert settings.minio_secret_key.get_secret_value() == SECRET


@pytest.mark.parametrize("name", ["ENDPOINT", "ACCESS_KEY", "SECRET_KEY", "BUCKET"])
def test_a_minio_setting_without_a_database_url_is_refused_unless_blobs_says_minio(
    monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setenv(f"MINIO_{name}", "value")
    with pytest.raises(SettingsError, match=rf"^MINIO_{name} is set.*DAICHO_BLOBS=minio") as refusal:
        Settings()
    assert "Retrying will not help" in str(refusal.value)
    monkeypatch.setenv("DAICHO_BLOBS", "minio")
    settings = Settings()
    assert settings.is_embedded
    assert settings.blob_backend == "minio"


def test_minio_settings_beside_blobs_in_a_folder_contradict(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DAICHO_DATABASE_URL", URL)
    monkeypatch.setenv("DAICHO_BLOBS", "filesystem")
    assert Settings().blob_backend == "filesystem"
    monkeypatch.setenv("MINIO_BUCKET", "bodies")
    with pytest.raises(SettingsError, match="DAICHO_BLOBS=filesystem"):
        Settings()


BAD_URLS = [
    "",
    "localhost",
    f"mysql://me:{SECRET}@host/db",
    f"http://me:{SECRET}@host/db",
    f"me:{SECRET}@host/db",
    f" postgresql://me:{SECRET}@host/db",
    f"postgresql://me:{SECRET}@host:port/db",
    f"postgresql://me:pa@{SECRET}@host/db",
    f"postgresql://me:p@{SECRET}/word@host:5432/db",
    f"postgresql://me:{SECRET}@/db",
    "postgresql://",
    "postgresql:///db",
    f"postgresql://me@host/db?password={SECRET}",
    f"postgresql://me:{SECRET}@host/db?options=-c%20synchronous_commit%3Doff",
    f"postgresql://me:{SECRET}@host/db?target_session_attrs=any",
]


@pytest.mark.parametrize("url", BAD_URLS)
async def test_a_bad_url_is_a_settings_error_that_shows_no_password(url: str) -> None:
    with pytest.raises(SettingsError, match="DAICHO_DATABASE_URL") as refusal:
        await Ledger.open(Settings(database_url=url))
    said = f"{refusal.value} {refusal.value!r} {refusal.value.__cause__}"
    assert SECRET not in said
    assert "validation error" not in said


@pytest.mark.parametrize(
    "wrong",
    [
        {"projection": "sometimes"},
        {"log_level": "loud"},
        {"log_format": "xml"},
        {"blobs": "s3"},
        {"connect_timeout_seconds": 0},
        {"connect_timeout_seconds": "soon"},
        {"emit_queue_events_max": 0},
        {"emit_batch_events_max": 10**9},
        {"surprise": 1},
    ],
    ids=lambda wrong: next(iter(wrong)),
)
def test_a_wrong_setting_is_named_as_the_environment_names_it(wrong: dict[str, Any]) -> None:
    [name] = wrong
    with pytest.raises(SettingsError, match=f"DAICHO_{name.upper()}"):
        Settings(**wrong)


def test_a_wrong_minio_setting_is_named_and_not_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DAICHO_DATABASE_URL", URL)
    monkeypatch.setenv("MINIO_USE_SSL", SECRET)
    with pytest.raises(SettingsError, match="MINIO_USE_SSL") as refusal:
        Settings()
    assert SECRET not in str(refusal.value)


def test_secrets_stand_in_no_text_of_the_settings_or_the_server() -> None:
    settings = Settings(database_url=URL, minio_secret_key=SECRET)
    server = server_at_url(URL, connect_timeout_seconds=1)
    shown = [
        f"{settings!r} {settings} {settings.model_dump()} {settings.model_dump_json()}",
        f"{server!r} {server} {server.name}",
        f"{blob_backend(settings)!r} {blob_backend(settings).describe()}",
    ]
    assert SECRET not in " ".join(shown)
    assert server.name == "postgresql://me:***@db.example:6543/daicho"


def test_a_percent_encoded_password_is_decoded_and_goes_to_the_driver_as_a_keyword() -> None:
    url = "postgresql://me:p%40ss%2Fword@[::1]:6543/db?sslmode=require"
    server = server_at_url(url, connect_timeout_seconds=1)
    assert server.address == {
        "host": "::1", "port": 6543, "user": "me", "password": "p@ss/word", "ssl": "require"
    }  # fmt: skip
    assert "p@ss" not in server.name


def closed_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port


async def test_a_server_that_refuses_is_store_unavailable_by_name_and_nothing_else_is_tried(
    tmp_path: Path,
) -> None:
    port = closed_port()
    settings = Settings(
        database_url=f"postgresql://me:{SECRET}@127.0.0.1:{port}/daicho",
        home=tmp_path / "home",
        connect_timeout_seconds=2,
    )
    with pytest.raises(StoreUnavailable, match=rf"127\.0\.0\.1:{port}") as refusal:
        await Ledger.open(settings)
    said = str(refusal.value)
    assert SECRET not in said
    assert "nothing else was tried" in said
    assert "Retrying may help" in said
    assert not (tmp_path / "home").exists()  # no embedded server instead, no folder of blobs


async def test_a_server_that_never_answers_is_given_up_within_the_timeout() -> None:
    with socket.socket() as deaf:
        deaf.bind(("127.0.0.1", 0))
        deaf.listen(8)  # accepts, and says nothing
        url = f"postgresql://me:{SECRET}@127.0.0.1:{deaf.getsockname()[1]}/daicho"
        started = time.monotonic()
        with pytest.raises(StoreUnavailable, match=r"127\.0\.0\.1") as refusal:
            await Ledger.open(Settings(database_url=url, connect_timeout_seconds=0.5))
        assert time.monotonic() - started < 3
        assert SECRET not in str(refusal.value)


def test_a_misspelt_setting_is_an_error_that_names_the_right_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DAICHO_DATABSE_URL", "postgresql://u:p@h/d")
    with pytest.raises(SettingsError, match="DAICHO_DATABASE_URL") as caught:
        Settings()
    assert "u:p" not in str(caught.value)


def test_variables_of_other_tools_are_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DAICHO_BACKUP_BUCKET", "elsewhere")
    assert Settings().is_embedded


WRONG_TOGETHER = {
    "a CA file without TLS": ({"minio_ca_file": "/ca.pem"}, "MINIO_USE_SSL=true"),
    "a lock without its days": ({"minio_object_lock": "governance"}, "MINIO_OBJECT_LOCK_DAYS=30"),
    "days without a lock": ({"minio_object_lock_days": 3}, "MINIO_OBJECT_LOCK=governance"),
    "an S3 server that compresses": ({"blob_compression": "zstd"}, "DAICHO_BLOB_COMPRESSION=none"),
    "another lock": ({"minio_object_lock": "worm", "minio_object_lock_days": 3}, "MINIO_OBJECT_LOCK"),
    "no connections": ({"minio_connections_max": 0}, "MINIO_CONNECTIONS_MAX"),
}


@pytest.mark.parametrize(("wrong", "said"), WRONG_TOGETHER.values(), ids=WRONG_TOGETHER)
def test_blob_settings_that_cannot_hold_together_are_refused(wrong: dict[str, Any], said: str) -> None:
    with pytest.raises(SettingsError, match=said):
        Settings(blobs="minio", **wrong)


def test_an_object_lock_and_a_ca_reach_the_connection(tmp_path: Path) -> None:
    settings = Settings(
        blobs="minio",
        minio_use_ssl=True,
        minio_ca_file=tmp_path / "none.pem",
        minio_object_lock="compliance",
        minio_object_lock_days=30,
    )
    with pytest.raises(BlobStoreMisconfigured, match=r"none\.pem"):
        blob_backend(settings)
    plain = settings.model_copy(update={"minio_ca_file": None})
    backend = blob_backend(plain)
    assert isinstance(backend, MinioConnection)
    assert backend.object_lock == ObjectLock("compliance", 30)
