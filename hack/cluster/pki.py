"""The certificates of one cluster and the kubeconfig files that carry them, made with openssl."""

import base64
import dataclasses
import ipaddress
import json
import subprocess
from concurrent import futures
from pathlib import Path

from hack.support import errors

DAYS = "30"
"""A local cluster lives for hours; a forgotten key should not be good for years."""

SERVICE_IP = "10.96.0.1"
"""The first address of the service network: what pods call `kubernetes.default`."""


@dataclasses.dataclass(frozen=True)
class Identity:
    """One certificate to sign: who it names and what it may be used for."""

    name: str
    subject: str
    server_names: tuple[str, ...] = ()
    """DNS names and addresses it answers for; empty for a client."""

    def extensions(self) -> str:
        """Returns the certificate's extensions in openssl's notation."""
        usage = "serverAuth" if self.server_names else "clientAuth"
        lines = [
            "basicConstraints=CA:FALSE",
            "keyUsage=critical,digitalSignature",
            f"extendedKeyUsage={usage}",
        ]
        if self.server_names:
            lines.append("subjectAltName=" + ",".join(map(_alternative, self.server_names)))
        return "\n".join(lines) + "\n"


def identities(node: str, address: str) -> tuple[Identity, ...]:
    """Returns every certificate the control plane and one node need."""
    cluster_names = ("kubernetes", "kubernetes.default", "kubernetes.default.svc")
    server_names = ("localhost", *cluster_names, f"{cluster_names[-1]}.cluster.local")
    return (
        Identity(
            "apiserver",
            "/CN=kube-apiserver",
            (*server_names, "127.0.0.1", address, SERVICE_IP),
        ),
        Identity("kubelet-server", f"/CN={node}", (node, "127.0.0.1", address)),
        Identity("apiserver-kubelet", "/O=system:masters/CN=apiserver-kubelet"),
        Identity("front-proxy", "/CN=front-proxy-client"),
        Identity("admin", "/O=system:masters/CN=mens-admin"),
        Identity("controller-manager", "/CN=system:kube-controller-manager"),
        Identity("scheduler", "/CN=system:kube-scheduler"),
        Identity("kube-proxy", "/CN=system:kube-proxy"),
        Identity("kubelet", f"/O=system:nodes/CN=system:node:{node}"),
    )


def create(folder: Path, wanted: tuple[Identity, ...]) -> None:
    """Makes the authority, the key of service-account tokens, and every certificate asked for."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    _key(folder / "ca.key")
    _openssl(
        *("req", "-x509", "-new", "-key", "ca.key", "-subj", "/CN=mens-cluster", "-days", DAYS),
        *("-addext", "keyUsage=critical,keyCertSign,cRLSign", "-out", "ca.crt"),
        folder=folder,
    )
    _key(folder / "service-account.key")
    _openssl(
        *("pkey", "-in", "service-account.key", "-pubout", "-out", "service-account.pub"),
        folder=folder,
    )
    with futures.ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda identity: _sign(folder, identity), wanted))


def kubeconfig(folder: Path, identity: str, server: str) -> str:
    """Returns a kubeconfig for one identity; JSON, which every YAML reader takes."""
    return (
        json.dumps(
            {
                "apiVersion": "v1",
                "kind": "Config",
                "current-context": "mens",
                "clusters": [
                    {
                        "name": "mens",
                        "cluster": {
                            "server": server,
                            "certificate-authority-data": _encoded(folder / "ca.crt"),
                        },
                    }
                ],
                "users": [
                    {
                        "name": identity,
                        "user": {
                            "client-certificate-data": _encoded(folder / f"{identity}.crt"),
                            "client-key-data": _encoded(folder / f"{identity}.key"),
                        },
                    }
                ],
                "contexts": [{"name": "mens", "context": {"cluster": "mens", "user": identity}}],
            },
            indent=1,
        )
        + "\n"
    )


def write_kubeconfig(path: Path, text: str) -> None:
    """Writes a kubeconfig that only its owner reads: it holds a private key."""
    path.touch(mode=0o600)
    path.write_text(text)


def _sign(folder: Path, identity: Identity) -> None:
    name = identity.name
    _key(folder / f"{name}.key")
    (folder / f"{name}.ext").write_text(identity.extensions())
    request = _openssl(
        "req", "-new", "-key", f"{name}.key", "-subj", identity.subject, folder=folder
    )
    _openssl(
        # A random serial number: a counter file would be shared by the four at work.
        *("x509", "-req", "-CA", "ca.crt", "-CAkey", "ca.key", "-days", DAYS, "-sha256"),
        *("-extfile", f"{name}.ext", "-out", f"{name}.crt"),
        folder=folder,
        stdin=request,
    )
    (folder / f"{name}.ext").unlink()


def _key(path: Path) -> None:
    path.touch(mode=0o600)
    _openssl(
        "ecparam", "-name", "prime256v1", "-genkey", "-noout", "-out", path.name, folder=path.parent
    )


def _openssl(*arguments: str, folder: Path, stdin: str | None = None) -> str:
    done = subprocess.run(
        ["openssl", *arguments],
        cwd=folder,
        input=stdin,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        raise errors.ToolError(f"openssl {' '.join(arguments)}: {done.stderr.strip()}")
    return done.stdout


def _alternative(name: str) -> str:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return f"DNS:{name}"
    return f"IP:{name}"


def _encoded(path: Path) -> str:
    return base64.b64encode(path.read_bytes()).decode()
