"""The house: rooms in one order, nothing private taken across modules, no torch above a line, short files."""

import ast
import functools
import graphlib
import re
import subprocess
import sys
from pathlib import Path

import posttrain
import pytest

# From top to bottom: a module may import its own room and those above it. A room is a package or a module.
ROOMS = (
    *(
        "progress",
        "numerics",
        "formulas",
        "verifiers",
        "rendering",
        "environments",
        "tasks",
        "config",
        "store",
    ),
    *("policy", "decoding", "rollouts", "compute", "evaluation", "trainers"),
    *("hardware", "foundation", "analysis", "cli"),
)
NO_TORCH = (
    "numerics",
    "formulas",
    "verifiers",
    "rendering",
    "environments",
    "tasks",
    "config",
    "store",
    "analysis",
)
BOOK = {"notebooks", "papermill", "nbformat", "nbclient", "nbconvert", "ipykernel", "jupyter_book"}
LIB = Path(posttrain.__path__[0])
FILES = {path.relative_to(LIB).as_posix(): path for path in sorted(LIB.rglob("*.py"))}


def module(file):
    """The dotted name of a file of the library: verifiers/__init__.py is verifiers."""
    return file.removesuffix(".py").removesuffix("/__init__").replace("/", ".")


MODULES = {module(file): path.read_text() for file, path in FILES.items() if file != "__init__.py"}


parsed = functools.cache(ast.parse)


def imported(source, modules):
    """(module of the library, name taken from it or None) of every import in `source`, in functions too."""
    for node in ast.walk(parsed(source)):
        if isinstance(node, ast.Import):
            names = [(alias.name, None) for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, "imports name the whole path"
            names = [(node.module, alias.name) for alias in node.names]
        else:
            continue
        for path, name in names:
            top, _, path = path.partition(".")
            if top != "posttrain":
                continue
            inner = f"{path}.{name}".lstrip(".")
            if name and inner in modules:
                path, name = inner, None
            yield path, name


def room(name):
    """How far down a module lives; what is in no room counts as the lowest, and has a test of its own."""
    return ROOMS.index(name.partition(".")[0]) if name.partition(".")[0] in ROOMS else len(ROOMS)


def below(name, modules):
    """What a module imports from rooms below its own."""
    return sorted({path for path, _ in imported(modules[name], modules) if path and room(path) > room(name)})


def circle(name, modules):
    """Modules of a room that import one another in a circle."""
    inside = {other for other in modules if other.partition(".")[0] == name}
    graph = {other: {path for path, _ in imported(modules[other], modules)} & inside for other in inside}
    try:
        graphlib.TopologicalSorter(graph).prepare()
    except graphlib.CycleError as error:
        return error.args[1]
    return []


@functools.cache
def defined(source):
    """Private names that a module defines: functions, classes, variables, fields and attributes."""
    names = set()
    for node in ast.walk(parsed(source)):
        if isinstance(node, (ast.FunctionDef, ast.ClassDef)):
            names.add(node.name)
        elif isinstance(node, (ast.Attribute, ast.Name)) and isinstance(node.ctx, ast.Store):
            names.add(node.attr if isinstance(node, ast.Attribute) else node.id)
    return {name for name in names if name.startswith("_") and not name.endswith("__")}


def taken(name, modules):
    """Private names of other modules that a module uses: imported, or as an attribute of whatever it is."""
    own = defined(modules[name])
    others = set().union(*(defined(source) for other, source in modules.items() if other != name)) - own
    names = {taken for _, taken in imported(modules[name], modules)} & others
    for node in ast.walk(parsed(modules[name])):
        if isinstance(node, ast.Attribute) and node.attr in others and ast.unparse(node.value) != "self":
            names.add(ast.unparse(node))
    return sorted(names)


def test_every_file_is_in_a_room():
    assert {name.partition(".")[0] for name in MODULES} <= set(ROOMS)


@pytest.mark.parametrize("name", MODULES)
def test_a_module_imports_only_what_is_above_it(name):
    assert below(name, MODULES) == []


@pytest.mark.parametrize("name", sorted({name.partition(".")[0] for name in MODULES}))
def test_no_room_has_a_circle(name):
    assert circle(name, MODULES) == []


@pytest.mark.parametrize("name", MODULES)
def test_nothing_private_is_taken(name):
    assert taken(name, MODULES) == []


@pytest.mark.parametrize("name", MODULES)
def test_the_library_does_not_know_the_book(name):
    nodes = list(ast.walk(parsed(MODULES[name])))
    paths = [alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names]
    paths += [node.module for node in nodes if isinstance(node, ast.ImportFrom)]
    assert not {path.partition(".")[0] for path in paths} & BOOK


@pytest.mark.parametrize(
    "name", [room for room in NO_TORCH if any(m.partition(".")[0] == room for m in MODULES)]
)
def test_no_torch_above_the_line(name):
    """Each module of the room is imported, in a process of its own."""
    names = [f"posttrain.{other}" for other in MODULES if other.partition(".")[0] == name]
    code = "import sys, importlib\nfor name in sys.argv[1:]:\n    importlib.import_module(name)\n"
    code += "    assert not {'torch', 'transformers'} & set(sys.modules), name"
    result = subprocess.run([sys.executable, "-c", code, *names], capture_output=True, text=True)
    assert result.returncode == 0, result.stderr.strip().rpartition("\n")[2]


@pytest.mark.parametrize("file", FILES)
def test_a_file_can_be_read(file):
    """At most 300 lines of at most 110 columns."""
    lines = FILES[file].read_text().splitlines()
    assert len(lines) <= 300
    assert [number for number, line in enumerate(lines, 1) if len(line) > 110] == []


# --- the checks themselves bite -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    "line",
    [
        "from posttrain import tasks",
        "import posttrain.tasks",
        "def f():\n    from posttrain.tasks import task",
    ],
)
def test_an_import_from_below_is_seen(line):
    modules = {"verifiers.x": line, "tasks": ""}
    assert below("verifiers.x", modules) == ["tasks"] and below("tasks", {**modules, "tasks": line}) == []


def test_a_circle_is_seen():
    modules = {"verifiers": "", "verifiers.a": "from posttrain.verifiers import b", "verifiers.b": ""}
    assert circle("verifiers", modules) == []
    modules["verifiers.b"] = "def f():\n    from posttrain.verifiers.a import g"
    assert set(circle("verifiers", modules)) == {"verifiers.a", "verifiers.b"}
    assert circle(
        "verifiers",
        {
            **modules,
            "verifiers.b": "from posttrain.verifiers import B",
            "verifiers": "from posttrain.verifiers.b import B",
        },
    )


@pytest.mark.parametrize(
    ("source", "names"),
    [
        ("from posttrain.tasks import _hidden", ["_hidden"]),
        ("from posttrain import tasks\ntasks._hidden()", ["tasks._hidden"]),
        ("def f(env):\n    return env._places", ["env._places"]),
        ("def _hidden():\n    return torch._C, env._replace(x=1)\n_hidden()", []),
    ],
)
def test_a_private_name_is_seen(source, names):
    tasks = "def _hidden():\n    pass\nclass A:\n    def f(self):\n        self._places = self._places"
    assert taken("cli", {"cli": source, "tasks": tasks}) == names and taken("tasks", {"tasks": tasks}) == []


def test_every_module_is_on_one_of_the_pages_of_the_library():
    page = "".join(path.read_text() for path in (LIB.parent.parent / "book").glob("api*.md"))
    parts = (("posttrain", *path.relative_to(LIB).with_suffix("").parts) for path in LIB.rglob("*.py"))
    modules = {".".join(names).removesuffix(".__init__") for names in parts} - {"posttrain"}
    assert sorted(re.findall(r"automodule:: (\S+)", page)) == sorted(modules)
