"""A constraint between parameters: an expression such as `layers * width <= 4096`, checked node by node.

Allowed: names of parameters (dotted ones too), numbers, texts, lists, + - * / // % **, comparisons, in, and, or, not.
"""

from __future__ import annotations

import ast
from collections.abc import Container, Mapping
from typing import Any

from thrifty.core.errors import UsageError

_ALLOWED = (
    ast.Expression, ast.BoolOp, ast.And, ast.Or, ast.UnaryOp, ast.Not, ast.USub, ast.UAdd, ast.BinOp, ast.Add, ast.Sub,
    ast.Mult, ast.Div, ast.FloorDiv, ast.Mod, ast.Pow, ast.Compare, ast.Lt, ast.LtE, ast.Gt, ast.GtE, ast.Eq, ast.NotEq,
    ast.In, ast.NotIn, ast.Name, ast.Load, ast.Constant, ast.Tuple, ast.List,
)  # fmt: skip


class Constraint:
    """One expression over the parameters in `names`. Raises UsageError where it cannot be read."""

    def __init__(self, text: str, names: Container[str]) -> None:
        if not isinstance(text, str):
            raise UsageError(f"a constraint is a text such as 'low < high', not {text!r}")
        self.text = text
        try:
            tree = _Dotted().visit(ast.parse(text.strip(), mode="eval"))
        except (SyntaxError, ValueError) as error:
            raise UsageError(f"the constraint {text!r} cannot be read: {error}") from error
        for node in ast.walk(tree):
            if not isinstance(node, _ALLOWED):
                raise UsageError(f"the constraint {text!r} uses {type(node).__name__}, which constraints do not allow")
            if isinstance(node, ast.Name) and node.id not in names:
                raise UsageError(f"the constraint {text!r} names {node.id!r}, which is not in the space")
        self.names = frozenset(n.id for n in ast.walk(tree) if isinstance(n, ast.Name))
        self._code = compile(ast.fix_missing_locations(tree), f"<constraint {text}>", "eval")

    def holds(self, config: Mapping[str, Any]) -> bool:
        """Whether `config` meets it; a configuration that lacks one of its parameters does."""
        if not all(name in config for name in self.names):
            return True
        try:
            return bool(eval(self._code, {"__builtins__": {}}, dict(config)))  # checked above, node by node
        except (TypeError, ArithmeticError) as error:
            raise UsageError(f"the constraint {self.text!r} fails for {dict(config)}: {error}") from error


class _Dotted(ast.NodeTransformer):
    """Turns `model.width` into one name."""

    def visit_Attribute(self, node: ast.Attribute) -> ast.AST:
        parts = [node.attr]
        inner: ast.expr = node.value
        while isinstance(inner, ast.Attribute):
            parts.append(inner.attr)
            inner = inner.value
        if not isinstance(inner, ast.Name):
            return node
        return ast.copy_location(ast.Name(".".join([inner.id, *reversed(parts)]), ast.Load()), node)
