"""Files and arguments -> configurations: what is read, and the one line for each mistake."""

from __future__ import annotations

from pathlib import Path

import pytest

from study.question.config import StudyConfig
from trainables.config import TrialConfig
from trainables.errors import UserError
from trainables.fields import field_at, fields_of
from trainables.loading import apply_point, load_config, read_mapping, read_yaml, validate

Mistake = tuple[str, tuple[str, ...], list[str]]
"""The file, the arguments, the lines of the error."""

NAME = "name: must be letters, digits, '.', '_' or '-', start with a letter or digit and be at most 100"
NORWEGIAN = "YAML reads a bare no, yes, on or off as true or false, write 'no' in quotes (Norwegian)"


def argument(text: str, rule: str) -> Mistake:
    """A wrong argument over a sound file: the line begins with the argument's path."""
    return "name: a", (text,), [f"{text.partition('=')[0]}: {rule}"]


MISTAKES: list[Mistake] = [
    ("name: a\nfoo: 1", (), [
        "foo: unknown key 'foo', known: name, question, measured, reference, trial, search, protocol, scaling, models, "
        "tracking (got 1)"
    ]),
    ("name: a\nserch: {}", (), ["serch: unknown key 'serch', did you mean 'search'? (got {})"]),
    (
        "name: a\ntrial: {perturbation: {epsilom: 0.2}}",
        (),
        ["trial.perturbation.epsilom: unknown key 'epsilom', did you mean 'epsilon'? (got 0.2)"],
    ),
    ("name: a\nepsilon: 3", (), ["epsilon: unknown key 'epsilon', did you mean 'trial.perturbation.epsilon'? (got 3)"]),
    ("question: why", (), ["name: is required"]),
    ("name: a/b", (), [f'{NAME} (got "a/b")']),
    ("name: ../a", (), [f'{NAME} (got "../a")']),
    ("name: 7", (), ["name: must be text (got 7)"]),
    ("name: a\ntrial: []", (), ["trial: must be a mapping of keys to values (got [])"]),
    ("name: a\ntrial:", (), ["trial: must be a mapping of keys to values (got null)"]),
    argument("trial.perturbation.epsilon=-1", "must be at least 0 (got -1)"),
    argument("trial.perturbation.epsilon=.inf", "must be finite (got Infinity)"),
    argument("trial.perturbation.epsilon=big", 'must be a number (got "big")'),
    argument("trial.perturbation.epsilon='0.1'", 'must be a number (got "0.1")'),
    argument("trial.perturbation.epsilon=true", "must be a number (got true)"),
    argument("trial.perturbation.epsilon=", "must be a number (got null)"),
    argument("trial.perturbation.ascent_steps=101", "must be at most 100 (got 101)"),
    argument("trial.perturbation.ascent_steps=1.5", "must be a whole number (got 1.5)"),
    argument("trial.perturbation.ascent_steps=yes", "must be a whole number (got true)"),
    argument("trial.perturbation.norm=l1", "must be 'l2' or 'linf' (got \"l1\")"),
    argument("trial.perturbation.relative=1", "must be true or false (got 1)"),
    argument("trial.encoder.dropout=1", "must be less than 1 (got 1)"),
    argument("trial.training.precision=fp8", "must be 'fp32', 'tf32', 'bf16' or 'fp16' (got \"fp8\")"),
    argument("trial.training.learning_rate=0", "must be more than 0 (got 0)"),
    argument("trial.training.seed=1e99", "must be a whole number (got 1e+99)"),
    argument("trial.training.seed=010", 'must be a whole number (got "010")'),
    (
        "name: a",
        ("trial.training.budget={steps: 3, epochs: 1}",),
        ["trial.training.budget: give exactly one of steps, epochs, forward_equivalents (got steps, epochs)"],
    ),
    (
        "name: a",
        ("trial.training.budget={}",),
        ["trial.training.budget: give exactly one of steps, epochs, forward_equivalents (got none)"],
    ),
    (
        "name: a\ntrial: {task: {target_languages: [de, no]}}",
        (),
        [
            f"trial.task.target_languages[1]: {NORWEGIAN} (got false)"
        ],
    ),
    (
        "name: a\ntrial: {task: {target_languages: no}}",
        (),
        ["trial.task.target_languages: must be 'all' or a list (got false)"],
    ),
    (
        "name: a",
        ("trial.task.source_language=no",),
        [
            f"trial.task.source_language: {NORWEGIAN} (got false)"
        ],
    ),
    (
        "name: a\nprotocol: {groups: {no: [de]}}",
        (),
        [
            f"protocol.groups.no: {NORWEGIAN} (line 2)"
        ],
    ),
    ("name: a\nprotocol: {pivots: de}", (), ['protocol.pivots: must be a list (got "de")']),
    ("name: a\nprotocol: {groups: {x: de}}", (), ['protocol.groups.x: must be a list (got "de")']),
    ("name: a\nprotocol: {confirm_seeds: 2}", (), ["protocol.confirm_seeds: must be at least 3 (got 2)"]),
    (
        "name: a\nprotocol: {selection: oracle}",
        (),
        [
            "protocol.selection: must be 'source_validation', 'pivot_validation' or 'target_validation' "
            '(got "oracle")'
        ],
    ),
    ("name: a\nsearch: {objectives: []}", (), ["search.objectives: must have at least 1 entry (got [])"]),
    (
        "name: a\nsearch: {objectives: [{reduc: x}]}",
        (),
        ["search.objectives[0].reduc: unknown key 'reduc', did you mean 'reduce'? (got \"x\")"],
    ),
    ("name: a\nsearch: {trials: 0}", (), ["search.trials: must be at least 1 (got 0)"]),
    ("name: a\nsearch: {space: 3}", (), ["search.space: must be text or a mapping of keys to values (got 3)"]),
    ("name: a\nscaling: {concurrent_trials: 0}", (), [
        "scaling.concurrent_trials: must be 'auto' or at least 1 (got 0)"
    ]),
    ("name: a\nscaling: {gpus_per_worker: -1}", (), ["scaling.gpus_per_worker: must be at least 0 (got -1)"]),
    argument("name.x=3", 'name has no keys (got "a")'),
    argument("search.objectives[2].metric=f1", "has 0 entries here, give all: search.objectives=[…] (got [2])"),
    argument("name[0]=3", 'name has no entries (got "a")'),
    argument("search.trials", 'an argument looks like path=value (got "search.trials")'),
    ("name: a", ("=3",), ['argument: an argument looks like path=value (got "=3")']),
    ("name: a", ("--fast 4=5", "a..b=1"), [
        '--fast 4: an argument looks like path=value (got "--fast 4=5")',
        'a..b: an argument looks like path=value (got "a..b=1")',
    ]),
    ("name: a", ("search.space={a: [1",), [
        "search.space: not valid YAML, expected ',' or ']', but got '<stream end>' (line 1, column 7) (got \"{a: [1\")"
    ]),
    ("name: a\nname: b", (), ["name: key given twice (line 2)"]),
    ("name: a\ntrial: {task: {name: x, name: y}}", (), ["trial.task.name: key given twice (line 2)"]),
    ("name: a\n3: 4", (), ["3: a key must be text, write it in quotes (line 2)"]),
    ("name: &x [*x]", (), ["name[0]: must not contain itself (line 1)"]),
]  # fmt: skip


@pytest.mark.parametrize(("text", "arguments", "lines"), MISTAKES, ids=[" ".join(m[2])[:60] for m in MISTAKES])
def test_each_mistake_has_its_line(tmp_path: Path, text: str, arguments: tuple[str, ...], lines: list[str]) -> None:
    source = tmp_path / "study.yaml"
    source.write_text(text, encoding="utf-8")
    with pytest.raises(UserError) as error:
        load_config(StudyConfig, source, arguments)
    assert error.value.lines == lines


FILES: list[tuple[bytes | None, str]] = [
    (None, "no such file"),
    (b"", "must be a mapping of keys to values (got an empty file)"),
    (b"\n \n", "must be a mapping of keys to values (got an empty file)"),
    (b"# only a remark\n", "must be a mapping of keys to values (got nothing)"),
    (b"- a\n- b\n", "must be a mapping of keys to values (got a list)"),
    (b"just words", 'must be a mapping of keys to values (got "just words")'),
    (b"\x89PNG\r\n\x1a\n\x00\xff", "must be UTF-8 text (got byte 0x89)"),
    (b"name: a\x00b", "not valid YAML, special characters are not allowed"),
    (b"name: [a", "not valid YAML, expected ',' or ']', but got '<stream end>' (line 1, column 9)"),
    (b"a:\n\tb: 1", "not valid YAML, found character '\\t' that cannot start any token (line 2, column 1)"),
    (b"a: 1\n---\nb: 2", "not valid YAML, but found another document (line 2, column 1)"),
    (b"a: !!python/object:os.system {}", "not valid YAML, could not determine a constructor for the tag "
     "'tag:yaml.org,2002:python/object:os.system' (line 1, column 4)"),
    (b"a: *nowhere", "not valid YAML, found undefined alias 'nowhere' (line 1, column 4)"),
    (b"a: " + b"x" * 5_000_000, "too large for a configuration (got 5,000,003 bytes)"),
]  # fmt: skip


@pytest.mark.parametrize(("content", "rule"), FILES, ids=[rule[:40] for _, rule in FILES])
def test_each_bad_file_has_its_line(tmp_path: Path, content: bytes | None, rule: str) -> None:
    source = tmp_path / "study.yaml"
    if content is not None:
        source.write_bytes(content)
    with pytest.raises(UserError) as error:
        read_mapping(source)
    assert error.value.lines == [f"{source}: {rule}"]


def test_a_folder_is_no_file(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"must be a YAML file \(got a folder\)"):
        read_yaml(tmp_path)


def test_all_mistakes_come_at_once(tmp_path: Path) -> None:
    source = tmp_path / "study.yaml"
    source.write_text("name: a\nfoo: 1\ntrial: {training: {batch_size: '3', seed: -1}, task: {max_length: 3}}\n")
    with pytest.raises(UserError) as error:
        load_config(StudyConfig, source, ["bad", "search.trials=0"])
    assert sorted(line.split(":")[0] for line in error.value.lines) == [
        "bad",
        "foo",
        "search.trials",
        "trial.task.max_length",
        "trial.training.batch_size",
        "trial.training.seed",
    ]
    assert str(error.value) == "\n".join(error.value.lines)


def test_arguments_win_over_the_file(tmp_path: Path) -> None:
    source = tmp_path / "trial.yaml"
    source.write_text("training: {seed: 2, batch_size: 8}\n")
    config = load_config(TrialConfig, source, ["training.batch_size=4"])
    assert (config.training.seed, config.training.batch_size) == (2, 4)


def test_a_mapping_as_argument_replaces(tmp_path: Path) -> None:
    source = tmp_path / "trial.yaml"
    source.write_text("training: {budget: {steps: 5}}\n")
    config = load_config(TrialConfig, source, ["training.budget={epochs: 1}"])
    assert (config.training.budget.steps, config.training.budget.epochs) == (None, 1)


def test_an_argument_reaches_into_a_list(tmp_path: Path) -> None:
    source = tmp_path / "trial.yaml"
    source.write_text("evaluation: {noise: [{kind: character, rate: [0.1]}, {kind: word_drop, rate: [0.2]}]}\n")
    config = load_config(TrialConfig, source, ["evaluation.noise[1].rate=[0.3]", "evaluation.noise[0].rate[0]=0.4"])
    assert [each.rate for each in config.evaluation.noise] == [(0.4,), (0.3,)]


def test_setting_a_key_switches_an_optional_part_on(tmp_path: Path) -> None:
    source = tmp_path / "trial.yaml"
    source.write_text("evaluation: {attack: null}\n")
    config = load_config(TrialConfig, source, ["evaluation.attack.epsilon=[0.1, 0.2]"])
    assert config.evaluation.attack is not None
    assert config.evaluation.attack.epsilon == (0.1, 0.2)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("2e-4", 2e-4),
        ("2E+4", 2e4),
        ("-2.5e-1", -0.25),
        (".5", 0.5),
        ("5.", 5.0),
        ("1_000", 1000),
        ("0", 0),
        ("1:30", "1:30"),
        ("010", "010"),
        ("2026-01-02", "2026-01-02"),
        ("e5", "e5"),
        ("1e", "1e"),
        ("true", True),
        ("null", None),
        ("zh-CN", "zh-CN"),
    ],
)
def test_scalars(tmp_path: Path, text: str, value: object) -> None:
    source = tmp_path / "value.yaml"
    source.write_text(f"value: {text}\n")
    read = read_mapping(source)["value"]
    assert read == value
    assert type(read) is type(value)


def test_relative_paths_are_relative_to_where_they_stand(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "a"
    folder.mkdir()
    elsewhere = tmp_path / "b"
    elsewhere.mkdir()
    monkeypatch.chdir(elsewhere)
    source = folder / "trial.yaml"
    source.write_text(
        "task: {name: mine.yaml, data_dir: rows}\n"
        "encoder: {name_or_path: ./weights}\n"
        "augmentation: {resource: /words.tsv}\n"
    )
    config = load_config(TrialConfig, source)
    assert config.task.name == str(folder / "mine.yaml")
    assert config.task.data_dir == folder / "rows"
    assert Path(config.encoder.name_or_path) == folder / "weights"
    assert config.augmentation.resource == Path("/words.tsv")
    config = load_config(TrialConfig, source, ["task.data_dir=rows", "encoder.name_or_path=xlm-roberta-base"])
    assert config.task.data_dir == elsewhere / "rows"
    assert config.encoder.name_or_path == "xlm-roberta-base"


def test_a_point_is_laid_over_a_configuration() -> None:
    base = TrialConfig()
    config = apply_point(
        base, {"perturbation.epsilon": 0.2, "training.budget.steps": 7, "task.target_languages": ["de"]}
    )
    assert (config.perturbation.epsilon, config.training.budget.steps) == (0.2, 7)
    assert config.task.target_languages == ("de",)
    assert base == TrialConfig()
    assert apply_point(base, {}) == base


def test_a_bad_point_is_refused_with_all_its_mistakes() -> None:
    with pytest.raises(UserError) as error:
        apply_point(TrialConfig(), {"perturbation.epsilon": -1.0, "perturbation.epsilom": 1.0, "nowhere.x": 1})
    assert len(error.value.lines) == 3


def test_fields_by_path() -> None:
    epsilon = field_at(TrialConfig, "perturbation.epsilon")
    assert (epsilon.types, epsilon.low, epsilon.low_open, epsilon.high) == ((float,), 0.0, False, None)
    assert epsilon.doc == "Radius of the ball that holds the perturbation."
    dropout = field_at(TrialConfig, "encoder.dropout")
    assert (dropout.low, dropout.low_open, dropout.high, dropout.high_open, dropout.optional) == (
        0,
        False,
        1,
        True,
        True,
    )
    assert field_at(TrialConfig, "perturbation.norm").choices == ("l2", "linf")
    assert field_at(TrialConfig, "training.batch_size").types == (int,)
    assert field_at(TrialConfig, "evaluation.attack.ascent_steps").low == 1
    rate = field_at(TrialConfig, "training.learning_rate")
    assert (rate.low, rate.low_open) == (0, True)
    assert rate.problem(1e-5) is None
    assert rate.problem(0.0) == "must be more than 0"
    assert dropout.problem(None) is None
    assert dropout.problem(1.0) == "must be less than 1"


@pytest.mark.parametrize(
    ("path", "line"),
    [
        ("perturbation.epsilo", "perturbation.epsilo: unknown key 'epsilo', did you mean 'epsilon'?"),
        ("perturbaton.epsilon", "perturbaton.epsilon: unknown key 'perturbaton', did you mean 'perturbation'?"),
        ("epsilon", "epsilon: unknown key 'epsilon', did you mean 'perturbation.epsilon'?"),
        ("perturbation.epsilon.x", "perturbation.epsilon.x: perturbation.epsilon has no keys"),
    ],
)
def test_a_wrong_path_is_refused(path: str, line: str) -> None:
    with pytest.raises(UserError) as error:
        field_at(TrialConfig, path)
    assert error.value.lines == [line]


def test_every_field_is_documented_and_valid_at_its_default() -> None:
    for field in fields_of(StudyConfig):
        assert field.doc, field.path
        assert (
            field.required
            or field.path.startswith(("search.objectives", "trial.evaluation"))
            or (isinstance(field.default, tuple) or field.problem(field.default) is None)
        ), field.path


def test_no_type_is_guessed() -> None:
    with pytest.raises(UserError, match="must be text"):
        validate(TrialConfig, {"task": {"name": 3}})
