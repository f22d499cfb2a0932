"""`refquant recipes`: the named recipes of other tools, and what each comes to as rules."""

from typing import Annotated

from cyclopts import Parameter

from refquant.cli.output import emit_json, print_table
from refquant.errors import UsageError

__all__ = ["recipes"]


def recipes(
    name: Annotated[str | None, Parameter(help="A name, to see its rules as a document.")] = None,
    /,
    *,
    model: Annotated[
        str | None, Parameter(help="The model it is for: mixtures depend on its layers.")
    ] = None,
    json: Annotated[bool, Parameter(help="Print one JSON object instead of a table.")] = False,
) -> int:
    """List the named recipes, or show the rules of one.

    The names are those of other tools: AI Edge, torch-to-nnef, llama.cpp. The rules are what
    `refquant quantize --recipe` reads from a file, so a printed document can be changed and used.

    For example:
      refquant recipes
      refquant recipes Q4_K_M --model smollm2-135m
      refquant recipes dynamic_int8 > mine.json
    """
    from refquant.upstream.names import ORIGINS

    if name is None:
        if model is not None:
            raise UsageError(
                "--model goes with the name of a recipe: refquant recipes NAME --model"
            )
        rows = [(one, origin) for origin, names in ORIGINS.items() for one in names]
        if json:
            emit_json("recipes", {"recipes": [{"name": n, "origin": o} for n, o in rows]})
        else:
            print_table(("recipe", "whose name it is"), rows)
        return 0
    document = _document(name, model)
    if json:
        emit_json("recipe", document)
    else:
        from json import dumps

        print(dumps(document, indent=2))
    return 0


def _document(name: str, model: str | None) -> dict[str, object]:
    from refquant.upstream.facts import ModelFacts, facts_of
    from refquant.upstream.names import recipe_named

    facts = ModelFacts()
    if model is not None:
        from refquant.formats import open_checkpoint
        from refquant.library import resolve

        facts = facts_of(open_checkpoint(resolve(model)))
    return recipe_named(name, facts).to_data()
