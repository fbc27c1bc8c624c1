"""Writes docs/recipes.md from the recipe's dataclasses. Run it after changing them: python docs/generate.py"""

import dataclasses
import inspect
import re
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType

from thrifty import recipe
from thrifty.automl.candidates import candidate
from thrifty.core.space import Choice
from thrifty.models import catalogue
from thrifty.models.weights import WISHES

HEAD = """# Recipe reference

A recipe says how a model is made: which features are computed (`preparation`), what is fitted on them (`model`), and
how a network is trained (`training`). Fields are set by `--set PART.FIELD=VALUE`, or in a YAML file given as
`--recipe FILE`:

```yaml
model:
  kind: trees                    # only candidates of this kind take part
  learning_rate: 0.05            # fixed
  num_leaves: [15, 31, 63]       # narrowed to a choice
  l2: {low: 0.1, high: 10, log: true}  # narrowed to a range
```

`thrifty train` makes one recipe: what is left open is as the candidate begins with it, which may be by the data and not
the default. `thrifty run` begins there too, and searches what is left open over the domains below. A trial's
`trials/ID/recipe.json` is a recipe file too; its seed is not taken. A column's meaning is set by
`--set schema.COLUMN=MEANING` (number, category, timestamp, text, image, audio, ignored).

## Pretrained networks

Features of pretrained networks, and networks that are trained on, start from the weights of the extra `pretrained`.
`--set backbone.text=FOLDER_OR_NAME` (also `backbone.image`, `backbone.audio`) names others: a folder as
`save_pretrained` writes it, with `config.json`, `model.safetensors` and for text `tokenizer.json`
(`preprocessor_config.json` is read for images), or the name of such a model on the Hugging Face hub.

| for | what can be read |
|---|---|
| text | encoders of transformers, such as BERT, DistilBERT and RoBERTa |
| image | vision models of transformers, such as ViT, ResNet and ConvNeXt; timm's `tf_efficientnet_lite0` |
| audio | models that read a wave, such as Wav2Vec2 and WavLM, and the encoder of Whisper |

Weights are read from safetensors, never from a pickle, and no code of a model's own is run. The hub is asked for what
was not fetched before, and must answer within two seconds; with `--offline` or `HF_HUB_OFFLINE=1` it is never asked.
`catalogue` in place of a name takes the first of the [catalogue](#catalogue) that is for many languages or for which
language does not matter, `catalogue:en` the first for that language.

The artifact's card has each weight's source, SHA-256 and licence. `model.tuned` says how they are trained on: `last`
(the uppermost layers), `lora` ([updates of low rank](https://arxiv.org/abs/2106.09685), which are part of the layers in
the artifact) or `full`.

This page is generated from `src/thrifty/recipe.py` by `docs/generate.py`.
"""


def domain_text(domain: object) -> str:
    if domain is None:
        return "fixed"
    if isinstance(domain, Choice):
        return ", ".join(map(str, domain.options))
    scale = ", log" if getattr(domain, "log", False) else ""
    return f"{domain.low:g} to {domain.high:g}{scale}"  # type: ignore[attr-defined]


def section(name: str, cls: type, title: str, domains: Mapping[str, object] = MappingProxyType({})) -> str:
    """domains: by path, what is searched over where that is not what the fields say; of other parts too."""
    doc = inspect.cleandoc(cls.__doc__ or "")
    first, _, rest = doc.partition("\n\n")
    lines = [f"## {title}", "", " ".join(first.split()), ""]
    notes = re.findall(r"(?ms)^(\w+(?:, \w+)*): (.*?)(?=^\w+(?:, \w+)*: |\Z)", rest)
    fields = [f for f in dataclasses.fields(cls) if f.name not in ("preparation", "model", "training")]
    if fields:
        lines += ["| field | default | searched over |", "|---|---|---|"]
        for f in fields:
            default = "none" if f.default is None else "from the data" if f.default == () else f"{f.default}"
            domain = domains.get(f"{name}.{f.name}", f.metadata.get("domain"))
            lines.append(f"| `{name}.{f.name}` | {default} | {domain_text(domain)} |")
        others = [path for path in domains if not path.startswith(f"{name}.")]
        lines += [f"| `{path}` | by the data | {domain_text(domains[path])} |" for path in others]
        lines.append("")
    for names, text in notes:
        lines.append(f"- `{names}`: {' '.join(text.split())}")
    return "\n".join(lines).rstrip() + "\n"


def page() -> str:
    parts = [HEAD, section("preparation", recipe.Preparation, "preparation")]
    own = {kind: candidate.load(kind).domains if kind in candidate.NAMES else {} for kind in recipe.MODELS}
    parts += [section("model", cls, f"model, kind `{kind}`", own[kind]) for kind, cls in recipe.MODELS.items()]
    parts.append(section("training", recipe.Training, "training"))
    table = ["## Candidates", "", "| candidate | what it is |", "|---|---|"]
    for name in candidate.NAMES:
        module = __import__(f"thrifty.automl.candidates.{name}", fromlist=["CANDIDATE"])
        table.append(f"| `{name}` | {' '.join((module.__doc__ or '').split())} |")
    models = [
        "## Catalogue", "", "| model of the hub | for | languages | parameters | megabytes | cost of a row | licence |",
        "|---|---|---|---|---|---|---|",
    ]  # fmt: skip
    for entry in catalogue.entries():
        languages = ", ".join(entry.languages).replace("*", "many") or "–"
        row = (entry.name, WISHES[entry.kind], languages, f"{entry.millions:g} M", f"{entry.megabytes:g}", entry.cost)
        models.append(f"| {' | '.join((*row, entry.licence))} |")
    return "\n".join([*parts, "\n".join(table) + "\n", "\n".join(models) + "\n"])


if __name__ == "__main__":
    (Path(__file__).parent / "recipes.md").write_text(page(), encoding="utf-8")
