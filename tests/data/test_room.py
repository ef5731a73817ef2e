import pytest

from motion.data.room import require_room, spare_gpus

NODE = {"CPU": 4.0, "GPU": 1.0, "memory": 1e9}


def test_a_request_must_fit_nodes_not_their_sum() -> None:
    line = require_room(
        2, {"CPU": 3.0, "GPU": 0.0}, [NODE, NODE], what="actors", how="Lower actors"
    )
    assert line == "2 x (3 CPU) of 2 nodes, 8 CPU, 2 GPU"
    with pytest.raises(ValueError, match=r"1 actors of 8 CPU .*\(2 nodes, 8 CPU, 2 GPU\): 0 do\. "):
        require_room(1, {"CPU": 8.0}, [NODE, NODE], what="actors", how="Lower actors")
    with pytest.raises(ValueError, match="Lower actors, or add nodes"):
        require_room(3, {"CPU": 1.0, "GPU": 1.0}, [NODE, NODE], what="actors", how="Lower actors")


def test_a_gpu_is_taken_where_one_is_left() -> None:
    assert spare_gpus(None, [NODE, NODE]) == 1
    assert spare_gpus(None, [NODE, NODE], taken=2.0) == 0
    assert spare_gpus(None, [{"CPU": 4.0}]) == 0
    assert spare_gpus(0.0, [NODE]) == 0
    assert spare_gpus(0.5, [NODE]) == 0.5
    with pytest.raises(ValueError, match="asks for 1 GPUs, the cluster has 0 left: lower num_gpus"):
        spare_gpus(1.0, [NODE], taken=1.0)
