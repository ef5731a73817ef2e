import dataclasses
import json
import struct
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from scipy.spatial.transform import Rotation

from motion.body import BodyModel
from motion.body.free import cache_directory
from motion.body.model import motion_vertices
from motion.export.bones import BONES
from motion.export.gltf import influences, write_glb
from motion.export.provenance import Provenance, read_provenance
from motion.importers import read_motion
from motion.sequence import Motion

VALIDATOR = "gltf-validator@2.0.0-dev.3.10"
DTYPES = {5121: np.uint8, 5123: np.uint16, 5125: np.uint32, 5126: np.float32}
WIDTHS = {"SCALAR": 1, "VEC3": 3, "VEC4": 4, "MAT4": 16}


class Glb:
    """A reader that knows the standard alone, for as much of it as files here use."""

    def __init__(self, path: Path) -> None:
        data = path.read_bytes()
        magic, version, length = struct.unpack_from("<4sII", data)
        assert (magic, version, length) == (b"glTF", 2, len(data))
        size, kind = struct.unpack_from("<I4s", data, 12)
        assert kind == b"JSON"
        self.json: dict[str, Any] = json.loads(data[20 : 20 + size])
        _, kind = struct.unpack_from("<I4s", data, 20 + size)
        assert kind == b"BIN\0"
        self.binary = data[28 + size :]

    def array(self, index: int) -> np.ndarray:
        accessor = self.json["accessors"][index]
        view = self.json["bufferViews"][accessor["bufferView"]]
        width = WIDTHS[accessor["type"]]
        flat = np.frombuffer(
            self.binary,
            DTYPES[accessor["componentType"]],
            accessor["count"] * width,
            view.get("byteOffset", 0) + accessor.get("byteOffset", 0),
        )
        return flat.reshape(accessor["count"], width)

    def times(self) -> np.ndarray:
        animation = self.json["animations"][0]
        return self.array(animation["samplers"][0]["input"])[:, 0]

    def joint_matrices(self, frame: int) -> np.ndarray:
        """Joint to world times inverse bind, at a key frame."""
        nodes, animation = self.json["nodes"], self.json["animations"][0]
        placed = {i: np.array(node.get("translation", [0, 0, 0])) for i, node in enumerate(nodes)}
        turned: dict[int, np.ndarray] = {i: np.array([0.0, 0, 0, 1]) for i in placed}
        for channel in animation["channels"]:
            value = self.array(animation["samplers"][channel["sampler"]]["output"])[frame]
            into = {"translation": placed, "rotation": turned}[channel["target"]["path"]]
            into[channel["target"]["node"]] = value
        world: dict[int, np.ndarray] = {}

        def place(index: int, above: np.ndarray) -> None:
            own = np.eye(4)
            own[:3, :3], own[:3, 3] = Rotation.from_quat(turned[index]).as_matrix(), placed[index]
            world[index] = above @ own
            for child in nodes[index].get("children", []):
                place(child, world[index])

        for root in self.json["scenes"][self.json["scene"]]["nodes"]:
            place(root, np.eye(4))
        skin = self.json["skins"][0]
        unplaced = self.array(skin["inverseBindMatrices"]).reshape(-1, 4, 4).transpose(0, 2, 1)
        return np.stack([world[joint] for joint in skin["joints"]]) @ unplaced

    def attribute(self, name: str) -> np.ndarray:
        return self.array(self.json["meshes"][0]["primitives"][0]["attributes"][name])

    def vertices(self, frame: int) -> np.ndarray:
        matrices = self.joint_matrices(frame)
        position = self.attribute("POSITION")
        homogeneous = np.concatenate([position, np.ones_like(position[:, :1])], 1)
        skinned = np.zeros((len(position), 4))
        for number in range(2):
            joints = self.attribute(f"JOINTS_{number}")
            shares = self.attribute(f"WEIGHTS_{number}")
            for column in range(4):
                moved = np.einsum("vxy,vy->vx", matrices[joints[:, column]], homogeneous)
                skinned += shares[:, column, None] * moved
        return skinned[:, :3]


def test_skinned_vertices_are_the_body_s(tmp_path: Path, body: BodyModel, turning: Motion) -> None:
    glb = Glb(write_glb(tmp_path / "new" / "clip.glb", turning, body))
    mesh = motion_vertices(body, turning).numpy()
    for frame in range(turning.num_frames):
        np.testing.assert_allclose(glb.vertices(frame), mesh[frame], atol=1e-5)
    np.testing.assert_allclose(glb.times(), np.arange(13) / 16)


def test_mesh_at_rest_and_names(tmp_path: Path, body: BodyModel, turning: Motion) -> None:
    glb = Glb(write_glb(tmp_path / "clip.glb", turning, body))
    assert [node["name"] for node in glb.json["nodes"][:24]] == list(BONES)
    faces = glb.array(glb.json["meshes"][0]["primitives"][0]["indices"]).reshape(-1, 3)
    np.testing.assert_array_equal(faces, body.faces.numpy())
    rest = body.vertices(torch.eye(3).expand(1, 24, 3, 3), turning.betas)[0].numpy()
    np.testing.assert_allclose(glb.attribute("POSITION"), rest, atol=1e-6)
    normal = glb.attribute("NORMAL")
    np.testing.assert_allclose(np.linalg.norm(normal, axis=1), 1, atol=1e-5)
    corners = rest[faces]
    across = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    assert ((across * normal[faces].mean(1)).sum(1) > 0).mean() > 0.99, "they point outwards"


def test_neighboring_quaternions_lie_on_one_side(
    tmp_path: Path, body: BodyModel, turning: Motion
) -> None:
    """Viewers that blend components without looking at signs then still take the short way."""
    glb = Glb(write_glb(tmp_path / "clip.glb", turning, body))
    animation = glb.json["animations"][0]
    assert len(animation["channels"]) == 25
    for channel in animation["channels"]:
        if channel["target"]["path"] == "rotation":
            xyzw = glb.array(animation["samplers"][channel["sampler"]]["output"])
            assert ((xyzw[1:] * xyzw[:-1]).sum(1) > 0).all()


def test_heaviest_joints_come_first_and_nothing_is_lost() -> None:
    weights = np.zeros((3, 24))
    weights[0, [2, 5, 7, 9, 11, 13]] = [0.05, 0.1, 0.15, 0.2, 0.2, 0.3]
    weights[1, 23] = 1.0
    weights[2, [0, 1]] = [0.25, 0.75]
    sets = influences(weights)
    assert len(sets) == 2
    joints, shares = (np.concatenate(part, 1) for part in zip(*sets, strict=True))
    assert joints[0].tolist() == [13, 9, 11, 7, 5, 2, 0, 0]
    assert joints[1].tolist() == [23] + [0] * 7
    restored = np.zeros((3, 24))
    for row in range(3):
        np.add.at(restored[row], joints[row], shares[row])
    np.testing.assert_allclose(restored, weights, atol=1e-7)
    assert len(influences(weights[1:])) == 1


def test_it_says_where_it_comes_from(
    tmp_path: Path, body: BodyModel, turning: Motion, origin: Provenance
) -> None:
    file = write_glb(tmp_path / "clip.glb", turning, body, origin)
    assert read_provenance(file) == origin
    extras = Glb(file).json["asset"]["extras"]
    assert extras["frames_per_second"] == 16.0
    assert extras["body_id"] == body.body_id
    assert "left_out" not in extras


@pytest.fixture(scope="session")
def validator() -> Path:
    """The folder of Khronos' validator, installed by npm once on a machine."""
    folder = cache_directory() / VALIDATOR
    installed = folder / "node_modules/gltf-validator"
    if not installed.is_dir():
        command = ["npm", "install", "--prefix", str(folder), "--no-audit", "--no-fund", VALIDATOR]
        try:
            subprocess.run(command, check=True, capture_output=True, timeout=60)
        except (OSError, subprocess.SubprocessError) as error:
            pytest.skip(f"npm cannot install {VALIDATOR}: {error}")
    return installed


SCRIPT = """
const validator = require(process.argv[1]);
const bytes = new Uint8Array(require("fs").readFileSync(process.argv[2]));
validator.validateBytes(bytes).then((report) => console.log(JSON.stringify(report)));
"""


def test_khronos_validator_has_nothing_to_say(
    tmp_path: Path, body: BodyModel, turning: Motion, origin: Provenance, validator: Path
) -> None:
    file = write_glb(tmp_path / "clip.glb", turning, body, origin)
    command = ["node", "-e", SCRIPT, str(validator), str(file)]
    said = subprocess.run(command, check=True, capture_output=True, text=True, timeout=60)
    report = json.loads(said.stdout)
    assert report["issues"]["messages"] == []
    assert report["info"]["hasSkins"]
    assert report["info"]["totalVertexCount"] == body.num_vertices


def test_a_single_frame_is_a_pose(tmp_path: Path, body: BodyModel, turning: Motion) -> None:
    one = dataclasses.replace(turning, R_parent_child=turning.R_parent_child[6:7], translation=None)
    glb = Glb(write_glb(tmp_path / "pose.glb", one, body))
    mesh = motion_vertices(body, one).numpy()
    np.testing.assert_allclose(glb.vertices(0), mesh[0], atol=1e-5)


def test_a_real_capture_survives(tmp_path: Path, body: BodyModel, real_data: Path) -> None:
    """CMU 07_01, a walk of several metres."""
    walk = read_motion(real_data / "mocap/cmu_bvh_mb/07_01.bvh", body, fps=16.0).motion
    glb = Glb(write_glb(tmp_path / "walk.glb", walk, body))
    mesh = motion_vertices(body, walk).numpy()
    for frame in (0, walk.num_frames // 2, walk.num_frames - 1):
        np.testing.assert_allclose(glb.vertices(frame), mesh[frame], atol=1e-5)
