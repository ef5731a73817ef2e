"""User SMPL files: equal to the smplx package, and pickles that cannot run code."""

import pickle
import sys
import types
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.sparse
import smplx
import torch
from smplx.utils import Struct

from motion.body import load_body
from motion.body.smpl import smpl_body
from motion.rotations import matrix_from_rotvec
from motion.skeleton import COCO_17, SMPL_PARENTS, joint

HANDS = {
    "smpl": [20, 21],
    "smplh": [20] * 15 + [21] * 15,
    "smplx": [15] * 3 + [20] * 15 + [21] * 15,
}


def chain_parents(kind: str) -> list[int]:
    """Kinematic tree of a family: each finger a chain of three from its wrist."""
    parents = list(SMPL_PARENTS[:22])
    for position, root in enumerate(HANDS[kind]):
        first_of_finger = kind == "smpl" or root == 15 or (position - HANDS[kind].index(root)) % 3
        parents.append(
            root if kind == "smpl" or root == 15 or not first_of_finger else len(parents) - 1
        )
    return parents


def random_model(kind: str) -> dict[str, Any]:
    """A random body in the layout of a published model file."""
    rng = np.random.default_rng(5)
    parents = chain_parents(kind)
    v, j = (10475 if kind == "smplx" else 6890), len(parents)
    weights = np.zeros((v, j), np.float32)
    for _ in range(3):
        weights[np.arange(v), rng.integers(0, j, v)] += rng.random(v, np.float32) + 0.1
    regressor = np.zeros((j, v), np.float32)
    for row in regressor:
        row[rng.integers(0, v, 8)] = 1 / 8
    model = {
        "v_template": rng.normal(0, 0.5, (v, 3)).astype(np.float32),
        "shapedirs": rng.normal(0, 0.02, (v, 3, 400 if kind == "smplx" else 16)).astype(np.float32),
        "posedirs": 0.01 * rng.standard_normal((v, 3, 9 * (j - 1)), np.float32),
        "J_regressor": regressor / regressor.sum(1, keepdims=True),
        "weights": weights / weights.sum(1, keepdims=True),
        "kintree_table": np.array([parents, range(j)]).astype(np.uint32),
        "f": rng.integers(0, v, (50, 3)).astype(np.uint32),
    }
    if kind != "smpl":
        for side in "lr":
            model[f"hands_components{side}"] = np.eye(45, dtype=np.float32)
            model[f"hands_mean{side}"] = np.full(45, 0.3, np.float32)
    if kind == "smplx":
        model["lmk_faces_idx"] = np.zeros(51, np.int64)
        model["lmk_bary_coords"] = np.full((51, 3), 1 / 3)
    return model


def save(model: dict[str, Any], path: Path) -> Path:
    np.savez(path, **model)
    return path


def oracle(kind: str, model: dict[str, Any], path: Path) -> Any:
    common = {"use_pca": False, "flat_hand_mean": True, "batch_size": 2}
    if kind == "smpl":
        return smplx.SMPL(str(path), data_struct=Struct(**model), batch_size=2)
    if kind == "smplh":
        return smplx.SMPLH(str(path), ext="npz", **common)
    return smplx.SMPLX(str(path), ext="npz", use_face_contour=False, **common)


@pytest.mark.parametrize("kind", ["smpl", "smplh", "smplx"])
def test_joints_and_vertices_equal_smplx(kind: str, tmp_path: Path):
    model = random_model(kind)
    path = save(model, tmp_path / "model.npz")
    body = load_body(str(path))
    assert body.body_id.startswith(f"{kind}-")
    generator = torch.Generator().manual_seed(2)
    rotvec = 0.6 * torch.randn(2, 1, 24, 3, generator=generator)
    if kind != "smpl":
        rotvec[..., 22:, :] = 0.0
    betas = torch.randn(2, 10, generator=generator)
    translation = torch.randn(2, 1, 3, generator=generator)
    body_joints = 23 if kind == "smpl" else 21
    expected = oracle(kind, model, path)(
        betas=betas,
        global_orient=rotvec[:, 0, 0],
        body_pose=rotvec[:, 0, 1 : body_joints + 1].flatten(1),
        transl=translation[:, 0],
    )
    R = matrix_from_rotvec(rotvec)
    vertices = body.vertices(R, betas, translation)[:, 0]
    torch.testing.assert_close(vertices, expected.vertices, atol=1e-5, rtol=0)
    own = [*range(22), *{"smpl": (22, 23), "smplh": (25, 40), "smplx": (28, 43)}[kind]]
    joints = body.joints(R, betas, translation)[:, 0]
    torch.testing.assert_close(joints, expected.joints[:, own], atol=1e-5, rtol=0)
    sparse = body.vertices(R, betas, translation, index=body.loss_vertices)[:, 0]
    torch.testing.assert_close(sparse, vertices[:, body.loss_vertices], atol=1e-5, rtol=0)


def test_landmarks_follow_smplx_tables(tmp_path: Path):
    body = smpl_body(save(random_model("smpl"), tmp_path / "model.npz"))
    R, betas = torch.eye(3).expand(1, 24, 3, 3), torch.zeros(10)
    keypoints = body.keypoints(R, betas)[0]
    torch.testing.assert_close(keypoints[0], body.vertices(R, betas)[0, 332])
    knee = keypoints[COCO_17.index("left_knee")]
    torch.testing.assert_close(knee, body.joints(R, betas)[0, joint("left_knee")])
    assert body.contact_vertices.tolist() == [3387, 3216, 6787, 6617]


class Ch:
    """As chumpy pickles itself: a new-style object whose state holds the array as "x"."""

    def __init__(self, x: np.ndarray) -> None:
        self.x = x


def dump_published(model: dict[str, Any], path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The published form: chumpy arrays, a sparse regressor, Python 2's pickle protocol."""
    chumpy = types.ModuleType("chumpy.ch")
    chumpy.Ch = Ch  # type: ignore[attr-defined]
    monkeypatch.setattr(Ch, "__module__", "chumpy.ch")
    with monkeypatch.context() as patch:
        patch.setitem(sys.modules, "chumpy", types.ModuleType("chumpy"))
        patch.setitem(sys.modules, "chumpy.ch", chumpy)
        content = dict(model)
        for name in ("shapedirs", "v_template", "weights"):
            content[name] = Ch(model[name])
        content["J_regressor"] = scipy.sparse.csc_matrix(model["J_regressor"])
        content["bs_style"] = "lbs"
        path.write_bytes(pickle.dumps(content, protocol=2))
    return path


def test_published_pickles_equal_plain_arrays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    model = random_model("smpl")
    plain = smpl_body(save(model, tmp_path / "model.npz"))
    pickled = smpl_body(dump_published(model, tmp_path / "model.pkl", monkeypatch))
    assert "chumpy" not in sys.modules
    assert pickled.body_id == plain.body_id
    for (name, one), (_, other) in zip(plain.named_buffers(), pickled.named_buffers(), strict=True):
        torch.testing.assert_close(one, other, atol=0, rtol=0, msg=name)


class Attack:
    def __reduce__(self) -> tuple[Any, tuple[str]]:
        return (exec, ("import sys; sys.modules['attacked'] = sys",))


def test_a_pickle_that_would_run_code_is_refused(tmp_path: Path):
    path = tmp_path / "model.pkl"
    path.write_bytes(pickle.dumps({"v_template": Attack()}))
    with pytest.raises(ValueError, match=r"asks for builtins\.exec"):
        smpl_body(path)
    assert "attacked" not in sys.modules


def test_unusable_files_say_what_is_wrong(tmp_path: Path):
    with pytest.raises(ValueError, match="no body model file at"):
        load_body(str(tmp_path / "absent.npz"))
    other = tmp_path / "model.txt"
    other.write_text("")
    with pytest.raises(ValueError, match=r"'\.txt'; expected"):
        smpl_body(other)
    motions = save({"poses": np.zeros(3), "v_template": np.zeros(3)}, tmp_path / "motions.npz")
    with pytest.raises(ValueError, match="lacks shapedirs, posedirs"):
        smpl_body(motions)
    (tmp_path / "cut.pkl").write_bytes(pickle.dumps({"a": np.zeros(9)})[:-20])
    with pytest.raises(ValueError, match="no readable pickle"):
        smpl_body(tmp_path / "cut.pkl")
    small = random_model("smpl")
    small["v_template"] = small["v_template"][:100]
    with pytest.raises(ValueError, match="24 joints and 100 vertices"):
        smpl_body(save(small, tmp_path / "small.npz"))
    few = random_model("smpl")
    few["shapedirs"] = few["shapedirs"][..., :4]
    with pytest.raises(ValueError, match="4 shape components"):
        smpl_body(save(few, tmp_path / "few.npz"))
    uneven = random_model("smpl")
    uneven["weights"] = uneven["weights"] * 1.1
    with pytest.raises(ValueError, match="sum to 1"):
        smpl_body(save(uneven, tmp_path / "uneven.npz"))
