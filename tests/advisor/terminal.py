"""A command in a real pseudo-terminal: type keys, read the screen."""

import fcntl
import os
import pty
import re
import signal
import struct
import subprocess
import sys
import termios
import time
from pathlib import Path


class Terminal:
    """`advisor ...` in a pseudo-terminal of the given width, without colours unless asked for."""

    def __init__(self, folder: Path, *arguments: str, columns: int = 80, colour: bool = False) -> None:
        self.master, slave = pty.openpty()
        fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 40, columns, 0, 0))
        env = {k: v for k, v in os.environ.items() if k not in ("COLUMNS", "NO_COLOR", "FORCE_COLOR")}
        env |= {"TERM": "xterm-256color", "PYTHONUTF8": "1"} | ({} if colour else {"NO_COLOR": "1"})
        self.process = subprocess.Popen(
            [sys.executable, "-m", "advisor", *arguments],
            stdin=slave, stdout=slave, stderr=slave, cwd=folder, env=env, start_new_session=True,
            # a test run in the background ignores Ctrl-C and would hand that down
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
        )  # fmt: skip
        os.close(slave)
        os.set_blocking(self.master, False)
        self.seen = ""

    def until(self, words: str, seconds: float = 90) -> str:
        """Reads until the words appear after what was read before; the limit only ends a test that hangs."""
        start, end = len(self.seen), time.monotonic() + seconds
        while words not in self.seen[start:]:
            assert time.monotonic() < end, f"waited for {words!r}: {self.seen}"
            if not self._read():
                break
        assert words in self.seen[start:], self.seen
        return self.seen[start:]

    def rest(self) -> str:
        """Everything up to the end of the process, and its exit code in `self.process.returncode`."""
        start, end = len(self.seen), time.monotonic() + 90
        while self._read():
            assert time.monotonic() < end, f"it does not end: {self.seen}"
        self.process.wait(90)
        return self.seen[start:]

    def _read(self) -> bool:
        """Whether there may be more to read."""
        try:
            piece = os.read(self.master, 65536)
        except BlockingIOError:
            time.sleep(0.02)
            return True
        except OSError:  # the other side is closed
            return False
        self.seen += piece.decode(errors="replace")
        return bool(piece)

    def type(self, keys: str) -> None:
        """Types keys; the terminal echoes them."""
        os.write(self.master, keys.encode())

    def answer(self, keys: str) -> str:
        """Types a line and reads up to the next prompt; returns what was read without styles and line ends."""
        self.type(f"{keys}\n")
        return plain(self.until("\n> "))


def plain(seen: str) -> str:
    """The words on a screen, on one line."""
    return " ".join(re.sub(r"\x1b\[[0-9;]*m", "", seen).split())
