"""Certificates, and servers that speak TLS with them.

with Authority.made("mysql") as authority:
    with MariaDB.start(**authority.of_mariadb(authority.issue("localhost"))) as server:
        MySQLdb.connect(**server.params, ssl={"ca": str(authority.certificate)})
"""

from __future__ import annotations

import shutil
import subprocess
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from support.os_user import run_as, temporary_folder
from support.servers import NotInstalled, PostgreSQL

if TYPE_CHECKING:
    from collections.abc import Iterator

KEY = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1")
DATABASE_OF_CA = "[ca]\ndefault_ca=d\n[d]\ndatabase=index.txt\ndefault_md=sha256\n"


@dataclass(frozen=True)
class Certificate:
    """A certificate and its key, in files that the server's user and root can read."""

    path: Path
    key: Path


@dataclass(frozen=True)
class Authority:
    """Issues certificates, with the `openssl` command, into a folder of a server's user."""

    folder: Path
    os_user: str

    @classmethod
    @contextmanager
    def made(cls, os_user: str) -> Iterator[Authority]:
        """Make one, whose folder is deleted in the end. Raises NotInstalled."""
        if not shutil.which("openssl"):
            raise NotInstalled("openssl, which makes the certificates for TLS, is not installed")
        authority = cls(temporary_folder(os_user), os_user)
        try:
            authority._openssl(
                *("req", "-x509", *KEY, "-nodes", "-days", "2", "-subj", "/CN=authority"),
                *("-addext", "keyUsage=critical,keyCertSign,cRLSign"),
                *("-keyout", "ca.key", "-out", "ca.pem"),
            )
            yield authority
        finally:
            shutil.rmtree(authority.folder)

    @property
    def certificate(self) -> Path:
        """The file to verify by."""
        return self.folder / "ca.pem"

    def issue(self, name: str, password: str | None = None) -> Certificate:
        """Issue a certificate for the name of a server or of a user.

        With a password the key is encrypted.
        """
        made = Certificate(self.folder / f"{name}.pem", self.folder / f"{name}.key")
        self._openssl(
            *("req", "-x509", "-CA", "ca.pem", "-CAkey", "ca.key", *KEY, "-days", "2"),
            *("-subj", f"/CN={name}", "-addext", f"subjectAltName=DNS:{name}"),
            *("-addext", "basicConstraints=critical,CA:FALSE"),
            *(("-passout", f"pass:{password}") if password else ("-nodes",)),
            *("-keyout", str(made.key), "-out", str(made.path)),
        )
        made.key.chmod(0o600)
        return made

    def revocations(self, *revoked: Certificate) -> Path:
        """Issue a list of certificates that are no longer to be trusted."""
        (self.folder / "ca.cnf").write_text(DATABASE_OF_CA)
        (self.folder / "index.txt").write_text("")
        ca = ("ca", "-config", "ca.cnf", "-cert", "ca.pem", "-keyfile", "ca.key")
        for each in revoked:
            self._openssl(*ca, "-revoke", str(each.path))
        self._openssl(*ca, "-gencrl", "-crldays", "2", "-out", "ca.crl")
        return self.folder / "ca.crl"

    def of_postgresql(self, certificate: Certificate) -> dict[str, object]:
        """Return the settings of a PostgreSQL that speaks TLS by a certificate."""
        files = {"ca": self.certificate, "cert": certificate.path, "key": certificate.key}
        return {"ssl": "on"} | {f"ssl_{name}_file": path for name, path in files.items()}

    def of_mariadb(self, certificate: Certificate) -> dict[str, object]:
        """Return the settings of a MariaDB that speaks TLS by a certificate."""
        files = {"ca": self.certificate, "cert": certificate.path, "key": certificate.key}
        return {f"ssl_{name}": path for name, path in files.items()}

    def _openssl(self, *arguments: str) -> None:
        done = subprocess.run(
            ["openssl", *arguments],
            capture_output=True,
            text=True,
            check=False,
            **run_as(self.folder, self.os_user),
        )
        if done.returncode:
            raise RuntimeError(f"openssl {' '.join(arguments)} failed:\n{done.stderr}")


class SystemPostgreSQL(PostgreSQL):
    """The newest PostgreSQL of the system: that of `PostgreSQL` has no TLS.

    Those who log in as the user `certified` must show a certificate in that name.
    """

    title = "PostgreSQL of the system"
    _LOCALE = ("--locale=C.UTF-8",)
    _LOG_CONNECTIONS = "on"
    _SERVERS = Path("/usr/lib/postgresql")  # of Debian

    def _prepare(self) -> None:
        super()._prepare()
        rules = self.folder / "data" / "pg_hba.conf"
        others = rules.read_text()
        rules.write_text(f"hostssl all certified all cert\nhost all certified all reject\n{others}")

    @classmethod
    def _bin(cls) -> Path:
        found = [path.parent for path in cls._SERVERS.glob("*/bin/postgres")]
        if not found:
            raise NotInstalled("PostgreSQL with TLS is not installed: apt-get install postgresql")
        return max(found, key=lambda path: float(path.parent.name))
