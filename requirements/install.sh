#!/bin/sh
# What the Dockerfiles install, in one place. Each of them copies this file beside its requirements:
#
#     install.sh tools              uv and hatchling in /opt/tools, and an empty environment in /opt/mens
#     install.sh dependencies NAME  the packages of NAME.txt in /opt/mens, and the user that runs the image
#     install.sh packages           the packages of this repository, from a wheel, in /opt/mens
#
# The virtual environment of pip is temporary where an image keeps the layer. Bytecode is compiled here, since a
# read-only root file system cannot cache it. Its validity depends on the hash of the source, not on a time that
# a copy can change.
set -eu
here=$(dirname "$0")
export UV_SYSTEM_CERTS=true UV_LINK_MODE=copy PYC_INVALIDATION_MODE=UNCHECKED_HASH

make_uv() { # FOLDER
    python3 -m venv "$1"
    "$1/bin/pip" install --quiet --no-cache-dir --require-hashes -r "$here/tools.txt"
    "$1/bin/uv" venv --quiet --python python3 /opt/mens
}

case "$1" in
tools)
    make_uv /opt/tools
    /opt/tools/bin/uv pip install --quiet --python /opt/tools --require-hashes -r "$here/build.txt"
    ;;
dependencies)
    make_uv /tmp/tools
    /tmp/tools/bin/uv pip install --quiet --python /opt/mens --compile-bytecode --require-hashes -r "$here/$2.txt"
    rm -rf /tmp/tools
    echo 'mens:x:10001:10001:mens:/tmp:/usr/sbin/nologin' >> /etc/passwd
    echo 'mens:x:10001:' >> /etc/group
    ;;
packages)
    /opt/tools/bin/python -m hatchling build -t wheel -d /tmp/dist
    /opt/tools/bin/uv pip install --quiet --python /opt/mens --no-index --no-deps --no-cache --compile-bytecode /tmp/dist/*.whl
    chmod -R a+rX /opt/mens
    ;;
*)
    echo "unknown command $1: use tools, dependencies NAME or packages" >&2
    exit 64
    ;;
esac
