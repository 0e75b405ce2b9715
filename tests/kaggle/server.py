"""A fake Kaggle on 127.0.0.1: the endpoints that the client calls, a storage under another host name, and faults.

Uses only the standard library. Responses follow the client's own types; tests make assertions about `submissions` and
`requests`.
"""

from __future__ import annotations

import base64
import hashlib
import http.server
import io
import json
import socket
import struct
import sys
import threading
import time
import zipfile
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import quote, unquote, urlsplit

TOKEN, USER, KEY = "KGAT_secret-of-the-tests", "ada", "0123456789abcdef-secret"
REFRESH_TOKEN = "refresh-secret-of-the-tests"  # of an OAuth login
SIGNATURE = "c2lnbmF0dXJlIG9mIHRoZSB0ZXN0cw"
SECRETS = (TOKEN, KEY, REFRESH_TOKEN, SIGNATURE, base64.b64encode(f"{USER}:{KEY}".encode()).decode())
API = "competitions.CompetitionApiService"
DRIP_S = 0.02
MAINTENANCE_PAGE = b"<html><head><title>Kaggle</title></head><body>We'll be back soon</body></html>"


@dataclass
class Fault:
    """A fault of the matching requests: `times` times (None: always), after `skip` requests that succeed."""

    status: int = 0  # returned without doing anything
    body: bytes | dict[str, Any] | None = None  # of that response; a dict is sent as JSON
    content_type: str = "application/json"
    headers: dict[str, str] = field(default_factory=dict)
    is_after: bool = False  # the request takes effect, then its response fails
    drops: bool = False  # there is no response
    cut_at: int | None = None  # bytes of the response's body that are sent before the connection ends
    reads_only: int | None = None  # bytes of the request's body that are read before a reset
    stalls: bool = False  # the body stops halfway and the connection stays open
    drips: bool = False  # the body never ends; a byte comes every DRIP_S
    change: Callable[[Any], Any] | None = None  # of the JSON of a correct answer
    times: int | None = None
    skip: int = 0

    def applies(self) -> bool:
        """Return whether the fault affects this request, and count the request."""
        if self.skip > 0:
            self.skip -= 1
            return False
        if self.times is None:
            return True
        self.times -= 1
        return self.times >= 0


def status(code: int, message: str = "", **options: Any) -> Fault:
    """Return an error response as Kaggle sends it."""
    return Fault(status=code, body={"code": code, "message": message}, **options)


def page(code: int = 503, **options: Any) -> Fault:
    """Return a maintenance page in place of a response."""
    return Fault(status=code, body=MAINTENANCE_PAGE, content_type="text/html; charset=utf-8", **options)


@dataclass
class Request:
    """A request: the endpoint's name (or `storage`), the JSON or raw body, the headers."""

    name: str
    body: Any
    headers: dict[str, str]


class _Reset(Exception):
    """Raised to reset the connection."""


class _QuietServer(http.server.ThreadingHTTPServer):
    """Prints no traceback when a client disconnects early."""

    def handle_error(self, request: Any, client_address: Any) -> None:
        if not isinstance(sys.exception(), ConnectionError):
            super().handle_error(request, client_address)


class KaggleServer:
    """The fake Kaggle: its state and its faults; `start` serves until `stop`."""

    def __init__(self) -> None:
        self.lock = threading.RLock()
        self.requests: list[Request] = []
        self.faults: dict[str, list[Fault]] = {}
        self.competition: dict[str, Any] = {
            "id": 1,
            "ref": "https://www.kaggle.com/competitions/toy",
            "title": "Toy",
            "deadline": (datetime.now(UTC) + timedelta(days=30)).strftime("%Y-%m-%dT%H:%M:%S.000Z"),
            "userHasEntered": True,
            "maxDailySubmissions": 5,
            "teamCount": 3,
            "evaluationMetric": "RMSLE",
        }
        self.slugs = {"toy"}
        self.datasets = {"ada/toy-data"}
        self.token_is_active = True
        self.archive = b""
        self.etag = ""
        self.listed: list[dict[str, Any]] = []
        self.single_files: dict[str, bytes] = {}  # that can be downloaded one by one
        self.zipped: set[str] = set()  # those of them that are sent as a zip
        self.submissions: list[dict[str, Any]] = []
        self.blobs: dict[str, bytes] = {}
        self.daily_limit = 5
        self.now: Callable[[], float] = time.time
        self.record_delay_s = 0.0  # from accepting a submission until it exists
        self.show_delay_s = 0.0  # from then until it is listed; it is counted at once
        self.late: list[dict[str, Any]] = []  # accepted, not yet recorded
        self.n_polls_pending = 1  # polls that return "pending" before a submission is scored
        self.final_status, self.score, self.error_text = "COMPLETE", "0.12345", ""
        self.leaderboard = [("north", "0.10"), ("ada", "0.12345"), ("south", "0.2")]
        self.page_size = 20
        self.kernels: dict[str, dict[str, Any]] = {}
        self.kernel_output: dict[str, bytes] = {}  # by storage path
        self.run_kernel: Callable[[str], dict[str, bytes]] = (
            lambda _: {}
        )  # a notebook's text -> the files its run writes
        self.kernel_error = ""
        self.kernel_log: list[dict[str, Any]] = []
        self.kernel_status = ["QUEUED", "RUNNING", "COMPLETE"]
        self.gpu_hours = (1.5, 30.0)  # used and allowed
        self.own_datasets: dict[str, dict[str, Any]] = {}  # owner/name -> its description, versions and status
        self.storage = self.url = ""
        self.stopped = threading.Event()
        self._server: http.server.ThreadingHTTPServer | None = None

    def start(self, storage_host: str = "localhost") -> str:
        """Start to serve and return the API's URL. The storage has another host name: it must not get credentials."""
        server = _QuietServer(("127.0.0.1", 0), _handler_of(self))
        server.daemon_threads = True
        self._server = server
        port = server.server_address[1]
        self.storage = f"http://{storage_host}:{port}" if storage_host == "localhost" else f"http://{storage_host}"
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        return f"http://127.0.0.1:{port}"

    def stop(self) -> None:
        """Stop serving and end stalled responses."""
        self.stopped.set()
        self.stop_listening()

    def stop_listening(self) -> None:
        """Close the port, so that connections are refused."""
        if self._server is not None:
            self._server.shutdown()
            self._server.server_close()
            self._server = None

    def offer(self, files: dict[str, bytes], *, compression: int = zipfile.ZIP_DEFLATED) -> None:
        """Set the files of the competition and of the dataset, as one archive."""
        self.offer_bytes(zip_of(files, compression))
        self.listed = [{"name": name, "totalBytes": len(content)} for name, content in files.items()]
        self.single_files = dict(files)

    def offer_bytes(self, archive: bytes) -> None:
        """Set the archive to any bytes."""
        self.archive, self.etag = archive, f'"{hashlib.md5(archive).hexdigest()}"'

    def fault(self, name: str, fault: Fault) -> None:
        """Add a fault to the endpoint `name`; `storage` and `upload` are the storage's."""
        self.faults.setdefault(name, []).append(fault)

    def stored(self, path: str) -> tuple[bytes, str]:
        """Return what the storage has at this path, and its ETag."""
        folder, name = path[1:].split("/", 1)
        if folder == "files":
            return self.archive, self.etag
        if folder != "file":
            return self.kernel_output[name], self.etag
        name = unquote(name)
        zipped = name.removesuffix(".zip")
        if zipped not in self.zipped:
            return self.single_files[name], f'"{name}"'
        return zip_of({zipped.rpartition("/")[2]: self.single_files[zipped]}), f'"{name}"'

    def names(self) -> list[str]:
        """Return the endpoints of all requests, in order."""
        return [request.name for request in self.requests]

    def fault_of(self, name: str) -> Fault | None:
        """Return the fault that affects the current request."""
        with self.lock:
            return next((fault for fault in self.faults.get(name, []) if fault.applies()), None)

    def record(self, name: str, body: Any, headers: dict[str, str]) -> None:
        """Record a request."""
        with self.lock:
            self.requests.append(Request(name, body, headers))

    # Endpoints take and return a JSON body; a tuple is (status, body).

    def IntrospectToken(self, body: dict[str, Any]) -> Any:
        """Return whether a token is valid, and whose it is."""
        is_known = self.token_is_active and body.get("token") == TOKEN
        return {"active": True, "username": USER} if is_known else {"active": False}

    def GenerateAccessToken(self, body: dict[str, Any]) -> Any:
        """Return a new access token for the refresh token of an OAuth login."""
        if body.get("refreshToken") != REFRESH_TOKEN:
            return 401, {"code": 401, "message": "Unauthorized access"}
        return {"token": TOKEN, "expiresIn": 43200, "userName": USER}

    def GetCompetition(self, body: dict[str, Any]) -> Any:
        """Return the competition and the user's standing in it."""
        return self._known(body) or self.competition

    def ListCompetitions(self, body: dict[str, Any]) -> Any:
        """Return the competitions whose slug contains a word that was searched for."""
        words = str(body.get("search", "")).lower().split()
        found = [slug for slug in sorted(self.slugs) if any(word in slug for word in words)]
        url = "https://www.kaggle.com/competitions/"
        return {"competitions": [{"id": 1, "ref": url + slug} for slug in found], "nextPageToken": ""}

    def GetSubmissionLimits(self, body: dict[str, Any]) -> Any:
        """Return the slots used and left today."""
        n_today = len(self.submissions)
        return self._known(body) or {
            "numToday": n_today,
            "numTotal": n_today,
            "numAllowedNow": max(0, self.daily_limit - n_today),
        }

    def ListDataFiles(self, body: dict[str, Any]) -> Any:
        """List the files of the competition, page by page."""
        items, token = self._page(self.listed, body)
        return self._known(body) or {"files": items, "nextPageToken": token}

    def ListDatasetFiles(self, body: dict[str, Any]) -> Any:
        """List the files of the dataset."""
        own = self.own_datasets.get(f"{body['ownerSlug']}/{body['datasetSlug']}")
        if own is not None:
            return {"datasetFiles": [{"name": n, "totalBytes": len(c)} for n, c in own["versions"][-1].items()]}
        items, token = self._page(self.listed, body)
        return self._known_dataset(body) or {"datasetFiles": items, "nextPageToken": token}

    def DownloadDataFiles(self, body: dict[str, Any]) -> Any:
        """Redirect to the storage."""
        return self._known(body) or (302, f"{self.storage}/files/{body['competitionName']}.zip?signature={SIGNATURE}")

    def DownloadDataFile(self, body: dict[str, Any]) -> Any:
        """Redirect to the storage, for one file; large ones come as a zip."""
        name = body["fileName"]
        if name not in self.single_files:
            return self._known(body) or (404, {"code": 404, "message": "Not found"})
        address = quote(f"{name}.zip" if name in self.zipped else name)
        return self._known(body) or (302, f"{self.storage}/file/{address}?signature={SIGNATURE}")

    def DownloadDataset(self, body: dict[str, Any]) -> Any:
        """Redirect to the storage, for the dataset."""
        name = body.get("fileName")
        address = f"file/{quote(name)}" if name else f"files/{body['datasetSlug']}.zip"
        return self._known_dataset(body) or (302, f"{self.storage}/{address}?signature={SIGNATURE}")

    def StartSubmissionUpload(self, body: dict[str, Any]) -> Any:
        """Return a URL in the storage to upload to."""
        token = f"blob{len(self.blobs)}"
        self.blobs[token] = b""
        return self._known(body) or {
            "token": token,
            "createUrl": f"{self.storage}/upload/{token}?signature={SIGNATURE}",
        }

    def CreateSubmission(self, body: dict[str, Any]) -> Any:
        """Accept an uploaded file as a submission."""
        return self._submitted(body, self.blobs.get(body["blobFileTokens"], b""))

    def CreateCodeSubmission(self, body: dict[str, Any]) -> Any:
        """Accept a file of a notebook version's output as a submission."""
        versions = self.kernels[f"{body['kernelOwner']}/{body['kernelSlug']}"]["versions"]
        return self._submitted(body, versions[body["kernelVersion"] - 1]["output"][body["fileName"]])

    def _submitted(self, body: dict[str, Any], content: bytes) -> Any:
        """Accept a submission, which uses a slot."""
        if unknown := self._known(body):
            return unknown
        if len(self.submissions) >= self.daily_limit:
            return 400, {
                "code": 400,
                "message": "Submission not allowed: Your team has used its submission allowance (5 of 5). "
                "This resets at midnight UTC.",
            }
        ref, now = 1000 + len(self.submissions) + len(self.late), self.now()
        self.late.append(
            {
                "ref": ref,
                "description": body.get("submissionDescription", ""),
                "content": content,
                "date": datetime.fromtimestamp(now, UTC).strftime("%Y-%m-%dT%H:%M:%S.000Z"),
                "recorded_at": now + self.record_delay_s,
                "shown_at": now + self.record_delay_s + self.show_delay_s,
                "n_polls": 0,
            }
        )
        self.arrive()
        return {"message": "Successfully submitted to Toy", "ref": ref}

    def arrive(self) -> None:
        """Record the late submissions whose time has come."""
        self.submissions += [one for one in self.late if one["recorded_at"] <= self.now()]
        self.late = [one for one in self.late if one["recorded_at"] > self.now()]

    def _visible(self) -> list[dict[str, Any]]:
        return [one for one in self.submissions if one.get("shown_at", 0.0) <= self.now()]

    def ListSubmissions(self, body: dict[str, Any]) -> Any:
        """List the submissions, newest first, page by page."""
        items, token = self._page([self._shown(one) for one in reversed(self._visible())], body)
        return self._known(body) or {"submissions": items, "nextPageToken": token}

    def GetSubmission(self, body: dict[str, Any]) -> Any:
        """Return one submission, which is pending at first."""
        found = next((one for one in self._visible() if one["ref"] == body.get("ref")), None)
        if found is None:
            return 404, {"code": 404, "message": "Not found"}
        found["n_polls"] += 1
        return self._shown(found)

    def GetLeaderboard(self, body: dict[str, Any]) -> Any:
        """List the teams, page by page."""
        rows = [
            {"teamId": i + 1, "teamName": team, "score": score, "submissionDate": "2026-01-02T03:04:05.000Z"}
            for i, (team, score) in enumerate(self.leaderboard)
        ]
        items, token = self._page(rows, body)
        return self._known(body) or {"submissions": items, "nextPageToken": token}

    def SaveKernel(self, body: dict[str, Any]) -> Any:
        """Save a new version of a notebook and run it at once."""
        if self.kernel_error:
            return {"error": self.kernel_error}
        number = self.add_kernel_version(body["slug"], body, self.run_kernel(body["text"]))
        address = f"/code/{body['slug']}"
        response = {"ref": address, "url": f"https://www.kaggle.com{address}", "versionNumber": number, "kernelId": 7}
        unknown = [slug for slug in body.get("competitionDataSources", []) if slug not in self.slugs]
        return response | ({"invalidCompetitionSources": unknown} if unknown else {})

    def add_kernel_version(self, name: str, request: dict[str, Any], output: dict[str, bytes], **more: Any) -> int:
        """Add a version and the output of its run; return its number."""
        versions = self.kernels.setdefault(name, {"versions": []})["versions"]
        versions.append({"request": request, "n_polls": 0, "output": output, "status": self.kernel_status, **more})
        return len(versions)

    def GetKernel(self, body: dict[str, Any]) -> Any:
        """Return the text of the version in `versionLabel`, or of the latest."""
        version = self._kernel_version(body)
        if version is None:
            return 403, {"code": 403, "message": "Permission 'kernels.get' was denied"}
        number = len(self.kernels[f"{body['userName']}/{body['kernelSlug']}"]["versions"])
        return {"metadata": {"currentVersionNumber": number}, "blob": {"source": version["request"].get("text", "")}}

    def GetKernelSessionStatus(self, body: dict[str, Any]) -> Any:
        """Return the status of the version in `versionLabel`, or of the latest."""
        version = self._kernel_version(body)
        if version is None:
            return 404, {"code": 404, "message": "Not found"}
        word = version["status"][min(version["n_polls"], len(version["status"]) - 1)]
        version["n_polls"] += 1
        return {"status": word, "failureMessage": self.error_text if word == "ERROR" else None}

    def ListKernelSessionOutput(self, body: dict[str, Any]) -> Any:
        """List a version's output files and their URLs."""
        version = self._kernel_version(body)
        if version is None:
            return 404, {"code": 404, "message": "Not found"}
        self.kernel_output |= {f"{id(version)}/{name}": content for name, content in version["output"].items()}
        files = [
            {"fileName": name, "url": f"{self.storage}/output/{id(version)}/{name}?signature={SIGNATURE}"}
            for name in version["output"]
        ]
        items, token = self._page(files, body)
        return {"files": items, "log": json.dumps(self.kernel_log), "nextPageToken": token}

    def GetAcceleratorQuotaStatistics(self, _: dict[str, Any]) -> Any:
        """Return the GPU hours used and allowed this week."""
        used, allowed = (f"{hours * 3600:.0f}s" for hours in self.gpu_hours)
        return {"gpuQuota": {"timeUsed": used, "timeReserved": "0s", "totalTimeAllowed": allowed}}

    def StartBlobUpload(self, body: dict[str, Any]) -> Any:
        """Return a URL in the storage to upload a file of a dataset to."""
        token = f"blob{len(self.blobs)}-{body['name']}"
        self.blobs[token] = b""
        return {"token": token, "createUrl": f"{self.storage}/upload/{token}"}

    def CreateDataset(self, body: dict[str, Any]) -> Any:
        """Make a dataset of uploaded files, unless there is one of this name."""
        name = f"{body['ownerSlug']}/{body['slug']}"
        if name in self.own_datasets:
            return {"status": "error", "error": "The requested title is already in use by a dataset."}
        self.own_datasets[name] = {"request": body, "description": body["description"], "versions": []}
        return self._add_dataset_version(name, body["files"])

    def CreateDatasetVersion(self, body: dict[str, Any]) -> Any:
        """Replace the files of a dataset."""
        return self._add_dataset_version(f"{body['ownerSlug']}/{body['datasetSlug']}", body["body"]["files"])

    def GetDataset(self, body: dict[str, Any]) -> Any:
        """Return a dataset of the user's."""
        found = self.own_datasets.get(f"{body['ownerSlug']}/{body['datasetSlug']}")
        denied = {"code": 403, "message": "Permission 'datasets.get' was denied"}
        return (403, denied) if found is None else {"ref": "x", "description": found["description"]}

    def GetDatasetStatus(self, body: dict[str, Any]) -> Any:
        """Return the status of a dataset's newest version, which is ready at the third look."""
        found = self.own_datasets[f"{body['ownerSlug']}/{body['datasetSlug']}"]
        found["n_polls"] += 1
        return {"status": "READY" if found["n_polls"] > 2 else "BLOBS_RECEIVED"}

    def _add_dataset_version(self, name: str, files: list[dict[str, Any]]) -> Any:
        tokens = [file["token"] for file in files]
        version = {token.partition("-")[2]: self.blobs[token] for token in tokens}
        self.own_datasets[name]["versions"].append(version)
        self.own_datasets[name]["n_polls"] = 0
        return {"ref": f"/{name}", "url": f"https://www.kaggle.com/{name}", "status": "ok"}

    def is_valid_key(self, header: str) -> bool:
        """Return whether a Basic Authorization header has the right user and key."""
        return base64.b64decode(header.removeprefix("Basic ")).decode() == f"{USER}:{KEY}"

    def _kernel_version(self, body: dict[str, Any]) -> dict[str, Any] | None:
        kernel = self.kernels.get(f"{body.get('userName')}/{body.get('kernelSlug')}")
        if kernel is None:
            return None
        label = body.get("versionLabel") or f"v{len(kernel['versions'])}"
        number = int(label[1:]) if label.startswith("v") and label[1:].isdigit() else 0
        return kernel["versions"][number - 1] if 0 < number <= len(kernel["versions"]) else None

    def _shown(self, one: dict[str, Any]) -> dict[str, Any]:
        is_done = one["n_polls"] > self.n_polls_pending
        shown = {"ref": one["ref"], "description": one["description"], "date": one["date"], "teamName": USER}
        shown |= {name: one[name] for name in ("fileName", "submittedBy") if name in one}
        if not is_done:
            return shown | {"status": "PENDING"}
        if one.get("final_status", self.final_status) == "ERROR":
            return shown | {"status": "ERROR", "errorDescription": self.error_text}
        return shown | {"status": "COMPLETE", "publicScore": self.score}

    def _known(self, body: dict[str, Any]) -> Any:
        slug = body.get("competitionName")
        if slug in self.slugs:
            return None
        return 403, {"code": 403, "message": "Permission 'competitions.get' was denied"}

    def _known_dataset(self, body: dict[str, Any]) -> Any:
        slug = f"{body.get('ownerSlug')}/{body.get('datasetSlug')}"
        return None if slug in self.datasets else (404, {"code": 404, "message": "Not found"})

    def _page(self, items: list[Any], body: dict[str, Any]) -> tuple[list[Any], str]:
        start = int(body.get("pageToken") or 0)
        end = start + min(body.get("pageSize") or self.page_size, self.page_size)
        return items[start:end], str(end) if end < len(items) else ""


def zip_of(files: dict[str, bytes], compression: int = zipfile.ZIP_DEFLATED) -> bytes:
    """Return a zip of `files`."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", compression) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return buffer.getvalue()


def _handler_of(kaggle: KaggleServer) -> type[http.server.BaseHTTPRequestHandler]:
    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *_: Any) -> None:
            pass

        def do_POST(self) -> None:
            self._guard(self._api)

        def do_GET(self) -> None:
            self._guard(self._storage)

        def do_PUT(self) -> None:
            self._guard(self._upload)

        def _guard(self, serve: Callable[[], None]) -> None:
            try:
                serve()
            except _Reset:
                linger = struct.pack("ii", 1, 0)  # closing sends RST, as a lost connection does
                self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
                self.close_connection = True
                with suppress(OSError):
                    self.connection.close()
            except OSError:
                self.close_connection = True

        def _body(self, limit: int | None = None) -> bytes:
            length = int(self.headers.get("Content-Length") or 0)
            return self.rfile.read(length if limit is None else min(limit, length))

        def _api(self) -> None:
            name = urlsplit(self.path).path.rsplit("/", 1)[-1]
            body = json.loads(self._body() or b"{}")
            kaggle.record(name, body, dict(self.headers))
            fault = kaggle.fault_of(name)
            if fault is None or fault.is_after or (not fault.status and not fault.drops):
                with kaggle.lock:
                    kaggle.arrive()
                    response = None if name in ("IntrospectToken", "GenerateAccessToken") else self._refusal()
                    response = response or getattr(kaggle, name)(body)
                code, content = response if isinstance(response, tuple) else (200, response)
            else:
                code, content = 0, {}
            if fault is not None and fault.drops:
                raise _Reset
            if fault is not None and fault.change and code == 200:
                content = fault.change(content)
            if fault is not None and fault.status:
                self._send(fault.status, fault.body, fault.content_type, fault.headers, fault)
            elif code == 302:
                self._send(302, b"", "text/plain", {"Location": content}, fault)
            else:
                self._send(code, content, "application/json", {}, fault)

        def _refusal(self) -> Any:
            given = self.headers.get("Authorization", "")
            if given == f"Bearer {TOKEN}" and kaggle.token_is_active:
                return None
            if given.startswith("Basic ") and kaggle.is_valid_key(given):
                return None
            return 401, {"code": 401, "message": "Unauthorized access"}

        def _storage(self) -> None:
            path = urlsplit(self.path).path
            kaggle.record("storage", path, dict(self.headers))
            fault = kaggle.fault_of("storage")
            if fault is not None and fault.drops:
                raise _Reset
            if fault is not None and fault.status:
                self._send(fault.status, fault.body, fault.content_type, fault.headers, fault)
                return
            with kaggle.lock:
                content, etag = kaggle.stored(path)
            headers = {"ETag": etag} if etag else {}
            span = self.headers.get("Range", "")
            if span and self.headers.get("If-Range", etag) == etag:
                start = int(span.removeprefix("bytes=").rstrip("-"))
                if start >= len(content):
                    self._send(416, b"", "text/plain", {"Content-Range": f"bytes */{len(content)}"}, None)
                    return
                headers["Content-Range"] = f"bytes {start}-{len(content) - 1}/{len(content)}"
                self._send(206, content[start:], "application/zip", headers, fault)
                return
            self._send(200, content, "application/zip", headers, fault)

        def _upload(self) -> None:
            token = urlsplit(self.path).path.rsplit("/", 1)[-1]
            fault = kaggle.fault_of("upload")
            content = self._body(fault.reads_only if fault is not None else None)
            kaggle.record("upload", token, dict(self.headers))
            if fault is None or fault.is_after:
                kaggle.blobs[token] = content
            if fault is not None and (fault.drops or fault.reads_only is not None):
                raise _Reset
            if fault is not None and fault.status:
                self._send(fault.status, fault.body, fault.content_type, fault.headers, fault)
                return
            self._send(200, {}, "application/json", {}, fault)

        def _send(self, code: int, body: Any, kind: str, headers: dict[str, str], fault: Fault | None) -> None:
            content = json.dumps(body).encode() if isinstance(body, dict | list) else body or b""
            self.send_response(code)
            self.send_header("Content-Type", kind)
            is_dripping = fault is not None and fault.drips
            self.send_header("Content-Length", str(10**9 if is_dripping else len(content)))
            for name, value in headers.items():
                self.send_header(name, value)
            self.end_headers()
            if fault is not None and fault.cut_at is not None:
                self.wfile.write(content[: fault.cut_at])
                self.wfile.flush()
                self.connection.shutdown(socket.SHUT_WR)  # what was sent arrives, then the body ends too early
                self.close_connection = True
                return
            while is_dripping and not kaggle.stopped.wait(DRIP_S):
                self.wfile.write(b" ")
                self.wfile.flush()
            if fault is not None and fault.stalls:
                self.wfile.write(content[: len(content) // 2])
                self.wfile.flush()
                kaggle.stopped.wait(30)
                raise _Reset
            self.wfile.write(content)

    return Handler
