"""The files in docs/cluster start what they say."""

import os
import signal
import sys
from pathlib import Path

import yaml
from command_runs import SMALL
from ray.autoscaler._private.util import prepare_config, validate_config
from test_faults import await_that, descendants, start_process

from marl_engine.runs.folder import RunFolder

FILES = Path(__file__).parents[2] / "docs/cluster"
CHART = {  # keys of KubeRay's chart ray-cluster
    "image": {"repository", "tag", "pullPolicy"},
    "head": {"resources", "volumes", "volumeMounts"},
    "worker": {"groupName", "replicas", "minReplicas", "maxReplicas", "resources"},
}


def test_ray_knows_the_keys_of_its_cluster():
    config = yaml.safe_load((FILES / "ray_up.yaml").read_text())
    validate_config(prepare_config(config))
    assert config["min_workers"] == config["max_workers"] == len(config["provider"]["worker_ips"])


def test_kuberay_knows_the_keys_of_its_chart():
    values = yaml.safe_load((FILES / "kuberay.yaml").read_text())
    assert {section: set(keys) for section, keys in values.items()} == CHART
    assert values["worker"]["minReplicas"] <= values["worker"]["replicas"] <= values["worker"]["maxReplicas"]


def test_a_slurm_job_that_nears_its_time_limit_saves_its_run(tmp_path):
    job = {"SLURM_JOB_NUM_NODES": "1", "SLURM_CPUS_PER_TASK": "2", "RAY_PORT": "6397"}
    job["PATH"] = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    words = [*SMALL, "responder.shard=2", "run=x"]
    process = start_process(tmp_path, ["bash", str(FILES / "slurm.sh"), *words], **job)
    await_that(lambda: process.poll() is not None or RunFolder(tmp_path / "runs/x").records(), 200)
    process.send_signal(signal.SIGTERM)
    out, err = process.communicate(timeout=100)
    assert process.returncode == 128 + signal.SIGTERM, err
    assert "resume=runs/x goes on with it" in out
    assert RunFolder(tmp_path / "runs/x").config()["runner"]["address"] == "auto"
    await_that(lambda: not descendants(tmp_path), 240)
