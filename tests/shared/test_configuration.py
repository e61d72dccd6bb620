"""Loading a daemon's configuration."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from edgesplit.daemon.configuration_file import load_configuration, render_configuration
from edgesplit.errors import InvalidConfiguration


class Broker(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    url: str = "mqtt://127.0.0.1:1883"
    password: str = ""


class Settings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    name: str = "device"
    threads: int = 1
    broker: Broker = Broker()
    watts: dict[str, float] = {}


def write(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "agent.toml"
    path.write_text(text)
    return path


def test_a_file_overrides_defaults_and_the_environment_overrides_the_file(tmp_path: Path) -> None:
    path = write(tmp_path, 'name = "edge"\nthreads = 2\n[broker]\nurl = "mqtt://broker:1"\n')
    loaded = load_configuration(Settings, path, {"EDGESPLIT_BROKER_URL": "mqtt://other:2", "EDGESPLIT_THREADS": "4"})
    assert loaded.values == Settings(name="edge", threads=4, broker=Broker(url="mqtt://other:2"))
    assert loaded.origins["name"] == f"file {path}"
    assert loaded.origins["threads"] == "environment EDGESPLIT_THREADS"
    assert loaded.origins["broker.password"] == "default"


def test_a_variable_that_is_no_toml_value_is_a_string() -> None:
    assert load_configuration(Settings, None, {"EDGESPLIT_NAME": "a-b.c"}).values.name == "a-b.c"


def test_variables_of_no_key_are_left_alone() -> None:
    # EDGESPLIT_BROKER is splitctl's; no variable stands for a whole section.
    environment = {"EDGESPLIT_DEBUG": "1", "EDGESPLIT_BROKER": "mqtt://elsewhere:1883"}
    assert load_configuration(Settings, None, environment).values == Settings()


def test_tables_with_free_keys_are_read(tmp_path: Path) -> None:
    path = write(tmp_path, "[watts]\nidle = 1.5\n")
    loaded = load_configuration(Settings, path, {})
    assert loaded.values.watts == {"idle": 1.5}
    assert loaded.origins["watts.idle"] == f"file {path}"


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("threads = 'many'", "`threads`"),
        ("[broker]\nurl = 5", "`broker.url`"),
        ("[broker]\nhost = 'x'", "host"),
        ("name = ", "not valid TOML"),
    ],
)
def test_an_error_names_the_key_and_the_file(tmp_path: Path, text: str, says: str) -> None:
    with pytest.raises(InvalidConfiguration) as caught:
        load_configuration(Settings, write(tmp_path, text), {})
    assert says in str(caught.value)
    assert "agent.toml" in str(caught.value)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(InvalidConfiguration, match=r"nowhere\.toml cannot be read"):
        load_configuration(Settings, tmp_path / "nowhere.toml", {})


def test_rendering_shows_origins_and_hides_passwords() -> None:
    text = render_configuration(load_configuration(Settings, None, {"EDGESPLIT_BROKER_PASSWORD": "secret"}))
    assert 'name = "device"  # default' in text
    assert "secret" not in text
    assert 'broker.password = "********"  # environment EDGESPLIT_BROKER_PASSWORD' in text


@pytest.mark.parametrize("password", ["secret", "se@cret:x"])
def test_rendering_hides_the_password_inside_a_url(password: str) -> None:
    environment = {"EDGESPLIT_BROKER_URL": f"mqtt://me:{password}@broker:1883"}
    text = render_configuration(load_configuration(Settings, None, environment))
    assert password not in text
    assert 'broker.url = "mqtt://me:********@broker:1883"' in text
