"""What the driver prints, how an evaluation reads, who may train under a name."""

import dataclasses
import subprocess
import sys
from pathlib import Path

import pytest
from training_toy import toy_train_config

from motion.training import console, lock, scores


def test_the_driver_prints_what_others_append(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    console.say(tmp_path, "of an earlier start")
    with console.printed(tmp_path):
        console.say(tmp_path, "first")
        console.record_event(tmp_path, "replaced", "clip é")
    assert capsys.readouterr().out == "first\n[replaced] clip é\n"
    assert (tmp_path / console.CONSOLE).read_text().startswith("of an earlier start\nfirst\n")


def test_banner_and_summary_say_where_everything_is(tmp_path: Path) -> None:
    config = toy_train_config(tmp_path)
    config.storage.mkdir(exist_ok=True)
    text = console.banner(config, {"dashboard": "http://127.0.0.1:8265"})
    assert "dashboard     http://127.0.0.1:8265" in text
    assert f"mlflow ui --backend-store-uri {config.mlflow_uri}, then http://127.0.0.1:5000" in text
    (config.run_dir / "checkpoint_00000012_001").mkdir(parents=True)
    outcome = console.Outcome(
        resumed_at=4,
        last_loss=0.5,
        best_loss=0.25,
        best_step=8,
        clips_per_s=3.0,
        phases_s={"workers": 9.0, "steps": 16.0},
        finished_s=100.0,
    )
    console.write_outcome(config.run_dir, outcome)
    console.record_event(config.run_dir, "restart", "attempt 2 continues after step 4 of 12")
    text = console.summary(config, began_s=90.0)
    assert "toy after 12 steps, resumed at 4" in text
    assert "last 0.50000, best interval 0.25000 (step 8)" in text
    assert "3.00 clips/s, 2.000 s/step" in text
    assert "1 kept, newest checkpoint_00000012_001" in text
    assert f"--checkpoint {config.export_dir}" in text
    assert "restart: attempt 2 continues" in text
    only_export = dataclasses.replace(
        outcome, resumed_at=12, last_loss=None, best_loss=None, clips_per_s=0.0
    )
    console.write_outcome(config.run_dir, only_export)
    text = console.summary(config, began_s=90.0)
    assert "no step was left to train" in text
    assert "clips/s" not in text


def test_an_evaluation_is_an_aligned_block() -> None:
    metrics = {
        "eval/flow_rgb": 1.9891,
        "eval/flow_rgb_other_text": 1.99,
        "eval/flow_rgb_other_text_gain": 0.0005,
        "eval/flow_rgb_other_text_gain_low": 0.0003,
        "eval/flow_rgb_other_text_gain_high": 0.0007,
        "eval/joint_error_mm": 124.5,
        "eval/joint_error_mm_held": 110.3,
        "eval/joint_error_mm_held_gain": -14.0,
        "eval/joint_error_mm_held_gain_low": -17.0,
        "eval/joint_error_mm_held_gain_high": -11.0,
        "speed": 2.5,
    }
    assert scores.block(metrics).splitlines() == [
        "  loss               right  gain over other text [95 %]      gain over other frame [95 %]",
        "  flow_rgb         1.98910  +0.0005 [+0.0003, +0.0007]",
        "  joint_error_mm     124.5  held 110.3, better by -14 [-17, -11]",
        "  speed                2.5",
    ]


HOLD = """
import sys, time, pathlib
from motion.training import lock
with lock.held(pathlib.Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(60)
"""


def test_a_name_has_one_driver_until_it_ends_however_it_ends(tmp_path: Path) -> None:
    run_dir = tmp_path / "toy"
    command = [sys.executable, "-c", HOLD, str(run_dir)]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == b"held\n"
        refusal = f"toy is being trained already, by process {other.pid} on .* choose another name"
        with pytest.raises(RuntimeError, match=refusal), lock.held(run_dir):
            pass
        other.kill()
        other.wait()
    refusal = "being trained already, by process"
    with lock.held(run_dir), pytest.raises(RuntimeError, match=refusal), lock.held(run_dir):
        pass
    with lock.held(run_dir):
        pass
