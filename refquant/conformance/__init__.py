"""The conformance suite as a program: reading packs, running engines, judging their answers.

`packs.py` reads what `conformance/SPEC.md` describes, `selection.py` finds it, `runner.py` puts it
to an engine (`line_engine.py`, `exec_engine.py`), `judge.py` and `compare.py` judge the answers,
`evidence.py` makes a report of them, and `diagnosis.py` names mistakes. `serve.py` does it all for
engines that come over HTTP. `reference.py` is refquant as an engine.

Nothing is imported here, so that an engine starts while the rest is still being loaded.
"""

__all__: list[str] = []
