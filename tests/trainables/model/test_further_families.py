"""A family of one's own: an entry point of an installed package, in whatever process needs it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import REPOSITORY
from trainables.errors import UserError
from trainables.model.families import GROUP, family_of

MODULE = """
from transformers import AutoConfig, AutoModel, BertConfig, BertModel
from trainables.model.families import Family

class OwnConfig(BertConfig):
    model_type = "own-bert"

class OwnModel(BertModel):
    config_class = OwnConfig

AutoConfig.register("own-bert", OwnConfig)
AutoModel.register(OwnConfig, OwnModel)
FAMILY = Family(kinds=("own-bert",), plain=True)
TAKEN = Family(kinds=("bert",))
"""

USE = """
import sys
from trainables.config import EncoderConfig
from trainables.model.pretrained import load_encoder
encoder = load_encoder(EncoderConfig(name_or_path=sys.argv[1]), uses_segments=False)
print(type(encoder.model).__name__, encoder.family.kinds)
"""

WRITE = """
import sys, own
own.OwnModel(own.OwnConfig(vocab_size=9, hidden_size=8, num_hidden_layers=1, num_attention_heads=2,
                           intermediate_size=8)).save_pretrained(sys.argv[1])
"""


def package(folder: Path, entry: str) -> Path:
    """As an installer leaves it on the path."""
    (folder / "own.py").write_text(MODULE, encoding="utf-8")
    info = folder / "own-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: own\nVersion: 1.0\n", encoding="utf-8")
    (info / "entry_points.txt").write_text(f"[{GROUP}]\n{entry}\n", encoding="utf-8")
    return folder


def run(folder: Path, code: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    environment = os.environ | {"PYTHONPATH": f"{REPOSITORY}{os.pathsep}{folder}"}
    words = [sys.executable, "-c", code, *arguments]
    return subprocess.run(words, env=environment, capture_output=True, text=True, timeout=120)


def test_an_encoder_of_an_installed_family_is_loaded(tmp_path: Path) -> None:
    package(tmp_path, "own = own:FAMILY")
    assert run(tmp_path, WRITE, str(tmp_path / "encoder")).returncode == 0
    done = run(tmp_path, USE, str(tmp_path / "encoder"))
    assert done.stdout == "OwnModel ('own-bert',)\n", done.stderr


@pytest.mark.parametrize(
    "entry", ["own = own:TAKEN", "own = own:OwnConfig", "own = own:MISSING", "own = nowhere:FAMILY"]
)
def test_one_that_cannot_be_had_is_one_line(tmp_path: Path, entry: str) -> None:
    package(tmp_path, entry)
    code = "from trainables.model.families import family_of\nfrom trainables.errors import UserError\n"
    code += "try: family_of('own-bert')\nexcept UserError as error: print(*error.lines, sep='\\n')"
    done = run(tmp_path, code)
    (line,) = done.stdout.splitlines()
    assert line.startswith(f"entry point 'own' of {GROUP}: must "), done.stderr


def test_a_kind_that_nobody_knows_is_told_the_kinds_and_how_to_add_one() -> None:
    with pytest.raises(UserError) as caught:
        family_of("gpt2")
    (line,) = caught.value.lines
    for part in ("albert", "xlm-roberta", "umt5", GROUP, "docs/encoders.md", "(got 'gpt2')"):
        assert part in line
    assert (REPOSITORY / "docs" / "encoders.md").exists()
