"""Self-describing exports: what inference, evaluation and later stages load.

    config.json            system, encoders, body, data, training
    model.safetensors      weights
    ema.safetensors        moving average, where one was kept
    encoders/text, rgb, map  copies of the dataset's encoders
    git.txt, README.md     code state and model card with the data's licences

An export appears under its name whole or not at all.
"""

import fnmatch
import json
import os
import shutil
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from safetensors.torch import load_file, save_file
from torch import Tensor

from motion.exported import CONFIG_FILE
from motion.training.config import InitConfig, TrainConfig
from motion.weights import TensorFiles, compare, listing

FORMAT = 1
_ENCODER_KINDS = ("text", "rgb", "map")


def describe(
    config: TrainConfig,
    *,
    step: int,
    identity: Mapping[str, Any],
    identity_hash: str,
    data: Mapping[str, Any],
    run_id: str,
    command: str = "",
) -> dict[str, Any]:
    """Contents of config.json.

    Args:
        config: the training.
        step: completed steps.
        identity: what decides the result (TrainConfig.identity).
        identity_hash: its hash.
        data: facts of the dataset (motion.training.dataset.facts).
        run_id: MLflow run of the training.
        command: command line that started the training; empty where it is not known.
    """
    encoders: dict[str, Any] = {}
    for kind, facts in data["encoders"].items():
        path = {"path": f"encoders/{kind}"} if kind in _ENCODER_KINDS else {}
        encoders[kind] = {**_as_dict(facts), **path}
    return {
        "format": FORMAT,
        "system": config.system.model_dump(mode="json"),
        "encoders": encoders,
        "body": data["body"],
        "data": {name: value for name, value in data.items() if name not in ("encoders", "body")},
        "training": {
            "config": config.model_dump(mode="json"),
            "identity": dict(identity),
            "hash": identity_hash,
            "mlflow_uri": config.mlflow_uri,
            "run_id": run_id,
            "command": command,
        },
        "step": step,
    }


def _as_dict(facts: Any) -> dict[str, Any]:
    return dict(facts) if isinstance(facts, Mapping) else {"id": facts}


def write(
    target: Path,
    description: Mapping[str, Any],
    states: Sequence[Mapping[str, Tensor]],
    *,
    data_root: Path,
    git: str,
) -> Path:
    """Commit an export.

    Args:
        target: the export directory; a previous export of that name is replaced.
        description: of `describe`.
        states: raw weights, and their moving average where one was kept.
        data_root: encoded dataset, whose encoders are copied.
        git: state of the code.

    Raises:
        RuntimeError: the folder cannot be written.
    """
    staging = target.with_name(f".{target.name}.{uuid.uuid4().hex[:8]}")
    try:
        staging.mkdir(parents=True)
        for name, state in zip(("model", "ema"), states, strict=False):
            save_file(dict(state), staging / f"{name}.safetensors")
        for kind in _ENCODER_KINDS:
            if kind in description["encoders"]:
                shutil.copytree(data_root / "encoders" / kind, staging / "encoders" / kind)
        (staging / "git.txt").write_text(git)
        (staging / "README.md").write_text(model_card(target.name, description, len(states) > 1))
        (staging / CONFIG_FILE).write_text(json.dumps(description, indent=2, sort_keys=True))
        if target.exists():
            os.replace(target, staging / "replaced")
        os.replace(staging, target)
        shutil.rmtree(target / "replaced", ignore_errors=True)
    except OSError as error:
        shutil.rmtree(staging, ignore_errors=True)
        raise RuntimeError(f"cannot write the export {target}: {error}") from error
    return target


def model_card(name: str, description: Mapping[str, Any], has_ema: bool) -> str:
    """README.md of an export."""
    data = description["data"]
    licences = "\n".join(f"- {licence}" for licence in data.get("licences", [])) or "- none stated"
    encoders = "\n".join(
        f"- {kind}: {facts.get('id', 'unnamed')} (`{str(facts.get('hash', ''))[:16]}`)"
        for kind, facts in description["encoders"].items()
    )
    weights = "`model.safetensors` (raw)" + (" and `ema.safetensors`" if has_ema else "")
    return f"""# {name}

A `{description["system"]["kind"]}` model after {description["step"]} optimizer steps.
Weights: {weights}.

## Training

{_origin(description)}

## Data

{data.get("num_clips", 0)} clips of the split `{data.get("split", "train")}`, dataset version
`{str(data.get("hash", ""))[:16]}`. Licences of the clips:

{licences}

## Encoders

{encoders or "- none"}

Body model: {description["body"]}. No body model data is part of this folder.

## Provenance

`config.json` holds the complete training config, `git.txt` the state of the code.
"""


def _origin(description: Mapping[str, Any]) -> str:
    """Which stage this is, what it started from, and the command that made it."""
    training, system = description["training"], description["system"]
    stage = f"Stage {system['stage']} of the system" if "stage" in system else "The only stage"
    init = training["config"]["init_from"]
    start = f"the {init['weights']} weights of `{Path(init['export']).name}`" if init else "scratch"
    lines = [f"{stage}: the training `{training['config']['name']}`, from {start}."]
    if training["command"]:
        lines += ["Started in the root of the repository by", "", f"    {training['command']}"]
    return "\n".join(lines)


def committed(target: Path) -> dict[str, Any] | None:
    """config.json of a committed export, None where there is none.

    Raises:
        ValueError: it is of another format.
    """
    path = target / CONFIG_FILE
    if not path.is_file():
        return None
    description = json.loads(path.read_text())
    if description.get("format") != FORMAT:
        raise ValueError(
            f"{path} has format {description.get('format')}, this code reads {FORMAT}; "
            "export again with this version"
        )
    return description


def initial_hash(init: InitConfig | None) -> str:
    """Identity of the export that weights come from; empty where it is none or not there yet."""
    description = None if init is None else committed(init.export)
    return "" if description is None else str(description["training"]["hash"])


def check_initial(init: InitConfig, state: Mapping[str, Tensor]) -> Path:
    """The file of an export's weights, which fits a module of this state.

    Reads the file's header alone: the weights may be larger than the driver's memory.

    Args:
        init: which export, which weights, and which names may be missing.
        state: the module's state dict; on the meta device it is as good.

    Raises:
        ValueError: no such export, or its names or shapes do not match; the message lists them.
    """
    if committed(init.export) is None:
        raise ValueError(
            f"init_from.export {init.export} is no export ({CONFIG_FILE} is missing); resumable "
            "checkpoints are not accepted, give a folder under exports/"
        )
    path = init.export / f"{init.weights}.safetensors"
    if not path.is_file():
        raise ValueError(f"{init.export} has no {path.name}; choose weights='model'")
    wanted = {name: tuple(value.shape) for name, value in state.items()}
    difference = compare(TensorFiles([path]).shapes, wanted)
    missing = tuple(n for n in difference.missing if not _allowed(n, init.allow_missing))
    difference = replace(difference, missing=missing)
    if difference:
        how = "add a prefix to init_from.allow_missing to permit"
        raise ValueError(f"{path} does not fit the system:" + difference.report(how))
    return path


def check_encoders(init: InitConfig, encoders: Mapping[str, Any]) -> None:
    """Refuse weights that were trained on the features of other encoders than the data's.

    Args:
        init: which export.
        encoders: of the dataset, by kind; kinds that only one of the two has are not compared.

    Raises:
        ValueError: a content hash differs.
    """
    trained: dict[str, Any] = (committed(init.export) or {}).get("encoders", {})
    pairs = {
        kind: (_as_dict(trained[kind]).get("hash"), _as_dict(encoders[kind]).get("hash"))
        for kind in sorted(trained.keys() & encoders.keys())
    }
    other = [f"{kind}: {a} there, {b} here" for kind, (a, b) in pairs.items() if a != b]
    if other:
        raise ValueError(
            f"{init.export} was trained with other encoders than the data:"
            + listing("of another content hash", other)
            + "\nTrain on data that these encoders encoded, or start from an export that was "
            "trained on this data"
        )


def load_initial(init: InitConfig, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Weights of an export for a module of this state; arguments and errors of `check_initial`."""
    return load_file(check_initial(init, state))


def _allowed(name: str, patterns: Sequence[str]) -> bool:
    """Whether a name may be missing: by a prefix of it, or a pattern with *."""
    return any(
        fnmatch.fnmatchcase(name, pattern) if "*" in pattern else name.startswith(pattern)
        for pattern in patterns
    )
