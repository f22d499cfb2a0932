"""What is public is listed, exists, and changes only on purpose."""

import ast
import difflib
import importlib

import pytest

from tests.house import sources


def listed(path):
    """The names in a module's `__all__`, or None where it has none."""
    for node in sources.tree_of(path).body:
        targets = node.targets if isinstance(node, ast.Assign) else []
        if isinstance(node, ast.AnnAssign):
            targets = [node.target]
        if any(isinstance(target, ast.Name) and target.id == "__all__" for target in targets):
            return ast.literal_eval(node.value)
    return None


NAMES = {sources.module_name(path): listed(path) for path in sources.public_modules()}


@pytest.mark.parametrize("name", [name for name in NAMES if not name.endswith("__main__")])
def test_every_listed_name_exists(name):
    assert NAMES[name] is not None, f"{name} has no __all__"
    module = importlib.import_module(name)
    missing = [public for public in NAMES[name] if not hasattr(module, public)]
    assert not missing, f"{name}.__all__ names what is not there: {missing}"
    assert len(set(NAMES[name])) == len(NAMES[name]), f"{name}.__all__ has a name twice"


def test_the_public_interface_is_the_recorded_one():
    from tests.house import api

    recorded = api.RECORD.read_text("utf-8").splitlines()
    actual = api.public_interface().splitlines()
    changes = "\n".join(difflib.unified_diff(recorded, actual, "recorded", "actual", lineterm=""))
    assert not changes, f"the public interface changed; if on purpose, run `make api`\n{changes}"
