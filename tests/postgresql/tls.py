"""TLS for a server that was built without it: the server's side, in front of the server."""

import asyncio
import contextlib
import shutil
import ssl
import subprocess
import sys

import pytest

REQUEST = bytes.fromhex("0000000804d2162f")  # SSLRequest of PostgreSQL's protocol
GSS_REQUEST = bytes.fromhex("0000000804d21630")


def make_certificate(folder):
    """Make a self-signed certificate for localhost; return the paths of certificate and key."""
    openssl = shutil.which("openssl")
    if openssl is None:
        pytest.skip("openssl, which makes the certificate for TLS, is not installed")
    certificate, key = folder / "certificate.pem", folder / "key.pem"
    subprocess.run(
        [
            *(openssl, "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"),
            *("-nodes", "-days", "2", "-subj", "/CN=localhost"),
            *("-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1"),
            *("-keyout", str(key), "-out", str(certificate)),
        ],
        check=True,
        capture_output=True,
    )
    return certificate, key


@contextlib.contextmanager
def terminator(server_port, certificate, key, version):
    """Speak TLS with clients in a process of its own; yields its port."""
    program = subprocess.Popen(
        [sys.executable, __file__, str(server_port), str(certificate), str(key), version],
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        yield int(program.stdout.readline())
    finally:
        program.kill()
        program.communicate()


async def serve(server_port, certificate, key, version):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    context.minimum_version = context.maximum_version = ssl.TLSVersion[version]

    async def forward(reader, writer):
        with contextlib.suppress(OSError, asyncio.IncompleteReadError):
            first = await reader.readexactly(8)
            while first == GSS_REQUEST:
                writer.write(b"N")
                first = await reader.readexactly(8)
            if first == REQUEST:  # else it is a cancel request, which libpq may send in clear
                writer.write(b"S")
                await writer.drain()
                await writer.start_tls(context)
                first = b""
            up_reader, up_writer = await asyncio.open_connection("127.0.0.1", server_port)
            up_writer.write(first)
            await asyncio.gather(_pump(reader, up_writer), _pump(up_reader, writer))

    server = await asyncio.start_server(forward, "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)  # noqa: T201 - our owner reads it
    await server.serve_forever()


async def _pump(reader, writer):
    try:
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
    finally:
        writer.close()


if __name__ == "__main__":
    asyncio.run(serve(int(sys.argv[1]), *sys.argv[2:]))
