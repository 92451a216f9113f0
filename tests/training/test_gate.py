"""The gate's table on a few drawn chests: every kind of picture is there, and the worst are out."""

from __future__ import annotations

from pathlib import Path

import pytest

from models import xray
from models.phantom import phantom
from models.training import gate
from models.training.cli import train


def test_every_kind_of_picture_gets_its_row(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "nih").mkdir()
    for seed in range(2):
        film = xray.encode_jpeg(phantom(seed).pixels)
        (tmp_path / "nih" / f"{seed}.jpg").write_bytes(film)
    gate.main(["--data", str(tmp_path), "--count", "6"])
    rows = [line.split(" | ") for line in capsys.readouterr().out.splitlines()[2:]]
    kinds = [row[0].removeprefix("| ") for row in rows]
    assert kinds == [*gate.SPOILT, *gate.MADE, "photograph, gray", "photograph, colour"]
    for kind, n, read, mended, refused, _ in rows:
        assert n == ("2" if "film" in kind else "6")
        shares = [float(text.removesuffix("%")) for text in (read, mended, refused)]
        assert sum(shares) == pytest.approx(100, abs=0.2)
    read = dict(zip(kinds, (row[2] for row in rows), strict=True))
    assert read["film as it is"] == read["film in a white frame"] == "100.0%"
    for kind in ("film, too dark (x 0.15)", "film, left half only", *gate.MADE):
        assert read[kind] == "0.0%" or kind.startswith("clouds")


def test_a_folder_without_films_is_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert gate.main(["--data", str(tmp_path)]) == 2
    assert f"no films in {tmp_path / 'nih'}" in capsys.readouterr().err
    assert train(["split", "--data", str(tmp_path / "x"), "--out", str(tmp_path / "s")]) == 2
