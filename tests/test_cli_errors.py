"""What a person can type wrong: one line that names the value, what is allowed and what to type; nothing written."""

import importlib
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from prefrl_cli.cli.train import main

OPRL = "experiment=oprl_maze"

# What is typed, and a pattern of the line.
WRONG = [
    ([OPRL, "algorithm.memory=9"], "algorithm.memory: is called algorithm.replay_capacity now; type"),
    ([OPRL, "algorithm.render_every=9"], "type algorithm.greedy_episode_every=VALUE"),
    ([OPRL, "algorithm.test_episodes=9"], "type algorithm.evaluation_episodes=VALUE"),
    ([OPRL, "optimizer.steps=9"], "optimizer.steps: is called optimizer.decay_steps now"),
    ([OPRL, "queries.recent=9"], "queries.recent: is called queries.from_newest now; type queries.from_newest=VALUE"),
    ([OPRL, "+reward_update.keep=9"], "type reward_update.dataset_capacity=VALUE"),
    ([OPRL, "reward_update.minimum=9"], "type reward_update.min_questions=VALUE"),
    (
        [OPRL, "queries=uniform_trajectories"],
        "queries=uniform_trajectories: is called uniform now; type queries=uniform",
    ),
    ([OPRL, "exploration=falling"], "exploration=falling: is called linear_decay now; type exploration=linear_decay"),
    (["experiment=nope"], "experiment=nope: there is no such experiment; choose one of .*oprl_maze"),
    (
        [OPRL, "shaping=potential", "policy_update=rloo"],
        "shaping=potential: takes the same from all returns that are compared; try shaping=step_advantage",
    ),
    ([OPRL, "shaping=potential", "reward_model=implicit"], "rewards steps, not states; try reward_model=process"),
    (["experiment=oprl_maz"], r"experiment=oprl_maz: .*did you mean experiment=oprl_maze\?"),
    (["experiment=tutorial/oprl_mase"], r"did you mean experiment=tutorial/oprl_maze\?"),
    (["experiment="], "experiment='': there is no such experiment; choose one of"),
    (["steps=3"], "experiment is not set; type experiment=.*oprl_maze"),
    ([OPRL, "shaping=potental"], r"shaping=potental: .*did you mean shaping=potential\?"),
    ([OPRL, "optimizer=adamm"], r"optimizer=adamm: .*did you mean optimizer=adam\?"),
    ([OPRL, "optimizer=null"], "a group takes the name of one of its choices"),
    ([OPRL, "env=3"], "a group takes the name of one of its choices"),
    ([OPRL, "shapnig=none"], r"shapnig: there is no such option; did you mean shaping\?"),
    ([OPRL, "env.siez=8", "env.horizn=9"], r"env.siez: there is no such option; did you mean env.size\?"),
    ([OPRL, "num_seed=3"], r"num_seed: there is no such option; did you mean num_seeds\?"),
    ([OPRL, "env.siez=8"], r"env.siez: there is no such option; did you mean env.size\?"),
    ([OPRL, "evaluation.evry=3"], r"evaluation.evry: .*did you mean evaluation.every\?"),
    ([OPRL, "checkpoint=3"], "checkpoint=3: must be a group of options; try checkpoint.every=10"),
    ([OPRL, "algorithm.steps=3"], "algorithm.steps: there is no such option; choose one of .*episodes"),
    ([OPRL, "env.size=2"], "env.size=2: must be a whole number between 4 and 256; try env.size=4"),
    ([OPRL, "env.size=257"], "env.size=257: must be a whole number between 4 and 256; try env.size=256"),
    ([OPRL, "env.size=abc"], "env.size=abc: must be a whole number between 4 and 256; try env.size=8"),
    ([OPRL, "env.size=2.0"], "env.size=2.0: must be a whole number"),
    ([OPRL, "env.size=9.0"], "env.size=9.0: must be a whole number between 4 and 256; try env.size=9"),
    ([OPRL, "steps=1e6"], "steps=1000000.0: must be a whole number between 1 and 1000000000; try steps=1000000"),
    ([OPRL, "queries.budget=1e3"], "queries.budget=1000.0: must be a whole number .*; try queries.budget=1000"),
    ([OPRL, "env.size=1e3"], "env.size=1000.0: must be a whole number .*; try env.size=256"),
    ([OPRL, "env.size=true"], "env.size=true: must be a whole number"),
    ([OPRL, "env.size="], "env.size='': must be a whole number"),
    ([OPRL, "env.size=null"], "env.size=null: must be a whole number"),
    ([OPRL, "env.size=[8]"], r"env.size=\[8\]: must be a whole number"),
    ([OPRL, "env.horizon=5"], "env.horizon=5: the goal is 14 steps away; try env.horizon=56"),
    ([OPRL, "env.layout=wal"], "env.layout=wal: must be one of wall, open, rooms, random; try env.layout=wall"),
    ([OPRL, "steps=abc"], "steps=abc: must be a whole number between 1 and 1000000000; try steps="),
    ([OPRL, "steps=-3"], "steps=-3: must be a whole number .*; try steps=1"),
    ([OPRL, "steps=0"], "steps=0: must be a whole number .*; try steps=1"),
    ([OPRL, "num_seeds=0"], "num_seeds=0: must be a whole number between 1 and 100000; try num_seeds=1"),
    ([OPRL, "seed=-1"], "seed=-1: must be a whole number between 0 and 4294967295; try seed=0"),
    ([OPRL, "seed=4294967296"], "seed=4294967296: .*; try seed=4294967295"),
    ([OPRL, "seed=4294967295", "num_seeds=2"], "seeds end at 4294967295; try seed=4294967294"),
    ([OPRL, "threads=0"], "threads=0: must be a whole number between 1 and 1024 or null; try threads=1"),
    ([OPRL, "quiet=3"], "quiet=3: must be true or false"),
    ([OPRL, "checkpoint.every=-1"], "checkpoint.every=-1: .*; try checkpoint.every=0"),
    ([OPRL, "optimizer.lr=-1"], "optimizer.lr=-1: must be a number above 0; try optimizer.lr=0.001"),
    ([OPRL, "optimizer.lr=nan"], "optimizer.lr=nan: must be a number above 0"),
    ([OPRL, "optimizer.lr=inf"], "optimizer.lr=inf: must be a number above 0"),
    ([OPRL, "optimizer.lr=1e300"], "optimizer.lr=1e.300: must be a number above 0, and 3.4e.38 at most in size"),
    ([OPRL, "optimizer.betas=[0.9]"], r"optimizer.betas=\[0.9\]: two numbers"),
    ([OPRL, "optimizer.betas=0.9"], "optimizer.betas=0.9: must be a list, each a number between 0 and 1"),
    (
        [OPRL, "optimizer.decay_steps=0"],
        "optimizer.decay_steps=0: must be a whole number between 1 and 1000000000 or null",
    ),
    ([OPRL, "optimizer.clip=0"], "optimizer.clip=0: must be a number above 0 or null"),
    ([OPRL, "device=cuda:99"], "device=cuda:99: .*; try device=cpu"),
    ([OPRL, "device=foo"], "device=foo: must be cpu, cuda or cuda:N; try device=cpu"),
    ([OPRL, "env=addition"], "env=addition: oprl cannot use it; type env=acrobot|cartpole|gymnasium|maze|"),
    ([OPRL, "criterion=closest"], r"criterion=closest: oprl cannot use it; type criterion=.*\|progress\|return"),
    *(
        (
            [OPRL, f"teacher={name}"],
            f"teacher={name}: what a teacher judges by is chosen by itself; type criterion={name}",
        )
        for name in ("progress", "return", "discounted_return", "closest")
    ),
    ([OPRL, "teacher.criterion=progress"], r"teacher.criterion: .*; type criterion=progress\|return\|.*"),
    (
        [OPRL, "env.time_limit=bootstrap", "policy_update=rloo"],
        "env.time_limit=bootstrap: only PPO values what a limit cut off; try policy_update=ppo",
    ),
    ([OPRL, "teacher.ties=equal"], "teacher.ties: .*; type criterion.ties=VALUE"),
    ([OPRL, "teacher.discount=0.9"], "teacher.discount: .*; type criterion.discount=VALUE"),
    (["experiment=addition_linear", "teacher=noisy"], "teacher=noisy: reward_from_preferences has no use for it; .*"),
    ([OPRL, "~optimizer"], r"optimizer is not set and oprl needs one; type optimizer=adam\|"),
    ([OPRL, "~algorithm"], "algorithm is not set"),
    (["experiment=addition_linear", "shaping=none"], "shaping=none: .*no use for it"),
    (["experiment=addition_linear", "criterion.tie=skip"], r"criterion.tie: .*did you mean criterion.ties\?"),
    (["experiment=addition_linear", "shaping.weight=1"], "shaping: .*has no use for it; leave shaping out"),
    ([OPRL, "loss.nu=1"], r"loss: none is chosen .*; type loss=davidson\|"),
    ([OPRL, "algorithm.episodes=300"], "algorithm.episodes=300: more than are kept; try algorithm.episodes=200 or "),
    (
        [OPRL, "queries.questions=3000"],
        "queries.questions=3000: .* try queries.questions=2000 or reward_update.dataset_capacity=3000",
    ),
    ([OPRL, "reward_update.batch=3000"], "reward_update.batch=3000: more than are kept"),
    ([OPRL, "algorithm.evaluation_episodes=1"], "algorithm.evaluation_episodes=1: a question needs two trajectories"),
    ([OPRL, "algorithm.episodes=1"], "queries.start=0: no two trajectories are kept then; try queries.start=1"),
    (
        [OPRL, "reward_model.hidden=1000000000"],
        "reward_model.hidden=1000000000: must be a whole number between 1 and 16384; try reward_model.hidden=16384",
    ),
    (
        [OPRL, "env._target_=os.system"],
        r"env._target_=os.system: only prefrl.s own classes are allowed; .* type .allow_targets=\[os\]",
    ),
    ([OPRL, "env._target_=prefrl_cli.run.provenance.subprocess.Popen"], r"prefrl has no such env; type env=acrobot\|"),
    ([OPRL, "env._target_=prefrl_cli.env.maze.deque"], "prefrl has no such env"),
    ([OPRL, "env._target_=prefrl_cli.env.maze.Mase"], "prefrl has no such env"),
    ([OPRL, "env._target_=3"], "env._target_=3: only prefrl.s own"),
    ([OPRL, "steps=${nope}"], "steps: Interpolation key 'nope' not found"),
    ([OPRL, "env.size=???"], "env.size: Missing mandatory value"),
    ([OPRL, "env.size=4,5"], "env.size=4,5: for a sweep put -m before it"),
    ([OPRL, "env.size=["], r"env.size=\[: options are typed NAME=VALUE"),
    (["foo"], "foo: options are typed NAME=VALUE"),
    (["="], "options are typed NAME=VALUE"),
    (["--foo"], "unrecognized arguments: --foo; see prefrl-train --help"),
    (["--chek", OPRL], r"unrecognized arguments: --chek; did you mean --check\?"),
    (["--cfg", "foo"], "invalid choice: 'foo'"),
    ([OPRL, "--config-dir", "nowhere"], "--config-dir nowhere: is no folder; type one that is there"),
    (["experiment=addition_linear", "shaping=potential"], "shaping=potential: .* has no use for it; leave shaping out"),
    ([OPRL, "shaping=potential", "~policy_update"], r"policy_update is not set and .*; type policy_update=grpo\|"),
    (["--help", "teacher=nois"], r"teacher=nois: there is no such teacher; did you mean teacher=noisy\?"),
    ([OPRL, "output_dir=/dev/null/run"], "output_dir=/dev/null/run: cannot be written .*; type output_dir=FOLDER"),
    ([OPRL, "output_dir="], "output_dir='': must be a word or null"),
    (["-m", OPRL, "env.siez=8,9"], r"env.siez: .*did you mean env.size\?"),
    (["-m", OPRL, "shaping=none,nope"], "shaping=nope: there is no such shaping"),
    (["-m", OPRL, "hydra/launcher=slurn"], r"hydra/launcher=slurn: there is no such hydra/launcher; .*=slurm"),
]


def refused(arguments, capsys):
    code = main(arguments)
    said = capsys.readouterr()
    assert code == 2, said.err
    assert said.out == ""
    assert said.err.count("\n") == 1 and said.err.startswith("prefrl-train: "), said.err
    return said.err


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize(("arguments", "line"), WRONG, ids=lambda value: " ".join(value) if type(value) is list else "")
def test_is_told_in_one_line(arguments, line, here, capsys):
    said = refused(arguments, capsys)
    assert re.search(line, said), said
    assert list(here.iterdir()) == []


def test_cuda_where_there_is_none(here, capsys, monkeypatch):
    import torch

    if torch.cuda.is_available():
        pytest.skip("there is a GPU here")
    assert "device=cuda: torch finds no such GPU here" in refused([OPRL, "device=cuda"], capsys)
    assert list(here.iterdir()) == []


def test_every_job_of_a_sweep_is_told_and_no_folder_is_left(here, capsys):
    assert main(["-m", OPRL, "env.size=2,3"]) == 2
    *lines, last = capsys.readouterr().err.splitlines()
    assert [line.split(":")[1] for line in lines] == [" job env.size=2", " job env.size=3"]
    assert last == "prefrl-train: 2 of 2 jobs cannot run; none was begun, nothing was written"
    assert list(here.iterdir()) == []


@pytest.mark.parametrize(
    ("command", "typed", "meant"),
    [
        ("study", "maze_size --job 2", "--jobs"),
        ("study", "maze_size --quik", "--quick"),
        ("report", "run --outptu=x", "--output"),
        ("label", "file --no-opn", "--no-open"),
    ],
)
def test_a_flag_is_not_taken_for_a_longer_one(command, typed, meant, here, capsys):
    assert importlib.import_module(f"prefrl_cli.cli.{command}").main(typed.split()) == 2
    said = capsys.readouterr().err
    wrong = typed.partition(" ")[2].partition("=")[0]
    assert re.match(rf"prefrl-{command}: unrecognized arguments: {wrong}.*; did you mean {meant}\?$", said), said
    assert list(here.iterdir()) == []


def user_yaml(folder, text):
    path = folder / "my_conf" / "experiment" / "mine.yaml"
    path.parent.mkdir(parents=True)
    path.write_text(text)
    return ["--config-dir", str(folder / "my_conf"), "experiment=mine"]


MINE = "# @package _global_\ndefaults:\n  - oprl_maze\n  - _self_\n"


@pytest.mark.parametrize(
    ("text", "line"),
    [
        (MINE + "env:\n  siez: 9\n", "env.siez: there is no such option; did you mean env.size?"),
        (MINE + "num_seed: 9\n", "num_seed: there is no such option; did you mean num_seeds?"),
        (MINE + "env: 9\n", "env=9: must be a group of options; type env=acrobot|addition|"),
        (MINE + "env:\n  size: [\n", "mine.yaml, line 7: not valid YAML"),
        (MINE + "env:\n  size: 9\n  size: 9\n", "mine.yaml, line 7: size stands there twice; leave one out"),
        ("env:\n  size: 9\n", "experiment=mine: its YAML must begin with the line '# @package _global_'"),
        ("# @package _global_\ndefaults:\n  - override /env: mase\n", "env=mase: there is no such env"),
        ("just words\n", "mine"),
        ("# @package _global_\ndefaults:\n  - {1: 2}\n", "defaults: each line must be '- GROUP: CHOICE' or '- _self_'"),
        ("# @package _global_\na: !!timestamp x\n", "my_conf/experiment/mine.yaml: "),
        ("# @package _global_\na: " + "[" * 3000, "mine.yaml is nested deeper than 40 levels"),
    ],
)
def test_a_users_own_yaml(text, line, here, capsys):
    said = refused(user_yaml(here, text), capsys)
    assert line in said
    assert [path.name for path in here.iterdir()] == ["my_conf"]


def test_a_users_yaml_that_is_no_text(here, capsys):
    arguments = user_yaml(here, MINE)
    (here / "my_conf" / "experiment" / "mine.yaml").write_bytes(b"\xff\xfe\x00steps")
    refused(arguments, capsys)


def test_a_users_own_class_needs_to_be_allowed(here, capsys, monkeypatch):
    (here / "my_package.py").write_text(
        "from prefrl_cli.reward_model.shaping import AdditiveShaping\nclass Mine(AdditiveShaping): ...\n"
    )
    monkeypatch.syspath_prepend(str(here))
    arguments = [OPRL, "shaping=additive", "shaping._target_=my_package.Mine", "steps=1", "output_dir=run"]
    assert "type 'allow_targets=[my_package]'" in refused(arguments, capsys)
    assert "my_package" not in sys.modules
    try:
        assert main([*arguments, "allow_targets=[my_package]", "quiet=true"]) == 0
    finally:
        sys.modules.pop("my_package", None)


def test_a_folder_that_holds_a_run(here, capsys):
    arguments = ["experiment=addition_linear", "steps=1", "output_dir=run", "quiet=true"]
    assert main(arguments) == 0
    before = (here / "run" / "metrics.csv").read_bytes()
    capsys.readouterr()
    assert "output_dir=run: holds a run already; type another folder" in refused(arguments, capsys)
    assert (here / "run" / "metrics.csv").read_bytes() == before


def test_a_loss_that_is_no_number_stops_the_run(here, capsys):
    code = main(
        ["experiment=rewardnet_mse", "optimizer=sgd", "optimizer.lr=1e30", "seed=3", "num_seeds=2", "output_dir=run"]
    )
    said = capsys.readouterr().err
    assert code == 1
    assert "the loss is not a number any more for seeds 3, 4" in said.splitlines()[-1]
    status = json.loads((here / "run" / "status.json").read_text())
    assert status["status"] == "failed" and status["reason"].startswith(f"step {status['step']}: ")


def command(*arguments, **options):
    """The console script itself, as installed."""
    script = Path(sys.executable).with_name("prefrl-train")
    return subprocess.run([script, *arguments], capture_output=True, text=True, timeout=120, **options)


def test_the_console_script_gives_the_exit_code(tmp_path):
    done = command(OPRL, "env.size=2", cwd=tmp_path)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "prefrl-train: env.size=2: must be a whole number between 4 and 256; try env.size=4\n"


def test_a_closed_pipe_is_no_traceback(tmp_path):
    script = Path(sys.executable).with_name("prefrl-train")
    read, write = os.pipe()
    os.close(read)
    done = subprocess.run([script, "--help"], stdout=write, stderr=subprocess.PIPE, text=True, cwd=tmp_path, timeout=60)
    os.close(write)
    assert done.stderr == ""
