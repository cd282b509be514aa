"""Secret scanning: a fast search for keywords, then one regular expression of all patterns.

Patterns match only text that is a credential by its format. `password = "…"` in documentation is
almost never a credential.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

PATTERNS: Final[Mapping[str, str]] = {
    "PrivateKey": r"-----BEGIN (?:[A-Z0-9]+ )*PRIVATE KEY(?: BLOCK)?-----",
    "AwsAccessKey": r"\b(?:AKIA|ASIA)[A-Z2-7]{16}\b",
    "GitHubToken": r"\bgh[pousr]_[A-Za-z0-9]{36}|\bgithub_pat_[A-Za-z0-9_]{82}",
    "GitLabToken": r"\bglpat-[A-Za-z0-9_-]{20}",
    "SlackToken": r"\bxox[abeoprs]-[A-Za-z0-9-]{10,}",
    "SlackWebhook": r"hooks\.slack\.com/services/T[A-Z0-9]{6,}/B[A-Z0-9]{6,}/[A-Za-z0-9]{20,}",
    "GoogleApiKey": r"\bAIza[A-Za-z0-9_-]{35}",
    "StripeKey": r"\b[rs]k_live_[A-Za-z0-9]{20,}\b",
    "HuggingFaceToken": r"\b(?:hf|api_org)_[A-Za-z0-9]{34}",
    "PyPiToken": r"\bpypi-AgEIcHlwaS5vcmc[A-Za-z0-9_-]{50,}",
    "NpmToken": r"\bnpm_[A-Za-z0-9]{36}",
    "AnthropicKey": r"\bsk-ant-[A-Za-z0-9_-]{32,}",
    "OpenAiKey": r"\bsk-(?:(?:proj|svcacct|admin)-[A-Za-z0-9_-]{20,128}|[A-Za-z0-9]{20,128})"
    r"T3BlbkFJ[A-Za-z0-9_-]{20}",
    "JsonWebToken": r"\beyJ[A-Za-z0-9_-]{16,}\.eyJ[A-Za-z0-9_-]{16,}\.[A-Za-z0-9_-]{16,}",
    "UrlPassword": r"://[^\s/:@\"'<>]{1,64}:[^\s/:@\"'<>]{8,64}@[a-z0-9]",
}
"""Kinds of secrets and their patterns: the minimum length that a service issues, or longer."""
_TOKENS: Final = ("ghp_", "gho_", "ghu_", "ghs_", "ghr_", "github_pat_", "glpat-", "xox", "hf_")
_KEYS: Final = (
    "-----BEGIN",
    "AKIA",
    "ASIA",
    "AIza",
    "_live_",
    "npm_",
    "pypi-",
    "sk-",
    "eyJ",
    "api_org_",
)
_KEYWORDS: Final = (*_TOKENS, *_KEYS, "hooks.slack", "://")
"""Every match of a pattern contains a keyword. The search for keywords is 20 times as fast as the
regular expression, and most texts contain no keyword."""
_PATTERN: Final = re.compile(
    "|".join(f"(?P<{name}>{pattern})" for name, pattern in PATTERNS.items())
)


def find(text: str) -> str | None:
    """Return the kind of the first secret in the text, never the secret; None without one."""
    if not any(keyword in text for keyword in _KEYWORDS):
        return None
    match = _PATTERN.search(text)
    return match.lastgroup if match else None
