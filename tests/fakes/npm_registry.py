"""An npm registry on loopback: tarballs as `npm pack` makes them, under the addresses that npm asks for."""

import functools
import http.server
import io
import tarfile
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path


class _Handler(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        pass


@contextmanager
def registry(folder: Path) -> Iterator[str]:
    """Serve what lies in `folder`; yields the address."""
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(_Handler, directory=str(folder)))
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def publish(folder: Path, name: str, version: str, files: Mapping[str, bytes], *, top: str = "package") -> Path:
    """Put a package's tarball where a registry has it. files: path below its top folder -> content."""
    place = folder / name / "-" / f"{name.rpartition('/')[2]}-{version}.tgz"
    place.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(place, "w:gz") as archive:
        for path, data in files.items():
            entry = tarfile.TarInfo(f"{top}/{path}")
            entry.size = len(data)
            archive.addfile(entry, io.BytesIO(data))
    return place
