"""The plan: independent of the world size, the same on every rank, complete, reshuffled."""

from collections import Counter

import pytest

from motion.data.plan import MODALITIES, ClipRef, MicroBatch, Plan
from motion.diffusion.noise import noise_key


def refs(count: int, *, bucket: str = "9x16x16", source: str = "a", present=("smpl_rotvec",)):
    return [
        ClipRef(
            f"{source}-{bucket}-{i:03d}", f"{i // 4}.parquet", i % 4, 0, bucket, source, present
        )
        for i in range(count)
    ]


def mixed() -> list[ClipRef]:
    return [
        *refs(30, source="a"),
        *refs(18, source="b", present=("smpl_rotvec", "latent_rgb", "latent_map")),
        *refs(21, bucket="17x16x16", source="a", present=("text_embedding",)),
    ]


def plan(clips=None, *, world=2, accumulation=1, micro=4, seed=3) -> Plan:
    return Plan(
        mixed() if clips is None else clips,
        seed=seed,
        micro_batch=micro,
        accumulation=accumulation,
        world=world,
    )


def ids(micro: list[MicroBatch]) -> list[str]:
    return [clip.clip_id for batch in micro for clip in batch.clips]


def global_ids(step: list[list[MicroBatch]]) -> list[str]:
    return sorted(clip_id for rank in step for clip_id in ids(rank))


@pytest.mark.parametrize(("world", "accumulation", "micro"), [(1, 1, 8), (1, 2, 4), (4, 1, 2)])
def test_global_batch_does_not_depend_on_the_split(world, accumulation, micro) -> None:
    base = plan()
    other = plan(world=world, accumulation=accumulation, micro=micro)
    assert other.steps_per_epoch == base.steps_per_epoch == 48 // 8 + 21 // 8
    for k in range(20):
        one, two = base.step(k), other.step(k)
        assert global_ids(one) == global_ids(two)
        assert one[0][0].counts == two[0][0].counts


def test_accumulation_and_ranks_deal_the_same_micro_batches() -> None:
    ranks, steps = plan(world=2), plan(world=1, accumulation=2)
    for k in range(10):
        assert [rank[0] for rank in ranks.step(k)] == steps.step(k)[0]


def test_shapes_buckets_and_keys() -> None:
    for k in range(16):
        step = plan(world=2, accumulation=2, micro=2).step(k)
        assert [[len(micro.clips) for micro in rank] for rank in step] == [[2, 2], [2, 2]]
        micros = [micro for rank in step for micro in rank]
        assert len({clip.bucket for micro in micros for clip in micro.clips}) == 1
        for micro in micros:
            assert (micro.step, micro.epoch, micro.num_micro_batches) == (k, k // 8, 4)
            assert micro.noise_keys == tuple(
                noise_key(3, k // 8, clip.clip_id) for clip in micro.clips
            )


def test_an_epoch_repeats_no_clip_and_drops_another_remainder_each_time() -> None:
    it = plan()
    dropped = []
    for epoch in range(3):
        seen = [
            clip_id
            for k in range(epoch * it.steps_per_epoch, (epoch + 1) * it.steps_per_epoch)
            for clip_id in global_ids(it.step(k))
        ]
        assert len(seen) == len(set(seen)) == 48 + 16
        dropped.append({clip.clip_id for clip in it.clips} - set(seen))
    assert dropped[0] != dropped[1]


def test_order_changes_with_epoch_and_seed_but_not_with_the_order_of_the_manifest() -> None:
    it = plan()
    epochs = [[global_ids(it.step(k + e * it.steps_per_epoch)) for k in range(8)] for e in (0, 1)]
    assert epochs[0] != epochs[1]
    assert [global_ids(plan(seed=4).step(k)) for k in range(8)] != epochs[0]
    assert [global_ids(plan(mixed()[::-1]).step(k)) for k in range(8)] == epochs[0]
    buckets = [it.step(k)[0][0].clips[0].bucket for k in range(32)]
    assert buckets != sorted(buckets)


def test_any_step_can_be_asked_first() -> None:
    forward = plan()
    steps = [forward.step(k) for k in range(20)]
    assert plan().step(17) == steps[17]
    assert forward.step(0) == steps[0]


def test_every_rank_gets_the_same_composition_of_sources() -> None:
    it = plan(world=4, micro=2)
    for k in range(16):
        counts = [Counter(c.source for m in rank for c in m.clips) for rank in it.step(k)]
        for source in ("a", "b"):
            numbers = [count[source] for count in counts]
            assert max(numbers) - min(numbers) <= 1


def test_counts_are_those_of_the_global_batch() -> None:
    for k in range(8):
        step = plan().step(k)
        clips = [clip for rank in step for micro in rank for clip in micro.clips]
        counts = step[1][0].counts
        assert counts["clips"] == 8
        assert counts["rgb"] == counts["map"] == sum("latent_rgb" in c.present for c in clips)
        assert counts["text"] == sum("text_embedding" in c.present for c in clips)
        assert set(counts) == {"clips", *MODALITIES}


def test_substitutes_are_alike_and_go_round() -> None:
    it = plan()
    clip = next(c for c in it.clips if c.source == "b")
    order = list(it.substitutes(clip))
    assert len(order) == 17
    assert all((c.bucket, c.present) == (clip.bucket, clip.present) for c in order)
    assert clip not in order
    assert next(it.substitutes(order[-1])) == clip


def test_what_cannot_be_planned_is_refused() -> None:
    with pytest.raises(ValueError, match="no bucket fills one global batch of 32"):
        plan(refs(31), micro=16)
    with pytest.raises(ValueError, match="world is 0"):
        plan(world=0)
    with pytest.raises(ValueError, match="occurs twice"):
        plan([*refs(20), *refs(1)])
    with pytest.raises(ValueError, match="step is -1"):
        plan().step(-1)
    with pytest.warns(UserWarning, match="never trained on|ever trained on"):
        plan([*refs(20), *refs(3, bucket="5x16x16")])
