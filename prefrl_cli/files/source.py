"""What a class of ours says of its options, read from its source: importing it would import torch, for `--help` too."""

from __future__ import annotations

import ast
import collections.abc
import re
import typing
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from prefrl_cli.core import option_types
from prefrl_cli.core.option_types import describe, is_value

_PACKAGE = Path(__file__).parents[1]

Options = dict[str, tuple[str, str, str]]


def class_options(target: str) -> tuple[str, Options]:
    """The first line of a class's docstring, and of each parameter that is an option: allowed, default, meaning.

    Args:
        target: the module and the class; of one that is not ours nothing is read.
    """
    module, _, name = target.rpartition(".")
    if module.partition(".")[0] != "prefrl_cli":
        return "", {}
    return _from_source(module, name)


def _from_source(module: str, name: str) -> tuple[str, Options]:
    tree = _tree(module)
    found = next(node for node in tree.body if isinstance(node, ast.ClassDef) and node.name == name)
    text = ast.get_docstring(found) or ""
    about = " ".join(text.partition("\n\n")[0].split())
    documented = dict(_documented(text))
    options: Options = {}
    made = next((node for node in found.body if isinstance(node, ast.FunctionDef) and node.name == "__init__"), None)
    if made is not None:
        arguments = [*made.args.args[1:], *made.args.kwonlyargs]
        plain = [None] * (len(made.args.args) - len(made.args.defaults)) + list(made.args.defaults)
        for one, default in zip(arguments, [*plain[1:], *made.args.kw_defaults], strict=True):
            annotation = _evaluated(one.annotation, module)
            if annotation is not None and is_value(annotation) and default is not None:
                value = re.sub(r"'|\"", "", ast.unparse(default)).replace("None", "null").replace(" ", "")
                options[one.arg] = (describe(annotation), _as_yaml(value), documented.get(one.arg, ""))
    if made is None or made.args.kwarg is not None:
        for base in found.bases:
            if isinstance(base, ast.Name) and (place := _place(module, base.id)) is not None:
                _, more = _from_source(place, base.id)
                options = {**more, **options}
    return about, options


def _as_yaml(value: str) -> str:
    return {"True": "true", "False": "false"}.get(value, value.replace("(", "[").replace(")", "]"))


def _documented(text: str) -> Iterator[tuple[str, str]]:
    """The parameters of a docstring with what they mean."""
    match = re.search(r"^Args:\n((?:[ ]{4}.*\n?|\n)+)", text, re.MULTILINE)
    for one in re.finditer(r"^    (\w+): ((?:.|\n {8})*)", match[1] if match else "", re.MULTILINE):
        yield one[1], " ".join(one[2].split())


def _tree(module: str) -> ast.Module:
    path = _PACKAGE.joinpath(*module.split(".")[1:]).with_suffix(".py")
    return ast.parse(path.read_text(encoding="utf-8"))


def _place(module: str, name: str) -> str | None:
    """The module of ours that defines a name which another one uses."""
    for node in _tree(module).body:
        if isinstance(node, ast.ClassDef | ast.FunctionDef) and node.name == name:
            return module
        if isinstance(node, ast.Assign) and any(isinstance(one, ast.Name) and one.id == name for one in node.targets):
            return module
        if isinstance(node, ast.ImportFrom) and any(alias.name == name for alias in node.names):
            inside = str(node.module)
            return inside if inside.startswith("prefrl_cli.") else None
    return None


def _evaluated(annotation: ast.expr | None, module: str) -> Any:
    """An annotation as a type; none where it names something that only a program hands in."""
    if annotation is None:
        return None
    known = {**vars(typing), **vars(collections.abc), **vars(option_types)}
    for _ in range(4):  # a name of ours may be made of others
        try:
            return eval(compile(ast.Expression(annotation), module, "eval"), {}, known)  # our own source
        except NameError as problem:
            place = _place(module, name := str(problem.name))
            found = None if place is None else _assigned(place, name)
            if found is None:
                return None
            known[name] = _evaluated(found, place or module)
        except TypeError:
            return None
    return None


def _assigned(module: str, name: str) -> ast.expr | None:
    for node in _tree(module).body:
        if isinstance(node, ast.Assign) and any(isinstance(one, ast.Name) and one.id == name for one in node.targets):
            return node.value
    return None
