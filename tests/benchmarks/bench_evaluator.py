"""Does the evaluator tell motions apart? R-precision on held-out clips, FID of damaged motions.

    python tests/benchmarks/bench_evaluator.py                # embedded clips and motion capture
    python tests/benchmarks/bench_evaluator.py --only embedded

Trains the recipe's evaluator on embedded clips through the training loop, in this process and
without Ray, then on windows of captioned motion capture (CMU, below $MOTION_REAL_DATA, where that
is set), cross-validated: no take is in training and test of a fold. Takes whose licence restricts
their use are judged in a row of their own and never trained on. Prints Markdown tables and writes
them to table.md in its folder; what is committed there (clips, evaluators) is not made again.
"""

import argparse
import hashlib
import json
import os
import time
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "2")

import torch
from evaluator_data import Window, folds_of, generated_rows, mocap_rows, takes, windows, write

from motion import paths
from motion.data.manifest import read_commit
from motion.encoders import TextEncoder, WordVectors, WordVectorsConfig, load_text_encoder
from motion.metrics.corruption import CORRUPTIONS
from motion.metrics.embeddings import Embeddings, Score, hit_rates, ids_of, retrieval_scores, rises
from motion.metrics.evaluator import Evaluator, load_evaluator
from motion.metrics.interval import clustered_interval
from motion.metrics.retrieval import Direction
from motion.training.alone import train_alone
from motion.training.config import InitConfig, TrainConfig
from motion.training.evaluators import corruption_curves, embed_split, with_statistics
from motion.training.tracking import git_state
from rayjobs.train_evaluator import training

DIRECTIONS: dict[str, Direction] = {
    "text to motion": "text_to_motion",
    "motion to text": "motion_to_text",
}
Scores = Mapping[str, Sequence[Score]]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", choices=("embedded", "capture"), help="one of the two parts")
    parser.add_argument("--steps", type=int, default=1200)
    parser.add_argument("--clips", type=int, default=2048)
    parser.add_argument("--held-out", type=int, default=576)
    parser.add_argument("--folds", type=int, default=4)
    parser.add_argument("--fold-steps", type=int, default=250)
    parser.add_argument("--windows", type=int, default=6, help="of a take, at most")
    parser.add_argument("--folder", type=Path, default=paths.outputs() / "bench_evaluator")
    given = parser.parse_args()
    torch.set_num_threads(int(os.environ["OMP_NUM_THREADS"]))
    settings = {k: v for k, v in vars(given).items() if k not in ("only", "folder")}
    name = hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()[:8]
    folder: Path = (given.folder / name).absolute()
    folder.mkdir(parents=True, exist_ok=True)
    report = Report(folder)
    run(given, folder, report)


class Report:
    """Lines for the terminal and for a file."""

    def __init__(self, folder: Path) -> None:
        self.file = folder / "table.md"
        self.lines: list[str] = []
        self.add(f"bench_evaluator.py, {time.strftime('%Y-%m-%d')}, {git_state()[:12]}\n")

    def add(self, text: str) -> None:
        print(text, flush=True)
        self.lines.append(text)
        self.file.write_text("\n".join(self.lines) + "\n")

    def timed(self, what: str, action: Any) -> Any:
        wall, cpu = time.perf_counter(), time.process_time()
        found = action()
        wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
        self.add(f"- {what}: {cpu:.0f} CPU s, {wall:.0f} s by the clock")
        return found


def run(given: argparse.Namespace, folder: Path, report: Report) -> None:
    real = os.environ.get("MOTION_REAL_DATA")
    if given.only == "capture" and not real:
        raise SystemExit("MOTION_REAL_DATA is not set: there is no motion capture to judge")
    taken = report.timed("takes imported", lambda: takes(Path(real) / "mocap")) if real else []
    root = folder / "embedded"
    if read_commit(root) is None:
        counts = {"train": given.clips, "validation": given.held_out}
        rows = report.timed("clips generated", lambda: generated_rows(counts))
        told = [row["captions"] for row in rows if row["split"] == "train"]
        told += [[take.text] for take, _ in taken]  # words alone: no motion is told with them
        write(root, rows, WordVectors.fit(told, WordVectorsConfig()))
    text = load_text_encoder(root / "encoders" / "text")
    config = with_statistics(here(training(root), folder, given.steps))
    evaluator = report.timed(f"evaluator, {given.steps} steps", lambda: fit(config))
    if given.only != "capture":
        add_scores(report, "embedded clips", judged(evaluator, root, "validation"))
        add_curves(report, evaluator, root)
    if real and given.only != "embedded":
        pieces = windows(taken, given.windows)
        last = cross_validated(report, pieces, text, config, folder, given)
        restricted(report, Path(real) / "flagged", text, last, folder, given)


def here(config: TrainConfig, folder: Path, steps: int, **changes: Any) -> TrainConfig:
    """The recipe's training in this process."""
    stream = config.data.stream.model_copy(update={"use_ray": False})
    update = {
        "data": config.data.model_copy(update={"stream": stream}),
        "storage": folder,
        "steps": steps,
        "checkpoint_every": steps,
        "validate_with": None,
        **changes,
    }
    return config.model_copy(update=update)


def fit(config: TrainConfig) -> Evaluator:
    """The evaluator of a training: its export, which is made once."""
    return load_evaluator(train_alone(config))


def judged(evaluator: Evaluator, root: Path, split: str, *, flagged: bool = False) -> Scores:
    """Both directions on all clips of a split."""
    found = embed_split(evaluator, root, split, flagged=flagged)
    return {name: retrieval_scores(found, direction=way) for name, way in DIRECTIONS.items()}


def add_scores(report: Report, title: str, scores: Scores) -> None:
    first = next(iter(scores.values()))
    report.add(
        f"\n**{title}**: n = {first[0].n} ({first[0].interval.n} groups), batches of 32, seed "
        f"{first[0].seed}, evaluator {first[0].evaluator_hash[:12]}, statistics "
        f"{first[0].statistics_hash[:12]}\n"
    )
    report.add("| direction | " + " | ".join(f"{s.name} [95 %] (chance)" for s in first) + " |")
    report.add("|---" * (1 + len(first)) + "|")
    for direction, found in scores.items():
        cells = [
            f"{s.interval.mean:.3f} [{s.interval.low:.3f}, {s.interval.high:.3f}] ({s.chance:.3f})"
            for s in found
        ]
        report.add(f"| {direction} | " + " | ".join(cells) + " |")


def add_curves(report: Report, evaluator: Evaluator, root: Path) -> None:
    curves = corruption_curves(evaluator, root, "validation")
    report.add("\n| damage | unit | strength: FID(real, damaged) | monotone |\n|---|---|---|---|")
    for name, curve in curves.items():
        points = ", ".join(f"{strength:g}: {fid:.3g}" for strength, fid in curve.items())
        verdict = "yes" if rises(list(curve.values())) else "no"
        report.add(f"| {name} | {CORRUPTIONS[name][1]} | {points} | {verdict} |")
    report.add("")


def cross_validated(
    report: Report,
    pieces: Sequence[Window],
    text: TextEncoder,
    base: TrainConfig,
    folder: Path,
    given: argparse.Namespace,
) -> Evaluator:
    """Every window is judged once, by an evaluator that saw no window of its take, against windows
    of its fold; the last fold's evaluator."""
    fold_of = folds_of([piece.take for piece in pieces], given.folds)
    take_ids = ids_of([piece.take for piece in pieces])
    parts: dict[str, list[Any]] = {name: [] for name in DIRECTIONS}
    groups: list[torch.Tensor] = []
    evaluator, found = None, None
    for fold in range(given.folds):
        root = folder / f"fold{fold}-clips"
        held = [fold_of[piece.take] == fold for piece in pieces]
        rows = mocap_rows(pieces, ["validation" if out else "train" for out in held])
        if read_commit(root) is None:
            write(root, rows, text)
        config = here(
            base, folder, given.fold_steps, name=f"fold{fold}", micro_batch=32,
            data=base.data.model_copy(update={"root": root}),
            init_from=InitConfig(export=base.export_dir),
        )  # fmt: skip
        what = f"fold {fold}, {given.fold_steps} steps, {sum(held)} windows held out"
        evaluator = report.timed(what, partial(fit, config))
        found = embed_split(evaluator, root, "validation")
        # Clips are read in order of their ids, which end in the window's number.
        order = sorted((i for i, out in enumerate(held) if out), key=lambda i: rows[i]["clip_id"])
        groups.append(take_ids[order])
        same = ids_of([pieces[i].text for i in order])
        for name, way in DIRECTIONS.items():
            parts[name].append(hit_rates(found.text, found.motion, caption_ids=same, direction=way))
    assert evaluator is not None
    assert found is not None
    scores = {name: pooled(hits, torch.cat(groups), found) for name, hits in parts.items()}
    title = f"captioned capture (CMU), {given.folds} folds by take (hashes: last fold)"
    add_scores(report, title, scores)
    return evaluator


def pooled(found: Sequence[Any], groups: torch.Tensor, last: Embeddings) -> list[Score]:
    """Scores over the windows of all folds, with intervals over takes."""
    hits = torch.cat([hit for hit, _ in found])
    chance = torch.cat([by_chance for _, by_chance in found])
    return [
        Score(
            name=f"R@{k + 1}",
            interval=clustered_interval(hits[:, k], groups),
            chance=float(chance[:, k].mean()),
            n=len(hits),
            seed=0,
            evaluator_hash=last.evaluator_hash,
            statistics_hash=last.statistics_hash,
        )
        for k in range(hits.shape[1])
    ]


def restricted(
    report: Report,
    source: Path,
    text: TextEncoder,
    evaluator: Evaluator,
    folder: Path,
    given: argparse.Namespace,
) -> None:
    """Windows under a restrictive licence, by an evaluator that never saw any of them."""
    if not source.is_dir():
        return
    try:
        taken = report.timed("restricted takes imported", lambda: takes(source, flagged=True))
    except ValueError as error:  # skeletons that the importers do not know
        report.add(f"\n**restricted capture**: not judged: {error}")
        return
    pieces = windows(taken, given.windows)
    root = folder / "restricted-clips"
    if read_commit(root) is None:
        write(root, mocap_rows(pieces, ["validation"] * len(pieces)), text)
    found = embed_split(evaluator, root, "validation", flagged=True)
    order = sorted(range(len(pieces)), key=lambda i: f"{pieces[i].take}-{i:05d}")
    groups = ids_of([pieces[i].take for i in order])
    same = ids_of([pieces[i].text for i in order])
    scores = {
        name: pooled(
            [hit_rates(found.text, found.motion, caption_ids=same, direction=way)], groups, found
        )
        for name, way in DIRECTIONS.items()
    }
    title = (
        "restricted capture (non-commercial licence; another source, other words; not trained on)"
    )
    add_scores(report, title, scores)


if __name__ == "__main__":
    main()
