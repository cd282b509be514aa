"""Lets pip and uv inside a build reach what they reach on this machine, with nothing in an image.

Certificates, the configured package index and its credentials are mounted for the build alone.
"""

import configparser
import contextlib
import math
import os
import re
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path

CERTIFICATES = "/etc/ssl/certs"
UV_TOML = "/etc/uv/uv.toml"
"""Where uv looks for settings of the whole machine, in a build as on the host."""


@contextlib.contextmanager
def settings(work: Path) -> Iterator[dict[str, str]]:
    """Yields what to mount: path on the host -> path in the build; `:ro` where it is read only."""
    mounts: dict[str, str] = {}
    if Path(CERTIFICATES).is_dir():
        mounts[CERTIFICATES] = f"{CERTIFICATES}:ro"
    configured = pip_settings(os.environ, _pip_files(os.environ))
    with tempfile.TemporaryDirectory(prefix="pip-", dir=work) as folder:
        for name, text, inside in (
            ("pip.conf", pip_conf(configured), "/etc/pip.conf"),
            ("uv.toml", uv_toml(configured), UV_TOML),
        ):
            if text:
                path = Path(folder) / name
                path.write_text(text)
                # It may hold credentials; the folder itself is 0700 already.
                path.chmod(0o600)
                mounts[str(path)] = f"{inside}:ro"
        yield mounts


def pip_settings(environ: Mapping[str, str], texts: list[str]) -> dict[str, str]:
    """Returns the indexes and the time-out that pip would use: environment first, then files."""
    found: dict[str, str] = {}
    for text in texts:
        parser = configparser.RawConfigParser()
        parser.read_string(text)
        for name in ("index-url", "extra-index-url", "timeout"):
            if parser.has_option("global", name):
                found[name] = parser.get("global", name)
    for name in ("index-url", "extra-index-url"):
        value = environ.get(f"PIP_{name.upper().replace('-', '_')}")
        if value:
            found[name] = value
    return found


def pip_conf(configured: Mapping[str, str]) -> str:
    """Returns a pip.conf with these settings; empty when there are none."""
    lines = [f"{name} = {' '.join(value.split())}" for name, value in configured.items()]
    return "\n".join(["[global]", *lines, ""]) if lines else ""


def uv_toml(configured: Mapping[str, str]) -> str:
    """Returns a uv.toml that names the same indexes; empty when pip's default is used."""
    lines: list[str] = []
    for url in configured.get("extra-index-url", "").split():
        lines += ["[[index]]", f'url = "{url}"']
    if "index-url" in configured:
        lines += ["[[index]]", f'url = "{configured["index-url"].strip()}"', "default = true"]
    return "\n".join([*lines, ""]) if lines else ""


def uv_environment(environ: Mapping[str, str], texts: list[str] | None = None) -> dict[str, str]:
    """Returns what uv must be told to reach what pip reaches, which it does not find out itself.

    Variables instead of a file keep credentials in an address off the disk. Where uv has
    settings of its own these stand.

    Args:
        environ: The environment that uv is going to run in.
        texts: Contents of pip's configuration files; those of this machine when None.
    """
    configured = pip_settings(environ, _pip_files(environ) if texts is None else texts)
    found = {}
    if not any(name in environ for name in UV_INDEXES) and not _uv_configured():
        found["UV_DEFAULT_INDEX"] = configured.get("index-url", "").strip()
        found["UV_INDEX"] = " ".join(configured.get("extra-index-url", "").split())
    found["UV_HTTP_TIMEOUT"] = _whole(configured.get("timeout", ""))
    # uv brings certificates of its own; a mirror's are among the machine's, where pip looks.
    found["UV_SYSTEM_CERTS"] = "1" if (Path(CERTIFICATES) / "ca-certificates.crt").exists() else ""
    return {name: value for name, value in found.items() if value and name not in environ}


UV_INDEXES = (
    "UV_CONFIG_FILE",
    "UV_DEFAULT_INDEX",
    "UV_EXTRA_INDEX_URL",
    "UV_INDEX",
    "UV_INDEX_URL",
)
"""Variables that configure uv's package index; if one is set, uv is configured already."""


def _whole(seconds: str) -> str:
    """Whole seconds, since uv rejects fractions; empty for what is not a number."""
    try:
        return str(math.ceil(float(seconds)))
    except (ValueError, OverflowError):
        return ""


def _uv_configured() -> bool:
    """Whether uv has a configuration file of its own that names indexes."""
    return any(
        re.search(
            r"^\s*(\[\[index\]\]|(default-)?index(-url)?\s*=)", path.read_text(), re.MULTILINE
        )
        for path in (Path.home() / ".config/uv/uv.toml", Path(UV_TOML))
        if path.is_file()
    )


def _pip_files(environ: Mapping[str, str]) -> list[str]:
    home = Path.home()
    paths = [Path("/etc/pip.conf"), home / ".pip/pip.conf", home / ".config/pip/pip.conf"]
    if environ.get("PIP_CONFIG_FILE"):
        paths.append(Path(environ["PIP_CONFIG_FILE"]))
    return [path.read_text() for path in paths if path.is_file()]
