"""Sampling from an image and a pose, offloaded, refined, and for many prompts at once."""

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import cast

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image
from torch import nn

from motion.completion import CompletionConfig
from motion.conditioning.conditions import Conditions
from motion.data.encode import EncodeConfig, encode
from motion.data.prepare import PrepareConfig, prepare
from motion.data.procedural import ProceduralConfig, start_frame
from motion.data.video import decode_mp4
from motion.export.amass import write_amass
from motion.inference import Pipeline
from motion.offload import OffloadConfig
from motion.results import write_result
from rayjobs.generate import Recipe, generate, read_jobs

PROMPT = "a person waves the right hand"


@pytest.fixture(scope="module")
def exported(
    tmp_path_factory: pytest.TempPathFactory,
    ray_cluster: None,
    write_export: Callable[..., Path],
) -> Path:
    """An export of tiny CoMoVi with random weights, on a dataset of its own."""
    folder = tmp_path_factory.mktemp("outputs")
    raw, encoded = folder / "raw", folder / "encoded"
    clip = ProceduralConfig(num_frames=9, height=96, width=96)
    prepare(PrepareConfig(root=raw, num_train=8, num_validation=4, num_test=0, clip=clip))
    encode(EncodeConfig(raw_root=raw, root=encoded, fit_clips=8, measured_clips=2))
    return write_export(encoded, "sampled")


@pytest.fixture(scope="module")
def pipeline(exported: Path) -> Pipeline:
    return Pipeline.load(exported)


def test_the_path_is_read_from_the_map_and_the_first_frame_is_known(pipeline: Pipeline) -> None:
    (held,) = pipeline.sample([PROMPT], seed=3, steps=1)
    assert held.motion is not None
    assert held.motion.frame == "world"
    place = held.motion.require_translation()
    start = start_frame(3, pipeline.start_config()).motion.require_translation()[0]
    assert (place[0] - start).norm() < 0.1
    assert (place[1:] - place[:-1]).norm(dim=-1).max() > 0, "not merely held"
    (refined,) = pipeline.sample(
        [PROMPT], seed=3, steps=1, completion=CompletionConfig(refine=True)
    )
    assert refined.motion is not None
    assert (refined.motion.R_parent_child - held.motion.R_parent_child).abs().max() > 1e-3
    assert "--refine" in refined.provenance.command()


def test_an_image_and_its_pose_file_start_a_sample_of_another_shape(
    pipeline: Pipeline, tmp_path: Path
) -> None:
    """What a sample wrote starts the next one; wide pictures give wide videos."""
    (result,) = pipeline.sample([PROMPT], seed=3, steps=1)
    files = write_result(result, tmp_path / "first", separate=True)
    names = {file.name for file in files}
    assert {"first_video.mp4", "first_map.mp4", "first.npz"} <= names
    np.testing.assert_array_equal(decode_mp4(tmp_path / "first_map.mp4"), result.motion_map)
    assert result.rgb is not None
    Image.fromarray(result.rgb[0]).save(tmp_path / "first.png")
    again = Conditions(image=tmp_path / "first.png", pose=tmp_path / "first.npz")
    (second,) = pipeline.sample([PROMPT], seed=3, steps=1, conditions=again)
    assert second.rgb is not None
    assert second.rgb.shape == result.rgb.shape
    difference = second.rgb[0].astype(int) - result.rgb[0].astype(int)
    assert np.abs(difference).mean() < 12, "the first frame is the image, as the latents keep it"
    assert f"--image {tmp_path / 'first.png'}" in second.provenance.command()
    # A wide picture whose camera is the same one with more to the left and right.
    wide = np.pad(result.rgb[0], ((0, 0), (32, 32), (0, 0)), mode="edge")
    Image.fromarray(wide).save(tmp_path / "wide.png")
    assert result.camera is not None
    assert result.motion is not None
    K = result.camera.intrinsics.clone()
    K[0, 2] += 32
    camera = dataclasses.replace(result.camera, intrinsics=K, width=160)
    write_amass(tmp_path / "wide.npz", result.motion, pipeline.body, camera=camera)
    given = Conditions(image=tmp_path / "wide.png", pose=tmp_path / "wide.npz")
    (third,) = pipeline.sample([PROMPT], seed=3, steps=1, conditions=given)
    assert third.rgb is not None
    assert third.rgb.shape[2] > third.rgb.shape[1]
    assert 0.8 * 96 * 96 <= third.rgb.shape[1] * third.rgb.shape[2] <= 96 * 96


def test_offloaded_weights_sample_the_same(pipeline: Pipeline, exported: Path) -> None:
    away = Pipeline.load(exported, offload=OffloadConfig(mode="layers"))
    assert any(p.device.type == "meta" for p in cast(nn.Module, away.system).parameters())
    (expected,), (found,) = (one.sample([PROMPT], seed=1, steps=1) for one in (pipeline, away))
    np.testing.assert_array_equal(found.rgb, expected.rgb)


def test_many_prompts_become_files_and_a_table_and_failures_name_their_prompt(
    exported: Path, tmp_path: Path
) -> None:
    prompts = tmp_path / "prompts.parquet"
    rows = {"prompt": [PROMPT, "a person with no such picture"], "image": [None, "missing.png"],
            "pose": [None, "missing.npz"], "seed": [4, None]}  # fmt: skip
    pq.write_table(pa.table(rows), prompts)
    recipe = Recipe(
        prompts=prompts, export=exported, output=tmp_path / "out", options={"steps": 1}, actors=1
    )
    with pytest.raises(
        RuntimeError, match=r"1 of 2 samples failed.*“a person with no such picture”"
    ):
        generate(recipe)
    first, second = pq.read_table(tmp_path / "out/table.parquet").to_pylist()
    assert (first["prompt"], first["seed"], first["error"]) == (PROMPT, 4, None)
    assert len(first["files"]) == 5
    assert all((tmp_path / "out" / file).is_file() for file in first["files"])
    assert "no such file" in second["error"]
    made = (tmp_path / "out" / first["files"][0]).stat().st_mtime_ns
    pq.write_table(pa.table({"prompt": [PROMPT], "seed": [4]}), prompts)
    assert pq.read_table(generate(recipe)).num_rows == 1
    assert (tmp_path / "out" / first["files"][0]).stat().st_mtime_ns == made, "not made again"
    with pytest.raises(ValueError, match="samples of another config"):
        generate(recipe.model_copy(update={"options": {"steps": 2}}))


def test_prompts_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no such file of prompts"):
        read_jobs(Recipe(prompts=tmp_path / "a.txt"))
    (tmp_path / "a.txt").write_text("\n")
    with pytest.raises(ValueError, match="holds no prompt"):
        read_jobs(Recipe(prompts=tmp_path / "a.txt"))
    (tmp_path / "a.txt").write_text("walk\n\n jump \n")
    jobs = read_jobs(Recipe(prompts=tmp_path / "a.txt", seed=5))
    assert [(job["id"], job["prompt"], job["seed"]) for job in jobs] == [
        ("000000", "walk", 5), ("000001", "jump", 6),
    ]  # fmt: skip
    pq.write_table(pa.table({"text": ["x"]}), tmp_path / "b.parquet")
    with pytest.raises(ValueError, match="expected `prompt`"):
        read_jobs(Recipe(prompts=tmp_path / "b.parquet"))
