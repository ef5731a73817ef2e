"""The report of one evaluation: what was measured, on what, with which command."""

import datetime
import json
import platform
from pathlib import Path
from typing import Any, Final

import mlflow
import torch
from mlflow.tracking import MlflowClient

from motion.data.manifest import Manifest
from motion.data.storage import replacing
from motion.evaluation import (
    Evaluation,
    EvaluationConfig,
    evaluate,
    log_to_run,
    picture_samples,
)
from motion.exported import export_hash, read_config
from motion.inference import Pipeline
from motion.view.curves import History, curves_png

RECORD: Final = "report.json"
PANELS: Final = {
    "flow loss": ("loss/flow_rgb", "loss/flow_map"),
    "SMPL loss": ("loss/rotation", "loss/vertices", "loss/joints"),
}
"""Training metrics that are drawn, by panel."""


def committed_report(export: Path, folder: Path, config: EvaluationConfig) -> list[Path] | None:
    """Files of the report in `folder`, if it is whole and of this very export and evaluation."""
    file = folder / RECORD
    if not file.is_file():
        return None
    record = json.loads(file.read_text())
    files = [folder / name for name in record["files"]]
    whole = record["of"] == _identity(export, config) and all(path.is_file() for path in files)
    return files if whole else None


def write_report(
    export: Path, folder: Path, config: EvaluationConfig, *, device: str = "cpu"
) -> list[Path]:
    """Evaluate an export and write report.md, curves.png and samples; the written files.

    report.json, written last, says of which export and evaluation: see `committed_report`.
    """
    (folder / RECORD).unlink(missing_ok=True)
    identity = _identity(export, config)
    pipeline = Pipeline.load(export, device=device)
    evaluation = evaluate(pipeline, config)
    folder.mkdir(parents=True, exist_ok=True)
    report = folder / "report.md"
    report.write_text(render(pipeline, config, evaluation))
    written = [report, *picture_samples(pipeline, config.prompts, folder, config.seed)]
    curves = run_curves(pipeline)
    if curves:
        title = f"{export.name}, {pipeline.config['step']} steps"
        written.append(curves_png(folder / "curves.png", curves, title=title))
        mlflow.set_tracking_uri(pipeline.config["training"]["mlflow_uri"])
        run_id, step = pipeline.config["training"]["run_id"], int(pipeline.config["step"])
        log_to_run(run_id, step, evaluation.metrics(), written)
    with replacing(folder / RECORD) as file:
        record = {"of": identity, "files": [path.name for path in written]}
        file.write_text(json.dumps(record, indent=2, sort_keys=True))
    return written


def _identity(export: Path, config: EvaluationConfig) -> dict[str, Any]:
    """What decides a report's numbers and pictures."""
    root = config.root or Path(read_config(export)["data"]["root"])
    return {
        "export": export_hash(export),
        "dataset": Manifest.load(root).hash,
        "evaluation": config.model_dump(mode="json", exclude={"root"}),
    }


def render(pipeline: Pipeline, config: EvaluationConfig, evaluation: Evaluation) -> str:
    """The report as Markdown."""
    manifest = Manifest.load(config.root or Path(pipeline.config["data"]["root"]))
    values = "\n".join(
        f"| {name} | {value:.4g} |" for name, value in sorted(evaluation.values.items())
    )
    gains = "\n".join(
        f"| {name.removesuffix('_gain')} | {mean:+.4g} | {low:+.4g} to {high:+.4g} | {n} | "
        f"{_verdict(low, high)} |"
        for name, (mean, low, high, n) in sorted(evaluation.differences.items())
    )
    facts = "\n".join(f"| {name} | {value:.4g} |" for name, value in sorted(_numbers(manifest)))
    return f"""# {pipeline.export.name}

{datetime.date.today().isoformat()}, {platform.processor() or platform.machine()},
{torch.get_num_threads()} thread(s) per process, torch {torch.__version__}.
Export `{pipeline.hash[:16]}` after {pipeline.config["step"]} steps; dataset
`{manifest.hash[:16]}`, split {config.split}, {config.num_clips} clips, {config.num_noises} noise
draws per clip, seed {config.seed}, sampling {pipeline.options()}.

## Paired differences

Right condition against another clip's, and samples against the held first frame: positive means
that the right condition (the sample) is better. 95 % bootstrap intervals over clips.

| against | difference | 95 % interval | clips | verdict |
|---|---|---|---|---|
{gains}

## Means

| metric | value |
|---|---|
{values}

## Ceiling: what the autoencoder allows

| fact | value |
|---|---|
{facts}
"""


def _verdict(low: float, high: float) -> str:
    if low > 0:
        return "better"
    return "worse" if high < 0 else "undecided"


def _numbers(manifest: Manifest) -> list[tuple[str, float]]:
    def leaves(tree: Any, name: str) -> list[tuple[str, float]]:
        if isinstance(tree, dict):
            return [
                leaf
                for key, value in tree.items()
                for leaf in leaves(value, f"{name} {key}".strip())
            ]
        return [(name, float(tree))] if isinstance(tree, int | float) else []

    return leaves(dict(manifest.facts), "")


def run_curves(pipeline: Pipeline) -> dict[str, dict[str, History]]:
    """Training curves of the export's MLflow run, by panel; empty where the run is not found."""
    training = pipeline.config["training"]
    uri, run_id = training.get("mlflow_uri"), training.get("run_id")
    if not uri or not run_id:
        return {}
    client = MlflowClient(tracking_uri=uri)
    panels: dict[str, dict[str, History]] = {}
    for panel, names in PANELS.items():
        histories = {name: client.get_metric_history(run_id, name) for name in names}
        drawn: dict[str, History] = {
            # By step: a restart logs the steps that it repeats a second time.
            name.removeprefix("loss/"): sorted({p.step: p.value for p in history}.items())
            for name, history in histories.items()
            if history
        }
        if drawn:
            panels[panel] = drawn
    return panels
