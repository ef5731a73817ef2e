"""Does the cluster have room? Ray waits for ever for what no node can hold: it is asked first."""

from collections.abc import Mapping, Sequence

import ray

Nodes = Sequence[Mapping[str, float]]
"""Resources of each node."""


def cluster_nodes() -> list[dict[str, float]]:
    """Resources of every living node."""
    return [node["Resources"] for node in ray.nodes() if node["Alive"]]


def require_room(
    count: int, each: Mapping[str, float], nodes: Nodes, *, what: str, how: str
) -> str:
    """A line that describes request and cluster, if the cluster can hold the request.

    Args:
        count: processes.
        each: what one of them reserves, all of it on one node.
        nodes: of the cluster, busy or not.
        what: the processes, for the message.
        how: how the user makes the request smaller.

    Raises:
        ValueError: it cannot; the message says how many fit.
    """
    needed = {name: need for name, need in each.items() if need}
    fitting = sum(
        min(int(node.get(name, 0.0) // need) for name, need in needed.items()) for node in nodes
    )
    cpus, gpus = (sum(node.get(name, 0.0) for node in nodes) for name in ("CPU", "GPU"))
    request = " + ".join(f"{need:g} {name}" for name, need in needed.items())
    cluster = f"{len(nodes)} nodes, {cpus:g} CPU, {gpus:g} GPU"
    if fitting < count:
        raise ValueError(
            f"{count} {what} of {request} do not fit this cluster ({cluster}): {fitting} do. "
            f"{how}, or add nodes"
        )
    return f"{count} x ({request}) of {cluster}"


def spare_gpus(asked: float | None, nodes: Nodes, *, taken: float = 0.0) -> float:
    """GPUs of one task: as asked, or where nothing was asked one if the cluster has one to spare.

    Args:
        asked: a number of GPUs, or None for the choice of the cluster.
        nodes: of the cluster.
        taken: GPUs that others hold as long as the task runs.

    Raises:
        ValueError: more are asked for than are left.
    """
    left = sum(node.get("GPU", 0.0) for node in nodes) - taken
    if asked is None:
        return 1.0 if left >= 1 else 0.0
    if asked > left:
        raise ValueError(
            f"an evaluation asks for {asked:g} GPUs, the cluster has {left:g} left: lower num_gpus "
            "(0 evaluates on a CPU) or the number of workers"
        )
    return asked
