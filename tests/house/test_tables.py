"""What stands in two places agrees: tables of schemes, families and dependencies."""

import importlib
import itertools
import re
import tomllib

import pytest

import refquant
from tests.house import sources

SCHEME_FILES = [
    path
    for path in sources.public_modules()
    if sources.relative(path).startswith("refquant/schemes/")
    and sources.relative(path) != "refquant/schemes/__init__.py"
]


def table_module():
    return importlib.import_module("refquant.schemes")


def declared(path):
    """The schemes and families that a file of schemes/ declares at its top level."""
    kinds = (refquant.Scheme, *map(type, table_module().FAMILIES.values()))
    module = importlib.import_module(sources.module_name(path))
    tuples = [value for value in vars(module).values() if isinstance(value, tuple)]
    values = [*vars(module).values(), *itertools.chain(*tuples)]
    return [value for value in values if isinstance(value, kinds)]


@pytest.mark.parametrize("path", SCHEME_FILES, ids=sources.relative)
def test_every_declared_scheme_is_in_the_table(path):
    schemes = table_module()
    tables = [*schemes.SCHEMES.values(), *schemes.FAMILIES.values()]
    missing = [found.name for found in declared(path) if found not in tables]
    assert not missing, f"add to the table in refquant/schemes/__init__.py: {missing}"


def test_every_scheme_of_the_table_comes_from_a_file():
    schemes = table_module()
    written = [found.name for path in SCHEME_FILES for found in declared(path)]
    strange = {*schemes.SCHEMES, *schemes.FAMILIES} - set(written)
    assert not strange, f"made elsewhere than in a scheme's file: {strange}"


def test_every_alias_and_name_resolves():
    schemes = table_module()
    for name in (*schemes.SCHEMES, *schemes.ALIASES, *schemes.FAMILIES):
        assert schemes.scheme(name).name


def test_every_architecture_file_is_in_the_table():
    from refquant import architectures
    from refquant.architectures.family import Family

    for path in sources.modules():
        if sources.relative(path).startswith("refquant/architectures/"):
            module = importlib.import_module(sources.module_name(path))
            found = [value for value in vars(module).values() if isinstance(value, Family)]
            missing = [family for family in found if family not in architectures.FAMILIES.values()]
            assert not missing, f"add to FAMILIES in refquant/architectures/__init__.py: {path}"


def test_every_dependency_has_its_sentence():
    settings = tomllib.loads((sources.REPOSITORY / "pyproject.toml").read_text("utf-8"))["project"]
    extras = settings["optional-dependencies"]
    wanted = [*settings["dependencies"], *(name for key in extras for name in extras[key])]
    names = {re.match(r"[A-Za-z0-9-]+", requirement)[0] for requirement in wanted}
    page = (sources.REPOSITORY / "docs" / "decisions.md").read_text("utf-8")
    explained = set(re.findall(r"^- `([A-Za-z0-9-]+)`", page, re.MULTILINE))
    assert names == explained, f"pyproject.toml and docs/decisions.md: {names ^ explained}"


def test_every_family_can_run():
    from refquant.architectures import FAMILIES
    from refquant.runtime.families import ENCODERS, LOADERS

    rows = LOADERS.keys() | ENCODERS
    assert set(FAMILIES) == rows, "give each family its row in runtime/families.py"


def test_every_room_is_on_the_map():
    page = (sources.REPOSITORY / "README.md").read_text("utf-8")
    rooms = {
        f"{path.stem}.py" if path.suffix else f"{path.name}/"
        for path in (sources.REPOSITORY / "refquant").iterdir()
        if path.suffix == ".py" or (path / "__init__.py").exists()
    }
    missing = {room for room in rooms if not room.startswith("_") and f"`{room}`" not in page}
    assert not missing, f"give them a row under Rooms in README.md: {missing}"
