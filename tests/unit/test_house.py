"""The house's one-way rule (docs/architecture.md), read from every import in the source."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
ROOMS = ("broker", "dispatch", "migrations", "models", "web", "workers")

PIXELS = ("models.xray", "models.quality")
"""The part of the island that opens a film and judges it: numpy and a decoder, no network."""

RUNTIME = ("models",)
"""All of the island but models.training, which FORBIDDEN takes out again."""

MAY_IMPORT: dict[str, tuple[str, ...]] = {
    # The migrations are broker's own tables in numbered steps; it only asks where they lie.
    "broker": ("broker", "migrations"),
    "migrations": ("migrations", "broker"),
    "dispatch": ("dispatch", "broker", *PIXELS),
    "models": ("models",),
    "models.training": ("models",),
    "workers": ("workers", "broker", "dispatch", *RUNTIME),
    "web": ("web", "broker", "dispatch", *PIXELS),
}
"""Which of our modules each folder may import; the longest matching folder counts."""

HEAVY = ("torch", "torchvision", "timm", "ultralytics")
FORBIDDEN: dict[str, tuple[str, ...]] = {
    "broker": ("flask", *HEAVY),
    "migrations": ("flask", "celery", *HEAVY),
    "dispatch": ("flask", "celery", "kombu", *HEAVY),
    "models": ("models.training", "celery", "flask", "sqlalchemy", *HEAVY),
    "models.training": ("celery", "flask", "sqlalchemy"),
    "workers": ("models.training", "flask", *HEAVY),
    "web": ("models.training", "celery", *HEAVY),
}
"""What a folder may never import, ours or a library's."""

ENVIRONMENT_READERS = ("broker.settings", "models.training")


@cache
def sources() -> dict[str, ast.Module]:
    """Every module of the house by dotted name, parsed."""
    found = {}
    for room in ROOMS:
        for path in sorted((ROOT / room).rglob("*.py")):
            parts = path.relative_to(ROOT).with_suffix("").parts
            name = ".".join(parts).removesuffix(".__init__")
            found[name] = ast.parse(path.read_text("utf-8"), str(path))
    return found


def imports(name: str, tree: ast.Module) -> Iterator[tuple[int, str]]:
    """(line, dotted name) of each import, also those inside functions and `if TYPE_CHECKING`."""
    package = name if (ROOT / Path(*name.split("."))).is_dir() else name.rpartition(".")[0]
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                anchor = package.split(".")[: len(package.split(".")) - node.level + 1]
                base = ".".join([*anchor, *filter(None, [node.module])])
            # `from models import xray` names a module, `from models.xray import read` does not.
            ours = base.partition(".")[0] in ROOMS and ROOT.joinpath(*base.split(".")).is_dir()
            for alias in node.names:
                yield node.lineno, f"{base}.{alias.name}" if ours else base
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute | ast.Name):
            called = node.func.attr if isinstance(node.func, ast.Attribute) else node.func.id
            first = node.args[0] if node.args else None
            if called in {"import_module", "__import__"} and isinstance(first, ast.Constant):
                yield node.lineno, str(first.value)


def within(name: str, folders: tuple[str, ...]) -> bool:
    return any(name == folder or name.startswith(f"{folder}.") for folder in folders)


def folder_of(name: str, table: dict[str, tuple[str, ...]]) -> str:
    return max((folder for folder in table if within(name, (folder,))), key=len)


def violations(name: str, tree: ast.Module) -> list[str]:
    """What a module imports against the rule, as 'module:line imports x'."""
    allowed = MAY_IMPORT[folder_of(name, MAY_IMPORT)]
    never = FORBIDDEN[folder_of(name, FORBIDDEN)]
    found = []
    for line, imported in imports(name, tree):
        ours = imported.partition(".")[0] in ROOMS
        # The bare package `models` is harmless: its __init__ imports nothing.
        if within(imported, never) or (
            ours and not within(imported, allowed) and imported != "models"
        ):
            found.append(f"{name}:{line} imports {imported}")
    return found


def test_no_room_imports_upward() -> None:
    assert [bad for name, tree in sources().items() for bad in violations(name, tree)] == []


@pytest.mark.parametrize(
    ("name", "code"),
    [
        ("broker.relay", "import dispatch.offers"),
        ("broker.relay", "def f():\n    from workers import inference"),
        ("dispatch.intake", "from models import classifier"),
        ("dispatch.intake", "from flask import g"),
        ("dispatch.export.fhir", "import torch.nn"),
        ("models.classifier", "from broker.settings import Settings"),
        ("models.classifier", "from .training import backbones"),
        ("models.training.cli", "import sqlalchemy"),
        ("workers.inference", "from web import app"),
        ("workers.inference", "import importlib\nimportlib.import_module('models.training')"),
        ("web.app", "from models import detector"),
        ("web.app", "from workers import app"),
    ],
)
def test_the_rule_sees_a_trespass(name: str, code: str) -> None:
    assert len(violations(name, ast.parse(code))) == 1


@pytest.mark.parametrize(
    ("name", "code"),
    [
        ("dispatch.intake", "from models import quality, xray"),
        ("models.training.cli", "import torch\nfrom models.xray import read"),
        ("workers.cli", "from models import classifier, detector"),
    ],
)
def test_the_rule_lets_pass_what_is_meant(name: str, code: str) -> None:
    assert violations(name, ast.parse(code)) == []


def test_modules_do_not_import_each_other_in_a_circle() -> None:
    graph = {
        name: {target for _, target in imports(name, tree) if target in sources()} - {name}
        for name, tree in sources().items()
    }
    assert circles(graph) == []


def test_a_circle_is_found() -> None:
    assert circles({"a": {"b"}, "b": {"c"}, "c": {"b"}, "d": {"a"}}) == [["b", "c"]]


def circles(graph: dict[str, set[str]]) -> list[list[str]]:
    """Groups of two or more nodes that reach each other."""

    def reachable(start: str) -> frozenset[str]:
        seen: set[str] = set()
        stack = [start]
        while stack:
            for target in graph.get(stack.pop(), set()) - seen:
                seen.add(target)
                stack.append(target)
        return frozenset(seen)

    reach = {name: reachable(name) for name in graph}
    groups = {
        tuple(sorted({name, *(other for other in reach[name] if name in reach.get(other, ()))}))
        for name in graph
        if name in reach[name]
    }
    return sorted(list(group) for group in groups)


def test_only_settings_read_the_environment() -> None:
    found = [
        f"{name}:{node.lineno}"
        for name, tree in sources().items()
        if not within(name, ENVIRONMENT_READERS)
        for node in ast.walk(tree)
        if reads_environment(node)
    ]
    assert found == []


@pytest.mark.parametrize(
    "code", ["os.environ['A']", "os.getenv('A')", "from os import environ", "environb"]
)
def test_a_reader_of_the_environment_is_found(code: str) -> None:
    assert any(reads_environment(node) for node in ast.walk(ast.parse(code)))


def reads_environment(node: ast.AST) -> bool:
    names = {"environ", "environb", "getenv", "getenvb"}
    match node:
        case ast.Attribute(value=ast.Name(id="os"), attr=attribute):
            return attribute in names
        case ast.ImportFrom(module="os", names=imported):
            return any(alias.name in names for alias in imported)
        case ast.Name(id=identifier):
            return identifier in names
    return False


def test_no_task_waits_in_the_queue() -> None:
    """A waiting message hides or doubles work on Redis; rows that are due wait instead."""
    found = [
        f"{name}:{node.lineno}"
        for name, tree in sources().items()
        if within(name, ("workers", "broker"))
        for node in ast.walk(tree)
        if isinstance(node, ast.Call) and waits_in_queue(node)
    ]
    assert found == []


@pytest.mark.parametrize(
    "code", ["t.apply_async(eta=x)", "t.apply_async(countdown=3)", "self.retry()", "chord(a)(b)"]
)
def test_a_waiting_task_is_found(code: str) -> None:
    calls = [node for node in ast.walk(ast.parse(code)) if isinstance(node, ast.Call)]
    assert any(waits_in_queue(call) for call in calls)


def waits_in_queue(call: ast.Call) -> bool:
    if any(keyword.arg in {"eta", "countdown"} for keyword in call.keywords):
        return True
    match call.func:
        case ast.Attribute(attr="retry"):
            return True
        case ast.Name(id=name):
            return name in {"chord", "chain", "group", "chunks"}
    return False


def test_every_room_says_what_it_is_for() -> None:
    silent = [
        name
        for name, tree in sources().items()
        if not ast.get_docstring(tree) and not name.startswith("migrations")
    ]
    assert silent == []


def test_no_file_is_named_after_nothing() -> None:
    banned = re.compile(r"(^|_)(utils?|helpers?|common|manager|core|misc)$")
    assert [name for name in sources() if banned.search(name.rpartition(".")[2])] == []
