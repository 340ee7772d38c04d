"""Imports run one way, so that a worker loads its own stage only and every part can be read by itself."""

from __future__ import annotations

import ast
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
ALONE = {*STAGES, "demo", "http", "stores"}

MODULES = sorted(PACKAGE.rglob("*.py"))


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


def imported_modules(module: Path) -> set[str]:
    """Return what a file imports as soon as it is imported itself."""
    return imports_in(ast.parse(module.read_text()).body)


def allowed_for(part: str) -> set[str]:
    """Return the parts that one part may import."""
    depth = next((depth for depth, layer in enumerate(LAYERS) if part in layer), None)
    assert depth is not None, f"{part} has no place in the layers: give it one in {__file__}"
    beside = {part} if part in ALONE else LAYERS[depth]
    return beside.union(*LAYERS[depth + 1 :])


@pytest.mark.parametrize("module", MODULES, ids=lambda module: str(module.relative_to(PACKAGE)))
def test_a_module_imports_only_what_lies_below_it(module: Path) -> None:
    assert imported_parts(module) <= allowed_for(part_of(module))


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
