"""Does the evaluator tell motions apart? R-precision on held-out clips, FID of damaged motions.

    [OMP_NUM_THREADS=1] python tests/benchmarks/bench_evaluator.py [--steps 1200] [--folds 4]

Trains the recipe's evaluator on embedded clips through the training loop, in this process and
without Ray, then on windows of captioned motion capture (CMU, below $MOTION_REAL_DATA, where that
is set), cross-validated: no take is in training and test of a fold. Prints Markdown tables.
"""

import argparse
import os
import shutil
import tempfile
import time
from functools import partial
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("DS_ACCELERATOR", "cpu")
os.environ.update({"RANK": "0", "WORLD_SIZE": "1", "LOCAL_RANK": "0"})

import torch
import torch.distributed as dist
from evaluator_data import folds_of, generated_rows, mocap_rows, takes, windows, write

from motion.encoders import WordVectors, WordVectorsConfig
from motion.metrics.corruption import CORRUPTIONS
from motion.metrics.embeddings import Embeddings, Score, hit_rates, ids_of, retrieval_scores, rises
from motion.metrics.evaluator import Evaluator, load_evaluator
from motion.metrics.interval import clustered_interval
from motion.training import dataset
from motion.training.config import InitConfig, TrainConfig, identity_hash
from motion.training.evaluators import corruption_curves, embed_split, with_statistics
from motion.training.loop import Job, Worker, train
from rayjobs.train_evaluator import training


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--steps", type=int, default=1200)
    parser.add_argument("--clips", type=int, default=2048)
    parser.add_argument("--held-out", type=int, default=576)
    parser.add_argument("--folds", type=int, default=4)
    parser.add_argument("--fold-steps", type=int, default=250)
    parser.add_argument("--windows", type=int, default=6, help="of a take, at most")
    given = parser.parse_args()
    torch.set_num_threads(1)
    scratch = Path(tempfile.mkdtemp(prefix="bench_evaluator_"))
    dist.init_process_group("gloo", init_method=f"file://{scratch}/store", rank=0, world_size=1)
    real = os.environ.get("MOTION_REAL_DATA")
    try:
        rows = timed(
            "clips generated",
            lambda: generated_rows({"train": given.clips, "validation": given.held_out}),
        )
        told = [row["captions"] for row in rows if row["split"] == "train"]
        taken = []
        if real:
            taken = timed("takes imported", lambda: takes(Path(real) / "mocap"))
            told += [[take.text] for take, _ in taken]  # words alone: no motion is told with them
        text = WordVectors.fit(told, WordVectorsConfig())
        write(scratch / "embedded", rows, text)
        config = with_statistics(here(training(scratch / "embedded"), scratch, given.steps))
        evaluator = timed("evaluator trained", lambda: fit(config))
        print_scores("embedded clips", judged(evaluator, scratch / "embedded"))
        print_curves(evaluator, scratch / "embedded")
        if real:
            pieces = windows(taken, given.windows)
            print_mocap(pieces, text, config, scratch, given)
    finally:
        dist.destroy_process_group()
        shutil.rmtree(scratch)


def timed(what: str, action: Any) -> Any:
    wall, cpu = time.perf_counter(), time.process_time()
    found = action()
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    print(f"{what}: {cpu:.0f} s of one core ({wall:.0f} s by the clock)", flush=True)
    return found


def here(config: TrainConfig, scratch: Path, steps: int, **changes: Any) -> TrainConfig:
    """The recipe's training in this process."""
    stream = config.data.stream.model_copy(update={"use_ray": False})
    update = {
        "data": config.data.model_copy(update={"stream": stream}),
        "storage": scratch,
        "steps": steps,
        "checkpoint_every": steps,
        "validate_with": None,
        **changes,
    }
    return config.model_copy(update=update)


def fit(config: TrainConfig) -> Evaluator:
    """Train through the one loop; load the export."""
    facts = dataset.facts(config)
    identity = config.identity(dataset_hash=facts["hash"])
    job = Job(
        run_id="none",
        identity=identity,
        identity_hash=identity_hash(identity),
        data=facts,
        git="bench\n",
    )
    worker = Worker(newest=None, commit=partial(keep_nothing), tracker=None)
    train(config, job, worker, dataset.stream_batches)
    return load_evaluator(config.export_dir)


def keep_nothing(folder: Path, *_: Any) -> None:
    shutil.rmtree(folder)


def judged(evaluator: Evaluator, root: Path) -> dict[str, list[Score]]:
    """Both directions on the validation clips."""
    found = embed_split(evaluator, root, "validation")
    return {
        "text to motion": retrieval_scores(found),
        "motion to text": retrieval_scores(found, direction="motion_to_text"),
    }


def print_scores(title: str, scores: dict[str, list[Score]]) -> None:
    first = next(iter(scores.values()))[0]
    print(
        f"\n{title}: n = {first.n} ({first.interval.n} groups), batches of 32, seed {first.seed}, "
        f"evaluator {first.evaluator_hash[:12]}, statistics {first.statistics_hash[:12]}\n"
    )
    print(
        "| direction | "
        + " | ".join(f"{s.name} [95 %] (chance)" for s in scores[next(iter(scores))])
    )
    print("|---" * (1 + len(next(iter(scores.values())))) + "|")
    for direction, found in scores.items():
        cells = [
            f"{s.interval.mean:.3f} [{s.interval.low:.3f}, {s.interval.high:.3f}] ({s.chance:.3f})"
            for s in found
        ]
        print(f"| {direction} | " + " | ".join(cells) + " |")


def print_curves(evaluator: Evaluator, root: Path) -> None:
    curves = corruption_curves(evaluator, root, "validation")
    print("\n| damage | unit | strength: FID(real, damaged) | monotone |\n|---|---|---|---|")
    for name, curve in curves.items():
        points = ", ".join(f"{strength:g}: {fid:.3g}" for strength, fid in curve.items())
        print(f"| {name} | {CORRUPTIONS[name][1]} | {points} | {rises(list(curve.values()))} |")


def print_mocap(
    pieces: list[Any], text: WordVectors, base: TrainConfig, scratch: Path, given: Any
) -> None:
    """Cross-validated scores: every window is judged once, by an evaluator that saw no window of
    its take, against windows of its fold."""
    fold_of = folds_of([piece.take for piece in pieces], given.folds)
    parts: dict[str, list[Any]] = {"text to motion": [], "motion to text": []}
    groups: list[torch.Tensor] = []
    take_ids = ids_of([piece.take for piece in pieces])
    last: Embeddings | None = None
    for fold in range(given.folds):
        root = scratch / f"fold{fold}"
        held = [fold_of[piece.take] == fold for piece in pieces]
        rows = mocap_rows(pieces, lambda take: "validation" if fold_of[take] == fold else "train")  # noqa: B023 - called within this turn
        write(root, rows, text)
        data = base.data.model_copy(update={"root": root})
        config = here(
            base, scratch, given.fold_steps, data=data, name=f"fold{fold}", micro_batch=32,
            init_from=InitConfig(export=base.export_dir),
        )  # fmt: skip
        evaluator = timed(f"fold {fold}: {sum(held)} windows held out", lambda: fit(config))  # noqa: B023 - called within this turn
        last = embed_split(evaluator, root, "validation")
        # Clips are read in order of their ids, which end in the window's number.
        order = sorted((i for i, out in enumerate(held) if out), key=lambda i: rows[i]["clip_id"])
        groups.append(take_ids[order])
        same = ids_of([pieces[i].text for i in order])
        for direction, found in parts.items():
            found.append(
                hit_rates(last.text, last.motion, caption_ids=same, direction=direction)  # pyright: ignore[reportArgumentType]  # one of its literals
            )
    assert last is not None
    scores = {name: cross_scores(found, torch.cat(groups), last) for name, found in parts.items()}
    print_scores(f"captioned capture, {given.folds} folds (hashes: last fold)", scores)


def cross_scores(found: list[Any], groups: torch.Tensor, last: Embeddings) -> list[Score]:
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


if __name__ == "__main__":
    main()
