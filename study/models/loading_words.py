"""How an exported model is loaded, and what its folder has, in words and code."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:  # its module loads torch, and cards are made without it
    from trainables.training.export import Exported

HEAD = """from transformers import AutoTokenizer, {auto_class}

folder = "."  # this folder, or its name on the hub
tokenizer = AutoTokenizer.from_pretrained(folder)
model = {auto_class}.from_pretrained(folder).eval()
"""

USES = {
    "AutoModelForSequenceClassification": """
inputs = tokenizer(texts, padding=True, truncation=True, return_tensors="pt")
labels = [model.config.id2label[i] for i in model(**inputs).logits.argmax(-1).tolist()]
""",
    "AutoModelForTokenClassification": """
# sentences: lists of words; the first piece of a word has its tag
inputs = tokenizer(sentences, is_split_into_words=True, padding=True, truncation=True, return_tensors="pt")
tags = model(**inputs).logits.argmax(-1)  # names: model.config.id2label
""",
    "AutoModelForQuestionAnswering": """
inputs = tokenizer(question, context, truncation="only_second", return_tensors="pt")
output = model(**inputs)  # start_logits, end_logits; the answer is the best span of at most 30 context tokens
""",
    "AutoModelForMultipleChoice": """
# each choice is the second text of a pair, after the question
inputs = tokenizer([premise] * len(choices), [f"{question} {choice}" for choice in choices], padding=True,
                   truncation=True, return_tensors="pt")
answer = model(**{name: each[None] for name, each in inputs.items()}).logits.argmax(-1)
""",
    "AutoModel": """
inputs = tokenizer(texts, padding=True, truncation=True, return_tensors="pt")
states, mask = model(**inputs).last_hidden_state, inputs["attention_mask"][..., None]
vectors = {pooled}
vectors = vectors / vectors.norm(dim=-1, keepdim=True)  # compared by their dot product, the cosine
""",
}
"""Code that asks a model of each class."""

POOLED = {"mean": "(states * mask).sum(1) / mask.sum(1)", "first": "states[:, 0]"}


def loading(exported: Exported) -> str:
    """Code that loads the model and asks it, as a Markdown block."""
    use = USES[exported.auto_class].replace("{pooled}", POOLED.get(exported.pooling, ""))
    code = HEAD.format(auto_class=exported.auto_class) + use
    return f"```python\n{code}```\n\nNothing but transformers is needed, and no code of the folder is run.\n"


def inside(exported: Exported) -> str:
    """What the folder's weights are, and how surely they are the trial's."""
    return "\n".join(f"- {line}" for line in _lines(exported)) + "\n"


def _lines(exported: Exported) -> list[str]:
    lines = [
        f"The weights of the checkpoint that the study scored, for `{exported.auto_class}`. On {exported.examples} "
        f"examples of all languages its outputs were compared with the trial's own before it was written: the largest "
        f"difference was {exported.largest_difference:.1g}."
    ]
    if exported.trimmed:
        lines.append(
            "The whole vocabulary. The study trained on the words of its texts alone; the embeddings of all others are "
            "the base model's."
        )
    if exported.auto_class == "AutoModel":
        lines.append(
            f"No head: texts are compared by their pooled states (pooling: {exported.pooling}), as above. A pooler "
            "that the library reports as new is not used."
        )
        return lines
    if exported.pooling_layers:
        lines.append(
            f"The head that was trained is a linear layer on the mean of the token states. The library has no class of "
            f"its own for that, so a further layer (number {exported.layers + 1}) does nothing but pool: it attends to "
            "all tokens alike, and the linear layer is in its values. Large constants in it keep the layer norm from "
            "changing them. It is the same to the rounding of fp32."
        )
    elif exported.pooling == "first":
        lines.append(
            "The head that was trained is a linear layer on the first token's state. It goes through the library's "
            "tanh in so small a range that this changes nothing in fp32."
        )
    if exported.pooling:
        lines.append(
            "For inference in fp32 or bf16; not in fp16, whose range is too small for it, nor in 8 bits. To train "
            f"further, take the encoder: `AutoModel.from_pretrained(folder, num_hidden_layers={exported.layers})`."
        )
    return lines
