"""The files of XGLUE's published tarball, in miniature and written by hand."""

from __future__ import annotations

from pathlib import Path

TASKS = ("xglue_ner", "xglue_pos", "nc", "qadsm", "wpr", "qam")


def write(folder: Path) -> None:
    """The files of all six tasks, of five languages each; of each split two rows to be scored."""
    content = {
        "NER/{}": "Ada B-PER\nLovelace I-PER\nsees O\n\nRome B-LOC\n",
        "POS/{}": "th\u1ee7 t\u01b0\u1edbng NOUN\nsees VERB\n. PUNCT\n\n\noh INTJ",
        "NC/xglue.nc.{}": "won\tThey won 'again\tsports\nbank\tA bank\tfinance\n",
        "QADSM/xglue.qadsm.{}": "red shoes\tShoes\tred ones\tGood\nshoes\tCars\t\tBad\n",
        "WPR/xglue.wpr.{}": "red\tRed\tred\t4\nred\tBlue\t\t0\nred\tPink\t\t2\nblue\tRed\tno\t0\nblue\tBlue\t\t3\n",
        "QAM/xglue.qam.{}": "who\tShe did.\t1\nwhen\tHere.\t0\n",
    }
    for name, text in content.items():
        for part in ("en.train", "en.dev", "de.dev", "fr.dev", "es.dev", "ru.dev"):
            (path := folder / name.format(part)).parent.mkdir(exist_ok=True)
            path.write_text(text, encoding="utf-8")
