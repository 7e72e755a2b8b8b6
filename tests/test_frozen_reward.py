"""A reward that another run has learned teaches a policy: it is that reward, and no answer moves it."""

import csv
import json
from pathlib import Path

import pytest
import torch
from kill_and_resume import config_of

from prefrl_cli.cli import train
from prefrl_cli.config.build import build
from prefrl_cli.run.lifecycle import run_job

SMALL = [
    "env.size=4", "steps=3", "charts=false", "algorithm.episodes=4", "queries.questions=20", "reward_update.updates=2",
    "reward_model.hidden=16",
]  # fmt: skip
FROZEN = [one for one in SMALL if not one.startswith("reward_model")]


@pytest.fixture(scope="module")
def learned(tmp_path_factory):
    """A run of two seeds that has learned rewards of states, one of steps, and one that is an ensemble."""
    folder = tmp_path_factory.mktemp("learned")
    options = {
        "steps": ["reward_model=implicit"],
        "states": ["reward_model=process"],
        "members": ["reward_model=state"],
    }
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        for name, more in options.items():
            config, typed = config_of("oprl_maze", "num_seeds=2", *SMALL, "shaping=environment_reward", *more)
            run_job({**config, "output_dir": name}, typed)
    return folder


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def frozen(run, *options):
    return build(
        config_of("oprl_maze", "num_seeds=2", *FROZEN, "reward_model=frozen", f"reward_model.run={run}", *options)[0]
    )


@pytest.mark.parametrize("name", ["steps", "states", "members"])
def test_it_is_the_reward_of_the_other_run(name, learned):
    algorithm = frozen(learned / name, "shaping=learned_reward" if name != "steps" else "shaping=step_advantage")
    known = json.loads((learned / name / "summary.json").read_text())["metrics"]
    found = algorithm.evaluate()
    for metric in ("epic_distance", "distance_correlation"):
        assert found[metric].tolist() == pytest.approx(known[metric]["per_seed"])
    before = algorithm.reward_model.reward_table().clone()
    assert before.std() > 0
    for _ in range(2):
        algorithm.update()
    assert algorithm.preferences.used.min() > 0 and torch.equal(algorithm.reward_model.reward_table(), before)


def test_no_answer_reaches_the_policy(learned):
    """Whoever answers: a policy that is handed nothing but a frozen reward learns the same."""
    histories = []
    for number, teacher in enumerate(("oracle", "coin")):
        options = [
            "shaping=learned_reward",
            f"reward_model.run={learned / 'states'}",
            f"teacher={teacher}",
            "quiet=true",
        ]
        config, typed = config_of("oprl_maze", "num_seeds=2", *FROZEN, "reward_model=frozen", *options)
        run_job({**config, "output_dir": str(number)}, typed)
        rows = list(csv.DictReader(Path(str(number), "metrics.csv").read_text().splitlines()))
        histories.append([[row[column] for column in ("return", "success", "env_steps")] for row in rows])
    assert histories[0] == histories[1] and len(histories[0]) == 6


def test_each_seed_takes_its_own_or_that_of_the_only_one(learned, capsys):
    both, second = (frozen(learned / "states", *more) for more in ([], ["seed=1", "num_seeds=1"]))
    assert torch.equal(both.reward_model.reward_table()[1:], second.reward_model.reward_table())
    options = [*SMALL, "reward_model=process", "shaping=environment_reward", "seed=9", "num_seeds=1"]
    config, typed = config_of("oprl_maze", *options)
    run_job({**config, "output_dir": "one"}, typed)
    table = frozen("one", "seed=3", "num_seeds=3").reward_model.reward_table()
    assert torch.equal(table[0], table[1]) and torch.equal(table[0], table[2]) and table.std() > 0


def test_a_run_goes_on_only_with_the_same_reward(learned, capsys):
    first = ["experiment=oprl_maze", *FROZEN, "num_seeds=2", "quiet=true"]
    assert train.main([*first, "shaping=potential", "output_dir=other"]) == 0
    more = ["shaping=potential", "reward_model=frozen", "reward_model.run=other", "output_dir=run"]
    assert train.main([*first, *more]) == 0
    assert train.main(["resume=run", "steps=4"]) == 0
    assert train.main(["resume=other", "steps=5"]) == 0
    assert train.main(["resume=run", "steps=5"]) == 2
    assert "reward_model.run has learned another reward than it had" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("options", "line"),
    [
        (["reward_model.run=null"], "reward_model.run: is not set; type reward_model.run=RUN_DIR, of a run"),
        (["reward_model.run=none"], "reward_model.run=none: config.yaml is missing; type the folder of a run that"),
        (["env.size=5"], "its reward does not fit here (parameters ["),
        (["num_seeds=3"], "its reward does not fit here (it has none of seed 2); type another run"),
        (["seed=1"], "its reward does not fit here (it has none of seed 2); type another run"),
    ],
)
def test_what_does_not_fit_is_one_line(options, line, learned, capsys):
    first = ["experiment=oprl_maze", *FROZEN, "num_seeds=2", "shaping=potential", "reward_model=frozen"]
    assert train.main([*first, f"reward_model.run={learned / 'states'}", *options]) == 2
    found = capsys.readouterr().err
    assert line in found and found.count("\n") == 1 and not list(Path.cwd().iterdir())


def test_a_folder_of_someone_else_runs_nothing(learned, capsys):
    first = ["experiment=oprl_maze", *FROZEN, "num_seeds=2", "reward_model=frozen", "reward_model.run=bad"]
    Path("bad").mkdir()
    for content in (
        "reward_model: {_target_: os.system}",
        "reward_model: {choice: linear}",
        "[]",
        "a: !!python/name:os.system",
    ):
        Path("bad/config.yaml").write_text(content)
        assert train.main(first) == 2
        found = capsys.readouterr().err
        assert "reward_model.run=bad: " in found and found.count("\n") == 1
    Path("bad/checkpoints").mkdir()
    Path("bad/config.yaml").write_bytes((learned / "states" / "config.yaml").read_bytes())
    Path("bad/checkpoints/step_000003.pt").write_bytes(b"\x80\x04cos\nsystem\n(S'touch exploded'\ntR.")
    assert train.main(first) == 2 and not Path("exploded").exists()
    assert "checkpoint step_000003.pt is damaged" in capsys.readouterr().err
