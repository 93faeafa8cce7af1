"""The page as a web app: Voila serves the notebook `NOTEBOOK`, to this machine or to the home network.

Each visitor gets a kernel, and each kernel a folder below that of the server. The folder is deleted when the kernel
ends: when the page is closed, `IDLE_SECONDS` after a lost connection, or with the server.
"""

from __future__ import annotations

import os
import secrets
import shutil
import signal
import socket
import tempfile
import webbrowser
from collections.abc import Callable
from pathlib import Path
from typing import Any

import segno
from jupyter_server.services.kernels.kernelmanager import AsyncMappingKernelManager
from traitlets.config import Config
from voila.app import Voila
from voila.voila_identity_provider import VoilaIdentityProvider, VoilaLoginHandler

from p2vlib.files import FileError
from p2vlib.provenance import home
from p2vtools.webapp.visit import FOLDER_VARIABLE

NOTEBOOK = "08_your_foot.ipynb"

IDLE_SECONDS = 1800
"""A kernel without a connection, as of a phone that was switched off, ends after this time."""


def _own_address() -> str:
    """The address of this machine in its network; nothing is sent."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))
        except OSError:
            return socket.gethostbyname(socket.gethostname())
        return probe.getsockname()[0]


class _KernelManager(AsyncMappingKernelManager):
    """Gives each kernel a folder, and deletes it when the kernel has ended, however it ended."""

    def __init__(self, **traits: Any) -> None:
        super().__init__(**traits)
        self._folders: dict[str, str] = {}

    async def start_kernel(self, **options: Any) -> str:  # type: ignore[override]
        folder = tempfile.mkdtemp(prefix="visit-", dir=os.environ[FOLDER_VARIABLE])
        options["env"] = {**options.get("env", os.environ), FOLDER_VARIABLE: folder}
        options["extra_arguments"] = ["--log-level=ERROR"]
        kernel_id = await super().start_kernel(**options)
        self._folders[kernel_id] = folder
        return kernel_id

    def remove_kernel(self, kernel_id: str) -> Any:
        if folder := self._folders.pop(kernel_id, None):
            shutil.rmtree(folder, ignore_errors=True)
        return super().remove_kernel(kernel_id)


class _LoginHandler(VoilaLoginHandler):
    """Says which address opens the page, where Jupyter would ask for a password."""

    def _render(self, message: object = None) -> None:
        self.set_status(403)
        self.finish("This address has no valid token: open the one that p2v app printed, or scan its QR code.")


class _IdentityProvider(VoilaIdentityProvider):
    def __init__(self, **traits: Any) -> None:
        super().__init__(**{**traits, "login_handler_class": _LoginHandler})


class _Server(Voila):
    """Voila that reports its port in place of opening a browser."""

    report_port: Callable[[int], object]

    def launch_browser(self) -> None:
        self.report_port(self.port)


def serve(lan: bool, port: int, browser: bool) -> None:
    """Serves the page until Ctrl-C, or until the terminal is closed, and prints its address, which contains a token.

    Args:
        lan: whether other devices of the home network may open it.
        port: the first port to try.
        browser: whether to open it in the browser of this machine.

    Raises:
        FileError: the notebook is missing.
    """
    notebook, token = home() / "notebooks" / NOTEBOOK, secrets.token_urlsafe(16)
    if not notebook.is_file():
        raise FileError(notebook, "no such notebook", "run it in a checkout of the project")

    def announce(found_port: int) -> None:
        address = f"http://{_own_address() if lan else '127.0.0.1'}:{found_port}/?token={token}"
        print(f"The page is at {address}\nCtrl-C ends it and deletes all photos.", flush=True)
        if lan:
            print("On a phone in the same network, point the camera here:", flush=True)
            segno.make(address).terminal(compact=True)
        if browser:
            webbrowser.open(address)

    closed = getattr(signal, "SIGHUP", None)  # the terminal was closed; Windows has no such signal, nohup ignores it
    if closed and signal.getsignal(closed) == signal.SIG_DFL:
        signal.signal(closed, signal.default_int_handler)
    with tempfile.TemporaryDirectory(prefix="p2v-app-") as folder:
        templates = str(Path(__file__).parent / "jupyter")
        os.environ |= {
            FOLDER_VARIABLE: folder,
            "JUPYTER_PATH": os.pathsep.join(filter(None, [templates, os.environ.get("JUPYTER_PATH")])),
        }
        config = Config()
        config.Voila = Config(ip="0.0.0.0" if lan else "127.0.0.1", port=port, token=token, log_level="ERROR")
        config.Voila.connection_dir_root, config.Voila.identity_provider_class = folder, _IdentityProvider
        # A page that is closed asks for the end of its kernel, without the cookie's copy that would be checked.
        config.Voila.tornado_settings = {"disable_check_xsrf": True, "ws_ping_timeout": 30_000}
        config.VoilaConfiguration = Config(template="p2v", multi_kernel_manager_class=_KernelManager)
        config.MappingKernelManager = Config(cull_idle_timeout=IDLE_SECONDS, cull_interval=60)
        server = _Server(config=config)
        server.report_port = announce
        server.initialize([str(notebook)])
        server.start()
