"""Extract Python functions with docstrings: the response describes the function as JSON.

The parser is `ast` of the standard library: it accepts exactly what CPython accepts and reports
exact positions. (Extractors for other languages will use tree-sitter.)

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
from mens_corpus.extractors import decoding, results

SUFFIXES: Final = (".py", ".pyi")
"""File name suffixes of supported documents."""
LABELS: Final = results.RowLabels(rows.Lane.DOCS_QA, "python_function", "describe_function")
"""Labels of all rows: a question about code, answered from its documentation."""
SUMMARY_LIMIT: Final = 200
"""Maximum characters of a summary. A longer first sentence is almost always a list or lacks a
period. Truncation would teach incomplete sentences, so such a function is filtered."""

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
"""All nodes that contain statements. The other 90 % of the nodes are not visited."""
_SENTENCE: Final = re.compile(r"(?<![.\s]\w)(?<!e\.g)(?<!i\.e)(?<!\bcf)(?<!\bvs)[.!?](?=\s|$)")
"""The end of a sentence, but not the period of an initial or of these abbreviations."""
_SIGNATURE: Final = re.compile(r"^[\w.]+\(.*\)(\s*->.*)?[:.]?$")
"""A first docstring line that only repeats the signature, as in docstrings of C functions."""


def extract(data: bytes, *, max_characters: int) -> Iterator[results.Result]:
    """Yield one result per function of the file, in the order of their lines."""
    text = decoding.python_text(data)
    if isinstance(text, results.Invalid):
        yield text
        return
    tree = _parse(text)
    if isinstance(tree, results.Invalid):
        yield tree
        return
    lines = text.split("\n")
    for qualname, node, nested in _functions(tree):
        yield _extract_one(qualname, node, lines, nested=nested, max_characters=max_characters)


def _parse(text: str) -> ast.Module | results.Invalid:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # such as invalid escape sequences
            return ast.parse(text)
    except SyntaxError as error:
        message = str(error.msg)
        return results.Invalid("SyntaxError", message, error.lineno or 0, error.offset or 0)
    except ValueError as error:
        return results.Invalid("SyntaxError", str(error))
    except (RecursionError, MemoryError):
        return results.Invalid("TooDeep", "nested too deeply for the parser")


def _functions(tree: ast.Module) -> Iterator[tuple[str, _Function, bool]]:
    """Yield (qualname, function, whether a function contains it), in the order of lines.

    Visits statements only, with an explicit stack: generated files exceed the recursion limit.
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
    """Yield the child statements that can contain functions."""
    for name in ("body", "handlers", "orelse", "finalbody", "cases"):
        for child in getattr(node, name, ()):
            if isinstance(child, _BLOCKS):
                yield child


def _extract_one(
    qualname: str, node: _Function, lines: list[str], *, nested: bool, max_characters: int
) -> results.Result:
    reason = _filter_reason(node, nested=nested)
    if reason:
        return results.Filtered(reason)
    summary = summarize(ast.get_docstring(node) or "")
    if not summary:
        return results.Filtered("NoSummary")
    if len(summary) > SUMMARY_LIMIT:
        return results.Filtered("SummaryTooLong")
    code = _code(node, lines, max_characters - len(_question("")))
    if code is None:
        return results.Filtered("SignatureTooLong")
    answer = {"name": node.name, "params": parameter_names(node), "summary": summary}
    response = json.dumps(answer, ensure_ascii=False, separators=(",", ":"))
    prompt = _question(code)
    if not _is_text(prompt + response):
        return results.Invalid("NotText", "lone surrogates in the docstring", node.lineno)
    return results.Extracted(prompt, response, LABELS, {"qualname": qualname, "line": node.lineno})


def _question(code: str) -> str:
    fence = "```"
    while fence in code:
        fence += "`"
    return f"Describe this function.\n\n{fence}python\n{code}\n{fence}"


def _filter_reason(node: _Function, *, nested: bool) -> str:
    """Return why a function is filtered: the most specific reason, or an empty string."""
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


def parameter_names(node: _Function) -> list[str]:
    """Return the parameter names in the order of the signature, including self and cls.

    All names of the code are included. A response without some of them would teach a rule that
    the prompt does not show.
    """
    signature = node.args
    found = [item.arg for item in (*signature.posonlyargs, *signature.args)]
    found += [signature.vararg.arg] if signature.vararg else []
    found += [item.arg for item in signature.kwonlyargs]
    found += [signature.kwarg.arg] if signature.kwarg else []
    return found


def summarize(docstring: str) -> str:
    """Return the first sentence of a docstring's first paragraph, on one line.

    Without a period, it is the first line. A line that repeats the signature is skipped.
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
    """Return the function without its docstring, truncated at a line end.

    None if the signature exceeds the limit.
    """
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
    code = _dedent(head + body)
    signature = docstring.lineno - first if not before.strip() else docstring.lineno - first + 1
    return _truncate(code, keep=signature, limit=max_characters)


def _dedent(code: list[str]) -> list[str]:
    margin = code[0][: len(code[0]) - len(code[0].lstrip())]
    return [line.removeprefix(margin).rstrip() for line in code]


def _truncate(code: list[str], *, keep: int, limit: int) -> str | None:
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
