"""What is shipped agrees with itself: compose, image, locks, entry points, Makefile."""

from __future__ import annotations

import ast
import configparser
import dataclasses
import importlib.resources
import json
import os
import re
import shlex
import subprocess
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from broker import health
from broker.queues import ROUTES, Queue, Task
from broker.settings import PREFIX, Settings

ROOT = Path(__file__).parents[2]
SERVICES = {
    *("redis", "postgres", "migrate", "gateway", "stream", "relay"),
    *("classify", "detect", "dispatch", "upkeep", "bed_feed", "road_times"),
}
LOOPS = {*health.LOOPS, *health.OPTIONAL_LOOPS}
POOLS = {queue.value for queue in Queue}
LOCKS = sorted((ROOT / "requirements").glob("*.txt"))


@pytest.fixture(scope="module")
def compose() -> dict[str, Any]:
    loaded: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yml").read_text("utf-8"))
    return loaded


@pytest.fixture(scope="module")
def setup_cfg() -> configparser.ConfigParser:
    parser = configparser.ConfigParser()
    parser.read(ROOT / "setup.cfg", "utf-8")
    return parser


def words(command: str | list[str]) -> list[str]:
    return shlex.split(command) if isinstance(command, str) else command


def compose_schema() -> Any:
    """The Compose Specification's own JSON schema, as the check-jsonschema package carries it."""
    folder = importlib.resources.files("check_jsonschema") / "builtin_schemas" / "vendor"
    return json.loads((folder / "compose-spec.json").read_text("utf-8"))


def test_compose_file_is_valid(compose: dict[str, Any]) -> None:
    jsonschema.Draft202012Validator(compose_schema()).validate(compose)


def test_the_schema_refuses_a_wrong_file(compose: dict[str, Any]) -> None:
    wrong = {**compose, "services": {"redis": {"image": "redis", "helthcheck": {}}}}
    with pytest.raises(jsonschema.ValidationError, match="helthcheck"):
        jsonschema.Draft202012Validator(compose_schema()).validate(wrong)


def test_every_service_is_there_and_has_a_health_check(compose: dict[str, Any]) -> None:
    services = compose["services"]
    assert set(services) == SERVICES
    assert [name for name, s in services.items() if not s["healthcheck"].get("test")] == []
    for name in SERVICES - {"redis", "postgres"}:
        ending = ["--end-frozen"] if name in LOOPS else []  # Docker ends nobody by itself
        assert services[name]["healthcheck"]["test"][1:] == ["goldentime", "health", name, *ending]


def test_queues_and_flags_are_the_same_set(compose: dict[str, Any]) -> None:
    """A queue that nobody reads is found here, not in the field; tasks: test_installation.py."""
    flags = {}
    for name, service in compose["services"].items():
        command = words(service.get("command", ""))
        if command[:1] == ["celery"]:
            flags[name] = command[command.index("-Q") + 1]
    assert flags == {queue: queue for queue in POOLS}
    assert set(ROUTES) == set(Task)
    assert {queue.value for queue in ROUTES.values()} == POOLS


def test_workers_scale(compose: dict[str, Any]) -> None:
    """A fixed name or port would stop `--scale classify=4`."""
    for name in POOLS:
        assert not {"container_name", "ports", "hostname"} & set(compose["services"][name])


def test_one_image_serves_all_and_films_are_shared(compose: dict[str, Any]) -> None:
    ours = {name: s for name, s in compose["services"].items() if name not in {"redis", "postgres"}}
    assert len({service["image"] for service in ours.values()}) == 1
    for service in ours.values():
        assert "images:/var/lib/goldentime/images" in service["volumes"]
        assert service["read_only"]
        assert service["cap_drop"] == ["ALL"]
    assert set(compose["volumes"]) == {"images", "postgres", "redis"}


def test_secrets_have_no_default() -> None:
    text = (ROOT / "docker-compose.yml").read_text("utf-8")
    used = re.findall(r"\$\{(\w*(?:PASSWORD|SECRET|TOKEN|KEY)\w*)([^}]*)\}", text)
    assert used
    assert [name for name, rest in used if not rest.startswith(":?")] == []
    assert "GOLDENTIME_IDENTITY_KEYS" in {name for name, _ in used}


def test_redis_never_evicts(compose: dict[str, Any]) -> None:
    command = " ".join(compose["services"]["redis"]["command"])
    assert "--appendonly yes" in command
    assert "--maxmemory-policy noeviction" in command


def test_compose_hands_on_every_setting_and_only_those_that_exist(compose: dict[str, Any]) -> None:
    """What an operator writes into .env reaches each process, or has a reason not to."""
    known = {PREFIX + field.name.upper() for field in dataclasses.fields(Settings)}
    of_the_image = {PREFIX + name for name in ("DATA_DIR", "NODE", "TIME_SCALE")}
    of_some = {PREFIX + "EGEN_KEY": {"bed_feed"}, PREFIX + "INFERENCE_THREADS": POOLS}
    for name, service in compose["services"].items():
        if name in {"redis", "postgres"}:
            continue
        ours = {key for key in service["environment"] if key.startswith(PREFIX)}
        left_out = {setting for setting, whose in of_some.items() if name not in whose}
        assert ours == known - of_the_image - left_out, name


def test_the_image_has_what_a_backup_calls(compose: dict[str, Any]) -> None:
    """Debian 13 carries PostgreSQL 17; pg_dump refuses a server newer than itself."""
    last = (ROOT / "Dockerfile").read_text("utf-8").split("FROM ")[-1]
    assert "postgresql-client" in last
    assert last.startswith("python:3.12-slim-trixie")
    assert compose["services"]["postgres"]["image"].startswith("postgres:17-")


def test_the_image_runs_as_nobody_special_and_has_no_torch() -> None:
    text = (ROOT / "Dockerfile").read_text("utf-8")
    assert re.search(r"^USER (?!root)\w+$", text, re.M)
    assert text.count("FROM ") == 2
    assert "training" not in re.sub(r"^#.*$", "", text, flags=re.M)


@pytest.mark.parametrize("lock", LOCKS, ids=lambda path: path.name)
def test_locks_are_hashed_and_name_no_place(lock: Path) -> None:
    text = lock.read_text("utf-8")
    pins = re.findall(r"^([a-z0-9][\w.-]*)==\S+.*\\$", text, re.M)
    assert len(pins) > 50
    # Every line is a pin, a hash of it, or a comment: no option, no address, no path.
    strays = [
        line
        for line in text.splitlines()
        if not re.match(
            r"(\s*#|$|[a-z0-9][\w.-]*==\S+( ; .+)? \\$|    --hash=sha256:[0-9a-f]{64})", line
        )
    ]
    assert strays == []
    assert not re.search(r"https?:|file:|/(opt|home|root|tmp|work)\b", text)


def test_serving_and_tests_have_no_torch() -> None:
    for name in ("runtime.txt", "test.txt"):
        text = (ROOT / "requirements" / name).read_text("utf-8")
        assert not re.search(r"^(torch|torchvision|timm|ultralytics|nvidia-\w+)==", text, re.M)


def test_test_and_training_locks_agree_with_the_runtime() -> None:
    pin = re.compile(r"^([a-z0-9][\w.-]*)==(\S+)(.*?) ?\\$", re.M)
    pins = {lock.name: set(pin.findall(lock.read_text("utf-8"))) for lock in LOCKS}
    versions = {name: {(p, v) for p, v, _ in found} for name, found in pins.items()}
    assert versions["runtime.txt"] <= versions["test.txt"]
    assert versions["runtime.txt"] <= versions["training.txt"]


def test_what_setup_cfg_asks_for_is_locked(setup_cfg: configparser.ConfigParser) -> None:
    wanted = {
        "runtime.txt": setup_cfg["options"]["install_requires"],
        "test.txt": setup_cfg["options.extras_require"]["test"],
        "training.txt": setup_cfg["options.extras_require"]["training"],
    }
    for name, lines in wanted.items():
        text = (ROOT / "requirements" / name).read_text("utf-8")
        for line in filter(None, lines.splitlines()):
            if not line.startswith("#"):
                package = re.split(r"[\[<>=;]", line)[0].strip().lower()
                assert re.search(rf"^{re.escape(package)}==", text, re.M), f"{package} in {name}"


def test_every_command_exists(setup_cfg: configparser.ConfigParser) -> None:
    """Read, not imported: training's commands need torch, which this environment lacks."""
    points = setup_cfg["options.entry_points"]["goldentime.commands"]
    for line in filter(None, points.splitlines()):
        name, _, target = (part.strip() for part in line.partition("="))
        module, _, function = target.partition(":")
        tree = ast.parse(ROOT.joinpath(*module.split(".")).with_suffix(".py").read_text("utf-8"))
        found = {n.name: n for n in tree.body if isinstance(n, ast.FunctionDef)}
        assert function in found, f"{name} = {target}"
        said = ast.get_docstring(found[function]) or ""
        assert said.startswith(f"`goldentime {name}`: "), f"{target} says nothing for --help"


def make(*arguments: str, **variables: str) -> list[str]:
    """What make prints, without the say of the make that runs these tests."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("MAKE")}
    done = subprocess.run(
        ["make", "--no-print-directory", *arguments],
        cwd=ROOT,
        env={**kept, **variables},
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout.splitlines()


def test_make_demo_takes_its_words_from_the_command_line_only() -> None:
    assert make("-n", "demo", "IMAGE=a b.png", "ONCE=1")[-1].endswith(
        'command demo --image "$IMAGE" --once'
    )
    assert make("-n", "demo", "ONCE=0", IMAGE="ubuntu")[-1].rstrip().endswith("command demo")


def test_make_help_lists_the_targets() -> None:
    assert [line.split()[0] for line in make("help")] == [
        *("help", "demo", "test", "test-training", "long", "unit", "integration", "migration"),
        *(
            "e2e",
            "chaos",
            "lint",
            "format",
            "bench",
            "translations",
            "vendor",
            "screens",
            "up",
            "clean",
        ),
    ]


def test_only_ci_names_the_shared_folder() -> None:
    tracked = subprocess.run(
        ["git", "grep", "-lF", "../" + "shared"], cwd=ROOT, capture_output=True, text=True
    ).stdout.split()
    assert set(tracked) <= {".ci/run"}
