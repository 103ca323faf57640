"""Forks children while the hook's probes are on: `forks.py CHILDREN [LIBRARY]`.

The parent has hit both sites before it forks, so that the kernel has done with them what it does. LIBRARY
is `older_hook.c`, whose sites are hit in place of the package's.
"""

import ctypes
import os
import sys
import time

import workload

HITS = 5


class Package:
    """The package, as an application has it."""

    # Some kernel would have to refuse what every kernel can do.
    patience = 60.0

    def __init__(self) -> None:
        """Set up tracing."""
        import spanprof

        self._spanprof = spanprof
        self._tracer = workload.set_up_tracing(service_name="forks")

    def is_probed(self) -> bool:
        """Tell whether its probes are on."""
        return self._spanprof.stats()["probed"]

    def hit(self) -> None:
        """Pass both sites."""
        with self._tracer.start_as_current_span("span"):
            pass


class Older:
    """The sites of an earlier package, which an agent may not put probes on."""

    patience = 5.0

    def __init__(self, path: str) -> None:
        """Load it."""
        self._library = ctypes.CDLL(path)
        self._site = ctypes.c_ubyte.in_dll(self._library, "span_start_site")

    def is_probed(self) -> bool:
        """Tell whether the site is no longer the nop."""
        return self._site.value != 0x0F

    def hit(self) -> None:
        """Pass both sites."""
        self._library.hit()


def child(hook: "Package | Older") -> int:
    """Fork a child that passes both sites; tell how it ended."""
    pid = os.fork()
    if pid == 0:
        probed = hook.is_probed()
        for _ in range(HITS):
            hook.hit()
        os._exit(int(hook.is_probed() != probed))
    _, status = os.waitpid(pid, 0)
    return -os.WTERMSIG(status) if os.WIFSIGNALED(status) else os.WEXITSTATUS(status)


def main() -> None:
    """Fork them one after the other."""
    children, *library = sys.argv[1:]
    hook = Older(*library) if library else Package()
    workload.wait_for_start()
    deadline = time.monotonic() + hook.patience
    while not hook.is_probed() and time.monotonic() < deadline:
        time.sleep(0.05)
    for _ in range(HITS):
        hook.hit()
    probed = hook.is_probed()
    workload.say(probed=probed, ended=[child(hook) for _ in range(int(children))])
    workload.wait_for_end()


if __name__ == "__main__":
    main()
