"""What can be said of the Kubernetes and image files without a cluster and without a builder."""

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

CLUSTER = Path(__file__).resolve().parents[2] / "cluster"
ROOT = CLUSTER.parent


@pytest.fixture(scope="module")
def job() -> dict[str, Any]:
    return yaml.safe_load((CLUSTER / "kuberay/rayjob.yaml").read_text())


def pods(job: dict[str, Any]) -> list[dict[str, Any]]:
    spec = job["spec"]["rayClusterSpec"]
    groups = [spec["headGroupSpec"], *spec["workerGroupSpecs"]]
    return [group["template"]["spec"] for group in groups]


def test_the_job_has_the_operator_s_keys_and_the_pinned_ray(job: dict[str, Any]) -> None:
    assert (job["apiVersion"], job["kind"]) == ("ray.io/v1", "RayJob")
    assert set(job["spec"]) == {
        "entrypoint",
        "shutdownAfterJobFinishes",
        "ttlSecondsAfterFinished",
        "rayClusterSpec",
    }
    cluster = job["spec"]["rayClusterSpec"]
    assert cluster["authOptions"] == {"mode": "token"}
    assert f"ray=={cluster['rayVersion']}\n" in (ROOT / "constraints.txt").read_text()
    worker = cluster["workerGroupSpecs"][0]
    assert {"groupName", "replicas", "minReplicas", "maxReplicas", "rayStartParams"} < set(worker)


def test_head_and_workers_share_image_outputs_and_enough_shared_memory(
    job: dict[str, Any],
) -> None:
    images = set()
    for pod in pods(job):
        (container,) = pod["containers"]
        images.add(container["image"])
        mounted = {mount["name"]: mount["mountPath"] for mount in container["volumeMounts"]}
        assert set(mounted) == {volume["name"] for volume in pod["volumes"]}
        assert mounted["shm"] == "/dev/shm"
        environment = {entry["name"]: entry["value"] for entry in container["env"]}
        assert environment["MOTION_OUTPUTS"] == mounted["outputs"]
    assert len(images) == 1


def test_the_job_runs_the_recipe_of_make_train(job: dict[str, Any]) -> None:
    recipe = job["spec"]["entrypoint"].split()[-1]
    assert f"submit {recipe}" in (ROOT / "Makefile").read_text()


def test_the_image_copies_what_exists_and_the_whole_package() -> None:
    lines = (CLUSTER / "Dockerfile").read_text().splitlines()
    copied = [line.split()[1:-1] for line in lines if line.startswith("COPY ")]
    names = {name for group in copied for name in group}
    assert [name for name in names if not (ROOT / name).exists()] == []
    packages = re.search(r"include = \[(.*)\]", (ROOT / "pyproject.toml").read_text())
    assert packages is not None
    assert {name.strip(' "*') for name in packages[1].split(",")} <= names
