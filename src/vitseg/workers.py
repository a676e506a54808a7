# Copyright 2026 The vitseg authors.
# SPDX-License-Identifier: Apache-2.0
"""What the processes that load data for another one have in common."""

import multiprocessing
import os
import signal
import threading


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
