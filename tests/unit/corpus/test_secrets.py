"""Secret scanning."""

from __future__ import annotations

import pytest

from mens_corpus import secrets


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("key = 'AKIA" + "ABCDEFGH23456723'", "AwsAccessKey"),
        ("-----BEGIN RSA " + "PRIVATE KEY-----", "PrivateKey"),
        ("-----BEGIN " + "PRIVATE KEY-----", "PrivateKey"),
        ("token: ghp_" + "a" * 36, "GitHubToken"),
        ("https://user:" + "hunter2hunter@example.org", "UrlPassword"),
        ("postgres://user:password@host", "UrlPassword"),
        ("password = 'example'", None),
        ("https://example.org:8080/a@b", None),
        ("AKIA is a prefix", None),
    ],
)
def test_find_returns_the_kind_of_a_secret(text: str, kind: str | None) -> None:
    """The result names the kind and never contains the secret."""
    assert secrets.find(f"some text\n{text}\nmore") == kind


SECRETS = {
    "PrivateKey": "-----BEGIN PGP " + "PRIVATE KEY BLOCK-----",
    "AwsAccessKey": "ASIA" + "ABCDEFGH23456723",
    "GitHubToken": "github_pat_" + "a" * 82,
    "GitLabToken": "glpat-" + "a" * 20,
    "SlackToken": "xoxb-" + "1" * 12,
    "SlackWebhook": "hooks.slack" + ".com/services/T0000000/B0000000/" + "a" * 24,
    "GoogleApiKey": "AIza" + "a" * 35,
    "StripeKey": "rk_live_" + "a" * 24,
    "HuggingFaceToken": "hf_" + "a" * 34,
    "PyPiToken": "pypi-" + "AgEIcHlwaS5vcmc" + "a" * 60,
    "NpmToken": "npm_" + "a" * 36,
    "AnthropicKey": "sk-ant-" + "a" * 40,
    "OpenAiKey": "sk-" + "a" * 20 + "T3BlbkFJ" + "a" * 20,
    "JsonWebToken": "eyJ" + "a" * 20 + ".eyJ" + "a" * 20 + "." + "a" * 20,
    "UrlPassword": "amqp://user:" + "password@host",
}


def test_every_pattern_has_a_keyword() -> None:
    """The search for keywords does not hide a match of any pattern."""
    assert {kind: secrets.find(f"x = '{text}'") for kind, text in SECRETS.items()} == {
        kind: kind for kind in SECRETS
    }
    assert set(SECRETS) == set(secrets.PATTERNS)


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("sk-proj-" + "A1b2-C3d4_" * 7 + "abcd" + "T3BlbkFJ" + "A1b2-C3d4_" * 7, "OpenAiKey"),
        ("sk-svcacct-" + "a1" * 29 + "T3BlbkFJ" + "b2" * 29, "OpenAiKey"),
        ("sk-admin-" + "a1_" * 19 + "T3BlbkFJ" + "b2-" * 19, "OpenAiKey"),
        ("glpat-" + "aB3-_" * 5 + "xx.01.1a2b3c4d5", "GitLabToken"),
        ("ghs_" + "a1" * 30, "GitHubToken"),
        ("github_pat_" + "a1" * 50, "GitHubToken"),
        ("hf_" + "aB1" * 11 + "a", "HuggingFaceToken"),
        ("hf_" + "a" * 40, "HuggingFaceToken"),
        ("api_org_" + "a" * 34, "HuggingFaceToken"),
        ("npm_" + "a1" * 20, "NpmToken"),
        ("AIza" + "a" * 34 + "-", "GoogleApiKey"),
        ("glpat-short", None),
        ("hf_model_name_that_is_long_enough_to_be_one", None),
        ("sk-proj-a-css-class-of-a-project", None),
        ("task-proj-" + "a-css-class-that-is-rather-long-but-harmless-and-goes-on-1", None),
    ],
)
def test_longer_tokens_are_found(text: str, kind: str | None) -> None:
    """Services lengthen their tokens without notice; a name with the same prefix is not a token."""
    assert secrets.find(f"x = '{text}'") == kind
