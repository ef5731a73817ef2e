"""A protocol on one or several exports: samples, scores, and the table in all its forms."""

import datetime
import hashlib
import json
import logging
import platform
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Final, cast

import ray
from pydantic import BaseModel, ConfigDict, Field, JsonValue

from motion import paths
from motion.body.model import BodyModel
from motion.data.manifest import Manifest
from motion.evaluation import scores
from motion.evaluation.clips import Clips
from motion.evaluation.conditions import require_encoders
from motion.evaluation.embedding import reads_tokens_of, require_features, require_texts
from motion.evaluation.output import Subject, log_table, write_table
from motion.evaluation.protocols import Protocol, RootPath, protocol_named
from motion.evaluation.published import published_rows
from motion.evaluation.sampling import Request, request_folder
from motion.evaluation.tables import Row, Table
from motion.inference import Pipeline
from motion.metrics.evaluator import Evaluator, load_evaluator
from motion.training.tracking import git_state

_STATED_OTHERWISE: Final = {
    "exports", "protocol", "evaluator", "root", "passes", "min_frames", "multimodality",
}  # fmt: skip
"""Fields that a table's identity has by hash, or in the protocol that is used."""


class ComparisonConfig(BaseModel):
    """What is compared, and how."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    exports: Annotated[tuple[Path, ...], Field(min_length=1)]
    """Folders of exports: one row each."""
    protocol: str = "comovi-motion"
    """One of `motion.evaluation.protocols.PROTOCOLS`."""
    evaluator: Path | None = None
    """Evaluator's export; the text-to-motion protocols need one."""
    root: Path | None = None
    """Encoded dataset; the one that the first export was trained on unless given."""
    split: str = "test"
    """Real clips."""
    num_clips: Annotated[int, Field(ge=1)] | None = None
    """A random choice of clips; all of the split unless given."""
    batch_size: Annotated[int, Field(ge=1)] = 16
    """Clips that are sampled together. Other sizes draw other noise."""
    passes: Annotated[int, Field(ge=1)] | None = None
    """Independent samplings; the protocol's number unless given."""
    min_frames: Annotated[int, Field(ge=1)] | None = None
    """Shortest clip in frames of the protocol; the protocol's unless given."""
    multimodality: bool = True
    """Sample many motions for a few prompts where the protocol has MultiModality."""
    root_path: RootPath = "sample"
    """Root path of generated motions: `sample`, `held` or `true`."""
    options: dict[str, JsonValue] = Field(default_factory=dict)
    """Sampling options that replace the exports' own."""
    seed: int = 0
    """Of clips, captions, crops, noise, batches and intervals."""
    restricted: bool = False
    """Also evaluate clips under a restrictive licence, in marked rows of their own."""
    native_video: bool = False
    """Video protocol without the vbench package: temporal flickering alone."""
    workers: Annotated[int, Field(ge=1)] | None = None
    """Sampling actors; as many as the cluster holds unless given."""
    num_gpus: Annotated[float, Field(ge=0)] | None = None
    """GPUs per actor; None takes one where the cluster has one."""
    output: Path = Field(default_factory=lambda: paths.outputs() / "evaluation")
    """Samples, tables and plots."""

    def protocol_used(self) -> Protocol:
        """The protocol with what is overridden."""
        protocol = protocol_named(self.protocol)
        changes: dict[str, object] = {}
        if self.passes is not None:
            changes["passes"] = self.passes
            if self.passes > 1:
                changes["metrics"] = protocol.metrics.model_copy(update={"repeats": self.passes})
        if self.min_frames is not None:
            changes["min_frames"] = self.min_frames
        if not self.multimodality:
            changes["multimodal_prompts"] = 0
        seeded = changes.get("metrics", protocol.metrics)
        assert isinstance(seeded, BaseModel)
        changes["metrics"] = seeded.model_copy(update={"seed": self.seed})
        return protocol.model_copy(update=changes)


@dataclass(frozen=True)
class Opened:
    """What a comparison reads before it samples."""

    protocol: Protocol
    evaluator: Evaluator | None
    subjects: tuple[Subject, ...]
    manifest: Manifest
    body: BodyModel


def _opened(config: ComparisonConfig) -> Opened:
    """Read and check everything that does not need a cluster."""
    protocol = config.protocol_used()
    scores.require_packages(protocol, native=config.native_video)
    evaluator = evaluator_for(protocol, config.evaluator)
    pipelines = [Pipeline.load(export) for export in config.exports]
    subjects = _subjects(pipelines)
    manifest = Manifest.load(config.root or Path(pipelines[0].config["data"]["root"]))
    for pipeline in pipelines:
        require_encoders(pipeline, manifest)
    if evaluator is not None:
        require_texts(evaluator)
    return Opened(protocol, evaluator, subjects, manifest, _one_body(pipelines))


def check(config: ComparisonConfig) -> str:
    """A line about the comparison, if everything but the sampling itself fits.

    Raises:
        ValueError: an export, the dataset or the evaluator does not fit the protocol.
        RuntimeError: the video protocol without the vbench package.
    """
    opened = _opened(config)
    clips = _selected(config, opened.manifest, flagged=False)
    chunks = len(clips.chunks()) * opened.protocol.passes * len(opened.subjects)
    return (
        f"{opened.protocol.name}: {len(opened.subjects)} exports, {len(clips.refs)} clips, "
        f"{opened.protocol.passes} passes, {chunks} batches to sample at most"
    )


def _selected(config: ComparisonConfig, manifest: Manifest, *, flagged: bool) -> Clips:
    return Clips.select(
        manifest,
        config.split,
        num_clips=config.num_clips,
        batch_size=config.batch_size,
        seed=config.seed,
        flagged=flagged,
    )


def compare(config: ComparisonConfig) -> tuple[Table, list[Path]]:
    """Run the comparison on the cluster, and write the table; samples that exist are not remade.

    Returns:
        The table and the written files.

    Raises:
        ValueError: an export, the dataset or the evaluator does not fit the protocol.
        RuntimeError: the video protocol without the vbench package.
    """
    opened = _opened(config)
    protocol, manifest = opened.protocol, opened.manifest
    if not ray.is_initialized():
        ray.init(logging_level=logging.WARNING)
    real: list[Row] = []
    ours: list[Row] = []
    facts: dict[str, str] = {}
    for flagged in (False, True) if config.restricted else (False,):
        clips = _selected(config, manifest, flagged=flagged)
        run = scores.Run(
            protocol=protocol,
            clips=clips,
            body=opened.body,
            evaluator=opened.evaluator,
            native_video=config.native_video,
            workers=config.workers,
            num_gpus=config.num_gpus,
        )
        row, found, used = scores.score(run, _requests(config, opened))
        real += [row.model_copy(update={"flagged": flagged})] if row else []
        ours += [one.model_copy(update={"flagged": flagged}) for one in found]
        facts |= {f"{name} (restricted clips)" if flagged else name: x for name, x in used.items()}
    rows = (*real, *ours, *published_rows(protocol.name))
    facts = _facts(config, opened) | facts
    table = Table(title=protocol.name, columns=protocol.columns, rows=rows, facts=facts)
    files = write_table(table, config.output.expanduser().resolve() / _name(config, opened))
    log_table(table, opened.subjects, files)
    return table, files


def evaluator_for(protocol: Protocol, path: Path | None) -> Evaluator | None:
    """The evaluator, where the protocol needs one.

    Raises:
        ValueError: it is missing, or sees other features.
    """
    if protocol.features is None:
        return None
    if path is None:
        raise ValueError(
            f"protocol {protocol.name!r} compares embeddings: name an evaluator of "
            f"{protocol.features} features (rayjobs/train_evaluator.py trains one)"
        )
    evaluator = load_evaluator(path)
    require_features(protocol, evaluator)
    return evaluator


def _subjects(pipelines: Sequence[Pipeline]) -> tuple[Subject, ...]:
    """The exports under names of their own: folders of one name are told apart by their hash."""
    folders = [pipeline.export.name for pipeline in pipelines]
    hashes = [pipeline.hash for pipeline in pipelines]
    if len(set(hashes)) < len(hashes):
        twice = [str(p.export) for p in pipelines if hashes.count(p.hash) > 1]
        raise ValueError(f"{', '.join(twice)} hold the same export: name each export once")
    return tuple(
        Subject(
            export=p.export,
            name=folder if folders.count(folder) == 1 else f"{folder} {p.hash[:8]}",
            hash=p.hash,
            config=p.config,
        )
        for folder, p in zip(folders, pipelines, strict=True)
    )


def _one_body(pipelines: Sequence[Pipeline]) -> BodyModel:
    ids = sorted({pipeline.body.body_id for pipeline in pipelines})
    if len(ids) != 1:
        raise ValueError(f"the exports have the bodies {ids}: compare exports of one body")
    return pipelines[0].body


def _requests(config: ComparisonConfig, opened: Opened) -> list[Request]:
    samples = config.output.expanduser().resolve() / "samples"
    wanted = "video" if opened.protocol.kind == "video" else "motion"

    def options(subject: Subject) -> dict[str, JsonValue]:
        kind = str(cast("dict[str, JsonValue]", subject.config["system"])["kind"])
        return {**opened.protocol.options.get(kind, {}), **config.options}

    return [
        Request(
            export=subject.export,
            name=subject.name,
            wanted=wanted,
            root_path=config.root_path,
            options=options(subject),
            folder=request_folder(
                samples,
                export=subject.export,
                export_hash=subject.hash,
                dataset_hash=opened.manifest.hash,
                seed=config.seed,
                wanted=wanted,
                root_path=config.root_path,
                options=options(subject),
            ),
        )
        for subject in opened.subjects
    ]


def _facts(config: ComparisonConfig, opened: Opened) -> dict[str, str]:
    """What the numbers of ours need to be read."""
    protocol, evaluator = opened.protocol, opened.evaluator
    facts = {
        "protocol": protocol.source,
        "date": datetime.date.today().isoformat(),
        "exports": ", ".join(f"{s.export.name} {s.hash[:12]}" for s in opened.subjects),
        "dataset": f"{opened.manifest.hash[:12]}, split {config.split}",
        "seed": str(config.seed),
        "sampling": f"{protocol.passes} independent samplings in batches of {config.batch_size}"
        + (f", options {config.options}" if config.options else ""),
        "machine": platform.processor() or platform.machine(),
        "code": git_state().split("\n")[0][:12],
    }
    if protocol.kind != "video":
        facts["root path"] = config.root_path
    if evaluator is not None:
        facts["evaluator"] = f"{evaluator.hash[:16]}, statistics {evaluator.statistics_hash[:16]}"
        if not reads_tokens_of(evaluator, opened.manifest):
            facts["captions"] = "encoded anew by the evaluator's own text encoder"
    return facts


def _name(config: ComparisonConfig, opened: Opened) -> str:
    """Of the table's files: protocol, exports, and a hash of all that decides the numbers."""
    left_out = {*_STATED_OTHERWISE, "workers", "num_gpus", "output"}
    evaluator = opened.evaluator
    identity = {
        "protocol": opened.protocol.model_dump(mode="json"),
        "exports": [subject.hash for subject in opened.subjects],
        "dataset": opened.manifest.hash,
        "evaluator": None if evaluator is None else [evaluator.hash, evaluator.statistics_hash],
        "comparison": config.model_dump(mode="json", exclude=left_out),
    }
    digest = hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()
    names = "-".join(subject.export.name for subject in opened.subjects)
    return f"{opened.protocol.name}-{names}"[:110] + f"-{digest[:8]}"
