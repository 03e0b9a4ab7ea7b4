"""The commands: exit statuses, mistakes, help with examples, light imports, and `tune`."""

from __future__ import annotations

import json
import os
import re
import resource
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import click
import pytest

from study import cli, launch
from study.cli import commands, execute, tune_commands
from study.planning import needs
from study.question.config import StudyConfig
from trainables.errors import UserError
from trainables.loading import validate

Event = dict[str, Any]

REPOSITORY = Path(__file__).resolve().parents[2]


def study(*arguments: str | Path) -> int:
    return execute(commands, "study", [str(a) for a in arguments])


def test_what_was_measured_when_a_study_began_makes_no_other_study() -> None:
    def of(measured: dict[str, dict[str, float | None]] | None) -> StudyConfig:
        return validate(StudyConfig, {"name": "x", "measured": measured})

    begun = SimpleNamespace(config=of({"sw": {"fertility": 2.0}}))
    for given in (None, {"sw": {"fertility": 3.0}}):
        launch.same_configuration(of(given), begun)  # type: ignore[arg-type]


def test_an_arm_that_was_left_out_where_a_study_began_makes_no_other_study() -> None:
    def of(left_out: dict[str, str]) -> StudyConfig:
        return validate(StudyConfig, {"name": "x", "search": {"left_out": left_out}})

    for began, here in (({"synonyms": "no words"}, {}), ({}, {"synonyms": "no words"})):
        launch.same_configuration(of(here), SimpleNamespace(config=of(began)))  # type: ignore[arg-type]


def test_a_study_from_before_there_was_a_choice_of_words_is_the_same_study() -> None:
    def of(words: str | None) -> StudyConfig:
        return validate(StudyConfig, {"name": "x", "trial": {"task": {"name": "udpos", "words": words}}})

    launch.same_configuration(of("fused"), SimpleNamespace(config=of(None)))  # type: ignore[arg-type]
    with pytest.raises(UserError, match=r'trial\.task\.words: the existing study has "syntactic"'):
        launch.same_configuration(of("fused"), SimpleNamespace(config=of("syntactic")))  # type: ignore[arg-type]


@pytest.fixture
def never_starts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fail the test if a study that must be refused is started."""

    def start(*arguments: object, **named: object) -> int:
        raise AssertionError("the study was started")

    monkeypatch.setattr(launch, "_execute", start)


# (file, or None for the quickstart; arguments; part of the line that is printed)
MISTAKES: list[tuple[str | None, Sequence[str], str]] = [
    (None, ["search.spac=adversarial"], "search.spac: unknown key 'spac', did you mean 'space'? (got \"adversarial\")"),
    (None, ["trial.perturbation.epsilon=-1"], "trial.perturbation.epsilon: must be at least 0 (got -1)"),
    (None, ["name=a/b"], "name: must be letters, digits"),
    (None, ["name=.."], "name: must be letters, digits"),
    (None, ["search.space=adversarail"], "search.space: unknown space, did you mean 'adversarial'?"),
    (None, ["search.space=missing.yaml"], "missing.yaml: no such file"),
    (None, ["search.space={perturbation.epsilom: [1]}"], "unknown key 'epsilom', did you mean 'epsilon'?"),
    (None, ["search.space={perturbation.epsilon: {type: float, low: -1, high: 1}}"], "outside of the field's range"),
    (None, ["search.space={perturbation.epsilon: {type: float, low: 2, high: 1}}"], "must be more than low, 2"),
    (None, ["search.space={task.name: [intents]}"], "all trials of a study share task and evaluation"),
    (None, ["search.sampler=grid"], "search.sampler: mode search takes one of tpe, gp, nsga2, random (got 'grid')"),
    (None, ["search.objectives=[{reduce: target_mean}]"], "does not allow to select by labels of all target languages"),
    (None, ["search.objectives=[{reduce: 'language:af'}]"], "does not allow to select by labels of af"),
    (None, ["search.objectives=[{reduce: selection_meen}]"], "unknown reduction, did you mean 'selection_mean'?"),
    (None, ["protocol.pivots=[]"], "protocol.pivots: pivot_validation needs at least one language"),
    (None, ["protocol.primary_endpoint=best"], "protocol.primary_endpoint: unknown reduction"),
    (None, ["search.pruner=median", "trial.evaluation.every=null"], "search.pruner: needs trial.evaluation.every"),
    (None, ["search.enqueue=[{perturbation.epsilon: 9}]"], "search.enqueue[0]: perturbation.epsilon: the dimension"),
    (None, ["search.trials=1"], "search.trials: must be at least 2"),
    (None, ["trial.training.seed=1073741824"], "trial.training.seed: must be below 1073741824"),
    (None, ["trial.perturbation.method=adversarail"], "method: unknown method, did you mean 'adversarial'?"),
    (None, ["trial.perturbation.method=smart"], "method: search.space holds it at adversarial in every trial; with"),
    (None, ["[0]=1"], "[0]: must be keys between dots, entries of a list as in a.b[0].c (got 1)"),
    (None, ["search.objectives[0]metric=f1"], "search.objectives[0]metric: must be keys between dots"),
    ("task: {name: intents}", [], "mine.yaml: is what one trial is, not a study: run it with python -m trainables"),
    (None, ["search.objectives[1].metric=f1"], "search.objectives[1].metric: has 1 entries here, give all: search."),
    (
        None,
        ["search.space=null", "trial.augmentation={method: code_switching, resource: nowhere.tsv}"],
        "trial.augmentation.resource: cannot be read",
    ),
    (None, ["trial.augmentation.method=synonym"], "augmentation.method: unknown method, did you mean 'synonyms'?"),
    (None, ["trial.task.name=intnts"], "trial.task.name: unknown task, did you mean 'intents'?"),
    (None, ["trial.task.name=mine.yaml"], "mine.yaml: no such file"),
    (None, ["trial.task.source_language=xx"], "trial.task.source_language: intents has train rows only in en"),
    (None, ["trial.task.target_languages=[de, qq]"], "task.target_languages: intents has validation rows only in"),
    (None, ["protocol.pivots=[de, qq]"], "protocol.pivots: must be languages with a validation split (got 'qq')"),
    (None, ["protocol.groups={few: [qq]}"], "protocol.groups.few: must be languages the task evaluates (got 'qq')"),
    (None, ["trial.task.data_dir=nowhere", "trial.task.name=xnli"], "trial.task.data_dir: must be a folder (got "),
    (None, ["trial.encoder.name_or_path=./nowhere"], "trial.encoder.name_or_path: must be offline:e5-small, a local"),
    (None, ["trial.encoder.name_or_path=offline:e6"], "(got 'offline:e6': no such embedded encoder)"),
    (None, ["trial.encoder.name_or_path=."], "no readable model.safetensors in it)"),
    (None, ["search.space={encoder.name_or_path: [nobody/nothing]}"], "(got 'nobody/nothing': not fetched yet, and "),
    (None, ["trial.training.batch_size=many"], "trial.training.batch_size: "),
    (None, ["trial.training=fast"], "trial.training: "),
    (None, ["search.trials"], "search.trials: an argument looks like path=value"),
    (None, ["tracking.uri=httq://x"], "tracking.uri: "),
    (None, ["tracking.uri=http://"], "tracking.uri: "),
    (None, ["scaling.cpus_per_worker=4096"], "scaling: one trial needs 4096 CPUs, this machine has"),
    (None, ["scaling.workers_per_trial=999"], "scaling: one trial needs 999 CPUs, this machine has"),
    (None, ["scaling.gpus_per_worker=64"], "scaling: one trial needs 64 GPUs, this machine has"),
    ("- a list", [], "must be a mapping of keys to values (got a list)"),
    ("", [], "(got an empty file)"),
    ("name: [x", [], "mine.yaml: not valid YAML"),
    ("name: x\nname: y", [], "name: key given twice (line 2)"),
    ("name: x\ntrial: [1]", [], "trial: must be a mapping of keys to values (got [1])"),
    ("name: x\ntrial: {task: {source_language: no}}", [], "trial.task.source_language: YAML reads a bare no"),
]  # fmt: skip


@pytest.mark.usefixtures("never_starts")
@pytest.mark.parametrize(("text", "arguments", "line"), MISTAKES, ids=[m[2][:50] for m in MISTAKES])
def test_a_mistake_is_one_line_and_nothing_is_written(
    tmp_path: Path, capsys: Any, monkeypatch: pytest.MonkeyPatch, text: str | None, arguments: Sequence[str], line: str
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    config = "quickstart"
    if text is not None:
        config = "mine.yaml"
        (tmp_path / config).write_text(text)
    before = sorted(tmp_path.iterdir())
    assert study("run", config, *arguments) == 2
    out, err = capsys.readouterr()
    assert line in err
    if "".join(arguments).startswith("trial.task.name="):  # an unknown task: nothing else can be said of the study
        assert err.startswith("trial.task.name: ") and len(err.splitlines()) == 1
    assert "Traceback" not in err
    assert out == ""
    assert sorted(tmp_path.iterdir()) == before


@pytest.mark.usefixtures("never_starts")
@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["run", "quickstrat"], "CONFIG: unknown recipe, did you mean 'quickstart'? (got 'quickstrat')"),
        (["run", "nowhere/mine.yaml"], "nowhere/mine.yaml: no such file"),
        (["run", "."], ".: must be a YAML file (got a folder)"),
        (
            ["resume", "nothing"],
            "nothing: no such study under studies; there is no such folder in {here}, --root names another",
        ),
        (
            ["show", "nothing"],
            "nothing: no such study under studies; there is no such folder in {here}, --root names another",
        ),
        (["spaces", "nothing"], "unknown space"),
        (["describe", "quickstart", "search.trials=0"], "search.trials: must be at least 1 (got 0)"),
        (["run"], "Missing argument 'CONFIG'"),
        (["rn"], "No such command 'rn'"),
        (["run", "quickstart", "--fast"], "No such option"),
        (["run", "quickstart", "--max-failures", "0"], "--max-failures"),
        (["ls"], "--root: no such folder in {here} (got studies)"),
        (["mlflow"], "root: no such folder in {here} (got 'studies')"),
        (["mlflow", "--root", "."], "no study under it was tracked"),
        (["show", "nothing", "--root", "/nowhere/at/all"], "under /nowhere/at/all; there is no such folder, --root"),
        (["show", "nothing", "--root", "."], "nothing: no such study under ., known: none"),
        (
            ["confirm", "nothing"],
            "nothing: no such study under studies; there is no such folder in {here}, --root names another",
        ),
        (
            ["rebuild", "nothing", "--optuna"],
            "nothing: no such study under studies; there is no such folder in {here}, --root names another",
        ),
        (["plan", "quickstrat"], "CONFIG: unknown recipe, did you mean 'quickstart'? (got 'quickstrat')"),
        (
            ["plan", "quickstart", "--pilot", "nothing"],
            "nothing: no such study under studies; there is no such folder in {here}, --root names another",
        ),
        (["plan", "quickstart", "--examples", "1"], "'--examples': 1 is not in the range x>=2"),
        (["plan", "quickstart", "protocol.confirm_seeds=2"], "protocol.confirm_seeds: must be at least 3 (got 2)"),
        (["report"], "report: name a study, or give a file of results with --from"),
    ],
)
def test_other_mistakes(
    tmp_path: Path, capsys: Any, monkeypatch: pytest.MonkeyPatch, arguments: list[str], line: str
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("STUDY_ROOT", raising=False)
    assert study(*arguments) == 2
    assert line.replace("{here}", str(tmp_path)) in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


@pytest.mark.usefixtures("never_starts")
def test_a_root_that_is_a_file(tmp_path: Path, capsys: Any) -> None:
    (tmp_path / "file").write_text("")
    assert study("run", "quickstart", "--root", tmp_path / "file" / "studies") == 2
    assert "--root: must be a folder" in capsys.readouterr().err


@pytest.mark.usefixtures("never_starts")
def test_a_root_that_cannot_be_written(tmp_path: Path, capsys: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "access", lambda path, mode: False)  # tests may run as root, who may write anywhere
    assert study("run", "quickstart", "--root", tmp_path / "studies") == 2
    assert "--root: must be writable" in capsys.readouterr().err


@pytest.mark.usefixtures("never_starts")
def test_a_disk_that_is_too_small(tmp_path: Path, capsys: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(needs, "together", lambda configs: 2**80)
    assert study("run", "quickstart", "--root", tmp_path / "studies") == 2
    assert "GiB for checkpoints (got" in capsys.readouterr().err


@pytest.fixture
def root(write_study: Callable[..., Path], events: list[Event]) -> Path:
    return write_study(events)


@pytest.fixture
def same(tmp_path: Path, events: list[Event]) -> Path:
    """The file of the study that `root` holds."""
    path = tmp_path / "same.yaml"
    path.write_text(json.dumps(events[0]["config"]))
    return path


@pytest.mark.usefixtures("never_starts")
def test_a_finished_study_shows_its_result(root: Path, same: Path, capsys: Any) -> None:
    assert study("run", same, "--root", root) == 0
    assert "Best trial 2 against the unperturbed baseline (trial 0)" in capsys.readouterr().out
    assert study("resume", "small", "--root", root) == 0


@pytest.mark.usefixtures("never_starts")
def test_a_name_in_use_is_refused_with_what_differs(root: Path, same: Path, capsys: Any) -> None:
    assert study("run", same, "search.trials=9", "trial.training.seed=3", "--root", root) == 2
    assert capsys.readouterr().err.splitlines() == [
        "trial.training.seed: the existing study has 0 (got 3)",
        "search.trials: the existing study has 4 (got 9)",
        "name: small is the name of a study with another configuration; choose another with name=…",
    ]


@pytest.mark.usefixtures("never_starts")
def test_an_unfinished_study_says_how_to_go_on(
    write_study: Callable[..., Path], events: list[Event], same: Path, capsys: Any
) -> None:
    root = write_study(events[:8])
    assert study("run", same, "--root", root) == 2
    assert "go on with study resume small" in capsys.readouterr().err
    assert study("show", "small", "--root", root) == 0
    assert "Not finished: study resume small" in capsys.readouterr().out


def test_a_study_whose_driver_was_killed_as_it_began_begins(
    write_study: Callable[..., Path], same: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    """It had opened the ledger, and written no more."""
    begun: list[str] = []
    monkeypatch.setattr(launch, "_execute", lambda config, *_, **__: begun.append(config.name) or 0)
    root = write_study([])
    assert study("run", same, "--root", root) == 0 and begun == ["small"]
    assert study("resume", "small", "--root", root) == 2
    assert "small: has not begun, its ledger does not say yet what is asked; study run begins it" in (
        capsys.readouterr().err
    )
    assert study("ls", "--root", root) == 0
    assert re.search(r"small +not begun", capsys.readouterr().out)
    assert study("rm", "small", "--yes", "--root", root) == 0 and not (root / "small").exists()


def test_max_failures_does_not_make_another_study(root: Path, same: Path) -> None:
    assert study("run", same, "search.max_failures=3", "--root", root) == 0


def test_confirm_passes_its_options_on(root: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    heard: dict[str, Any] = {}
    monkeypatch.setattr(
        "study.execution.confirm.confirm_study", lambda place, **named: heard.update(named, name=place.name)
    )
    assert study("confirm", "small", "--root", root, "--runners-up", "2", "--again", "--quiet") == 0
    assert (heard["name"], heard["runners_up"], heard["again"], heard["take_over"]) == ("small", 2, True, False)
    assert "Best trial 2" in capsys.readouterr().out


def test_an_interrupted_command_says_how_to_go_on(root: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    def interrupted(*arguments: object, **named: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("study.execution.confirm.confirm_study", interrupted)
    assert study("confirm", "small", "--root", root) == 130
    assert capsys.readouterr().err.strip() == f"interrupted; go on with study confirm small --root {root}"


def test_who_has_no_home_is_at_home_in_the_cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(os.path, "expanduser", lambda path: path)  # what it does for a user without a home
    monkeypatch.setenv("HOME", "")
    monkeypatch.setenv("STUDY_CACHE", str(tmp_path))
    monkeypatch.setattr(cli, "execute", lambda *_: 0)
    with pytest.raises(SystemExit):
        cli.main([])
    assert os.environ["HOME"] == str(tmp_path)


def test_rebuild(root: Path, capsys: Any) -> None:
    assert study("rebuild", "small", "--root", root) == 2
    assert "name a view, --optuna or --mlflow or both" in capsys.readouterr().err
    assert study("rebuild", "small", "--root", root, "--optuna") == 0
    import optuna

    storage = f"sqlite:///{root / 'small' / 'optuna.db'}"
    assert len(optuna.load_study(study_name="small", storage=storage).trials) == 4


@pytest.mark.parametrize(("outcome", "status"), [(0, 0), (1, 1), (KeyboardInterrupt(), 130), (click.Abort(), 130)])
def test_exit_status(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, outcome: Any, status: int) -> None:
    def start(*arguments: object, **named: object) -> int:
        if isinstance(outcome, BaseException):
            raise outcome
        return int(outcome)

    monkeypatch.setattr(launch, "_execute", start)
    assert study("run", "quickstart", "--root", tmp_path) == status


def test_a_study_without_a_completed_trial_has_failed(
    write_study: Callable[..., Path], events: list[Event], same: Path
) -> None:
    failing = [{**e, "outcome": "FAIL", "error": "no"} if e["event"] == "finished" else e for e in events]
    assert study("run", same, "--root", write_study(failing)) == 1


def test_ls_and_show(root: Path, capsys: Any) -> None:
    assert study("ls", "--root", root) == 0
    assert re.search(r"small +finished +4 of 4 +0\.8250 \(trial 2\) +Does it help\?", capsys.readouterr().out)
    assert study("show", "small", "--json", "--root", root) == 0
    document = json.loads(capsys.readouterr().out)
    assert (document["name"], document["state"], document["best"]) == ("small", "finished", 2)


def test_the_root_comes_from_the_environment(root: Path, capsys: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STUDY_ROOT", str(root))
    assert study("ls") == 0
    assert "small" in capsys.readouterr().out


@pytest.mark.parametrize("name", ["recipes", "spaces", "methods", "tasks"])
def test_lists_have_a_description_of_everything(name: str, capsys: Any) -> None:
    assert study(name) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines
    assert all(re.fullmatch(r"\S+ {2,}\S.{10,}", line) for line in lines)


def test_what_combines_is_printed_with_reasons(capsys: Any) -> None:
    assert study("methods", "--combine") == 0
    table, notes = capsys.readouterr().out.split("\n\n")
    assert re.search(r"^freelb +– a +– b +yes", table, re.MULTILINE) and re.search(
        r"^sam +yes +yes +– d", table, re.MULTILINE
    )
    assert re.search(r"^a +rdrop needs a method that trains at one point$", notes, re.MULTILINE)


def test_describe(tmp_path: Path, capsys: Any) -> None:
    assert study("describe", "quickstart", "--root", tmp_path) == 0
    text = capsys.readouterr().out
    for words in (
        "perturbation.epsilon: 0.03 to 0.6 (log)",
        "a search by tpe: 8 trials",
        "pivot languages (de, es, fr, it, nl, pl, ru, zh-CN)",
        "trained on en",
        "300 forward-equivalents each with the base settings",
        "GiB of checkpoints under",
        "known after the first trial",
        "held        evaluation: intermediate_examples_per_language 10\n",
    ):
        assert words in text
    views = "trial.perturbation.view={kind: copies, alpha: 0.7}"
    space = "search.space={perturbation.method: mvr, perturbation.view.alpha: [0.1, 0.2]}"
    assert study("describe", "quickstart", views, space, "--root", tmp_path) == 0
    assert "held        perturbation: view.kind copies\n" in capsys.readouterr().out
    held = ("trial.evaluation.attack={kind: words}", "trial.perturbation.norm=linf", "trial.perturbation.epsilon=0.5")
    assert study("describe", "quickstart", *held, "--root", tmp_path) == 0
    text = capsys.readouterr().out
    assert "held        perturbation: norm linf\n" in text, "its radius is searched"
    assert "            evaluation: intermediate_examples_per_language 10, attack.kind words\n" in text


def test_what_only_test_has_is_not_said_to_be_validated(tmp_path: Path, capsys: Any) -> None:
    data = REPOSITORY / "tests" / "data"
    shutil.copytree(data / "names", tmp_path / "names", ignore=lambda *_: ["validation.yo.jsonl"])
    shutil.copy(data / "names.yaml", tmp_path)
    text = "name: mine\ntrial: {task: {name: names.yaml}}\nprotocol: {primary_endpoint: 'language:yo'}\n"
    (tmp_path / "mine.yaml").write_text(text + "search: {objectives: [{reduce: source}]}\n")
    assert study("describe", tmp_path / "mine.yaml", "--root", tmp_path) == 0
    text = capsys.readouterr().out
    assert "trained on en, evaluated on en (validation only)" in text
    assert "without validation rows, scored by confirm alone: yo" in text


def test_describe_says_what_is_published_of_each_encoder(tmp_path: Path, capsys: Any) -> None:
    space = "{encoder.name_or_path: [offline:e5-small, FacebookAI/xlm-mlm-100-1280], perturbation.epsilon: [0.1, 0.2]}"
    assert study("describe", "quickstart", f"search.space={space}", "--root", tmp_path) == 0
    text = " ".join(capsys.readouterr().out.split())
    for words in (
        "pretrained on 47 of 48 target languages, not on lb (XLM-R's list)",
        "licence cc-by-nc-4.0: not for commercial use",
        "one without a network needs hf download FacebookAI/xlm-mlm-100-1280 --revision refs/pr/2 --include '*.json'",
        "and encoder.revision refs/pr/2, since its main has no safetensors",
        "an unperturbed baseline for each encoder among them",
        "known once the encoder FacebookAI/xlm-mlm-100-1280 is on this machine",
    ):
        assert words in text


@pytest.mark.parametrize("name", ["", *commands.commands])
def test_help_has_an_example_that_parses(name: str, capsys: Any) -> None:
    assert study(*filter(None, [name]), "--help") == 0
    text = " ".join(capsys.readouterr().out.split())
    script, command, *arguments = shlex.split(text.rpartition("Example: ")[2].split(" Options:")[0])
    assert script == "study"
    assert command == (name or "run")
    commands.commands[command].make_context(command, arguments)


@pytest.mark.parametrize(
    "command",
    [
        "methods",
        "tasks",
        "spaces",
        "spaces adversarial",
        "recipes",
        "encoders",
        "encoders xlm-roberta-base --task xnli",
        "ls",
        "describe quickstart",
    ],
)
def test_listing_imports_nothing_heavy(command: str, tmp_path: Path) -> None:
    heavy = {"torch", "ray", "mlflow", "optuna", "pandas", "scipy", "transformers", "datasets", "rich.live"}
    program = (
        "import sys; from study.cli import commands, execute\n"
        f"assert execute(commands, 'study', {command.split()!r}) == 0\n"
        f"print(sorted({heavy!r} & set(sys.modules)), file=sys.stderr)"
    )
    environment = {**os.environ, "STUDY_ROOT": str(tmp_path), "PYTHONPATH": str(REPOSITORY)}
    done = subprocess.run(
        [sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=True, cwd=tmp_path
    )
    assert done.stderr.strip() == "[]"


def test_the_list_of_commands_cuts_none_in_mid_sentence(capsys: Any) -> None:
    assert study("--help") == 0
    listed = capsys.readouterr().out
    assert "..." not in listed.partition("Run:")[2]


def test_help_is_quick_and_imports_nothing_heavy() -> None:
    heavy = {"torch", "ray", "mlflow", "optuna", "pandas", "numpy", "transformers", "datasets", "rich"}
    program = f"import sys; from study import cli; print(sorted({heavy!r} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", program], cwd=REPOSITORY, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"

    def seconds(*arguments: str) -> float:
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        subprocess.run([sys.executable, *arguments], cwd=REPOSITORY, capture_output=True, check=True)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime

    assert min(seconds("-m", "study", "--help") for _ in range(3)) - seconds("-c", "import click") < 0.5


def test_tune_has_rays_commands_and_ours() -> None:
    from ray.tune.cli.scripts import cli as of_ray

    both = tune_commands().commands
    assert both.keys() == of_ray.commands.keys() | commands.commands.keys()
    assert all(both[name] is of_ray.commands[name] for name in of_ray.commands)
    assert both["run"] is commands.commands["run"]


def test_the_script_tune_is_ours(tmp_path: Path) -> None:
    script = Path(sys.executable).parent / "tune"
    if not (Path(sys.executable).parent / "study").exists():
        pytest.skip("the package is not installed in this environment, only its dependencies are")
    done = subprocess.run([script, "run", "quickstrat"], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "did you mean 'quickstart'?" in done.stderr
    done = subprocess.run([script, "--help"], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert {"ls", "lsx", "add-note", "run", "resume"} <= set(re.findall(r"^  ([a-z-]+)", done.stdout, re.MULTILINE))
