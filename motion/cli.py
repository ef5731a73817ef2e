"""The `motion` command. `motion --help` lists what it does, `motion VERB --help` the options."""

import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Final, Literal

from rich.console import Console
from rich.table import Table
from tyro.conf import Positional, arg
from tyro.extras import SubcommandApp

from motion import paths

TRACEBACK_VARIABLE: Final = "MOTION_TRACEBACK"
FILE_SUFFIXES: Final = (".mp4", ".png", ".npz", ".gif")
"""Files of one sample: [RGB | motion map | SMPL] video, strip, AMASS-keyed motion, and where it is
asked for the video as a gif."""
OTHER_SUFFIXES: Final = (".glb", ".bvh", ".npy")

app = SubcommandApp()


@app.command
def doctor(*, json: bool = False) -> int:
    """Check this machine: versions, GPU, storage, token, ports; each trouble with its remedy.

    Args:
        json: print the checks as JSON.
    """
    from motion.doctor import examine

    checks = examine()
    if json:
        _print_json([check.__dict__ for check in checks])
    else:
        table = Table("check", "", "found", "remedy", box=None, pad_edge=False)
        style = {"ok": "green", "warn": "yellow", "fail": "bold red"}
        for check in checks:
            level = f"[{style[check.level]}]{check.level}[/]"
            table.add_row(check.name, level, check.found, check.remedy)
        Console().print(table)
    return int(any(check.level == "fail" for check in checks))


@app.command
def sample(
    prompts: Annotated[
        Positional[tuple[str, ...]], arg(metavar="PROMPT ...", help_behavior_hint="")
    ],
    /,
    *,
    system: str = "comovi",
    checkpoint: Path | None = None,
    num_samples: Annotated[int, arg(aliases=["-n"])] = 1,
    seed: int = 0,
    steps: int | None = None,
    guidance: float | None = None,
    duration_s: float | None = None,
    output: Annotated[Path | None, arg(aliases=["-o"])] = None,
    json: bool = False,
) -> int:
    """Generate from text with a trained model.

    Args:
        prompts: captions; `-` reads them from standard input, a .txt file holds one per line.
        system: which kind of model, where no checkpoint is named.
        checkpoint: folder of an export; the newest of the system unless given.
        num_samples: samples per prompt.
        seed: seed of noise, person, room and camera; the same seed gives the same files.
        steps: sampling steps; the system's own number unless given.
        guidance: scale of classifier-free guidance, 1 is none; the system's own unless given.
        duration_s: length in seconds; what the model was trained on unless given.
        output: stem of the files (.mp4, .npz ... is dropped); several samples get _00, _01 ...
        json: print the written files as JSON.
    """
    texts = read_prompts(prompts)
    if num_samples < 1:
        raise ValueError(f"--num-samples is {num_samples}; expected at least 1")
    from motion.inference import Pipeline, newest_export, write_result

    export = checkpoint or newest_export(system)
    given = {"steps": steps, "guidance": guidance, "duration_s": duration_s}
    options = {name: value for name, value in given.items() if value is not None}
    wanted = [text for text in texts for _ in range(num_samples)]
    stems = output_stems(output, wanted)
    results = Pipeline.load(export).sample(wanted, seed=seed, **options)
    gif = output is not None and output.suffix == ".gif"
    written = [
        write_result(result, stem, gif=gif) for result, stem in zip(results, stems, strict=True)
    ]
    if json:
        files = [
            {"prompt": text, "files": [str(file) for file in group]}
            for text, group in zip(wanted, written, strict=True)
        ]
        _print_json({"export": str(export), "seed": seed, "samples": files})
    else:
        for file in (file for group in written for file in group):
            print(file)
    return 0


@app.command
def info(file: Positional[Path], /, *, json: bool = False) -> int:
    """Print where a generated file comes from, and the command that makes it again.

    Args:
        file: an .npz, .mp4, .gif or .png that `motion sample` wrote.
        json: print the provenance as JSON.
    """
    from motion.export.provenance import read_provenance

    provenance = read_provenance(file)
    if json:
        _print_json({**provenance.model_dump(mode="json"), "command": provenance.command()})
    else:
        for name, value in provenance.model_dump(mode="json").items():
            print(f"{name:<12} {value}")
        print(f"{'again':<12} {provenance.command()}")
    return 0


@app.command
def evaluate(
    exports: Annotated[
        Positional[tuple[Path, ...]], arg(metavar="EXPORT ...", help_behavior_hint="")
    ],
    /,
    *,
    protocol: str = "comovi-motion",
    evaluator: Path | None = None,
    data: Path | None = None,
    split: str = "test",
    num_clips: int | None = None,
    passes: int | None = None,
    root_path: Literal["sample", "held", "true"] = "sample",
    native_video: bool = False,
    seed: int = 0,
    output: Annotated[Path | None, arg(aliases=["-o"])] = None,
    json: bool = False,
) -> int:
    """Compare trained models under a published protocol; prints and writes a table.

    Samples that exist already are not made again, so an interrupted evaluation goes on.

    Args:
        exports: folders of exports, one row each.
        protocol: humanml3d-momask, humanml3d-mdm, motionweb, genmo-estimation, comovi-motion or
            comovi-video.
        evaluator: export of the evaluator whose embeddings are compared, where one is needed.
        data: encoded dataset; the one that the first export was trained on unless given.
        split: its real clips.
        num_clips: how many of them, at random; all unless given.
        passes: independent samplings; the protocol's number unless given.
        root_path: root path of generated motions: the model's, the first frame's held, or the
            real clip's (an upper bound).
        native_video: comovi-video without the vbench package, temporal flickering alone.
        seed: seed of clips, captions, noise and batches.
        output: folder of samples and tables.
        json: print the table as JSON instead of the files' names.
    """
    from motion.evaluation.comparison import ComparisonConfig, compare
    from motion.evaluation.output import show

    given: dict[str, Any] = {"num_clips": num_clips, "passes": passes, "output": output}
    config = ComparisonConfig(
        exports=exports,
        protocol=protocol,
        evaluator=evaluator,
        root=data,
        split=split,
        root_path=root_path,
        native_video=native_video,
        seed=seed,
        **{name: value for name, value in given.items() if value is not None},
    )
    table, files = compare(config)
    if json:
        print(table.model_dump_json(indent=2))
    else:
        show(table)
        for file in files:
            print(file)
    return 0


def read_prompts(given: Sequence[str]) -> list[str]:
    """Captions from the command line, standard input (`-`) and .txt files, in that order.

    Raises:
        ValueError: no caption is left, or a .txt file does not exist.
    """
    texts: list[str] = []
    for text in given:
        if text == "-":
            texts += sys.stdin.read().splitlines()
        elif text.endswith(".txt"):
            if not Path(text).is_file():
                raise ValueError(f"no such file of prompts: {text}")
            texts += Path(text).read_text(encoding="utf-8").splitlines()
        else:
            texts.append(text)
    texts = [text.strip() for text in texts if text.strip()]
    if not texts:
        raise ValueError('no prompt given: motion sample "a person waves"')
    return texts


def output_stems(output: Path | None, prompts: Sequence[str]) -> list[Path]:
    """One stem per sample: the given one, numbered where there are several samples.

    Raises:
        ValueError: the output asks for a kind of file that is not written.
    """
    if output is None:
        words = "".join(c if c.isalnum() else " " for c in prompts[0].lower()).split()
        output = paths.samples() / ("_".join(words)[:48] or "sample")
    if output.suffix in OTHER_SUFFIXES:
        raise ValueError(f"{output}: a sample is written as {', '.join(FILE_SUFFIXES)}")
    stem = output.with_suffix("") if output.suffix in FILE_SUFFIXES else output
    if len(prompts) == 1:
        return [stem]
    width = max(2, len(str(len(prompts) - 1)))
    return [stem.with_name(f"{stem.name}_{index:0{width}d}") for index in range(len(prompts))]


def _print_json(value: object) -> None:
    print(json.dumps(value, indent=2))


def main(arguments: Sequence[str] | None = None) -> None:
    """Entry point; a failure is one line on standard error and a non-zero exit code."""
    try:
        code = app.cli(prog="motion", description=__doc__, args=arguments)
    except (ValueError, RuntimeError, OSError) as error:
        if os.environ.get(TRACEBACK_VARIABLE):
            raise
        line = " ".join(str(error).split()) or type(error).__name__
        print(f"motion: {line} ({TRACEBACK_VARIABLE}=1 shows where)", file=sys.stderr)
        code = 1
    except KeyboardInterrupt:
        code = 130
    raise SystemExit(code)


if __name__ == "__main__":
    main()
