"""A protocol from exports to a table: resumable, honest about what an export lacks."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors import safe_open

from motion.body import load_body
from motion.body.model import motion_joints
from motion.data.encode import EncodeConfig, encode
from motion.data.manifest import Manifest
from motion.data.prepare import PrepareConfig, prepare
from motion.data.procedural import ProceduralConfig
from motion.encoders import TextEncoder, load_text_encoder
from motion.evaluation import comparison, protocols
from motion.evaluation.clips import Clips
from motion.evaluation.comparison import ComparisonConfig, check, compare
from motion.evaluation.embedding import crops, eligible, gather, real_features
from motion.evaluation.estimation import pooled_interval
from motion.evaluation.motions import real_motion
from motion.evaluation.sampling import chunk_generator, read_motion
from motion.metrics.alignment import aligned
from motion.metrics.evaluator import Evaluator
from motion.metrics.pose import pelvis
from motion.metrics.text_to_motion import TextToMotionConfig
from motion.models.evaluator.features import FeatureConfig, FeatureStatistics
from motion.models.evaluator.system import EvaluatorConfig


@pytest.fixture(scope="module")
def encoded(tmp_path_factory: pytest.TempPathFactory, ray_cluster: None) -> Path:
    folder = tmp_path_factory.mktemp("outputs")
    clip = ProceduralConfig(num_frames=9, height=96, width=96)
    raw, root = folder / "raw", folder / "encoded"
    prepare(PrepareConfig(root=raw, num_train=8, num_validation=24, num_test=0, clip=clip))
    return encode(EncodeConfig(raw_root=raw, root=root, fit_clips=8, measured_clips=4))


@pytest.fixture(scope="module")
def exported(encoded: Path, write_export: Callable[..., Path]) -> Path:
    return write_export(encoded, "untrained")


@pytest.fixture
def evaluator(exported: Path, encoded: Path, monkeypatch: pytest.MonkeyPatch) -> Evaluator:
    """Random weights, and a comovi-motion small enough for 24 clips of 9 frames.

    It sees features in units of the clips' own spread, as a trained one: velocities, which tell a
    frozen pose from a real motion, are small in metres.
    """
    text = load_text_encoder(exported / "encoders" / "text")
    plain = random_evaluator(text, FeatureStatistics(mean=(0.0,) * 263, std=(1.0,) * 263))
    clips = Clips.select(
        Manifest.load(encoded), "validation", num_clips=None, batch_size=24, seed=0
    )
    body = load_body("free")
    rows = gather(clips, plain, 0, lambda _, batch: real_features(batch, plain, body))
    values = torch.cat(rows.values)
    spread = values.std(0).clamp(min=1e-3)
    found = random_evaluator(
        text, FeatureStatistics(mean=tuple(values.mean(0).tolist()), std=tuple(spread.tolist()))
    )
    monkeypatch.setattr(comparison, "load_evaluator", lambda path: found)
    small = protocols.PROTOCOLS["comovi-motion"].model_copy(
        update={
            "min_frames": 4,
            "metrics": TextToMotionConfig(batch_size=8, repeats=2),
            "multimodal_prompts": 3,
            "multimodal_samples": 3,
        }
    )
    small = small.model_copy(
        update={"metrics": small.metrics.model_copy(update={"multimodality_pairs": 2})}
    )
    monkeypatch.setitem(protocols.PROTOCOLS, "comovi-motion", small)
    return found


def random_evaluator(text: TextEncoder, statistics: FeatureStatistics) -> Evaluator:
    config = EvaluatorConfig.tiny(text.dim).model_copy(
        update={"features": FeatureConfig(statistics=statistics)}
    )
    torch.manual_seed(0)
    return Evaluator(config.build().eval().requires_grad_(False), text)


def config(exported: Path, output: Path, **changes: Any) -> ComparisonConfig:
    fields: dict[str, Any] = {
        "exports": (exported,),
        "evaluator": Path("evaluator"),
        "split": "validation",
        "passes": 2,
        "root_path": "held",
        "options": {"steps": 2},
        "output": output,
        "workers": 2,
        "num_gpus": 0,
    }
    return ComparisonConfig(**(fields | changes))


def test_a_text_to_motion_table_resumes_and_states_everything(
    exported: Path, evaluator: Evaluator, tmp_path: Path
) -> None:
    table, files = compare(config(exported, tmp_path))
    real, ours = table.rows[:2]
    assert (real.kind, ours.kind) == ("real", "ours")
    assert set(ours.values) >= {"fid", "r_precision_1", "mm_dist", "diversity", "multimodality"}
    assert ours.values["fid"].n == 2
    assert 2 * real.values["fid"].high < ours.values["fid"].low, "frozen poses are no real motion"
    assert evaluator.hash[:16] in table.facts["evaluator"]
    assert table.facts["root path"] == "held"
    assert {file.suffix for file in files} == {".json", ".md", ".tex", ".png"}
    assert all(file.is_file() for file in files)

    made = sorted(tmp_path.glob("samples/*/draw_*/*.safetensors"))
    before = {file: (file.stat().st_mtime_ns, contents(file)) for file in made}
    made[0].unlink()  # as if the first run had died before it
    again, _ = compare(config(exported, tmp_path))
    assert contents(made[0]) == before[made[0]][1], "the same sample, whoever makes it"
    assert all(f.stat().st_mtime_ns == before[f][0] for f in made[1:]), "the others are kept"
    unknown = {name for name, value in ours.values.items() if not np.isfinite(value).all()}
    assert unknown == {"fid_inf"}, "an extrapolation without an interval"
    assert np.isfinite(ours.values["fid_inf"].mean)
    assert again.model_dump_json() == table.model_dump_json()  # NaN equals nothing, its text does


def contents(file: Path) -> dict[str, object]:
    """Of a safetensors file, whose metadata comes in any order: bytes of equal files may differ."""
    with safe_open(file, "pt") as opened:
        tensors = {name: opened.get_tensor(name) for name in opened.keys()}  # noqa: SIM118 - no mapping
        facts = dict(opened.metadata())
    return facts | {
        name: (str(tensor.dtype), tuple(tensor.shape), tensor.numpy().tobytes())
        for name, tensor in tensors.items()
    }


def test_an_export_without_a_root_path_or_motion_is_refused(
    exported: Path,
    encoded: Path,
    evaluator: Evaluator,
    tmp_path: Path,
    write_export: Callable[..., Path],
) -> None:
    with pytest.raises(ValueError, match=r"without a root translation.*'held'"):
        compare(config(exported, tmp_path, root_path="sample"))
    blind = write_export(encoded, "video-alone", stage=1)
    with pytest.raises(ValueError, match="carry no motion"):
        compare(config(blind, tmp_path))


def test_estimation_measures_poses_against_the_clips(
    exported: Path, encoded: Path, tmp_path: Path
) -> None:
    held = config(exported, tmp_path, protocol="genmo-estimation", evaluator=None, passes=1)
    table, _ = compare(held)
    real, ours = table.rows[:2]
    assert set(real.values) == {"jitter", "foot_sliding"}
    made, real_joints = joints_of(held, encoded)
    at_pelvis = made - pelvis(made) + pelvis(real_joints)
    fitted = aligned(made, real_joints, scale=True)
    # Procrustes minimizes the squared distance: of all moves, turns and scales none is nearer by
    # it, though the mean distance, which the table gives, may grow.
    rms = [(x - real_joints).square().sum(-1).mean(-1).sqrt() for x in (fitted, at_pelvis)]
    assert (rms[0] <= rms[1] + 1e-5).all()
    assert rms[0].mean() < 0.95 * rms[1].mean()
    for name, joints in (("pa_mpjpe", fitted), ("mpjpe", at_pelvis)):
        error_mm = 1000 * torch.linalg.vector_norm(joints - real_joints, dim=-1).mean()
        assert ours.values[name].mean == pytest.approx(float(error_mm), rel=1e-3)
    assert ours.values["mpjpe"].n == 24
    low, high = ours.values["mpjpe"].low, ours.values["mpjpe"].high
    assert low < ours.values["mpjpe"].mean < high
    true = compare(held.model_copy(update={"root_path": "true"}))[0].rows[1]
    assert true.values["rte"].mean < ours.values["rte"].mean, "the true path is an upper bound"
    assert any(row.kind == "published" for row in table.rows)


def joints_of(config: ComparisonConfig, root: Path) -> tuple[torch.Tensor, torch.Tensor]:
    """Joints of a comparison's samples, and of the clips."""
    clips = Clips.select(
        Manifest.load(root),
        config.split,
        num_clips=None,
        batch_size=config.batch_size,
        seed=config.seed,
    )
    (request,) = comparison._requests(config, comparison._opened(config))
    body = load_body("free")
    made: list[torch.Tensor] = []
    real: list[torch.Tensor] = []
    for chunk in clips.chunks():
        batch = clips.batch(chunk, 0)
        made.append(motion_joints(body, read_motion(request.file(chunk, 0), batch.clip_ids)))
        real.append(motion_joints(body, real_motion(batch)))
    return torch.cat(made), torch.cat(real)


def test_video_needs_its_package_or_takes_what_is_native(exported: Path, tmp_path: Path) -> None:
    video = config(exported, tmp_path, protocol="comovi-video", evaluator=None, num_clips=4)
    with pytest.raises(RuntimeError, match="vbench package, which is not installed"):
        compare(video)
    table, _ = compare(video.model_copy(update={"native_video": True}))
    ours = next(row for row in table.rows if row.kind == "ours")
    assert set(ours.values) == {"temporal_flickering"}
    assert 0 < ours.values["temporal_flickering"].mean <= 1
    assert len(list(tmp_path.glob("samples/*/draw_000/videos/*.mp4"))) == 4


def test_what_does_not_fit_is_refused_before_anything_is_sampled(
    exported: Path, evaluator: Evaluator, tmp_path: Path
) -> None:
    with pytest.raises(ValueError, match="name an evaluator"):
        check(config(exported, tmp_path, evaluator=None))
    with pytest.raises(ValueError, match="needs an evaluator of keypoints features"):
        check(config(exported, tmp_path, protocol="motionweb"))
    with pytest.raises(ValueError, match="has no clip of split 'test'"):
        check(config(exported, tmp_path, split="test"))
    with pytest.raises(ValueError, match=r"24 clips .* 99 asked for"):
        check(config(exported, tmp_path, num_clips=99))
    assert "1 exports, 24 clips, 2 passes, 4 batches" in check(config(exported, tmp_path))
    assert not (tmp_path / "samples").exists()


def test_clips_are_chosen_by_the_seed_alone(encoded: Path) -> None:
    manifest = Manifest.load(encoded)

    def chosen(seed: int) -> Clips:
        return Clips.select(manifest, "validation", num_clips=10, batch_size=4, seed=seed)

    assert chosen(1).refs == chosen(1).refs
    assert chosen(1).refs != chosen(2).refs
    assert [len(chunk) for chunk in chosen(1).chunks()] == [4, 4, 2], "none is left out"
    assert len(chosen(1).first(3).refs) == 3
    with pytest.raises(ValueError, match="under a restrictive licence"):
        Clips.select(manifest, "validation", num_clips=None, batch_size=4, seed=0, flagged=True)


def test_noise_depends_on_seed_draw_and_clips(encoded: Path) -> None:
    manifest = Manifest.load(encoded)
    one, two, *_ = Clips.select(
        manifest, "validation", num_clips=None, batch_size=4, seed=0
    ).chunks()

    def first(seed: int, draw: int, chunk: Any) -> float:
        return float(torch.rand(1, generator=chunk_generator(seed, draw, chunk)))

    values = {first(0, 0, one), first(1, 0, one), first(0, 1, one), first(0, 0, two)}
    assert len(values) == 4
    assert first(0, 0, one) == first(0, 0, one)


def test_crops_are_multiples_that_lie_within_the_clip() -> None:
    lengths = np.random.default_rng(0).integers(3, 200, 3000).tolist()
    start, length = crops(lengths, 4, np.random.default_rng(1))
    long = np.asarray(lengths) >= 8
    assert (length[long] % 4 == 0).all()
    assert (start >= 0).all()
    assert (start + length <= lengths).all()
    shorter = (np.asarray(lengths) // 4 * 4 - length == 4)[long]
    assert 0.28 < shorter.mean() < 0.39, "one of three is a unit shorter"
    whole = crops([5, 9], 1, np.random.default_rng(0))
    assert whole[0].tolist() == [0, 0]
    assert whole[1].tolist() == [5, 9]


def test_clips_of_other_lengths_are_announced_or_refused() -> None:
    protocol = protocols.PROTOCOLS["humanml3d-momask"]
    with pytest.warns(UserWarning, match="2 of 3 clips are left out"):
        assert eligible([39, 40, 200], protocol) == [False, True, False]
    with pytest.raises(ValueError, match="lower min_frames"):
        eligible([8, 9], protocol)


def test_pooled_interval_weighs_clips_by_their_frames() -> None:
    sums = torch.tensor([[10.0, 10.0], [30.0, 10.0], [0.0, 0.0]])
    found = pooled_interval(sums.double())
    assert found.mean == 2.0
    assert found.n == 2, "a clip without a defined frame does not count"
    assert found.low == 1.0
    assert found.high == 3.0
    assert np.isnan(pooled_interval(torch.zeros(2, 2)).mean)
    assert json.dumps(found)
