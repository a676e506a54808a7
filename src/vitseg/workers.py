# Copyright 2026 The vitseg authors.
# SPDX-License-Identifier: Apache-2.0
"""What processes and threads that load data for others have in common."""

import multiprocessing
import os
import signal
import threading
from datetime import timedelta


# How long processes wait for others, whose share of the work may take longer.
PATIENCE = timedelta(days=30)


def num_processors() -> int:
    """Processors that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def default_workers() -> int:
    """How many processes or threads should load data for this process, beside those that a launcher started together
    with it on this machine: up to four, if there are processors for them."""
    return max(min(num_processors() // int(os.environ.get("LOCAL_WORLD_SIZE", 1)), 4), 1)


def leave_signals(worker_id: int = 0) -> None:
    """
    Leave Ctrl-C and SIGTERM, which reach all processes of a terminal or a job, to the process that the data are for.
    SIGTERM from that one still ends this one. For the `worker_init_fn` of PyTorch's loaders.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if hasattr(signal, "sigwaitinfo"):  # macOS cannot tell who sent a signal.
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
        threading.Thread(target=_end_when_told, daemon=True).start()


def _end_when_told() -> None:
    parent = multiprocessing.parent_process()
    while parent is not None and signal.sigwaitinfo({signal.SIGTERM}).si_pid != parent.pid:
        pass
    os._exit(0)
