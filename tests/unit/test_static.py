"""What the pages send to a browser: small, pinned, and what `make vendor` would write."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from web import assets, pages

ROOT = Path(__file__).parents[2]
STATIC = ROOT / "web" / "static"
PAGES = (
    "admin",
    "beds",
    "choose_password",
    "control",
    "crew",
    "crew_history",
    "er",
    "operations",
    "patients",
    "sign_in",
)
LARGEST = 60 * 1024
VIEWER = {"viewer.js", "viewer_marks.js"}
"""The film's viewer: its size is its library's, and it is loaded when somebody asks for it."""


def modules(name: str) -> set[str]:
    """A module and all of ours that it imports, also later by import(); vendor/ is others' work."""
    found: set[str] = set()
    waiting = [name]
    while waiting:
        name = waiting.pop()
        if name in found:
            continue
        found.add(name)
        text = (STATIC / name).read_text("utf-8")
        imported = re.findall(r'(?:from|import)\s*\(?\s*"\./([\w/.]+\.js)"', text)
        waiting += [other for other in imported if not other.startswith("vendor/")]
    return found


@pytest.mark.parametrize("page", [page for page in PAGES if (STATIC / f"{page}.js").exists()])
def test_a_pages_own_javascript_is_small(page: str) -> None:
    sizes = {n: len(assets.content(STATIC / n)) for n in modules(f"{page}.js") - VIEWER}
    assert "page.js" in sizes
    assert sum(sizes.values()) <= LARGEST, sizes


@pytest.mark.parametrize("path", sorted(STATIC.glob("*.js")), ids=lambda path: path.name)
def test_no_string_spans_lines(path: Path) -> None:
    """What is sent has lost its white space and its comments; the code must not notice."""
    text = path.read_text("utf-8")
    assert [line for line in text.splitlines() if line.count("`") % 2] == []
    literals = re.findall(r"`[^`]*`", text)
    assert [part for part in literals if part.count("{") != part.count("}")] == [], "nested"
    sent = assets.content(path).decode()
    assert set(re.findall(r"`[^`]*`", sent)) <= set(literals)
    assert len(sent) < len(text)
    assert not re.search(r"^(//|/\*|\*)", sent, re.MULTILINE), path.name


def test_what_a_page_asks_early_is_what_its_script_asks() -> None:
    """An address that differs would be asked for twice, and looked at once."""
    for page, questions in pages.FIRST_QUESTIONS.items():
        text = (STATIC / f"{page}.js").read_text("utf-8")
        assert [q for q in questions if f'"{q.removeprefix("/api/v1")}"' not in text] == []


def test_every_script_belongs_to_a_page() -> None:
    used = {
        name for page in PAGES if (STATIC / f"{page}.js").exists() for name in modules(f"{page}.js")
    }
    shared = {"chart.js", "map.js", "vendored.js"}
    assert {path.name for path in STATIC.glob("*.js")} - used - shared == set()


@pytest.mark.parametrize("path", sorted(STATIC.glob("*.js")), ids=lambda path: path.name)
def test_what_a_module_imports_is_exported(path: Path) -> None:
    """A browser refuses the whole page for one name that is not there."""
    missing = []
    imports = re.findall(r'import \{([^}]*)\} from "\./([\w/.-]+)"', path.read_text("utf-8"))
    for names, source in imports:
        text = (STATIC / source).read_text("utf-8")
        exported = set(re.findall(r"export (?:async )?(?:function|const|class|let) (\w+)", text))
        for group in re.findall(r"export \{([^}]*)\}", text):
            exported |= {word.split(" as ")[-1].strip() for word in group.split(",")}
        wanted = {word.split(" as ")[0].strip() for word in names.split(",") if word.strip()}
        missing += [f"{source}: {name}" for name in sorted(wanted - exported)]
    assert missing == []


def test_vendored_files_are_of_the_pinned_versions() -> None:
    package = json.loads((ROOT / "package.json").read_text("utf-8"))
    pinned = package["dependencies"] | package["devDependencies"]
    written = json.loads((STATIC / "vendor" / "versions.json").read_text("utf-8"))
    assert all(re.fullmatch(r"\d+\.\d+\.\d+", version) for version in pinned.values()), pinned
    assert {name: pinned[name] for name in written} == written
    locked = json.loads((ROOT / "package-lock.json").read_text("utf-8"))["packages"]
    for name, version in written.items():
        assert locked[f"node_modules/{name}"]["version"] == version
        where = ROOT / "tests/e2e/screens" if name == "axe-core" else STATIC
        licence = where / "vendor" / f"{name.removesuffix('-core')}.LICENSE.txt"
        assert licence.read_text("utf-8").startswith(f"{name} {version} ")


def test_the_lock_names_no_registry() -> None:
    text = (ROOT / "package-lock.json").read_text("utf-8")
    assert '"resolved"' not in text
    packages = json.loads(text)["packages"]
    assert all("integrity" in entry for name, entry in packages.items() if name)


def test_colours_have_one_home() -> None:
    """A page's own style sheet names colours by their meaning, so that dark is never forgotten."""
    fixed = {"tokens.css", "page.css", "case.css"}
    found = [
        f"{path.name}: {colour}"
        for path in STATIC.glob("*.css")
        if path.name not in fixed
        for colour in re.findall(
            r"#(?!000\b|fff\b)[0-9a-fA-F]{3,8}\b(?=[^{]*[;}])", path.read_text()
        )
    ]
    assert found == []
