"""Alignment of an encoder that stays as it is: a rotation of each language's states onto the source's, in closed form.

Wang et al. (2019, CLBT) map contextual vectors of aligned words by an orthogonal matrix; Wu and Dredze (arXiv
2010.02537) come near one by gradient steps. Suffixes: n linked words, d size of a state.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from trainables.alignment.sentences import joined
from trainables.alignment.training import Aligned, Corpus, linked_states, usable_pairs
from trainables.config import AlignmentConfig
from trainables.model.encoder import Encoder
from trainables.model.maps import LanguageMaps, check_apart
from trainables.progress import told

TIE = 1e-6
"""Weight of the identity, in units of the moments' norm: it decides where the links say nothing, and nowhere else."""


def rotation(moment: Tensor) -> Tensor:
    """The orthogonal W (d, d) with the least Σ ‖W x − y‖², given Σ y xᵀ (Schönemann 1966): U Vᵀ of its SVD.

    In directions in which no x lies it is the identity, as far as that goes with the others.
    """
    u, _, v = torch.linalg.svd(moment + TIE * moment.norm() * torch.eye(len(moment), dtype=moment.dtype))
    turned: Tensor = u @ v
    return turned


@torch.no_grad()
def fit(
    encoder: Encoder,
    corpora: Mapping[str, Corpus],
    config: AlignmentConfig,
    device: torch.device,
) -> Aligned:
    """Give an encoder the map of each language whose pairs have links; its weights stay as they are.

    The losses are mean squared distances of linked words' last states, before and after. Raises `UserError` where there
    are no links, or a language has no number of its own.
    """
    usable = usable_pairs(corpora)
    numbers = encoder.language_numbers
    codes = sorted({code for code, _ in usable})
    check_apart(codes, numbers, corpora[codes[0]].source.number)
    encoder.to(device).eval()
    maps: dict[str, Tensor] = {}
    links, squares, before, after = 0, 0.0, 0.0, 0.0
    for code in told(codes, "mapping", "languages", len(codes)):
        chosen = [(corpora[code], i) for each, i in usable if each == code]
        moment = torch.zeros(encoder.hidden_size, encoder.hidden_size, dtype=torch.float64)
        for begin in range(0, len(chosen), config.batch_size):
            some = chosen[begin : begin + config.batch_size]
            batch = joined(
                [(corpus.source, i) for corpus, i in some] + [(corpus.target, i) for corpus, i in some], device
            )
            states = encoder.states(encoder.embed(batch.input_ids), batch.layout)
            y, x = (linked_states(states, some, side).double().cpu() for side in (0, 1))
            moment += y.T @ x
            squares += float(x.square().sum() + y.square().sum())
            links += len(x)
        maps[code] = rotation(moment)
        before += float(moment.trace())
        after += float((maps[code] * moment).sum())
    encoder.maps = LanguageMaps.of({code: each.float() for code, each in maps.items()}, numbers).to(device)
    counts = {code: sum(each == code for each, _ in usable) for code in sorted(corpora)}
    return Aligned(counts, (squares - 2 * before) / links, (squares - 2 * after) / links)
