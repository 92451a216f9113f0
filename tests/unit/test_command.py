"""The `goldentime` command: what a person gets to see, and the exit status a script gets."""

from __future__ import annotations

import importlib
import sys
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest

from broker import command

ROOM = '''
"""A room of commands."""
import sys
from broker.errors import BadSetting

def read(arguments):
    """`goldentime read`: say what is in a film.

    More words that the list does not show.
    """
    print("read", *arguments)
    return 1 if "bad" in arguments else None

def refuse(arguments):
    raise BadSetting("GOLDENTIME_SECRET_KEY is missing")

def stop(arguments):
    raise KeyboardInterrupt
'''


@pytest.fixture
def room(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A module with commands, found as setup.cfg's are."""
    tmp_path.joinpath("a_room.py").write_text(ROOM)
    tmp_path.joinpath("no_torch.py").write_text("import torch_that_is_not_there\n")
    tmp_path.joinpath("broken.py").write_text("import broker.not_there\n")
    monkeypatch.syspath_prepend(tmp_path)
    for module in ("a_room", "no_torch", "broken"):
        monkeypatch.delitem(sys.modules, module, raising=False)
    importlib.invalidate_caches()
    targets = {
        "broken": "broken:main",
        "read": "a_room:read",
        "refuse": "a_room:refuse",
        "stop": "a_room:stop",
        "train": "no_torch:main",
    }
    points = {name: EntryPoint(name, value, command.GROUP) for name, value in targets.items()}
    monkeypatch.setattr(command, "commands", lambda: points)


@pytest.mark.usefixtures("room")
@pytest.mark.parametrize("arguments", [[], ["--help"], ["-h"], ["help"]])
def test_help_lists_commands_with_one_line_and_loads_none(
    arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert command.main(arguments) == 0
    shown = capsys.readouterr().out
    assert "  read    say what is in a film.\n" in shown
    assert "More words" not in shown
    assert "examples:" in shown
    assert "not a medical device" in shown
    assert "a_room" not in sys.modules


@pytest.mark.usefixtures("room")
@pytest.mark.parametrize(
    ("arguments", "status"), [(["read", "a", "--json"], 0), (["read", "bad"], 1)]
)
def test_a_command_gets_the_rest_and_gives_the_status(
    arguments: list[str], status: int, capsys: pytest.CaptureFixture[str]
) -> None:
    assert command.main(arguments) == status
    assert capsys.readouterr().out.split() == arguments


@pytest.mark.usefixtures("room")
@pytest.mark.parametrize(
    ("name", "status", "says"),
    [
        ("raed", 2, "there is no command 'raed'; there are: broken, read, refuse"),
        ("refuse", 1, "GOLDENTIME_SECRET_KEY is missing"),
        ("train", 1, "needs the package 'torch_that_is_not_there'"),
        ("stop", 130, ""),
    ],
)
def test_what_goes_wrong_is_told_without_a_traceback(
    name: str, status: int, says: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert command.main([name]) == status
    told = capsys.readouterr()
    assert told.out == ""
    assert says in told.err
    assert "Traceback" not in told.err


@pytest.mark.usefixtures("room")
def test_a_missing_module_of_ours_is_a_fault_and_not_hidden() -> None:
    with pytest.raises(ModuleNotFoundError, match=r"broker\.not_there"):
        command.main(["broken"])
