"""Samples of an export for chunks of clips: by Ray actors, each file written once.

A chunk's file depends on the export, the clips, the seed and the sampling options alone, never on
how many actors work, so an evaluation that died goes on with the files that it finds.
"""

import hashlib
import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal, cast

import numpy as np
import ray
import torch
from pydantic import JsonValue
from ray.exceptions import OutOfMemoryError, RayActorError, RayTaskError, WorkerCrashedError
from ray.util import ActorPool
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

from motion.batch import Batch
from motion.data.console import quiet_process
from motion.data.manifest import Manifest
from motion.data.plan import ClipRef
from motion.data.room import cluster_nodes, require_room, spare_gpus
from motion.data.storage import replacing
from motion.data.video import encode_mp4, to_frames
from motion.evaluation.clips import Clips
from motion.evaluation.conditions import require_encoders
from motion.evaluation.motions import generated_motion
from motion.evaluation.protocols import RootPath
from motion.inference import Pipeline
from motion.models.system import Sample
from motion.sequence import Motion

Wanted = Literal["motion", "video"]
EXTRA_DRAWS: Final = 1000
"""Draws from here on show the captions of draw 0: many motions for one prompt (MultiModality)."""


@dataclass(frozen=True, kw_only=True)
class Request:
    """What is sampled from one export, but for the clips."""

    export: Path
    name: str
    """Of its row, and in messages."""
    wanted: Wanted
    root_path: RootPath
    options: Mapping[str, JsonValue]
    """Sampling options that differ from the export's own."""
    folder: Path
    """Where files of this export and request lie (`request_folder`)."""

    def file(self, chunk: Sequence[ClipRef], draw: int) -> Path:
        """Where a chunk's motions lie; its videos lie in a folder of that name."""
        names = "\n".join(ref.clip_id for ref in chunk)
        digest = hashlib.sha256(names.encode()).hexdigest()[:16]
        return self.folder / f"draw_{draw:03d}" / f"{digest}.safetensors"


def request_folder(
    output: Path,
    *,
    export: Path,
    export_hash: str,
    dataset_hash: str,
    seed: int,
    wanted: Wanted,
    root_path: RootPath,
    options: Mapping[str, JsonValue],
) -> Path:
    """The folder of all samples that are made in this very way; identity.json in it says how."""
    identity = {
        "export": export_hash,
        "dataset": dataset_hash,
        "seed": seed,
        "wanted": wanted,
        "root_path": root_path,
        "options": dict(options),
    }
    text = json.dumps(identity, sort_keys=True)
    folder = output / f"{export.name}-{hashlib.sha256(text.encode()).hexdigest()[:12]}"
    with replacing(folder / "identity.json") as file:
        file.write_text(json.dumps(identity, indent=2, sort_keys=True))
    return folder


class Sampler:
    """An export in an actor; `run` makes one chunk's file unless it is there."""

    def __init__(self, request: Request, clips: Clips, device: str) -> None:
        quiet_process()
        torch.set_num_threads(1)
        self.request, self.clips = request, clips
        self.pipeline = Pipeline.load(request.export, device=device)
        require_encoders(self.pipeline, Manifest.load(clips.root))
        self.options = self.pipeline.options(**request.options)

    def run(self, chunk: tuple[ClipRef, ...], draw: int) -> str:
        """The chunk's file."""
        file = self.request.file(chunk, draw)
        if file.is_file():
            return str(file)
        batch = self.clips.batch(chunk, draw if draw < EXTRA_DRAWS else 0)
        sample = self.pipeline.generate(
            batch, self.options, chunk_generator(self.clips.seed, draw, chunk)
        )
        if self.request.wanted == "video":
            write_videos(file, sample, batch)
        else:
            write_motion(file, generated_motion(sample, batch, self.request.root_path), batch)
        return str(file)


def chunk_generator(seed: int, draw: int, chunk: Sequence[ClipRef]) -> torch.Generator:
    """Noise of a chunk, from the seed, the draw and its clips."""
    names = "\n".join(ref.clip_id for ref in chunk)
    key = int.from_bytes(hashlib.sha256(names.encode()).digest()[:8], "big")
    state = np.random.SeedSequence((seed, draw, key)).generate_state(1)
    return torch.Generator().manual_seed(int(state[0]))


def write_motion(file: Path, motion: Motion, batch: Batch) -> None:
    """The motions of a chunk, whole or not at all."""
    tensors = {
        "R_parent_child": motion.R_parent_child.contiguous().float(),
        "translation": motion.require_translation().contiguous().float(),
        "betas": motion.betas.contiguous().float(),
    }
    facts = {
        "body_id": motion.body_id,
        "fps": repr(motion.fps),
        "clip_ids": json.dumps(batch.clip_ids),
    }
    with replacing(file) as temporary:
        save_file(tensors, temporary, metadata=facts)


def read_motion(file: Path, clip_ids: Sequence[str]) -> Motion:
    """What `write_motion` wrote.

    Raises:
        ValueError: the file holds other clips.
    """
    with safe_open(file, "pt") as opened:
        facts = cast("dict[str, str]", opened.metadata())
        tensors: dict[str, Tensor] = {name: opened.get_tensor(name) for name in opened.keys()}  # noqa: SIM118 - no mapping
    if json.loads(facts["clip_ids"]) != list(clip_ids):
        raise ValueError(f"{file} holds other clips than asked for: delete it and evaluate again")
    return Motion(
        R_parent_child=tensors["R_parent_child"],
        translation=tensors["translation"],
        betas=tensors["betas"],
        body_id=facts["body_id"],
        fps=float(facts["fps"]),
    )


def write_videos(file: Path, sample: Sample, batch: Batch) -> None:
    """One mp4 per clip in a folder beside `file`; `file` is the commit, written last.

    Raises:
        ValueError: the sample carries no video.
    """
    if sample.rgb is None:
        raise ValueError(
            "the export's samples carry no video: this protocol measures one; evaluate a system "
            "that makes videos, or choose a protocol of motions"
        )
    for name, video, mask, fps in zip(
        batch.clip_ids, sample.rgb, batch.frame_mask, batch.fps, strict=True
    ):
        frames = to_frames(video)[mask.numpy()]
        with replacing(videos_folder(file) / f"{name}.mp4") as temporary:
            temporary.write_bytes(encode_mp4(frames, float(fps), lossless=False))
    with replacing(file) as temporary:
        save_file({"clips": torch.tensor([batch.size])}, temporary)


def videos_folder(file: Path) -> Path:
    """Where the videos of a draw lie: one folder, as VBench wants it."""
    return file.parent / "videos"


def sample_all(
    request: Request,
    clips: Clips,
    draws: Sequence[int],
    *,
    workers: int | None = None,
    num_gpus: float | None = None,
) -> None:
    """Make every missing file of the clips and draws on the cluster.

    Args:
        request: what is sampled.
        clips: for which clips.
        draws: independent samplings.
        workers: actors; None: one per CPU of the cluster but one, or one per GPU.
        num_gpus: GPUs of each actor; None takes one where the cluster has one.

    Raises:
        ValueError: the export lacks what is asked for, or the actors do not fit the cluster.
        RuntimeError: an actor died, most often because a batch does not fit into memory.
    """
    missing = [
        (chunk, draw)
        for draw in draws
        for chunk in clips.chunks()
        if not request.file(chunk, draw).is_file()
    ]
    if not missing:
        return
    nodes = cluster_nodes()
    gpus = spare_gpus(num_gpus, nodes)
    per_node = "GPU" if gpus else "CPU"
    total = sum(node.get(per_node, 0.0) for node in nodes) / (gpus or 1.0)
    count = min(workers or max(1, int(total) - (0 if gpus else 1)), len(missing))
    each = {"CPU": 1.0, "GPU": gpus}
    require_room(count, each, nodes, what="samplers", how="Lower workers or num_gpus")
    actor = cast(Any, ray.remote)(num_cpus=1, num_gpus=gpus, max_restarts=3, max_task_retries=3)(
        Sampler
    )
    device = "cuda" if gpus else "cpu"
    actors = [actor.remote(request, clips, device) for _ in range(count)]
    try:
        _run(ActorPool(actors), missing, request.name, clips.batch_size)
    finally:
        for one in actors:
            ray.kill(one)


def _run(
    pool: Any, missing: Sequence[tuple[tuple[ClipRef, ...], int]], name: str, batch_size: int
) -> None:
    """Hand out the chunks; one line at every tenth of them."""
    started, step = time.perf_counter(), max(1, len(missing) // 10)
    try:
        results = pool.map_unordered(lambda one, job: one.run.remote(*job), missing)
        for done, _ in enumerate(results, 1):
            if done % step == 0 or done == len(missing):
                spent = time.perf_counter() - started
                print(f"samples     {name}: {done} of {len(missing)} batches, {spent:.0f} s")
    except RayTaskError as error:
        if isinstance(error.cause, torch.OutOfMemoryError | MemoryError):
            raise _too_large(name, batch_size, error.cause) from error
        raise error.cause from error
    except (RayActorError, OutOfMemoryError, WorkerCrashedError) as error:
        if isinstance(error, RayActorError) and error.actor_init_failed:
            raise RuntimeError(f"the samplers of {name} do not start: {error}") from error
        raise _too_large(name, batch_size, error) from error


def _too_large(name: str, batch_size: int, error: BaseException) -> RuntimeError:
    """Ray cannot tell every death from want of memory, so its own reason follows."""
    return RuntimeError(
        f"sampling of {name} with batch_size {batch_size} ended a sampler, most likely for want of "
        "memory: lower batch_size, or workers so that fewer share a machine (finished batches are "
        f"kept as long as batch_size stays). Ray says: {str(error).strip()}"
    )
