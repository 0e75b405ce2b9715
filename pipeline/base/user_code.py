"""Python files that a user writes beside a spec: loaded as modules, the files they import, the lines of their errors.

Must not know what the functions in them are for.
"""

from __future__ import annotations

import ast
import importlib.util
import sys
import traceback
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import ModuleType


def load_module(path: Path, *, substitutes: Mapping[str, ModuleType] | None = None) -> ModuleType:
    """Run the file and return it as a module; files beside it can be imported, and are read anew.

    A module of `substitutes` is used where none of its name is installed. Raises what the file raises.
    """
    for name, module in (substitutes or {}).items():
        if name not in sys.modules and importlib.util.find_spec(name) is None:
            sys.modules[name] = module
    folder = str(path.parent)
    _forget_modules_in(folder)
    importlib.invalidate_caches()
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None, "the name ends in .py"
    module = importlib.util.module_from_spec(spec)
    is_new = folder not in sys.path
    sys.path[:0] = [folder] if is_new else []
    try:
        code = compile(path.read_bytes(), str(path), "exec")  # not the loader, whose cached bytecode may be older
        exec(code, module.__dict__)
    finally:
        if is_new:
            sys.path.remove(folder)
        _forget_modules_in(folder)  # another competition may have a file of the same name
    return module


def _forget_modules_in(folder: str) -> None:
    for name, module in [*sys.modules.items()]:
        if str(vars(module).get("__file__") or "").startswith(f"{folder}/"):  # getattr runs the code of lazy modules
            del sys.modules[name]


def files_of(path: Path) -> list[Path]:
    """The file and the files beside it that it imports, directly or through others; a file that is missing is left out.

    Of a package, all its modules.
    """
    found: dict[Path, None] = {}
    waiting = [path]
    while waiting:
        one = waiting.pop()
        if one in found or not one.is_file():
            continue
        found[one] = None
        for name in _imported(one):
            package = path.parent / name
            waiting.append(package.with_suffix(".py"))
            waiting += sorted(package.rglob("*.py")) if (package / "__init__.py").is_file() else []
    return sorted(found)


def _imported(path: Path) -> Iterator[str]:
    """First parts of the names that the file imports; none if it is no valid Python."""
    try:
        tree = ast.parse(path.read_bytes())
    except (SyntaxError, ValueError):
        return
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module.partition(".")[0]
        elif isinstance(node, ast.ImportFrom):
            yield from (alias.name for alias in node.names)


def place_of(error: BaseException, path: Path) -> str:
    """`metric.py, line 12`: the deepest line of the file's folder that the error passed through."""
    if isinstance(error, SyntaxError) and error.lineno is not None:
        return f"{error.filename or path}, line {error.lineno}"
    lines = [frame for frame in traceback.extract_tb(error.__traceback__) if Path(frame.filename).parent == path.parent]
    return f"{lines[-1].filename}, line {lines[-1].lineno}" if lines else str(path)
