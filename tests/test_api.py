"""The Python API: what it gives is what the run's files and the commands say; and the page about it runs."""

import ast
import itertools
import json
import os
import re
import shutil
import subprocess
import sys
import threading
import types
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

import prefrl_cli
from prefrl_cli import ConfigError, RunFailed
from prefrl_cli.cli.evaluate import evaluate
from prefrl_cli.files.texts import as_overrides
from prefrl_cli.run import progress, runner

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs" / "api.md").read_text(encoding="utf-8")
MAZE = {"env": {"size": 6, "horizon": 40}, "steps": 6, "num_seeds": 3, "seed": 5, "checkpoint": {"every": 3}}


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A folder with a run of the maze, and one of the addition task with charts."""
    folder = tmp_path_factory.mktemp("made")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(runner, "draw", lambda *_: None)
        prefrl_cli.train(experiment="oprl_maze", output_dir=folder / "maze", quiet=True, **MAZE)
    options = {"num_seeds": 2, "steps": 4, "quiet": True}
    prefrl_cli.train(experiment="rewardnet_prefs", output_dir=folder / "addition", **options)
    return folder


@pytest.fixture
def maze(made):
    return prefrl_cli.load(made / "maze")


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(runner, "draw", lambda *_: None)
    return tmp_path


def files(folder):
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_the_list_of_names_is_what_is_there():
    source = ast.parse((ROOT / "prefrl_cli" / "api.py").read_text(encoding="utf-8"))
    top = {node.name for node in source.body if isinstance(node, ast.ClassDef | ast.FunctionDef)}
    from prefrl_cli import api

    assert prefrl_cli.__all__ == api.__all__ == sorted(prefrl_cli.__all__)
    assert {name for name in top if not name.startswith("_")} <= set(prefrl_cli.__all__)
    assert all(getattr(prefrl_cli, name).__doc__ for name in prefrl_cli.__all__)
    assert set(prefrl_cli.__all__) <= set(dir(prefrl_cli))
    with pytest.raises(AttributeError, match="no attribute 'trian'"):
        prefrl_cli.trian  # noqa: B018


def test_every_name_of_a_run_is_on_the_page(maze):
    for name in [*prefrl_cli.__all__, *(name for name in dir(maze) if not name.startswith("_"))]:
        assert name == "LoadedRun" or re.search(rf"\b{name}\b", PAGE), name


def test_reading_a_run_takes_no_torch(made):
    command = (
        "import sys, prefrl_cli; assert not {'torch', 'prefrl_cli.api', 'hydra'} & set(sys.modules);"
        f"run = prefrl_cli.load({str(made / 'maze')!r}); run.metrics, run.summary, run.options, run._repr_html_();"
        "print('torch' in sys.modules)"
    )
    told = subprocess.run([sys.executable, "-c", command], cwd=ROOT, capture_output=True, text=True, check=True)
    assert told.stdout == "False\n"


def test_the_page_runs(here, capsys):
    blocks = re.findall(r"^```python\n(.*?)^```", PAGE, re.M | re.S)
    assert len(blocks) >= 8
    names = {"__name__": "page"}
    for block in blocks:
        exec(compile(block, "docs/api.md", "exec"), names)
    assert names["played"].returns.shape == (4, 16)
    assert names["played"].returns.mean() > 5  # a uniform policy reaches about 1
    said = capsys.readouterr().out
    for line in re.findall(r"# (env\.size=.*)$", PAGE, re.M):
        assert f"{line}\n" in said
    assert "<run of oprl_maze: 2 seeds, finished at step 10, outputs/" in said


def test_train_is_the_command(here, made):
    from prefrl_cli.cli.train import main

    typed = ["experiment=oprl_maze", "num_seeds=3", "seed=5", "steps=6", "quiet=true", "output_dir=typed"]
    assert main([*typed, "env.size=6", "env.horizon=40", "checkpoint.every=3"]) == 0
    assert (here / "typed" / "metrics.csv").read_bytes() == (made / "maze" / "metrics.csv").read_bytes()


def test_twice_in_one_process_beside_another_hydra(here):
    import hydra
    from hydra.core.global_hydra import GlobalHydra

    Path("own").mkdir()
    Path("own", "mine.yaml").write_text("a: 1\n")
    before = (list(sys.argv), dict(os.environ), Path.cwd())
    with hydra.initialize_config_dir(str(here / "own"), version_base="1.3"):
        known = GlobalHydra.instance()
        for number in (1, 2):
            run = prefrl_cli.train(experiment="addition_linear", steps=number, quiet=True, output_dir=f"run{number}")
            assert (run.status, run.step, run.path) == ("finished", number, Path(f"run{number}"))
        with pytest.raises(ConfigError, match="did you mean env.largest"):
            prefrl_cli.train(experiment="addition_linear", env={"larges": 3})
        assert GlobalHydra.instance() is known
        assert hydra.compose("mine").a == 1
    assert (list(sys.argv), dict(os.environ), Path.cwd()) == before


def test_in_a_thread(here):
    found = []
    thread = threading.Thread(
        target=lambda: found.append(prefrl_cli.train(experiment="addition_linear", steps=2, quiet=True))
    )
    thread.start()
    thread.join()
    assert found[0].status == "finished"


def test_several_threads_take_turns(here):
    def trained(seed):
        options = {"steps": 2, "num_seeds": 2, "seed": seed, "quiet": True, "output_dir": f"run{seed}"}
        return prefrl_cli.train(experiment="addition_linear", **options)

    def refused(_):
        with pytest.raises(ConfigError, match="did you mean env.largest"):
            prefrl_cli.train(experiment="addition_linear", env={"larges": 3})

    with ThreadPoolExecutor(4) as pool:
        wrong = pool.map(refused, range(3))
        runs = list(pool.map(trained, (5, 6, 7, 8)))
        assert list(wrong) == [None] * 3
    assert [run.seeds for run in runs] == [[5, 6], [6, 7], [7, 8], [8, 9]]
    for first, second in itertools.pairwise(runs):  # a seed is a seed, whoever trained beside it
        np.testing.assert_array_equal(first.metrics["loss"][:, 1], second.metrics["loss"][:, 0])


def test_a_run_goes_on(here):
    options = {"experiment": "addition_linear", "quiet": True, "checkpoint": {"every": 2}}
    whole = prefrl_cli.train(steps=6, output_dir="whole", **options)
    run = prefrl_cli.train(steps=4, output_dir="run", **options)
    with pytest.raises(ConfigError, match="the run is finished at step 4; to extend it type a larger steps=N"):
        prefrl_cli.resume(run.path)
    branch = prefrl_cli.resume(run.path / "checkpoints" / "step_000002.pt", steps=6, output_dir=here / "new")
    longer = prefrl_cli.resume("run", ["steps=6"])
    assert (branch.path, longer.path) == (here / "new", Path("run"))
    for one in (branch, longer):
        assert (one.step, one.status) == (6, "finished")
        assert (one.path / "metrics.csv").read_bytes() == (whole.path / "metrics.csv").read_bytes()
    with pytest.raises(ConfigError, match="nowhere: holds no run"):
        prefrl_cli.resume("nowhere")
    with pytest.raises(ConfigError, match="did you mean optimizer.lr"):
        prefrl_cli.resume("run", optimizer={"lrr": 1})


def test_a_sweep_gives_its_runs(here, capsys):
    options = {"experiment": "addition_linear", "optimizer": {"lr": [0.1, 0.2]}, "quiet": True, "output_dir": "many"}
    found = prefrl_cli.train_sweep(["seed=1,2"], steps=2, **options)
    assert [(one.options["seed"], one.options["optimizer.lr"]) for one in found] == [
        (1, 0.1), (1, 0.2), (2, 0.1), (2, 0.2)
    ]  # fmt: skip
    assert {one.status for one in found} == {"finished"} and capsys.readouterr().out == ""
    before = files(here)
    assert [one.path for one in prefrl_cli.train_sweep(["seed=1,2"], steps=2, **options)] == [one.path for one in found]
    assert {path for path, content in files(here).items() if content != before.get(path)} <= {
        here / "many" / name for name in ("sweep.yaml", "multirun.yaml")
    }
    with pytest.raises(ConfigError, match="2 of 4 jobs cannot run; none was begun") as caught:
        prefrl_cli.train_sweep(experiment="addition_linear", seed=range(1, 3), steps=[0, 1], output_dir="some")
    assert re.match(r"job seed=1,steps=0 and 1 more: steps=0: must be", caught.value.__notes__[0])
    assert not (here / "some").exists()
    with pytest.raises(ConfigError, match="Hydra's own options are for the command"):
        prefrl_cli.train_sweep(["hydra.run.dir=x"])
    with pytest.raises(ConfigError, match="is not installed|hydra/launcher"):
        prefrl_cli.train_sweep(["hydra/launcher=nope", "experiment=addition_linear"], seed=[1, 2])


@pytest.mark.parametrize(
    ("overrides", "options", "said"),
    [
        ([], {}, "experiment is not set"),
        ([], {"experiment": "oprl_maz"}, "did you mean experiment=oprl_maze?"),
        (["experiment=oprl_maze", "env.size=3"], {}, "try env.size=4"),
        (["-m", "experiment=oprl_maze"], {}, "for many runs there is prefrl_cli.train_sweep"),
        (["resume=RUN"], {}, "to go on with a run there is prefrl_cli.resume"),
        (["hydra.run.dir=x"], {}, "Hydra's own options are for the command"),
        ([3], {}, "typed NAME=VALUE"),
        ([], {"experiment": "oprl_maze", "seed": object()}, "seed: object: must be a number"),
    ],
)
def test_wrong_options(overrides, options, said, here):
    with pytest.raises(ConfigError) as problem:
        prefrl_cli.train(overrides, **options)
    assert said in str(problem.value) and "\n" not in str(problem.value)
    assert not list(here.iterdir())


def test_a_failed_run(here, capsys):
    with pytest.raises(RunFailed, match="step") as problem:
        prefrl_cli.train(
            ["experiment=rewardnet_mse", "optimizer=sgd"],
            steps=60,
            quiet=True,
            output_dir="lost",
            **{"optimizer.lr": 1.0},
        )
    assert problem.value.path == Path("lost")
    run = prefrl_cli.load("lost")
    assert (run.status, run.failed_seeds, run.summary) == ("failed", [0], {})
    assert run.reason in str(problem.value)
    with pytest.raises(ConfigError):
        run.policy()


@pytest.mark.parametrize(
    "value",
    [1, -3, 0.1, 1e-30, 1e300, True, None, "word", "two words", "null", "1e3", "it's", "a\\", "a,b", "$", "",
     [1, 2.5], ["a b", "c"], "cuda:0", "/a/b c.d", "é", "x=1", "[x]", "{", "~", np.float32(0.5), Path("a b"),
     np.arange(3), [np.int64(2), 3], np.bool_(True)],
)  # fmt: skip
def test_a_value_is_read_as_it_was_given(value):
    from hydra.core.override_parser.overrides_parser import OverridesParser

    (text,) = as_overrides("seed", value)
    read = OverridesParser.create().parse_override(text).value()
    read = [getattr(one, "text", one) for one in read] if isinstance(read, list) else getattr(read, "text", read)
    wanted = str(value) if isinstance(value, Path) else value.tolist() if hasattr(value, "tolist") else value
    assert read == wanted and type(read) is type(wanted)


def test_numbers_of_numpy_and_torch_are_numbers(here, maze):
    import torch

    numbers = {"num_seeds": torch.tensor(2), "steps": np.int32(1), "quiet": np.bool_(True)}
    runs = prefrl_cli.train_sweep(experiment="addition_linear", seed=np.array([3, 9]), jobs=None, **numbers)
    assert [run.seeds for run in runs] == [[3, 4], [9, 10]]
    wanted = maze.rollout(seed=6, episodes=2, random_seed=1)
    for of in (np.int64, torch.tensor):
        found = maze.rollout(seed=of(6), episodes=of(2), random_seed=of(1))
        np.testing.assert_array_equal(found.states, wanted.states)
        assert prefrl_cli.make("maze", size=of(5), horizon=of(30)).num_states == 25
    for seeds in (np.arange(2), torch.arange(2), [np.int64(0), 1], range(2)):
        assert prefrl_cli.make("streams/philox", seeds=seeds).seeds == (0, 1)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"episodes": 0}, "episodes=0: must be a whole number between 1 and 1000000; try episodes=1"),
        ({"episodes": np.float64(2.5)}, "episodes=2.5: must be a whole number"),
        ({"episodes": True}, "episodes=true: must be a whole number"),
        ({"random_seed": -1}, "random_seed=-1: must be a whole number between 0 and 4294967295 or null; try random_se"),
        ({"random_seed": "a"}, "random_seed=a: must be a whole number"),
        ({"seed": np.int64(4)}, "seed=4: the run has no such seed; choose one of [5,6,7]"),
    ],
)
def test_wrong_numbers_of_episodes(given, said, maze):
    with pytest.raises(ConfigError) as problem:
        maze.rollout(**given)
    assert said in str(problem.value)


def test_an_experiment_of_ones_own(here):
    folder = here / "my conf" / "experiment"
    folder.mkdir(parents=True)
    text = "# @package _global_\ndefaults:\n  - addition_linear\nsteps: 3\n"
    (folder / "mine.yaml").write_text(text)
    run = prefrl_cli.train(experiment="mine", config_dir="my conf", quiet=True)
    assert (run.experiment, run.step) == ("mine", 3)
    (folder / "evil.yaml").write_text(f"{text}allow_targets: [evil]\n")
    with pytest.raises(ConfigError, match="a file cannot allow code to run"):
        prefrl_cli.train(experiment="evil", config_dir="my conf", quiet=True)


def test_metrics_are_those_of_the_file(maze, made):
    lines = [line.split(",") for line in (made / "maze" / "metrics.csv").read_text().splitlines()]
    place = lines[0].index("return")
    assert [line[:2] for line in lines[1:]] == [[str(step), str(seed)] for step in range(1, 7) for seed in (5, 6, 7)]
    trained = [[float(line[place] or "nan") for line in lines[1 + 3 * n : 4 + 3 * n]] for n in range(6)]
    expected = [[np.nan] * 3, *trained]  # step 0 is evaluated, and nothing was played yet
    np.testing.assert_array_equal(maze.metrics["return"], expected)
    assert maze.metrics.steps.tolist() == list(range(7)) and maze.metrics.seeds == maze.seeds == [5, 6, 7]
    last = maze.metrics.evaluation
    summary = json.loads((made / "maze" / "summary.json").read_text())
    assert maze.summary == summary
    for name, found in summary["metrics"].items():
        values = [np.nan if value is None else value for value in found["per_seed"]]
        np.testing.assert_allclose(last[name][-1], values, rtol=1e-6)
    assert last.steps[0] == 0 and last.steps[-1] == 6
    assert maze.options["env.size"] == 6 and maze.options["experiment"] == "oprl_maze"
    with pytest.raises(KeyError, match="did you mean success?"):
        maze.metrics["sucess"]


def test_a_table_for_pandas(maze, monkeypatch):
    monkeypatch.setitem(sys.modules, "pandas", types.SimpleNamespace(DataFrame=dict))
    table = maze.metrics.to_pandas()
    assert table["step"][:4].tolist() == [0, 0, 0, 1] and table["seed"][:4].tolist() == [5, 6, 7, 5]
    np.testing.assert_array_equal(table["return"], maze.metrics["return"].ravel())
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(ImportError, match="^to_pandas: pandas is not installed; type pip install pandas$"):
        maze.metrics.to_pandas()


def test_episodes_are_those_of_the_evaluation(maze, made):
    """Success, return and length are what prefrl-evaluate finds, seed by seed, and steps are moves of the maze."""
    before = files(made)
    found = evaluate(made / "maze", {}, 20).metrics
    table = prefrl_cli.make("maze", **MAZE["env"]).transitions
    for place, seed in enumerate(maze.seeds):
        episodes = maze.rollout(seed, 20)
        assert episodes.returns.mean() == pytest.approx(found["return"][place])
        assert episodes.lengths.mean() == pytest.approx(found["steps"][place])
        moves = episodes.mask[:, :-1] & episodes.mask[:, 1:]
        following = table[episodes.states, episodes.actions]
        assert (following[:, :-1] == episodes.states[:, 1:])[moves].all()
        greedy = maze.rollout(seed, 1, greedy=True)
        assert greedy.lengths[0] == found["greedy_steps"][place]
        assert (maze.policy(seed)(greedy.states) == greedy.actions)[greedy.mask].all()
    others = maze.rollout(5, 20, random_seed=99)
    assert (others.states != maze.rollout(5, 20).states).any()
    np.testing.assert_array_equal(others.states, maze.rollout(5, 20, random_seed=99).states)
    assert files(made) == before


def test_threads_that_ask_one_run_get_what_each_would_get_alone(made):
    alone = {seed: prefrl_cli.load(made / "maze").rollout(seed, 20).states for seed in (5, 6, 7)}
    run = prefrl_cli.load(made / "maze")
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda at: (run.rollout(5 + at % 3, 20).states, run.preferences["label"]), range(18)))
    for at, (states, _) in enumerate(found):
        np.testing.assert_array_equal(states, alone[5 + at % 3])


def test_a_policy_draws_what_it_says(maze):
    policy = maze.policy(6)
    chances = policy.probabilities([0, 7])
    np.testing.assert_allclose(chances.sum(-1), 1, atol=1e-6)
    drawn = policy(np.zeros(20_000, int), greedy=False)
    counts = np.bincount(drawn, minlength=4) / len(drawn)
    np.testing.assert_allclose(counts, chances[0], atol=0.015)  # four standard errors
    assert policy(np.eye(36)[[0, 7]]).tolist() == policy([0, 7]).tolist() == chances.argmax(-1).tolist()
    for wrong, said in (([36], "there are 36, 0 to 35"), ([0.5], "type whole numbers"), (np.ones((2, 36)), "no state")):
        with pytest.raises(ValueError, match=said):
            policy(wrong)


def test_a_reward_model_is_that_of_its_seed(maze):
    import torch

    model = maze._learned.algorithm.reward_model  # of all seeds
    states, actions = torch.arange(36).expand(3, -1), torch.arange(36).expand(3, -1) % 4
    with torch.no_grad():
        steps, values = model.step_rewards(states, actions).numpy(), model(states).numpy()
    for place, seed in enumerate(maze.seeds):
        reward = maze.reward_model(seed)
        np.testing.assert_array_equal(reward(np.arange(36).reshape(6, 6)).ravel(), values[place])
        np.testing.assert_array_equal(reward(np.arange(36), np.arange(36) % 4), steps[place])
    assert maze.reward_model(5)(0, [0, 1, 2, 3]).shape == (4,)
    with pytest.raises(ValueError, match="action 4: there are 4"):
        maze.reward_model(5)(0, 4)


@pytest.mark.parametrize("env", ["maze", "recorded"])
def test_a_reward_that_was_learned_from_a_file(env, here):
    file = ROOT / "prefrl_cli" / "files" / "preferences" / "example.npz"
    run = prefrl_cli.train(experiment="reward_from_file", env=env, preferences={"file": file}, steps=2, quiet=True)
    rewards = run.reward_model()([[0, 1], [2, 0]])
    assert rewards.shape == (2, 2) and rewards[0, 0] == rewards[1, 1] != rewards[0, 1]
    np.testing.assert_allclose(run.reward_model()(0, [0, 1, 2]), [rewards[0, 0]] * 3)  # it is one of states
    with pytest.raises(ValueError, match="state 64: there are 6[34], 0 to 6[23]"):
        run.reward_model()(64)
    with pytest.raises(ValueError, match=r"states have the shape \[2\] and actions \[3\]: give an action for each"):
        run.reward_model()([0, 1], [0, 1, 2])
    for asked in (run.policy, run.rollout):
        with pytest.raises(ConfigError, match=r"learns a reward and no policy; ask reward_model\(\) in its place"):
            asked()


def test_preferences_are_those_of_the_teacher(maze):
    """A teacher that never errs prefers the shorter of two successes; whole episodes are asked about."""
    asked, world = maze.preferences, prefrl_cli.make("maze", **MAZE["env"])
    assert asked["states"].shape[:1] + asked["states"].shape[2:] == (3, 2, 40)
    np.testing.assert_array_equal(asked["there"].sum(1), maze.metrics["labels_used"][-1])
    end = asked["lengths"][..., None] - 1
    before, move = (np.take_along_axis(asked[name], end, -1)[..., 0] for name in ("states", "actions"))
    found = np.where(world.transitions[before, move] == world.goal, -asked["lengths"], -1000)
    first, second = np.moveaxis(found, -1, 0)
    np.testing.assert_array_equal(asked["label"][asked["there"]], (first > second)[asked["there"]])
    assert (first != second)[asked["there"]].all()  # what is no preference is not kept


def test_the_addition_task(made):
    run = prefrl_cli.load(made / "addition")
    answers = run.policy(1)([[1, 2], [3, 4]])
    assert answers.shape == (2,) and answers.dtype.kind == "f"
    episodes = run.rollout(1, 6)
    assert episodes.states.shape == (6, 1, 2) and episodes.rewards.shape == (6, 1)
    np.testing.assert_allclose(episodes.returns, 3 - 0.15 * abs(episodes.states[:, 0].sum(1) - episodes.actions[:, 0]))
    rewards = run.reward_model(1)([3, 4], np.arange(0, 19, 0.1))
    assert np.arange(0, 19, 0.1)[rewards.argmax()] == pytest.approx(answers[1], abs=1e-5)
    with pytest.raises(ConfigError, match="keeps no preferences"):
        run.preferences  # noqa: B018
    with pytest.raises(ValueError, match="give both"):
        run.reward_model()([1, 2])
    with pytest.raises(ConfigError, match=r"seed=9: the run has no such seed; choose one of \[0,1\]"):
        run.policy(9)


def test_runs_of_a_folder(made, tmp_path):
    shutil.copytree(made / "maze", tmp_path / "a" / "maze")
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "status.json").write_text("[]")
    with pytest.warns(UserWarning, match="left out"):
        found = list(prefrl_cli.runs(tmp_path))
    assert [one.path for one in found] == [tmp_path / "a" / "maze"]
    with pytest.raises(ConfigError, match="is no folder"):
        next(prefrl_cli.runs(tmp_path / "none"))


def test_a_strangers_run_runs_nothing(made, tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(str(tmp_path))
    (tmp_path / "evil.py").write_text("raise SystemExit('evil ran')\nclass Maze: ...\n")
    run = tmp_path / "run"
    shutil.copytree(made / "maze", run)
    config = (run / "config.yaml").read_text()
    for before, after in (("choice: maze", "_target_: evil.Maze"), ("allow_targets: []", "allow_targets: [evil]")):
        assert before in config
        config = config.replace(before, after)
    (run / "config.yaml").write_text(config)
    loaded = prefrl_cli.load(run)
    for ask in (loaded.policy, loaded.reward_model, loaded.rollout, lambda: loaded.preferences):
        with pytest.raises(ConfigError, match="only prefrl's own classes are allowed"):
            ask()
    with pytest.raises(SystemExit):  # allowed by the person who loads it
        prefrl_cli.load(run, allow_targets=["evil"]).policy()


def test_a_card_shows_results_and_escapes_texts(made, tmp_path):
    run = prefrl_cli.load(made / "addition")
    shown = run._repr_html_()
    assert "rewardnet_prefs" in shown and "2 seeds (seeds 0 to 1)" in shown and "finished at step 4" in shown
    assert sorted(run.charts) == sorted(path.stem for path in (made / "addition" / "charts").glob("*.png"))
    assert shown.count('src="data:image/png;base64,') == len(run.charts) >= 3
    for name in run.summary["metrics"]:
        assert f">{name}<" in shown
    at_once = re.findall(r'<td style="text-align:left">(.*?)<', shown.partition("<details>")[0])
    first = [
        name for name, one in run.summary["metrics"].items() if one["headline"] or one["role"] in ("verdict", "cost")
    ]
    assert at_once == first and 0 < len(first) < len(run.summary["metrics"])
    assert repr(run) == f"<run of rewardnet_prefs: 2 seeds, finished at step 4, {made / 'addition'}>"

    copy = tmp_path / "<script>"
    shutil.copytree(made / "addition", copy)
    (copy / "charts" / "not.png").write_bytes(b"<svg onload=alert(1)>")
    (copy / "charts" / "link.png").symlink_to("/etc/hostname")
    summary = json.loads((copy / "summary.json").read_text())
    summary["metrics"]["<img src=x>"] = summary["metrics"]["loss"]
    summary["metrics"]["odd"] = {"mean": "<b>", "ci95": [None, "x"], "per_seed": [0, 0]}
    (copy / "summary.json").write_text(json.dumps(summary))
    hostile = prefrl_cli.load(copy)._repr_html_()
    assert "<script>" not in hostile and "<img src=x>" not in hostile and hostile.count("<b>") == 1
    assert "&lt;script&gt;" in hostile and hostile.count("data:image/png") == len(run.charts)


class _Shell:
    kernel = object()


def test_a_bar_below_a_notebooks_cell(here, monkeypatch, capsys):
    """A display that is made once and updated; a quiet run has none, and no line of progress is printed."""
    shown = []

    class Handle:
        def update(self, data, raw):
            shown.append(data)

    def display(data, raw, display_id):
        assert raw and display_id
        shown.append(data)
        return Handle()

    monkeypatch.setitem(sys.modules, "IPython", types.SimpleNamespace(get_ipython=lambda: _Shell()))
    monkeypatch.setitem(sys.modules, "IPython.display", types.SimpleNamespace(display=display))
    assert progress.in_notebook()
    prefrl_cli.train(experiment="addition_linear", steps=7)
    assert shown[0]["text/plain"].startswith("step 0/7") and shown[-1]["text/plain"].startswith("step 7/7, loss ")
    assert '<progress value="7" max="7"' in shown[-1]["text/html"]
    assert "step 7/7" not in capsys.readouterr().out
    number = len(shown)
    prefrl_cli.train(experiment="addition_linear", steps=7, quiet=True)
    assert len(shown) == number
    monkeypatch.setitem(sys.modules, "IPython", types.SimpleNamespace(get_ipython=lambda: object()))
    assert not progress.in_notebook()  # IPython in a terminal


@pytest.mark.parametrize(
    ("name", "options", "said"),
    [
        ("none", {}, "none: several groups have one; type shaping/none or exploration/none"),
        ("mazze", {}, "mazze: there is no such part; did you mean maze?"),
        ("teacher/nois", {}, "did you mean teacher/noisy?"),
        ("maze", {"sise": 3}, "env.sise: there is no such option; did you mean env.size?"),
        ("maze", {"size": 2}, "try env.size=4"),
        ("maze", {"horizon": 2}, "try env.horizon="),
        ("maze", {"seeds": [0]}, "maze draws no random numbers"),
        ("streams/philox", {"seeds": 3}, "seeds=3: must be a list, each a whole number between 0 and 4294967295; try"),
        ("streams/philox", {"seeds": [-1]}, "seeds=[-1]: must be a list, each a whole number between 0 and 4294967295"),
        ("actor_critic", {}, "needs env, streams; type make('actor_critic', env=..., seeds=[0, 1])"),
    ],
)
def test_make_says_what_is_wrong(name, options, said):
    with pytest.raises(ConfigError) as problem:
        prefrl_cli.make(name, **options)
    assert said in str(problem.value)


def test_make_takes_the_defaults_of_conf():
    criterion = prefrl_cli.make("criterion/discounted_return", env=prefrl_cli.make("maze"))
    noisy, oracle = (prefrl_cli.make(f"teacher/{name}", criterion=criterion) for name in ("noisy", "oracle"))
    assert type(noisy) is type(oracle) and vars(noisy) != vars(oracle)
    assert prefrl_cli.make("ppo").clip == prefrl_cli.make("policy_update/ppo").clip
    maze = prefrl_cli.make("maze", size=12, layout="rooms")
    assert (maze.size, maze.num_states) == (12, 144)
    policy = prefrl_cli.make("actor_critic", env=maze, seeds=range(3), hidden=8)
    assert policy.parameters.flat.shape[0] == 3


def test_a_persons_backend_counts_after_charts_were_drawn():
    """A notebook's shell hands its backend down by a variable; what is plotted after training must appear."""
    command = "from prefrl_cli.charts.backend import ready\nwith ready(): import matplotlib\n"
    command += "print(matplotlib.rcParams['backend'])"
    variables = {**os.environ, "MPLBACKEND": "svg"}
    told = subprocess.run([sys.executable, "-c", command], cwd=ROOT, env=variables, capture_output=True, text=True)
    assert told.stdout == "svg\n", told.stderr


@pytest.mark.parametrize("folder", sorted(path.parent for path in (ROOT / "tests" / "old_runs").rglob("status.json")))
def test_runs_of_an_earlier_version(folder):
    run = prefrl_cli.load(folder)
    assert run.status == "finished" and run.metrics.steps[-1] == run.step and str(run.step) in run._repr_html_()
    assert len(run.rollout(episodes=3).returns) == 3
    if "maze" in run.experiment:
        kept = run.preferences
        np.testing.assert_array_equal(kept["there"].sum(1), run.metrics["labels_used"][-1])
        assert set(kept["label"][kept["there"]].tolist()) <= {0.0, 0.5, 1.0}
