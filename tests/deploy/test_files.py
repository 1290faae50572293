"""The files of deploy/ name what exists: settings, files, metrics."""

import json
import os
import re
import shutil
import subprocess
import textwrap
from pathlib import Path
from typing import Any

import pytest
import yaml

from graphql_api.backup.catalog import Catalog
from graphql_api.backup.metrics import BackupCollector
from graphql_api.cli.settings_page import variable
from graphql_api.gateway import errors
from graphql_api.postgres.address import Address
from graphql_api.settings import Settings
from tests.backup.test_schedule import recorded
from tests.http_client import http_client
from tests.service.conftest import served_from

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "deploy"
METRIC = re.compile(r"\b(?:graphql|log_feed|database|backup|process|vocabulary)_[a-z_]+\b")


def compose() -> dict[str, Any]:
    loaded: dict[str, Any] = yaml.safe_load((DEPLOY / "compose.yaml").read_text())
    return loaded


def test_every_setting_that_is_set_is_one() -> None:
    known = {variable(name) for name in Settings.model_fields}
    text = "".join(
        path.read_text() for path in DEPLOY.rglob("*") if path.is_file() and "lock" not in path.name
    )
    used = set(re.findall(r"\b(?:GRAPHQL_API|DATABASE)_[A-Z_]+\b", text))

    assert used <= known
    assert len(used) > 8


def test_every_file_that_is_mounted_or_copied_is_there() -> None:
    for service in compose()["services"].values():
        for volume in service.get("volumes", ()):
            source = volume.split(":")[0]
            assert not source.startswith(".") or (DEPLOY / source).is_file(), source
    dockerfile = (DEPLOY / "Dockerfile").read_text()
    for sources in re.findall(r"^COPY (?!--from)(.*) \S+$", dockerfile, re.MULTILINE):
        for source in sources.split():
            assert (ROOT / source).exists(), source
    assert "USER graphql-api" in dockerfile
    assert "HEALTHCHECK" in dockerfile


def test_what_a_service_waits_for_is_a_service() -> None:
    services = compose()["services"]
    for service in services.values():
        assert set(service.get("depends_on", ())) <= set(services)


@pytest.mark.parametrize(
    "command",
    [("check", "rules", "alerts.yml"), ("check", "config", "--syntax-only", "prometheus.yml")],
    ids=["alerts", "config"],
)
def test_prometheus_accepts(command: tuple[str, ...]) -> None:
    promtool = shutil.which("promtool")
    if promtool is None:
        pytest.skip("there is no promtool (Debian's package prometheus)")
    result = subprocess.run((promtool, *command), cwd=DEPLOY, capture_output=True, text=True)

    assert result.returncode == 0, result.stdout + result.stderr


@pytest.mark.slow
async def test_every_metric_that_is_shown_or_alerted_on_is_exported(address: Address, tmp_path: Path) -> None:
    catalog = Catalog(tmp_path / "backups")
    catalog.update(recorded(catalog, 0).model_copy(update={"verified_at": catalog.backups()[0].finished_at}))
    async with served_from(address, tmp_path) as service, http_client() as client:
        await service.ask("{ __typename }")
        text = (await client.get(service.url.replace("/graphql", "/metrics"))).text
    exported = {match for line in text.splitlines() for match in METRIC.findall(line)}
    exported |= {family.name for family in BackupCollector(catalog).collect()}
    panels = json.loads((DEPLOY / "grafana" / "dashboard.json").read_text())["panels"]
    rules = yaml.safe_load((DEPLOY / "alerts.yml").read_text())["groups"]
    expressions = [target["expr"] for panel in panels for target in panel["targets"]]
    expressions += [rule["expr"] for group in rules for rule in group["rules"]]
    used = {match for expression in expressions for match in METRIC.findall(expression)}

    assert used <= exported
    assert len(used) > 20


def as_systemd_reads(text: str) -> dict[str, str]:
    """The variables of an EnvironmentFile: a comment is a line of its own, quotes may enclose a value."""
    lines = [line for line in text.splitlines() if line and not line.startswith("#")]
    pairs = [line.split("=", 1) for line in lines]
    return {name: value[1:-1] if value[:1] in "'\"" else value for name, value in pairs}


def as_a_shell_reads(text: str, file: Path) -> dict[str, str]:
    """The variables that `set -a; . FILE` exports."""
    file.write_text(text)
    command = ["env", "-i", "/bin/sh", "-c", f"set -a; . '{file}'; set +a; env -0"]
    said = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    pairs = [entry.split("=", 1) for entry in said.split("\0") if entry]
    return {name: value for name, value in pairs if name.startswith(("GRAPHQL_API_", "DATABASE_"))}


def test_the_settings_of_a_host_are_read_alike_by_systemd_and_by_a_shell(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    page = (ROOT / "docs" / "deploying.md").read_text()
    [block] = re.findall(r"(?:^    .*\n)*^    GRAPHQL_API_PROFILE=.*\n(?:^    .*\n)*", page, re.MULTILINE)
    text = (
        textwrap.dedent(block)
        .replace("# DATABASE_DIRECT", "DATABASE_DIRECT")
        .replace("KEY=…", "KEY=" + "k" * 64)
    )

    read = as_systemd_reads(text)
    assert as_a_shell_reads(text, tmp_path / "env") == read
    for name in set(os.environ):
        if name.startswith(("GRAPHQL_API_", "DATABASE_")):
            monkeypatch.delenv(name)
    for name, value in read.items():
        monkeypatch.setenv(name, value)
    settings = Settings()
    assert settings.allowed_origins == ("https://app.example", "https://admin.example")
    assert settings.workers == 2
    assert settings.profile == "production"


def test_the_errors_that_are_alerted_on_have_codes_that_clients_get() -> None:
    alerted = set(re.findall(r'code=~"([^"]*)"', (DEPLOY / "alerts.yml").read_text())[0].split("|"))

    assert alerted == {errors.INTERNAL, errors.UNAVAILABLE, errors.TIMEOUT}


@pytest.mark.parametrize("unit", sorted((DEPLOY / "systemd").glob("*.service")), ids=lambda unit: unit.name)
def test_systemd_accepts(unit: Path) -> None:
    analyze = shutil.which("systemd-analyze")
    if analyze is None:
        pytest.skip("there is no systemd-analyze")
    result = subprocess.run((analyze, "verify", str(unit)), capture_output=True, text=True)
    # What isn't installed here is no fault of the unit.
    said = [line for line in result.stderr.splitlines() if unit.name in line and "not executable" not in line]

    assert said == []
