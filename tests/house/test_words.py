"""House rules on text: what no file may contain, how long files and functions may be."""

import ast
import re

from tests.house import sources

LINES_A_FILE = 400
LINES_A_FUNCTION = 40

# Longer ones, each with the reason.
LONG_FUNCTIONS = {
    "conformance/mutants/schemes/bnb.py: mutants": "a list, one entry after the other",
}

# Spelled so that these rules do not break themselves.
UNFINISHED = re.compile(r"\b(TO" r"DO|FIX" r"ME|XX" r"X|HA" r"CK)\b|NotImplemented" r"Error")
MACHINE_PATH = re.compile(r"(?<![\w.~-])/(?:work|tmp|root|home|opt|Users|mnt)/")
WINDOWS_PATH = re.compile(r"\b[A-Z]:\\\\?[A-Za-z]")
ADDRESS = re.compile(r"(?:https?|ftp|ssh|git)://([A-Za-z0-9.-]+)")
INDEX = re.compile(
    r"\b[\w.-]*(?:py" r"pi|pythonhosted|npmjs|yarnpkg|crates|rubygems)\.(?:org|io|com)"
)

# Hosts that pages and licences may name. A registry or index of packages is not among them: pip's
# own configuration decides where packages come from.
KNOWN_HOSTS = {
    "www.apache.org",
    "creativecommons.org",
    "github.com",
    "arxiv.org",
    "keepachangelog.com",
    "semver.org",
    "example.org",
    "127.0.0.1",  # servers that tests start
    "json-schema.org",
    "www.gutenberg.org",
    "www.w3.org",
    "git-lfs",  # first words of the small files that stand for large ones
    "git-lfs.github.com",  # the same
}

# Glossary: the word on the left is not used for what the word on the right says.
BANNED = {
    "qs": "codes",
    "quant": "code",
    "quants": "codes",
    "qtype": "storage type",
    "bpw": "bits_per_weight",
    "zp": "zero_point",
    "zeropoint": "zero_point",
    "zeros": "zero_point",
    "maxq": "qmax",
    "minq": "qmin",
    "groupsize": "group_size",
    "blocksize": "block_size",
    "channelwise": "per_channel",
    "dim": "axis",
    "dims": "axes",
    "serialize": "write, pack",
    "deserialize": "read, unpack",
    "naive": "say what it does",
    "vanilla": "say what it does",
}


def lines_with(pattern, paths):
    for path in paths:
        for number, line in enumerate(path.read_text("utf-8").splitlines(), 1):
            for match in pattern.finditer(line):
                yield f"{sources.relative(path)}:{number}", match


def test_nothing_is_left_unfinished():
    found = [f"{place}: {match[0]}" for place, match in lines_with(UNFINISHED, code_and_pages())]
    assert not found, "\n".join(found)


def test_no_paths_of_one_machine():
    for pattern in (MACHINE_PATH, WINDOWS_PATH):
        found = [
            f"{place}: {match[0]}"
            for place, match in lines_with(pattern, code_and_pages())
            if not place.startswith("tests/house/test_words.py")
        ]
        assert not found, "\n".join(found)


def test_only_known_hosts():
    found = [
        f"{place}: {match[0]}"
        for place, match in lines_with(ADDRESS, code_and_pages())
        if match[1] not in KNOWN_HOSTS
    ]
    found += [f"{place}: {match[0]}" for place, match in lines_with(INDEX, code_and_pages())]
    assert not found, "\n".join(["add the host to KNOWN_HOSTS, or leave it out", *found])


def code_and_pages():
    """Text that people wrote here; novels, licences and tokenizers have their own authors."""
    theirs = ("LICENSE", "refquant/demo/", "conformance/vectors/")
    return [path for path in sources.text_files() if not sources.relative(path).startswith(theirs)]


def test_files_are_short():
    counts = {
        sources.relative(path): len(path.read_text("utf-8").splitlines())
        for path in sources.python_files()
    }
    long = {name: count for name, count in counts.items() if count > LINES_A_FILE}
    assert not long, f"more than {LINES_A_FILE} lines, split by idea: {long}"


def lines_of(function):
    """Lines of a function without its docstring and without what is defined inside it."""

    def span(node):
        return node.end_lineno - node.lineno + 1

    def outermost(nodes):
        for node in nodes:
            if isinstance(node, (ast.FunctionDef, ast.ClassDef)):
                yield node
            else:
                yield from outermost(ast.iter_child_nodes(node))

    docstring = span(function.body[0]) if ast.get_docstring(function) is not None else 0
    return span(function) - docstring - sum(map(span, outermost(function.body)))


def test_functions_are_short():
    counts = {
        f"{sources.relative(path)}: {node.name}": lines_of(node)
        for path in sources.python_files()
        for node in ast.walk(sources.tree_of(path))
        if isinstance(node, ast.FunctionDef)
    }
    long = {name: count for name, count in counts.items() if count > LINES_A_FUNCTION}
    new = {name: count for name, count in long.items() if name not in LONG_FUNCTIONS}
    assert not new, f"more than {LINES_A_FUNCTION} lines, give the parts names: {new}"
    assert long.keys() == LONG_FUNCTIONS.keys(), "no longer long, take it from LONG_FUNCTIONS"


def public_names(path):
    """Names a user of a module meets: functions, classes, their parameters and attributes."""
    for node in ast.walk(sources.tree_of(path)):
        if isinstance(node, (ast.FunctionDef, ast.ClassDef)) and not node.name.startswith("_"):
            yield node.lineno, node.name
            if isinstance(node, ast.FunctionDef):
                for argument in (*node.args.args, *node.args.kwonlyargs, *node.args.posonlyargs):
                    yield argument.lineno, argument.arg
            else:
                for item in node.body:
                    if isinstance(item, ast.AnnAssign) and isinstance(item.target, ast.Name):
                        yield item.lineno, item.target.id


def test_public_names_use_the_glossary():
    found = [
        f"{sources.relative(path)}:{line}: {name}: say {BANNED[word]!r}, not {word!r}"
        for path in sources.public_modules()
        # Names that other tools gave are kept there: their users look for them.
        if path.parent.name != "upstream"
        for line, name in public_names(path)
        if not name.startswith("_")
        for word in name.lower().split("_")
        if word in BANNED
    ]
    assert not found, "\n".join(found)
