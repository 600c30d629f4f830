"""`renma studio`: every room in the browser, on this machine alone.

The studio never loads a model: what takes long is a process of its own (:mod:`renma.studio.jobs`),
and what is shown is read from the folders that those processes write.
"""

from __future__ import annotations

import webbrowser
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from renma.config.studio_task import StudioOptions
    from renma.core.events import Report


def run(options: StudioOptions, report: Report) -> None:
    """Serves the studio until it is interrupted.

    Raises:
        UserError: the port is taken, the folder cannot be used, or another studio works there.
    """
    # only here: `renma --help` does without a web server
    from renma.studio.place import Place
    from renma.studio.serve import listening, serve, sole
    from renma.studio.token import Token

    place = Place.made(options.folder or Path.cwd(), options.models)
    lock = sole(place)
    socket = listening(options.port)
    port = socket.getsockname()[1]
    token = Token.of(place.own)
    address = f"http://127.0.0.1:{port}/?token={token.secret}"
    report.line(f"the studio of {place.root}: {address}")
    report.line("Ctrl-C ends it; what is training goes on")
    if not options.no_browser:
        webbrowser.open(address)
    with lock:
        serve(place, token, socket)
