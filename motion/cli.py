"""The `motion` command. `motion --help` lists what it does, `motion VERB --help` the options."""

import difflib
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Final, Literal

import tyro
from rich.console import Console
from rich.table import Table
from tyro.conf import Positional, arg

from motion.export.verbs import export, info
from motion.prompts import output_format, output_stems, read_prompts
from motion.terminal import print_json, say

TRACEBACK_VARIABLE: Final = "MOTION_TRACEBACK"
USAGE_ERROR: Final = 2
"""Exit code where the command line itself is wrong, as argparse's."""

MARKERS: Final = (tyro.conf.FlagCreatePairsOff,)
"""`--json` without a `--no-json`."""


def _unless(metavar: str, instead: str, *aliases: str) -> object:
    """An option that may be left out; its help says what happens then."""
    return arg(metavar=metavar, help_behavior_hint=f"(default: {instead})", aliases=aliases)


def doctor(*, json: bool = False) -> int:
    """Check this machine: versions, GPU, storage, token, ports; each trouble with its remedy.

    The exit code is 1 where something that is needed is missing.

    Args:
        json: print the checks as JSON.
    """
    from motion.doctor import examine, is_ready, verdict

    checks = examine()
    if json:
        print_json([check.__dict__ for check in checks])
    else:
        table = Table(box=None, pad_edge=False)
        for title in ("check", "", "found", "remedy"):
            table.add_column(title, overflow="fold")
        style = {"ok": "green", "warn": "yellow", "fail": "bold red"}
        for check in checks:
            level = f"[{style[check.level]}]{check.level}[/]"
            table.add_row(check.name, level, check.found, check.remedy)
        Console().print(table)
        print(verdict(checks))
    return int(not is_ready(checks))


def sample(
    prompts: Annotated[
        Positional[tuple[str, ...]], arg(metavar="PROMPT ...", help_behavior_hint="")
    ],
    /,
    *,
    system: str = "comovi",
    checkpoint: Annotated[Path | None, _unless("PATH", "the newest local export")] = None,
    num_samples: Annotated[int, arg(aliases=["-n"])] = 1,
    seed: int = 0,
    steps: Annotated[int | None, _unless("INT", "the export's own number")] = None,
    guidance: Annotated[float | None, _unless("FLOAT", "the export's own scale")] = None,
    duration_s: Annotated[float | None, _unless("FLOAT", "as long as in training")] = None,
    timeline: Annotated[str | None, _unless("TEXT", "none")] = None,
    keypoints: Annotated[Path | None, _unless("PATH", "none")] = None,
    video: Annotated[Path | None, _unless("PATH", "none")] = None,
    pose_model: Annotated[str | None, _unless("NAME", "none")] = None,
    music: Annotated[Path | None, _unless("PATH", "none")] = None,
    key_motion: Annotated[Path | None, _unless("PATH", "none")] = None,
    key_times_s: Annotated[tuple[float, ...], arg(help_behavior_hint="")] = (),
    image: Annotated[Path | None, _unless("PATH", "a person of the training data")] = None,
    pose: Annotated[Path | None, _unless("PATH", "found in the image by pose_model")] = None,
    focal_px: Annotated[float | None, _unless("FLOAT", "the image's diagonal")] = None,
    fill: Literal["crop", "pad"] = "crop",
    refine: bool = False,
    separate: bool = False,
    device: str = "auto",
    offload: Literal["none", "layers", "split"] = "none",
    device_memory_gb: Annotated[float | None, _unless("FLOAT", "what is free now")] = None,
    output: Annotated[Path | None, _unless("PATH", "samples/ and the prompt's words", "-o")] = None,
    json: bool = False,
) -> int:
    """Generate from text with a trained model.

    Args:
        prompts: captions; `-` reads them from standard input, a .txt file holds one per line.
        system: which kind of model, where no checkpoint is named.
        checkpoint: folder of an export.
        num_samples: samples per prompt.
        seed: seed of noise, person, room and camera; the same seed gives the same files.
        steps: sampling steps.
        guidance: scale of classifier-free guidance, 1 is none.
        duration_s: length in seconds.
        timeline: what happens when, such as "0-4: walks forward; 3.5-8: turns and sits"; this and
            the following are for systems that make motion alone (genmo), and need no prompt.
        keypoints: .npz of 2D keypoints to follow.
        video: video to follow, in which pose_model finds the keypoints.
        pose_model: ViTPose by folder or hub id.
        music: sound file to dance to.
        key_motion: motion file of key poses.
        key_times_s: their seconds, in the file and in the result.
        image: first frame of a video, of any size (comovi).
        pose: motion file whose first frame is the pose; with an image, its .npz names the camera.
        focal_px: focal length of the image, pixels.
        fill: what happens to an image of another aspect ratio than the nearest video size.
        refine: correct the poses with the generated motion map (comovi).
        separate: also write the video and, losslessly, the motion map as files of their own.
        device: cpu, cuda or cuda:N; auto takes a GPU where there is one.
        offload: keep weights in memory: all but the layer at work, or what the GPU does not hold.
        device_memory_gb: GPU memory for weights under "split", in gigabytes (1e9 bytes).
        output: stem of .mp4, .png and .npz; the suffix of another format (.bvh, .glb, .npy, .csv,
            .webm, .gif) adds that file; several samples get _00, _01 ...
        json: print the written files as JSON.
    """
    followed: dict[str, Any] = {
        "timeline": timeline,
        "keypoints": keypoints,
        "video": video,
        "pose_model": pose_model,
        "music": music,
        "key_motion": key_motion,
        "key_times_s": key_times_s or None,
    }
    first: dict[str, Any] = {"image": image, "pose": pose, "focal_px": focal_px}
    if image is not None:  # the pose model then looks at the image
        first |= {"fill": fill, "pose_model": followed.pop("pose_model")}
    followed = {name: value for name, value in followed.items() if value is not None}
    texts = read_prompts(prompts) if prompts or not followed else [timeline or ""]
    if num_samples < 1:
        raise ValueError(f"--num-samples is {num_samples}; expected at least 1")
    wanted = [text for text in texts for _ in range(num_samples)]
    stems = output_stems(output, wanted)
    say("loading the library ...")
    from motion.exported import newest_export
    from motion.inference import Pipeline, write_result
    from motion.offload import OffloadConfig, choose_device

    export = checkpoint or newest_export(system)
    place = choose_device(device)
    say(f"loading the export {export} ...")
    away = OffloadConfig(mode=offload, device_memory_gb=device_memory_gb)
    pipeline = Pipeline.load(export, device=place, offload=away)
    starts = _starts(first, refine=refine)
    given = {"steps": steps, "guidance": guidance, "duration_s": duration_s}
    options = {name: value for name, value in given.items() if value is not None}
    suffix = output_format(output)
    written: list[list[Path]] = []
    for index, (text, stem) in enumerate(zip(wanted, stems, strict=True)):
        say(f'sample {index + 1} of {len(wanted)}, "{text}" ...')
        prompt = text if prompts or not followed else ""
        (result,) = _sampled(pipeline, prompt, followed, seed=seed + index, **options, **starts)
        extra = {"separate": True} if separate else {}
        written.append(write_result(result, stem, suffix=suffix, **extra))
    if json:
        files = [
            {"prompt": text, "files": [str(file) for file in group]}
            for text, group in zip(wanted, written, strict=True)
        ]
        print_json({"export": str(export), "seed": seed, "samples": files})
    else:
        for file in (file for group in written for file in group):
            print(file)
    return 0


def _starts(first: Mapping[str, Any], *, refine: bool) -> dict[str, Any]:
    """Image and pose to start from and what to read from the map, where they are asked for."""
    from motion.completion import CompletionConfig
    from motion.conditioning.conditions import Conditions

    given = {name: value for name, value in first.items() if value is not None}
    starts: dict[str, Any] = {"conditions": Conditions.model_validate(given)} if given else {}
    return starts | ({"completion": CompletionConfig(refine=True)} if refine else {})


def _sampled(pipeline: Any, prompt: str, followed: Mapping[str, Any], **options: Any) -> Any:
    """One sample, of a prompt alone or of what a motion is to follow."""
    if not followed:
        return pipeline.sample([prompt], **options)
    from motion.conditioning.observations import Observations

    observations = Observations.model_validate(followed)
    return pipeline.moves([prompt], observations=observations, **options)


def evaluate(
    exports: Annotated[
        Positional[tuple[Path, ...]], arg(metavar="EXPORT ...", help_behavior_hint="")
    ],
    /,
    *,
    protocol: str = "comovi-motion",
    evaluator: Annotated[Path | None, _unless("PATH", "none")] = None,
    data: Annotated[Path | None, _unless("PATH", "the first export's dataset")] = None,
    split: str = "test",
    num_clips: Annotated[int | None, _unless("INT", "all")] = None,
    passes: Annotated[int | None, _unless("INT", "the protocol's number")] = None,
    root_path: Literal["sample", "held", "true"] = "sample",
    native_video: bool = False,
    seed: int = 0,
    output: Annotated[Path | None, _unless("PATH", "evaluation/ of the outputs", "-o")] = None,
    json: bool = False,
) -> int:
    """Compare trained models under a published protocol; prints and writes a table.

    Samples that exist already are not made again, so an interrupted evaluation goes on.

    Args:
        exports: folders of exports, one row each.
        protocol: humanml3d-momask, humanml3d-mdm, motionweb, genmo-estimation, genmo-t2m,
            genmo-inbetween, genmo-dance, comovi-motion or comovi-video.
        evaluator: export of the evaluator whose embeddings are compared; the text-to-motion
            protocols need one.
        data: encoded dataset.
        split: its real clips.
        num_clips: how many of them, at random.
        passes: independent samplings.
        root_path: root path of generated motions: the model's, the first frame's held, or the
            real clip's (an upper bound).
        native_video: comovi-video without the vbench package, temporal flickering alone.
        seed: seed of clips, captions, noise and batches.
        output: folder of samples and tables.
        json: print the table as JSON instead of the files' names.
    """
    say("loading the library ...")
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


VERBS: Final[Mapping[str, Callable[..., int]]] = {
    "doctor": doctor,
    "sample": sample,
    "export": export,
    "info": info,
    "evaluate": evaluate,
}


def _run(words: Sequence[str]) -> int:
    """Parse and call the verb; one that does not exist is answered with the one that was meant."""
    if not words or words[0].startswith("-"):
        return tyro.extras.subcommand_cli_from_dict(
            dict(VERBS), prog="motion", description=__doc__, args=words, config=MARKERS
        )
    verb, *rest = words
    if verb not in VERBS:
        near = difflib.get_close_matches(verb, VERBS, n=1)
        meant = f"did you mean `motion {near[0]}`?" if near else "`motion --help` explains them"
        say(f"there is no verb {verb!r}, only {', '.join(VERBS)}; {meant}")
        return USAGE_ERROR
    # Of this verb alone: the options of the others are no answer to a mistyped one.
    return tyro.cli(VERBS[verb], prog=f"motion {verb}", args=rest, config=MARKERS)


def main(arguments: Sequence[str] | None = None) -> None:
    """Entry point; a failure is one line on standard error and a non-zero exit code."""
    try:
        code = _run(sys.argv[1:] if arguments is None else arguments)
    except (ValueError, RuntimeError, OSError) as error:
        if os.environ.get(TRACEBACK_VARIABLE):
            raise
        line = " ".join(str(error).split()) or type(error).__name__
        say(f"{line} ({TRACEBACK_VARIABLE}=1 shows where)")
        code = 1
    except KeyboardInterrupt:
        code = 130
    raise SystemExit(code)


if __name__ == "__main__":
    main()
