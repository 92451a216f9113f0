"""One run of small networks on frozen maps that judge whole films: every fold for the figures, then
all films outside the final test set for the heads that ship.

Writes fold<K>/{config.yaml,result.json,validation.npz,head<N>.pt} and all/{head<N>.pt,reader.pt}
into the run folder; a stopped run keeps the heads it has. Nothing here looks at the final test set.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from tqdm import tqdm

from models.training import checkpoint, film_copies, frozen, metrics, pixels
from models.training.attention import AttentionHead, AttentionReader, main_directions
from models.training.config import AttentionConfig
from models.training.descent import Descent
from models.training.film_copies import Halves
from models.training.folds import Floats, Result, folds_of, keep
from models.training.readers_public import read
from models.training.records import LABELS
from models.training.train_classifier import masked_loss, targets

#: Films whose maps are reduced at once.
CHUNK = 128


def reader_of(config: AttentionConfig, data: Path | None) -> AttentionReader:
    """The network of a run: trunks with their given weights if `data` is named, heads unlearnt."""
    specs = frozen.parse_trunks(config.trunks)
    inits = frozen.inits_of(config.init, len(specs), data) if data else [None] * len(specs)
    maps = frozen.FrozenMaps(specs, inits)
    return AttentionReader(maps, [_unlearnt(maps, config) for _ in range(config.heads)])


def _unlearnt(maps: frozen.FrozenMaps, config: AttentionConfig) -> AttentionHead:
    return AttentionHead(maps.planes, maps.grid, config.directions, config.width)


def _reduced(head: AttentionHead, maps: Halves) -> Tensor:
    """Maps (N, planes, g, g) along the head's directions (N, directions, g, g)."""
    parts = [maps[start : start + CHUNK] for start in range(0, len(maps), CHUNK)]
    with torch.inference_mode():
        return torch.cat(
            [head.reduced(torch.from_numpy(part.astype(np.float32))) for part in parts]
        )


def fit(
    head: AttentionHead,
    copies: Sequence[Tensor],
    wanted: NDArray[np.float32],
    config: AttentionConfig,
    seed: int,
    said: str,
) -> None:
    """Train a head, whose directions stand, on reduced maps of every copy of the films, and leave
    the moving average of its weights in it; `wanted` (films, 14), NaN for unknown."""
    generator = np.random.default_rng(seed)
    aim = torch.from_numpy(wanted)
    with torch.no_grad():
        share = torch.nanmean(aim, dim=0).nan_to_num(0.5).clamp(0.01, 0.99)
        head.whole.bias.copy_(torch.logit(share))
    steps = max(len(wanted) // config.batch, 1)
    descent = Descent(
        head,
        rate=config.rate,
        weight_decay=config.weight_decay,
        ema_decay=config.ema_decay,
        steps=steps * config.epochs,
        warm_steps=50,
    )
    head.train()
    for _ in tqdm(range(config.epochs), desc=said, unit="epoch"):
        order = generator.permutation(len(wanted))
        for step in range(steps):
            chosen = order[step * config.batch : (step + 1) * config.batch]
            which = generator.integers(0, len(copies), len(chosen))
            given = torch.stack([copies[c][r] for r, c in zip(chosen, which, strict=True)])
            true = aim[chosen]
            if config.mix_alpha > 0:  # mix-up (Zhang et al. 2018), of maps
                drawn = generator.beta(config.mix_alpha, config.mix_alpha, len(chosen))
                part = torch.from_numpy(drawn.astype(np.float32))[:, None]
                other = torch.from_numpy(generator.permutation(len(chosen)))
                given = part[..., None, None] * given + (1 - part)[..., None, None] * given[other]
                true = part * true + (1 - part) * true[other]
            descent.step(masked_loss(head.judge(given)[0], true, None))
    descent.end()


def _heads(
    reader: AttentionReader,
    maps: Halves,
    wanted: NDArray[np.float32],
    rows: list[int],
    config: AttentionConfig,
    place: Path,
) -> list[AttentionHead]:
    """The run's heads for the films of `rows`, each from its checkpoint if the same run on the same
    films wrote one; `maps` (films, copies, planes, g, g)."""
    place.mkdir(parents=True, exist_ok=True)
    changeable = {"name": "", "heads": 0, "threads": 0}
    facts = {"run": asdict(config) | changeable, "rows": rows, "films": len(maps)}
    heads: list[AttentionHead] = []
    first = _unlearnt(reader.maps, config)
    copies: list[Tensor] = []
    for number in range(config.heads):
        seed = 100 * config.seed + number
        torch.manual_seed(seed)
        head = _unlearnt(reader.maps, config)
        path = place / f"head{number + 1}.pt"
        saved = checkpoint.load(path)
        if saved and saved["facts"] == facts:
            head.load_state_dict(saved["head"])
        else:
            if not copies:
                plain = torch.from_numpy(maps[rows, 0].astype(np.float32))
                first.center, first.enter = main_directions(plain, config.directions)
                copies = [_reduced(first, maps[rows, copy]) for copy in range(config.copies)]
            head.center, head.enter = first.center.clone(), first.enter.clone()
            said = f"{place.name}, head {number + 1} of {config.heads}"
            fit(head, copies, wanted[rows], config, seed, said)
            checkpoint.save({"head": head.state_dict(), "facts": facts}, path)
        heads.append(head.eval())
    return heads


def train(config: AttentionConfig, data: Path, runs: Path, base: Path = Path()) -> Result:
    """Fit and judge every fold, then fit the heads that ship; TrainingError says what is wrong with
    the input."""
    started = time.monotonic()
    torch.set_num_threads(config.threads)
    films = read(data, config.layout, config.teacher)
    hashes = pixels.known_hashes(films, runs / "cache")
    folds = folds_of(config, films, base, hashes)
    reader = reader_of(config, data)
    reader.maps.to(memory_format=torch.channels_last)
    maps = film_copies.load(reader.maps, folds.films, config, runs / "cache").maps
    wanted = targets(folds.films, config.teacher_share)[:, : len(LABELS)]
    folder = runs / config.name
    logits: Floats = np.empty((len(folds.films), len(LABELS)))
    for number, (learnt, held) in enumerate(folds.rows):
        heads = _heads(reader, maps, wanted, learnt, config, folder / f"fold{number}")
        with torch.inference_mode():
            answers = [head.judge(_reduced(head, maps[held, 0]))[0].numpy() for head in heads]
        logits[held] = np.mean(answers, axis=0)
    # one unit is made one spread, as the ridge head's is, so that both can be put on one scale
    center, spread = logits.mean(axis=0), logits.std(axis=0)
    logits = (logits - center) / spread
    areas = keep(folder, config, folds, logits)
    whole = list(range(len(folds.films)))
    reader.heads = nn.ModuleList(_heads(reader, maps, wanted, whole, config, folder / "all"))
    reader.shift.copy_(torch.from_numpy(center))
    reader.spread.copy_(torch.from_numpy(spread))
    checkpoint.save({"ema": reader.state_dict()}, folder / "all" / "reader.pt")
    area = metrics.mean_auc(folds.truth, logits)
    return Result(folder, areas, area, len(folds.films), time.monotonic() - started)
