"""Every piece of advice that the package gives, "try ..." and "type ...", is provoked, typed and accepted."""

import ast
import importlib
import re
import shlex
import shutil
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest
import yaml

from prefrl_cli.cli import train
from prefrl_cli.config import messages
from prefrl_cli.config.build import build
from prefrl_cli.files.preferences import formats
from prefrl_cli.run import lifecycle, runner

PACKAGE = Path(train.__file__).parents[1]
OPRL, ADDITION = "experiment=oprl_maze", "experiment=addition_linear"
PIPE = r"[\w/]+(\|[\w/]+)*"  # choices beside each other: the first is typed

# Advice as the source has it, once for each place that gives it, and what provokes it: the line itself is then typed.
TYPED = [
    ("try {}={} or {}={}", [OPRL, "algorithm.episodes=300"]),
    ("try {}={}", [OPRL, "algorithm.evaluation_episodes=1"]),
    ("try episodes={}", [OPRL, "policy_update=rloo", "algorithm.episodes=1"]),
    ("try queries.start={}", [OPRL, "algorithm.episodes=1"]),
    ("try reward_model={}", [OPRL, "shaping=potential", "reward_model=implicit"]),
    ("try shaping={}", [OPRL, "shaping=potential", "policy_update=rloo"]),
    ("try reward_model.members={}", [OPRL, "queries=disagreement", "reward_model.members=1"]),
    ("try queries.segment={}", [OPRL, "queries.segment=61"]),
    ("type {}={}", [OPRL, "~optimizer"]),
    ("type {}={}", [OPRL, "exploration=falling"]),
    ("type {}={}", [OPRL, "shaping=potential", "~policy_update"]),
    ("type {}={}", [OPRL, "loss.nu=1"]),
    ("type {}={}", [OPRL, "env=addition"]),
    ("type {}={}", [OPRL, "env._target_=prefrl_cli.env.maze.Mase"]),
    ("type {}={}", [f"+{ADDITION}"]),
    ("type {}={}", ["--experiment", "addition_linear"]),
    ("type experiment={}", ["steps=3"]),
    ("type '{}=[{}]'", [OPRL, "optimizer.betas=0.9,0.99"]),
    ("try seed={}", [OPRL, "seed=4294967295", "num_seeds=2"]),
    ("try device=cpu", [OPRL, "device=foo"]),
    ("try device=cpu", [OPRL, "device=cuda:99"]),
    ("type logger={}", [ADDITION, "+logger.tensorboard.per_seed=true"]),
    ("type logger={}", [ADDITION, "+logger.tensorboard=3"]),
    ("try horizon={}", [OPRL, "env.horizon=5"]),
    ("try betas={}", [OPRL, "optimizer.betas=[0.9]"]),
    ("try {}.every=10", [OPRL, "checkpoint=3"]),
    ("try {}={}", [OPRL, "algorithm.evaluation_episodes=1000000", "num_seeds=1000"]),
    ("try {}={}", [OPRL, "env.size=2"]),
    ("try reward_model={}", ["experiment=cartpole", "reward_model=implicit"]),
    (
        "try queries={}",
        [OPRL, "env=pendulum", "policy=separate_actor_critic", "shaping=learned_reward", "queries=k_center"],
    ),
    ("try policy={}", ["experiment=pendulum", "policy=actor_critic"]),
    ("try reward_model={}", ["experiment=pendulum", "reward_model=true_step_advantage"]),
    ("try {}={}", [OPRL, "loss=soft", "loss.smoothing=measured"]),
    ("try scale={}", ["experiment=gymnasium", "env.id=CartPole-v1", "env.scale=[1,2]"]),
    ("try of={}", ["experiment=mountain_car", "criterion.of=speed"]),
    ("try workers=1", [OPRL, "num_seeds=2", "workers=2", "device=cuda"]),
    ("try workers={}", [OPRL, "workers=5"]),
    ("try {}.save=preferences.npz", [OPRL, "preferences=x"]),
    ("try {}=preferences.npz", [OPRL, "preferences.save=x.txt"]),
    ("try {}=preferences.npz", [OPRL, "preferences.save=a/b.npz"]),
]
# Advice that is no option alone: what provokes it, and what a person types then. `run` is a finished run, `sweep` a
# sweep, `mine` a folder for --config-dir, `file` a file, `learned` a run that learned a reward, `answers.npz` what it
# was taught, `untold.npz` the same without its environment, `vast.npz` with states that no maze here has; `build` is
# `train` that checks and builds and does not train.
QUICK = f"{ADDITION} steps=1 quiet=true"
FROM_FILE = "experiment=reward_from_file preferences.file"
FROZEN = f"{OPRL} reward_model=frozen"
LEARNED = f"{FROZEN} reward_model.run=learned"
HUMAN = f"{OPRL} teacher=human num_seeds=2"
THEN = [
    ("type output_dir=FOLDER to choose one", f"build {OPRL} hydra.run.dir=x", f"build {OPRL} output_dir=x"),
    ("type quiet=true to print errors only", f"build {OPRL} hydra.verbose=true", f"build {OPRL} quiet=true"),
    ("type -m, for one run leave it out", f"train {QUICK} seed=0,1 +hydra.mode=MULTIRUN", f"train -m {QUICK} seed=0,1"),
    ("type --help", f"build {OPRL} hydra.help.header=x", "build --help"),
    ("type --help", f"build {OPRL} hydra/help=default", "build --help"),
    ("type the option itself", f"build {OPRL} hydra.overrides.task=[steps=3]", f"build {OPRL} steps=3"),
    ("type one of them", f"build {OPRL} --info --cfg=job", f"build {OPRL} --cfg=job"),
    ("type --cfg job as well, or leave it out", f"build {OPRL} --resolve", f"build {OPRL} --resolve --cfg job"),
    (
        "type the values themselves, {}={}",
        f"train -m {QUICK} hydra.sweeper.params.seed=0,1",
        f"train -m {QUICK} seed=0,1",
    ),
    (
        "type the values themselves, such as -m seed=0,1",
        f"train -m {QUICK} hydra.sweeper.params={{seed:\\'0,1\\'}}",
        f"train -m {QUICK} seed=0,1",
    ),
    ("type {}=NAME", f"train -m {QUICK} hydra.sweeper=null", f"train -m {QUICK} hydra/sweeper=basic"),
    (
        "try {}=1",
        f"train -m {QUICK} hydra.sweeper.max_batch_size=0",
        f"train -m {QUICK} hydra.sweeper.max_batch_size=1",
    ),
    (
        "try {}=2",
        f"train -m {QUICK} seed=0,1 hydra/launcher=joblib hydra.launcher.n_jobs=100000",
        f"train -m --check {QUICK} seed=0,1 hydra/launcher=joblib hydra.launcher.n_jobs=2",
    ),
    ("type at least one value", f"train -m {QUICK} seed=range(0,0)", f"train -m {QUICK} seed=range(0,1)"),
    ("type one name", f"train -m {QUICK} output_dir=a,b", f"train -m {QUICK} output_dir=a"),
    ("type another folder", f"train -m {QUICK} output_dir=run", f"train -m {QUICK} output_dir=other"),
    ("type another folder", f"train -m {QUICK} output_dir=mine", f"train -m {QUICK} output_dir=other"),
    ("type output_dir=FOLDER", f"train -m {QUICK} output_dir=file/x", f"train -m {QUICK} output_dir=x"),
    (
        "type another output_dir, or its own options and more values",
        f"train -m {QUICK} seed=0 optimizer.lr=0.5 output_dir=sweep",
        f"train -m {QUICK} seed=0,1,2 output_dir=sweep",
    ),
    (
        "type --config-dir FOLDER for files of your own",
        "build --config-path=mine experiment=good",
        "build --config-dir=mine experiment=good",
    ),
    ("type one that is there", "build --config-dir=nowhere experiment=good", "build --config-dir=mine experiment=good"),
    ("type the name of a file in it", "build experiment=../experiment/oprl_maze", f"build {OPRL}"),
    (
        "type --config-dir {} {}={}",
        "build experiment=mine/experiment/good.yaml",
        "build --config-dir mine experiment=good",
    ),
    ("type --config-dir FOLDER {}={}", "build experiment=lost.yaml", "build --config-dir mine experiment=good"),
    (
        "type it on the command line instead",
        "build --config-dir=mine experiment=asks",
        "build --config-dir=mine experiment=good output_dir=${oc.env:HOME}",
    ),
    (
        "type it on the command line instead",
        "build --config-dir=mine experiment=writes",
        "build --config-dir=mine experiment=good output_dir=x",
    ),
    (
        "type it on the command line instead",
        "build --config-dir=mine experiment=copies",
        "build --config-dir=mine experiment=good hydra.job.env_copy=[HOME]",
    ),
    (
        "type +{}=VALUE on the command line instead",
        "build --config-dir=mine experiment=sets",
        "build --config-dir=mine experiment=good +hydra.job.env_set.A=1",
    ),
    (
        "type that on the command line",
        "build --config-dir=mine experiment=allows",
        "build --config-dir=mine experiment=allows allow_targets=[os]",
    ),
    ("type {}={}", "build --config-dir=mine experiment=value", "build --config-dir=mine experiment=good env=maze"),
    ("type {}={}", f"build {OPRL} +env.choice=maze", f"build {OPRL} env=maze"),
    ("type --config-dir {} as well", "train resume=others", "train resume=others --config-dir=MADE/mine"),
    ("type its own command again, with output_dir={}", "train resume=half", f"train {QUICK} output_dir=half"),
    ("type prefrl train {} ...", f"prefrl {OPRL}", f"prefrl train {OPRL}"),
    ("type prefrl {}, or prefrl --help", "prefrl", "prefrl --help"),
    ("type prefrl-train experiment=NAME, or --help", "build", "build --help"),
    ("type prefrl-study NAME, or --list", "study", "study --list"),
    ("type prefrl-evaluate RUN_DIR, or --help", "evaluate", "evaluate run"),
    ("type --json FILE", "evaluate run --json", "evaluate run --json found.json"),
    ("type prefrl-reproduce RUN_DIR, or --help", "reproduce", "reproduce run quiet=true"),
    ("type another folder", "reproduce run output_dir=sweep", "reproduce run quiet=true output_dir=again"),
    ("type a run directory or a folder", "report nowhere", "report run"),
    ("type another folder", "report run -o run/charts", "report run -o found"),
    ("type -o DIR", "report run -o foreign", "report run -o found"),
    ("type -o DIR", "report run -o file/x", "report run -o found"),
    ("type output_dir=FOLDER", f"train {QUICK} output_dir=file/x", f"train {QUICK} output_dir=x"),
    ("type another folder", f"train {QUICK} output_dir=sweep", f"train {QUICK} output_dir=x"),
    (
        "type another folder, or to go on resume={}",
        f"train {QUICK} output_dir=run",
        "train resume=run steps=5 quiet=true",
    ),
    ("type another folder", f"train {QUICK} output_dir=mine", f"train {QUICK} output_dir=x"),
    ("type resume=RUN_DIR", "train resume=latest", "train resume=run steps=5 quiet=true"),
    ("type resume=RUN_DIR, or resume=latest", "train resume=", "train resume=run steps=5 quiet=true"),
    ("type the folder that prefrl-train printed", "train resume=nowhere", "train resume=run steps=5 quiet=true"),
    ("type only NAME=VALUE, such as steps=200", "train resume=run --cfg job", "train resume=run steps=5 quiet=true"),
    (
        "type only NAME=VALUE, such as steps=200",
        "train resume=run nonsense",
        "train resume=run steps=5 quiet=true",
    ),
    ("type a larger steps=N", "train resume=run", "train resume=run steps=5 quiet=true"),
    (
        "type a larger steps=N as well{}",
        "train resume=run output_dir=new quiet=true",
        "train resume=run output_dir=new steps=5 quiet=true",
    ),
    (
        "type output_dir=NEW as well, to go on with the run itself type resume={}",
        "train resume=run/checkpoints/step_000002.pt quiet=true",
        "train resume=run/checkpoints/step_000002.pt quiet=true output_dir=new",
    ),
    (
        "type the sweep's own command again",
        "train resume=unreadable",
        f"train -m {QUICK} output_dir=unreadable",
    ),
    ("type workers=1", f"train {HUMAN} workers=2 output_dir=x", f"train --check {HUMAN} workers=1 output_dir=x"),
    ("type reward_model.run=RUN_DIR, of a run that learned a reward", f"build {FROZEN}", f"build {LEARNED}"),
    ("type the folder of a run that has learned a reward", f"build {FROZEN} reward_model.run=x", f"build {LEARNED}"),
    ("type another run", f"build {FROZEN} reward_model.run=run", f"build {LEARNED}"),
    ("type another run", f"build {LEARNED} env.size=5", f"build {LEARNED}"),
    ("type {}=FILE", f"build {FROM_FILE}=nope.npz", f"build {FROM_FILE}=answers.npz"),
    ("try {}={}", f"build {FROM_FILE}=answers.npz env.size=5", f"build {FROM_FILE}=answers.npz"),
    (
        "try {}={}",
        f"build {FROM_FILE}=untold.npz env=cartpole",
        f"build {FROM_FILE}=untold.npz env=recorded",
    ),
    ("try {}={}", f"build {FROM_FILE}=vast.npz", f"build {FROM_FILE}=vast.npz env=recorded"),
    (
        "try {}={}",
        f"build {FROM_FILE}=answers.npz algorithm.held_out=0.999",
        f"build {FROM_FILE}=answers.npz algorithm.held_out=0.0",
    ),
    (
        "try {}={}",
        "build experiment=reward_from_file env=recorded",
        f"build {FROM_FILE}=answers.npz env=recorded",
    ),
    (
        "try answers={}",
        f"build {FROM_FILE}=answers.npz algorithm.held_out=0.0 algorithm.answers=100000",
        f"build {FROM_FILE}=answers.npz algorithm.held_out=0.0 algorithm.answers=1",
    ),
    ("type prefrl-convert IN OUT, or --help", "convert answers.npz", "convert answers.npz x.jsonl"),
    ("type another name", "convert answers.npz untold.npz", "convert answers.npz x.npz"),
]
# What names another program's affair or one of the machine's, or is said at a moment that takes long to make; where it
# is tested.
TOLD = [
    ("type {}", "is typed instead, in another group: test_cli_errors"),
    ("type criterion={}", "is typed instead: test_cli_errors"),
    ("type {}=VALUE", "an option that is called otherwise now: test_cli_errors"),
    ("type num_seeds={} or more.", "a run of one seed: test_statistics"),
    ("type of a tensor: {}", "is no advice"),
    ("type or shape than any of ours", "is no advice"),
    ("type 'allow_targets=[{}]'", "names code of one's own: test_safety"),
    ("try criterion={}", "an environment that tells no distance: test_teachers"),
    ("try {}={}", "a bootstrapped time limit: test_environments"),
    ("type a folder that is, or leave it out", "a folder for --config-dir: test_own_files"),
    ("type fewer values", "test_sweep"),
    ("type {}={}", "a part that lacks a method: test_documented"),
    ("type {}", "another program's name: test_typed"),
    ("type {}", "a name without its group: test_typed"),
    ("type {}", "an option that has moved: test_teachers"),
    ("type {}", "a choice without its group: test_typed"),
    ("type {}={}", "an option and its value in two words: test_typed"),
    ("type resume=latest", "test_typed"),
    ("type seed={}, or without -m, together in one process, {}", "test_typed"),
    ("type the run's own command again", "test_typed"),
    ("try smaller sizes", "memory is checked first"),
    ("try a smaller {}", "test_advice_of_a_resume"),
    ("try steps={}", "test_advice_of_a_resume"),
    ("type optimizer.decay_steps=N as well, larger than {}", "test_advice_of_a_resume"),
    ("type ~GROUP", "test_advice_for_a_group"),
    ("type {}", "test_a_full_disk_names_the_folder"),
    ("type {}", "charts that cannot be drawn: test_beside_a_run"),
    ("type cd to go to another one", "a folder that was deleted: test_command_ends"),
    ("type cd to go to another one", "a folder on a disk that is gone"),
    ("type prefrl-train resume={}", "test_resume"),
    ("type another folder, or remove this one", "killed as it began: test_own_files"),
    ("type output_dir=FOLDER", "a thousand runs of one second"),
    ("type another folder", "a study's folder: test_study_files"),
    ("type one NAME", "test_study"),
    ("type one of them", "test_study_files"),
    ("type it with prefrl-train instead", "test_study_files"),
    ("type --output-dir DIR", "a study's folder: test_study_files"),
    ("type that row with prefrl-train instead", "test_study_files"),
    ("type the same command again", "test_command_ends"),
    ("type the same command again, or {}", "test_sweep"),
    ("type the sweep's own command again", "test_the_record_of_someone_elses_sweep_runs_nothing"),
    ("type the command again later", "test_launchers"),
    ("type minimize or maximize", "of Optuna: test_launchers"),
    ("type objective=NAME", "of Optuna: test_launchers"),
    ("type objective=NAME, one of {}", "of Optuna: test_launchers"),
    ("type {}=N with a larger N, or another output_dir", "of Optuna: test_launchers"),
    ("type pip install 'prefrl[{}]'", "another program's command"),
    ("type pip install 'prefrl[{}]'", "another program's command"),
    ("type pip install 'prefrl[{}]' if you want it", "another program's command"),
    ("type pip install '{}{}'", "another program's command"),
    ("type pip install '{}{}'", "another program's command"),
    ("type pip install -e . in the clone", "another program's command"),
    ("type unset {}", "another program's command"),
    ("type {}={} before the command", "of the processor: test_processor"),
    ("type prefrl-doctor to see which sizes do", "of the processor: test_processor"),
    ("type {}={} as well", "a tracker elsewhere: test_loggers"),
    ("type store=sqlite:///PATH of what it leads to", "a link of one's own: test_loggers"),
    ("type its own path beside it", "a link of one's own: test_report"),
    ("type make({}, {}", "Python: test_api"),
    ("type one that holds runs, such as outputs", "Python: test_api"),
    ("type pip install pandas", "another program's command"),
    ("type whole numbers, or observations of {} features in the last axis", "Python: test_api"),
    ("type a linked folder's path to include it", "a link of one's own: test_report"),
    ("try {}={}", "an address that the machine has not: test_label_page"),
    ("try {}={}", "a port that is taken: test_label_page"),
    ("try --port=8000", "a page waits for a person then: test_label_command"),
    ("type a file with some that have none", "a page waits for a person then: test_label_command"),
    ("type a file of preferences or a run's folder", "a page waits for a person then: test_label_command"),
    ("type the command\nagain to go on where you stopped.", "is no refusal: test_label_command"),
    ("type data=FILE as well", "labels of others: test_preferences_of_others"),
    ("type segment={} or less", "episodes of others: test_preferences_of_others"),
    ("type segment=100 or so", "labels of others: test_preferences_of_others"),
    ("type env=ID, or nothing", "of the doctor: test_gymnasium"),
    ("try horizon={}", "an environment of one's own: test_gymnasium"),
    ("try keys={}", "an environment of one's own: test_gymnasium"),
    ("try keys={}", "an environment of one's own: test_gymnasium"),
    ("try told={}", "an environment of one's own: test_gymnasium"),
    ("try teacher={}", "an environment that draws nothing: test_person"),
    ("try teacher.port={}", "a port that is taken: test_person"),
    ("type 'allow_targets=[{}]' too", "names code of one's own: test_gymnasium"),
    ("try file={}", "a run that a person taught: test_person"),
    ("try file={}", "a run that a person taught: test_person"),
    ("type prefrl-train resume={}", "a second Ctrl-C: test_resume"),
    ("type output_dir=NEW as well", "a folder that cannot be written: test_own_files"),
    ("type prefrl-train resume={}", "a worker that was killed: test_workers"),
    ("type pip install 'prefrl[{}]'", "another program's command"),
    ("type pip install 'prefrl[gymnasium]'", "another program's command"),
    ("type pip install 'prefrl[hdf5]'", "another program's command"),
]


def texts(tree):
    """Every text of a module that is no docstring, `{}` for what is put into it."""
    documented = (ast.Module, ast.ClassDef, ast.FunctionDef)
    first = [node.body[0] for node in ast.walk(tree) if isinstance(node, documented) and node.body]
    skipped = {id(one.value) for one in first if isinstance(one, ast.Expr)}
    skipped |= {id(part) for node in ast.walk(tree) if isinstance(node, ast.JoinedStr) for part in node.values}
    for node in ast.walk(tree):
        if id(node) in skipped:
            continue
        if isinstance(node, ast.JoinedStr):
            yield "".join(part.value if isinstance(part, ast.Constant) else "{}" for part in node.values)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.value


def advice():
    """Each piece of advice of the package, once for each place."""
    for path in sorted(PACKAGE.rglob("*.py")):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        for text in texts(tree):
            yield from re.findall(r"(?:(?<=[;,: ])|^)(?:try|type) [^;?)]+", text)
        for node in ast.walk(tree):
            if isinstance(node, ast.Call) and ast.unparse(node.func) == "OptionError" and len(node.args) == 4:
                option, *_, instead = node.args
                if isinstance(instead, ast.Dict):
                    yield "try " + " or ".join("{}={}" for _ in instead.keys)
                else:
                    yield f"try {option.value if isinstance(option, ast.Constant) else '{}'}={{}}"


def test_every_piece_of_advice_has_a_case():
    """So many cases of each as places that give it."""
    cases = Counter(words for words, *_ in (*TYPED, *THEN, *TOLD))
    places = Counter(advice())
    assert places - cases == Counter(), "advice without a case"
    assert cases - places == Counter(), "a case without advice"


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(runner, "draw", lambda *_: None)
    return tmp_path


@pytest.fixture
def only_built(monkeypatch):
    """Runs are checked and built, and not trained."""
    built = []

    def run_job(config, overrides, page=None):
        build(config)
        built.append(overrides)
        return "finished"

    monkeypatch.setattr(lifecycle, "run_job", run_job)
    monkeypatch.setattr(messages, "require", lambda _: None)  # as if all were installed
    return built


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """What the commands of `THEN` are typed beside."""
    folder = tmp_path_factory.mktemp("made")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setattr(runner, "draw", lambda *_: None)
        quick = ["quiet=true", "checkpoint.every=2"]
        assert train.main([ADDITION, "steps=4", "output_dir=run", *quick]) == 0
        assert train.main(["-m", *QUICK.split(), "seed=0,1", "output_dir=sweep"]) == 0
        learns = [OPRL, "steps=4", "output_dir=learned", "preferences.save=answers.npz"]
        assert train.main([*learns, *quick]) == 0
    shutil.copy(folder / "learned" / "answers.npz", folder)
    data = formats.load(folder / "answers.npz")
    formats.save(folder / "untold.npz", replace(data, about={}))
    formats.save(folder / "vast.npz", replace(data, about={}, states=data.states + 1000))
    for name in ("run/charts", "foreign", "unreadable", "others", "half", "mine/experiment"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    for name in ("file", "foreign/report.html"):
        (folder / name).write_text("mine")
    (folder / "half" / "status.json").write_text("")
    (folder / "unreadable" / "sweep.yaml").write_text("- no record")
    flags = [f"--config-dir={folder / 'mine'}"]
    others = {"overrides": ["experiment=good", "quiet=true"], "flags": flags, "finished": False}
    (folder / "others" / "sweep.yaml").write_text(yaml.safe_dump(others))
    of_maze = "# @package _global_\ndefaults:\n  - oprl_maze\n  - _self_\n"
    (folder / "lost.yaml").write_text(of_maze)
    for name, line in {
        "good": "steps: 3",
        "asks": "output_dir: ${oc.env:HOME}",
        "writes": "output_dir: x",
        "sets": "hydra: {job: {env_set: {A: 1}}}",
        "copies": "hydra: {job: {env_copy: [A]}}",
        "allows": "allow_targets: [os]",
        "value": "env: 3",
    }.items():
        (folder / "mine" / "experiment" / f"{name}.yaml").write_text(f"{of_maze}{line}\n")
    return folder


def told(arguments, capsys):
    """The one line of a refused command."""
    assert train.main(arguments) == 2
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1, lines
    return lines[0]


def with_advice(arguments, line):
    """The arguments with what the line says to try or to type in their places."""
    words = re.search(r"; (?:try|type|did you mean) (.*?)(?: or .*)?\??$|; for a sweep .* type (.*)$| type (.*)$", line)
    cure = next(one for one in words.groups() if one)
    (text,) = shlex.split(cure)
    name, _, value = text.partition("=")
    typed = {one: one.lstrip("+~").partition("=")[0] for one in arguments if not one.startswith("--")}
    kept = [one for one in typed if name != typed[one] and not name.startswith(f"{typed[one]}.")]
    kept = [one for one in kept if one != value and not one.startswith((f"+{name}.", f"{name}._target_"))]
    group = [one for one in kept if one.startswith("~")]
    return [one for one in kept if one not in group], f"{name}={value.partition('|')[0] if '[' not in value else value}"


def pattern(words):
    return re.escape(words).replace(r"\{\}", ".+?").replace("try\\ ", "try (?:[a-z_]+\\.)?")


@pytest.mark.parametrize(("words", "arguments"), TYPED, ids=[f"{words} {typed[-1]}" for words, typed in TYPED])
def test_it_is_accepted_when_typed(words, arguments, only_built, capsys):
    line = told(arguments, capsys)
    assert re.search(pattern(words), line), line
    kept, cure = with_advice(arguments, line)
    for _ in range(3):  # a part that is chosen anew may need another one, which is told in turn
        if train.main([*kept, cure]) == 0:
            break
        line = capsys.readouterr().err.splitlines()[-1]
        kept, cure = with_advice([*kept, cure], line)
    assert only_built and not capsys.readouterr().err, line


@pytest.mark.parametrize(("words", "refused", "then"), THEN, ids=[f"{words} {refused}" for words, refused, _ in THEN])
def test_what_is_typed_then_is_accepted(words, refused, then, made, here, request, capsys):
    shutil.copytree(made, here, dirs_exist_ok=True)
    if refused.split()[0] in ("build", "prefrl"):
        request.getfixturevalue("only_built")

    def typed(text):
        command, *arguments = shlex.split(text.replace("MADE", str(made)))
        name = "__main__" if command == "prefrl" else f"cli.{command.replace('build', 'train')}"
        return importlib.import_module(f"prefrl_cli.{name}").main(arguments)

    assert typed(refused) > 0
    line = capsys.readouterr().err.splitlines()[0]
    assert re.search(f"{pattern(words)}( |;|,|$)", line), line
    assert typed(then) == 0, capsys.readouterr().err


def test_advice_for_nothing(capsys, only_built):
    assert train.main([]) == 2
    said = capsys.readouterr().err.splitlines()
    assert "type prefrl-train experiment=NAME, or --help" in said[0]
    assert train.main([ADDITION]) == 0 and train.main(["--help"]) == 0


def test_advice_for_a_group(capsys, only_built):
    line = told([OPRL, "optimizer=null"], capsys)
    assert "such as optimizer=adam; to leave one out type ~GROUP" in line
    assert train.main([OPRL, "optimizer=adam"]) == 0
    assert train.main([OPRL, "~loss"]) == 0


def test_advice_of_a_resume(capsys):
    """Each is typed in turn; the run is made longer each time."""
    run = [ADDITION, "steps=4", "optimizer.decay_steps=4", "output_dir=run", "quiet=true", "checkpoint.every=2"]
    assert train.main(run) == 0
    assert "to extend it type a larger steps=N" in told(["resume=run"], capsys)
    assert "must be" not in told(["resume=run", "steps=3"], capsys)
    assert train.main(["resume=run", "steps=6"]) == 0
    assert "type optimizer.decay_steps=N as well, larger than 4" in capsys.readouterr().out
    assert train.main(["resume=run", "steps=8", "optimizer.decay_steps=20", "quiet=true"]) == 0
    assert "such as steps=200" in told(["resume=run", "~env"], capsys)
    assert train.main(["resume=run", "steps=10", "optimizer.clip=1.0", "quiet=true"]) == 0
    status = Path("run", "status.json")
    status.write_text(status.read_text().replace("finished", "interrupted"))
    line = told(["resume=run", "steps=4"], capsys)
    assert line.endswith("; try steps=10")
    assert train.main(["resume=run", "steps=10", "quiet=true"]) == 0


def test_a_full_disk_names_the_folder(capsys, monkeypatch):
    from prefrl_cli.files.checkpoints import Checkpoints

    def full(*_):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(Checkpoints, "save", full)
        assert train.main([ADDITION, "steps=4", "output_dir=my run", "quiet=true"]) == 1
    said = capsys.readouterr().err
    typed = re.search(r"to go on type (prefrl-train .*?);", said)[1]
    assert shlex.split(typed) == ["prefrl-train", "resume=my run"]
    assert train.main([*shlex.split(typed)[1:], "quiet=true"]) == 0
