"""Locks between processes, which the operating system frees when their holder dies.

Knows files; must not know what is guarded.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import hashlib
import os
import shutil
import socket
import threading
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path

from filelock import FileLock, Timeout

from pipeline.base.errors import PipelineError
from pipeline.base.progress import say

LOCKS = ".locks"  # the folder of a folder's lock files
USE_FILE = "in-use"
READ_ONLY = (errno.EROFS, errno.EACCES, errno.EPERM)
_own = threading.Lock()
_uses: dict[Path, tuple[int, int | None]] = {}  # folder -> (uses by this process, descriptor of its lock)


class InUseError(PipelineError):
    """Another process uses the folder."""


@contextlib.contextmanager
def hold(path: Path) -> Iterator[None]:
    """Hold the lock file `path`; a message tells the user if another process has it and this one must wait.

    A thread may hold a lock that it has already.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    lock = FileLock(path, is_singleton=True)
    try:
        held = lock.acquire(blocking=False)
    except Timeout:
        say(f"waiting for another run of the pipeline that holds {path}")
        held = lock.acquire()
    with held:
        yield


@contextlib.contextmanager
def in_use(folder: Path, clear: Callable[[], None]) -> Iterator[None]:
    """Share `folder` with its other users, and keep `exclusively` away. Uses in one process may be nested.

    Calls `clear` if there is no other user, so that it may remove what killed ones left. A folder that is new and still
    empty at the end is removed. Does nothing where the folder is read-only.
    """
    folder = folder.resolve()
    with _own:
        n_uses, descriptor = _uses.get(folder) or (0, _shared(folder, clear))
        _uses[folder] = n_uses + 1, descriptor
    try:
        yield
    finally:
        with _own:
            n_uses, descriptor = _uses.pop(folder)
            if n_uses > 1:
                _uses[folder] = n_uses - 1, descriptor
            elif descriptor is not None:
                _release(folder, descriptor)


@contextlib.contextmanager
def exclusively(folder: Path, *, wanted: str) -> Iterator[None]:
    """Keep users away from `folder`. Raises InUseError if it has one; `wanted` is the verb of its message."""
    folder = folder.resolve()
    descriptor = _locked(folder, fcntl.LOCK_EX | fcntl.LOCK_NB)
    if descriptor is None:
        hint = "Wait until it ends, or stop it with Ctrl-C; then run the same command again."
        raise InUseError(f"cannot {wanted}: another command uses the folder", where=str(folder), hint=hint)
    try:
        yield
    finally:
        _release(folder, descriptor)


def _shared(folder: Path, clear: Callable[[], None]) -> int | None:
    """Return the descriptor of a shared lock, None in a read-only folder."""
    try:
        alone = _locked(folder, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if alone is not None:
            clear()
            fcntl.flock(alone, fcntl.LOCK_SH)
            return alone
        shared = _locked(folder, fcntl.LOCK_SH | fcntl.LOCK_NB)
        if shared is None:
            say(f"waiting for another command that clears {folder}")
            shared = _locked(folder, fcntl.LOCK_SH)
        return shared
    except OSError as error:
        if error.errno in READ_ONLY:
            return None
        raise


def _locked(folder: Path, how: int) -> int | None:
    """Return the descriptor of the folder's lock file, locked; None if another process has it."""
    path = folder / LOCKS / USE_FILE
    while True:
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
        except FileNotFoundError:  # its last user has just removed the folder
            continue
        try:
            fcntl.flock(descriptor, how)
            if os.path.samestat(os.fstat(descriptor), path.stat()):
                return descriptor
        except FileNotFoundError:  # likewise
            pass
        except BlockingIOError:
            os.close(descriptor)
            return None
        except BaseException:
            os.close(descriptor)
            raise
        os.close(descriptor)


def _release(folder: Path, descriptor: int) -> None:
    """Give the lock back; remove a folder with nothing but locks in it."""
    with contextlib.suppress(OSError):  # there is another user
        if [path.name for path in folder.iterdir()] == [LOCKS]:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(folder / LOCKS)
            folder.rmdir()
    os.close(descriptor)


@cache
def this_machine() -> str:
    """Return `host/hash`: a name of what numbers the processes that `is_alive` sees, this machine since its start.

    Machines may have one host name, and containers have processes of their own.
    """
    parts = [socket.gethostname()]
    with contextlib.suppress(OSError):  # not on macOS
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        numbered = f"{boot} {os.readlink('/proc/self/ns/pid')}"
        parts.append(hashlib.sha256(numbered.encode()).hexdigest()[:8])
    return "/".join(parts)


def is_alive(pid: str) -> bool:
    """Whether this machine has the process."""
    try:
        os.kill(int(pid), 0)
    except PermissionError:
        return True
    except (ProcessLookupError, ValueError):
        return False
    return True
