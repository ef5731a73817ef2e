"""`motion export` and `motion info`: files made from files, and what they say of themselves."""

from pathlib import Path
from typing import Annotated

from tyro.conf import Positional, arg

from motion.export.formats import format_of
from motion.terminal import print_json, say


def export(
    source: Annotated[Positional[Path], arg(metavar="IN")],
    output: Annotated[Positional[Path], arg(metavar="OUT")],
    /,
    *,
    body: str = "free",
    json: bool = False,
) -> int:
    """Write a motion in another format: .npz .bvh .glb .npy .csv .mp4 .webm .gif .png, by OUT.

    The origin goes along: inside the file, or beside .bvh, .npy and .csv in OUT.json.

    Args:
        source: .npz of this library, or .bvh, .amc, .npz or .pkl of motion capture.
        output: the file; its suffix names the format.
        body: free, or the path of the SMPL model file that the betas belong to.
        json: print the written files as JSON.
    """
    format_of(output)
    if output.resolve() == source.resolve():
        raise ValueError(f"{output} would replace the file that it is made of: name another")
    say("loading the library ...")
    from motion.body import load_body
    from motion.export.opening import open_motion
    from motion.results import export as write

    files = [str(file) for file in write(open_motion(source, load_body(body)), output)]
    if json:
        print_json({"source": str(source), "files": files})
    else:
        print("\n".join(files))
    return 0


def info(file: Positional[Path], /, *, json: bool = False) -> int:
    """Print where a generated file comes from, and the command that makes it again.

    The command writes beside the file, under its name with `_again`.

    Args:
        file: of any format that `motion sample` and `motion export` write.
        json: print the provenance as JSON.
    """
    from motion.export.provenance import read_provenance

    provenance = read_provenance(file)
    command = provenance.command(file.with_name(f"{file.stem}_again{file.suffix}"))
    if json:
        print_json({**provenance.model_dump(mode="json"), "command": command})
        return 0
    values = provenance.model_dump() | {
        "options": ", ".join(f"{name} {value}" for name, value in provenance.options.items()),
        "config": "all of it with --json" if provenance.config else "",
        "licences": ", ".join(provenance.licences) or "none stated",
    }
    for name, value in values.items():
        print(f"{name:<12} {'none given' if value in ('', None) else value}")
    print(f"{'again':<12} {command}")
    if not Path(provenance.export).is_dir():
        say("the export is no longer there: name another copy of it as --checkpoint")
    return 0
