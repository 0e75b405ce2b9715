"""Stage `watch`: pages in the browser for training and tuning that is under way: TensorBoard, Optuna's dashboard.

Reads what the other stages write; writes nothing of its own.
"""

from __future__ import annotations

import sys
import threading
import warnings
from pathlib import Path
from socketserver import ThreadingMixIn
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

from pipeline.base.errors import ArtifactError, PipelineError
from pipeline.base.interruption import ENDED_EARLY
from pipeline.base.progress import print_result, say
from pipeline.competition.workspace import Workspace


class _Server(ThreadingMixIn, WSGIServer):
    daemon_threads = True


class _Handler(WSGIRequestHandler):
    def log_message(self, *_: object) -> None:
        """Print no line per request."""


def serve_curves(workspace: Workspace, port: int) -> None:
    """Serve TensorBoard on the curves of all runs until Ctrl-C. Raises PipelineError if the port is taken."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # TensorBoard's own, of packages that it can do without
        from tensorboard import program

        board = program.TensorBoard()
        options = ["--logdir", str(workspace.runs), "--port", str(port), "--load_fast", "false"]
        board.configure(argv=["tensorboard", *options])
        try:
            url = board.launch()
        except program.TensorBoardServerException as error:
            raise _unusable(port) from error
    if not any(workspace.runs.glob("*/tensorboard")):
        say(f"tensorboard: {workspace.runs} has no curves yet; they appear while networks are trained")
    _wait(url)


def serve_study(workspace: Workspace, model: str | None, storage: str | None, host: str, port: int) -> None:
    """Serve Optuna's dashboard on the studies of a model, or of the one tuned last, until Ctrl-C.

    Raises ArtifactError if there is none, PipelineError if the dashboard is not installed or the address is taken.
    """
    try:
        from optuna_dashboard import wsgi
    except ImportError:
        hint = "`make dashboard` installs it; without make: pip install -c constraints.txt -e '.[dashboard]'"
        raise PipelineError("optuna-dashboard is not installed", hint=hint) from None
    from pipeline.tuning.storages import open_storage
    from pipeline.tuning.study import quiet_optuna

    place = storage or _study_log(workspace, model)
    with quiet_optuna():
        opened = open_storage(place, is_waiting=False)
    try:
        server = make_server(host, port, wsgi(opened), _Server, _Handler)
    except OSError as error:
        raise _unusable(port, host) from error
    threading.Thread(target=server.serve_forever, daemon=True).start()
    if storage is None:
        say(f"dashboard: the study in {place}")
    _wait(f"http://{host}:{server.server_port}/")


def _study_log(workspace: Workspace, model: str | None) -> Path:
    known = sorted(workspace.folder.glob("tuning/*/study.log"), key=lambda path: path.stat().st_mtime)
    if model is not None:
        known = [path for path in known if path.parent.name == model]
    if not known:
        what = "there is no study" if model is None else f"there is no study of {model}"
        raise ArtifactError(what, where=str(workspace.folder / "tuning"), hint="`make tune` begins one.")
    return known[-1]


def _unusable(port: int, host: str = "localhost") -> PipelineError:
    what = f"the port {port} is in use or not allowed" + (
        "" if host == "localhost" else f", or {host} is not this machine"
    )
    return PipelineError(what, hint="Choose another with --port; 0 is any free one.")


def _wait(url: str) -> None:
    """Print the address, and wait for Ctrl-C."""
    try:  # from the print on: Ctrl-C may follow at once
        print_result(f"{url}  (Ctrl-C ends it)")
        sys.stdout.flush()
        threading.Event().wait()
    except ENDED_EARLY:
        return
