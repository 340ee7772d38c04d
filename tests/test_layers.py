"""Imports run one way, so that a worker loads its own stage only and every part can be read by itself."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterable
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "aggregator"

STAGES = {"feeds", "streams", "logs", "sequences"}

# From top to bottom: a part may import its own modules, those beside it unless it stands alone, and all layers below.
LAYERS = (
    {"cli", "commands", "dashboard", "__main__"},
    {*STAGES, "plugins", "demo"},
    {"monitor", "supervision", "http", "stores"},
    {"runtime"},
    {"config", "registry"},
    {"files"},
    {"errors", "__init__"},
)
ALONE = {*STAGES, "demo", "http", "stores", "supervision"}
BESIDE = {"monitor": {"monitor", "supervision"}}
"""What a part may import of its own layer, where that is neither all of it nor itself alone."""
BY_STRING = {
    # the one place where stages and tables are named
    "registry.py": {*STAGES, "stores", "runtime"},
    # what another process is to run; nothing of it is imported here
    "config/safepath.py": {"cli", "supervision"},
}
"""What a module may name in strings, beside what it may import."""

MODULES = sorted(PACKAGE.rglob("*.py"))
PARTS = {path.name.removesuffix(".py") for path in PACKAGE.iterdir() if path.suffix == ".py" or path.is_dir()}


def part_of(module: Path) -> str:
    """Return the part of the package a file belongs to: its folder, or itself."""
    first = module.relative_to(PACKAGE).parts[0]
    return first.removesuffix(".py")


def name_of(module: Path) -> str:
    """Return the dotted name of a file."""
    return ".".join(module.relative_to(PACKAGE.parent).with_suffix("").parts).removesuffix(".__init__")


def imports_in(nodes: Iterable[ast.AST]) -> set[str]:
    """Return the dotted names that import statements ask the package for."""
    names = set()
    for node in nodes:
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"line {node.lineno} imports relatively"
            names |= {f"{node.module}.{alias.name}" for alias in node.names} | {str(node.module)}
    return {name for name in names if name.startswith("aggregator.")}


def imported_parts(module: Path) -> set[str]:
    """Return the parts a file imports anywhere, also inside functions and for type checkers only."""
    names = imports_in(ast.walk(ast.parse(module.read_text())))
    return {name.split(".")[1] for name in names} - {"__version__"}


def named_parts(tree: ast.AST) -> set[str]:
    """Return the parts that strings name, such as ``aggregator.feeds.download:Download``; docstrings do not count."""
    prose = {
        node.value for node in ast.walk(tree) if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
    }
    texts = (node for node in ast.walk(tree) if isinstance(node, ast.Constant) and isinstance(node.value, str))
    names = (name for text in texts if text not in prose for name in re.findall(r"\baggregator\.(\w+)", text.value))
    return {*names} & PARTS


def imported_modules(module: Path) -> set[str]:
    """Return what a file imports as soon as it is imported itself."""
    return imports_in(ast.parse(module.read_text()).body)


def allowed_for(part: str) -> set[str]:
    """Return the parts that one part may import."""
    depth = next((depth for depth, layer in enumerate(LAYERS) if part in layer), None)
    assert depth is not None, f"{part} has no place in the layers: give it one in {__file__}"
    beside = BESIDE.get(part) or ({part} if part in ALONE else LAYERS[depth])
    return beside.union(*LAYERS[depth + 1 :])


@pytest.mark.parametrize("module", MODULES, ids=lambda module: str(module.relative_to(PACKAGE)))
def test_a_module_imports_only_what_lies_below_it(module: Path) -> None:
    assert imported_parts(module) <= allowed_for(part_of(module))


@pytest.mark.parametrize("module", MODULES, ids=lambda module: str(module.relative_to(PACKAGE)))
def test_a_module_names_in_strings_only_what_it_may_import(module: Path) -> None:
    allowed = allowed_for(part_of(module)) | BY_STRING.get(str(module.relative_to(PACKAGE)), set())

    assert named_parts(ast.parse(module.read_text())) <= allowed


@pytest.mark.parametrize(
    "planted",
    [
        'TABLES = {"feed": "aggregator.feeds.settings.table:TABLE"}',
        'importlib.import_module("aggregator.feeds.settings.table")',
        'importlib.import_module(f"aggregator.feeds.{name}")',
        'def load():\n    return getattr(import_module("aggregator." "feeds.download"), "Download")',
    ],
)
def test_a_string_that_names_a_stage_package_is_seen(planted: str) -> None:
    assert named_parts(ast.parse(planted)) == {"feeds"}
    assert "feeds" not in allowed_for("config") | allowed_for("runtime") | allowed_for("monitor")


def test_a_docstring_may_name_what_it_likes() -> None:
    assert named_parts(ast.parse('"""See aggregator.feeds.download."""')) == set()


def test_what_looks_at_an_instance_knows_no_command_and_no_stage() -> None:
    assert allowed_for("monitor") & {*STAGES, "cli", "commands", "http", "stores"} == set()
    assert "monitor" not in allowed_for("supervision")


def test_the_rules_keep_stages_apart_and_the_runtime_below_them() -> None:
    assert allowed_for("logs") & STAGES == {"logs"}
    assert not allowed_for("runtime") & {*STAGES, "cli", "commands", "supervision"}
    assert not allowed_for("config") & {"runtime", "stores"}
    assert allowed_for("files") == {"files", "errors", "__init__"}


def test_modules_do_not_import_one_another_in_a_circle() -> None:
    below = {name_of(module): imported_modules(module) for module in MODULES}
    placed: set[str] = set()
    while len(placed) < len(below):
        free = {name for name, imported in below.items() if name not in placed and imported & below.keys() <= placed}
        assert free, f"a circle among {sorted(set(below) - placed)}"
        placed |= free
