"""Python functions with docstrings become rows: describe this function, as one line of JSON.

The parser is the standard library's `ast`: it accepts exactly what CPython accepts and gives exact
positions. (Other languages will come by tree-sitter.)

    prompt    Describe this function. + the code without its docstring, in a fence
    response  {"name":"guess_type","params":["url","strict"],"summary":"Guess the type of a file."}
"""

from __future__ import annotations

import ast
import json
import re
import warnings
from collections.abc import Iterator
from typing import Final, TypeAlias

from mens_corpus import rows
from mens_corpus.extractors import decoding, outcomes

SUFFIXES: Final = (".py", ".pyi")
"""Documents this extractor understands."""
SHAPE: Final = outcomes.Shape(rows.Lane.DOCS_QA, "python_function", "describe_function")
"""A question about code, answered from its documentation."""
SUMMARY_LIMIT: Final = 200
"""Characters of a summary. A longer first sentence is nearly always a list or a missing full stop;
cutting it would teach half sentences, so the function is left out."""

_Function: TypeAlias = ast.FunctionDef | ast.AsyncFunctionDef
_BLOCKS: Final = (
    ast.FunctionDef,
    ast.AsyncFunctionDef,
    ast.ClassDef,
    ast.If,
    ast.For,
    ast.AsyncFor,
    ast.While,
    ast.With,
    ast.AsyncWith,
    ast.Try,
    ast.TryStar,
    ast.ExceptHandler,
    ast.Match,
    ast.match_case,
)
"""Everything that holds statements; the other nine tenths of all nodes are not looked at."""
_SENTENCE: Final = re.compile(r"(?<![.\s]\w)(?<!e\.g)(?<!i\.e)(?<!\bcf)(?<!\bvs)[.!?](?=\s|$)")
"""A full stop that ends a sentence: not the one of an initial or of these abbreviations."""
_SIGNATURE: Final = re.compile(r"^[\w.]+\(.*\)(\s*->.*)?[:.]?$")
"""A first docstring line that only repeats the signature, as C-style docstrings do."""


def extract(data: bytes, *, max_characters: int) -> Iterator[outcomes.Outcome]:
    """Yield one outcome per function of the file, in the order of their lines."""
    text = decoding.python_text(data)
    if isinstance(text, outcomes.Broken):
        yield text
        return
    tree = _parsed(text)
    if isinstance(tree, outcomes.Broken):
        yield tree
        return
    lines = text.split("\n")
    for qualname, node, nested in _functions(tree):
        yield _outcome(qualname, node, lines, nested=nested, max_characters=max_characters)


def _parsed(text: str) -> ast.Module | outcomes.Broken:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # invalid escapes are the authors' affair
            return ast.parse(text)
    except SyntaxError as error:
        message = str(error.msg)
        return outcomes.Broken("SyntaxError", message, error.lineno or 0, error.offset or 0)
    except ValueError as error:
        return outcomes.Broken("SyntaxError", str(error))
    except (RecursionError, MemoryError):
        return outcomes.Broken("TooDeep", "nested deeper than the parser can follow")


def _functions(tree: ast.Module) -> Iterator[tuple[str, _Function, bool]]:
    """Yield (qualname, function, whether it lies within a function) by line.

    Walks statements only, with a stack of its own: generated files nest deeper than we recurse.
    """
    stack: list[tuple[str, ast.AST, bool]] = [("", tree, False)]
    while stack:
        prefix, node, nested = stack.pop()
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield prefix + node.name, node, nested
            prefix, nested = f"{prefix}{node.name}.<locals>.", True
        elif isinstance(node, ast.ClassDef):
            prefix = f"{prefix}{node.name}."
        stack.extend((prefix, child, nested) for child in reversed(list(_statements(node))))


def _statements(node: ast.AST) -> Iterator[ast.AST]:
    """Yield the statements within a statement that may hold functions themselves."""
    for name in ("body", "handlers", "orelse", "finalbody", "cases"):
        for child in getattr(node, name, ()):
            if isinstance(child, _BLOCKS):
                yield child


def _outcome(
    qualname: str, node: _Function, lines: list[str], *, nested: bool, max_characters: int
) -> outcomes.Outcome:
    reason = _reason_against(node, nested=nested)
    if reason:
        return outcomes.Filtered(reason)
    summary = summarized(ast.get_docstring(node) or "")
    if not summary:
        return outcomes.Filtered("NoSummary")
    if len(summary) > SUMMARY_LIMIT:
        return outcomes.Filtered("SummaryTooLong")
    code = _code(node, lines, max_characters - len(_question("")))
    if code is None:
        return outcomes.Filtered("SignatureTooLong")
    answer = {"name": node.name, "params": parameters(node), "summary": summary}
    response = json.dumps(answer, ensure_ascii=False, separators=(",", ":"))
    prompt = _question(code)
    if not _is_text(prompt + response):
        return outcomes.Broken("NotText", "lone surrogates in the docstring", node.lineno)
    return outcomes.Draft(prompt, response, SHAPE, {"qualname": qualname, "line": node.lineno})


def _question(code: str) -> str:
    fence = "```"
    while fence in code:
        fence += "`"
    return f"Describe this function.\n\n{fence}python\n{code}\n{fence}"


def _reason_against(node: _Function, *, nested: bool) -> str:
    """Return why a function is no row: most telling reason first, empty if it may be one."""
    dunder = node.name.startswith("__") and node.name.endswith("__")
    rules = {
        "Nested": nested,
        "Dunder": dunder,
        "Private": node.name.startswith("_"),
        "Overload": any(_decorator_name(item) == "overload" for item in node.decorator_list),
        "NoDocstring": ast.get_docstring(node, clean=False) is None,
        "NoBody": len(node.body) == 1,
    }
    return next((reason for reason, holds in rules.items() if holds), "")


def _decorator_name(node: ast.expr) -> str:
    while isinstance(node, ast.Call):
        node = node.func
    if isinstance(node, ast.Attribute):
        return node.attr
    return node.id if isinstance(node, ast.Name) else ""


def parameters(node: _Function) -> list[str]:
    """Return bare names in the order of the signature, self and cls too.

    The names are what stands in the code: a row whose answer leaves some of them out would teach
    a rule that nothing in the question shows.
    """
    said = node.args
    found = [item.arg for item in (*said.posonlyargs, *said.args)]
    found += [said.vararg.arg] if said.vararg else []
    found += [item.arg for item in said.kwonlyargs]
    found += [said.kwarg.arg] if said.kwarg else []
    return found


def summarized(docstring: str) -> str:
    """Return the first sentence of a docstring's first paragraph, on one line.

    Without a full stop it is the first line. A line that repeats the signature is skipped.
    """
    paragraphs = [part.strip() for part in docstring.strip().split("\n\n")]
    lines = [line.strip() for line in paragraphs[0].split("\n")]
    if _SIGNATURE.match(lines[0]):
        rest = lines[1:] or [line.strip() for part in paragraphs[1:2] for line in part.split("\n")]
        lines = rest or lines
    folded = " ".join(" ".join(lines).split())
    end = _SENTENCE.search(folded)
    return folded[: end.end()] if end else " ".join(lines[0].split())


def _code(node: _Function, lines: list[str], max_characters: int) -> str | None:
    """Return the function without its docstring, cut at a line end; None if `def` does not fit."""
    first = min([node.lineno, *(item.lineno for item in node.decorator_list)])
    docstring = node.body[0]
    if docstring.end_lineno is None or node.end_lineno is None:
        return None
    head = lines[first - 1 : docstring.lineno]
    tail = lines[docstring.end_lineno - 1 : node.end_lineno]
    # Offsets of ast count UTF-8 bytes, not characters.
    before = head[-1].encode()[: docstring.col_offset].decode()
    after = tail[0].encode()[docstring.end_col_offset or 0 :].decode().strip()
    body = tail[1:]
    if before.strip():
        # `def f(): "text"; return 1`: the rest stays on the line of the signature.
        head[-1] = before + after.removeprefix(";").lstrip()
    elif after.startswith(";"):
        head[-1] = before + after.removeprefix(";").lstrip()
    else:
        head.pop()
    while body and not body[0].strip() and not before.strip():
        body.pop(0)
    code = _dedented(head + body)
    signature = docstring.lineno - first if not before.strip() else docstring.lineno - first + 1
    return _capped(code, keep=signature, limit=max_characters)


def _dedented(code: list[str]) -> list[str]:
    margin = code[0][: len(code[0]) - len(code[0].lstrip())]
    return [line.removeprefix(margin).rstrip() for line in code]


def _capped(code: list[str], *, keep: int, limit: int) -> str | None:
    length = 0
    for number, line in enumerate(code):
        length += len(line) + (number > 0)
        if length > limit:
            return "\n".join(code[:number]).rstrip() if number >= keep else None
    return "\n".join(code).rstrip()


def _is_text(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
