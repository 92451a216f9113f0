"""CPU time per film of weights as they serve: `python -m models.training.timing NAME…`."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from models import card as cards
from models.training.compare import cpu_ms


def main(argv: Sequence[str]) -> None:
    """Print the median milliseconds of one core per film, and the size, of each weight."""
    total_ms = total_mb = 0.0
    for name in argv or [cards.shipped(kind) for kind in cards.ModelKind]:
        card = cards.load(name)
        path = card.directory / card.file
        taken, size = cpu_ms(path, card.input.size_px), path.stat().st_size / 1e6
        total_ms, total_mb = total_ms + taken, total_mb + size
        print(f"{name}: {taken:.1f} ms on one core, {size:.1f} MB")
    print(f"together: {total_ms:.1f} ms, {total_mb:.1f} MB")


if __name__ == "__main__":
    main(sys.argv[1:])
