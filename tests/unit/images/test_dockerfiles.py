"""What is read from Dockerfiles, and what ours must keep to."""

from __future__ import annotations

import re

import pytest

from hack.images import catalog, dockerfiles
from hack.support import paths

TEXT = """\
ARG BASE=public/image:1
# a comment
FROM ${BASE} AS tools
COPY a.txt b.txt /opt/

FROM ${BASE} AS other
COPY nothing /nothing

FROM tools AS final
COPY --chown=1:1 src src
# in between
RUN one; \\
    # a comment within
    two
COPY --from=other /x /x
"""

FILES = sorted({image.dockerfile for image in catalog.IMAGES})


def stages(path: str) -> dict[str, dockerfiles.Stage]:
    return {stage.name: stage for stage in dockerfiles.read(paths.REPOSITORY / path)}


def test_stages_are_read() -> None:
    """Stages have their parent, their sources and what they need; comments are gone."""
    tools, other, final = dockerfiles.parse(TEXT)
    assert (tools.name, tools.parent, tools.sources) == ("tools", "${BASE}", ("a.txt", "b.txt"))
    assert final.sources == ("src",)
    assert final.needs == ("tools", "other")
    assert "RUN one;\ntwo" in final.instructions
    assert other.needs == ("${BASE}",)


def test_closure_contains_only_needed_stages() -> None:
    """A target is made of its parents and of what it copies from, nothing else."""
    found = dockerfiles.parse(TEXT)
    assert [stage.name for stage in dockerfiles.closure(found, "final")] == [
        "tools",
        "other",
        "final",
    ]
    assert [stage.name for stage in dockerfiles.closure(found, "tools")] == ["tools"]


def test_a_stage_without_a_name_is_refused() -> None:
    """Every stage of ours is called something."""
    with pytest.raises(ValueError, match="AS NAME"):
        dockerfiles.parse("FROM scratch\n")


def test_trainer_and_server_share_the_heavy_layer() -> None:
    """The stage with torch is the same, word for word: one build and one copy serve both."""
    trainer, server = stages("trainer-image/Dockerfile"), stages("server-image/Dockerfile")
    assert trainer["ml"] == server["ml"]
    assert trainer["trainer"].parent == server["server"].parent == "ml"


@pytest.mark.parametrize("path", FILES)
def test_equal_names_are_equal_stages(path: str) -> None:
    """A stage name means the same in every file, so that its layers are built once."""
    first = stages("operator/Dockerfile")["tools"]
    assert stages(path).get("tools", first) == first


def test_the_corpus_image_never_needs_torch() -> None:
    """No stage of the corpus image reads the heavy requirements."""
    found = dockerfiles.read(paths.REPOSITORY / "trainer-image/Dockerfile")
    text = str(dockerfiles.closure(found, "corpus"))
    assert "ml.txt" not in text
    assert "corpus.txt" in text


@pytest.mark.parametrize("image", list(catalog.IMAGES), ids=lambda one: one.name)
def test_images_run_as_an_unprivileged_user(image: catalog.Image) -> None:
    """What runs at the end runs as 10001 with its home in /tmp, from a base that can be chosen."""
    found = dockerfiles.closure(dockerfiles.read(paths.REPOSITORY / image.dockerfile), image.target)
    text = "\n".join(one for stage in found for one in stage.instructions)
    assert "USER 10001:10001" in text
    assert "HOME=/tmp" in text
    assert any(stage.parent == "${BASE_IMAGE}" for stage in found)


@pytest.mark.parametrize("path", FILES)
def test_no_registry_but_the_public_default(path: str) -> None:
    """Dockerfiles fetch nothing by address; the public Python image is the one default."""
    text = (paths.REPOSITORY / path).read_text()
    assert set(re.findall(r"\b[a-z0-9-]+\.(?:io|com|org|dev)\b/", text)) == {"docker.io/"}
    assert "http" not in text
    assert "ARG BASE_IMAGE=docker.io/library/python:3.11-slim-bookworm\n" in text


def test_every_installation_checks_hashes() -> None:
    """Nothing is installed without the hashes of the compiled requirements."""
    script = (paths.REPOSITORY / "requirements" / "install.sh").read_text()
    calls = re.findall(r"^[^#\n]*pip.* install .*$", script, re.M)
    assert len(calls) == 4
    for call in calls:
        assert "--require-hashes" in call or "--no-index" in call, call


@pytest.mark.parametrize("path", FILES)
def test_dockerfiles_install_with_the_shared_script(path: str) -> None:
    """How packages are installed stands once; the development store installs one package itself."""
    for stage in dockerfiles.read(paths.REPOSITORY / path):
        runs = [one for one in stage.instructions if one.startswith("RUN ")]
        if stage.name == "weed":
            assert "--require-hashes" in runs[0]
        elif stage.name != "dev-store":
            assert all("sh /opt/requirements/install.sh " in run for run in runs)
