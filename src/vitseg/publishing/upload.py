# Copyright 2026 The vitseg authors.
# SPDX-License-Identifier: Apache-2.0
"""Uploads to the Hugging Face Hub: one commit, made again while the network or the server fails."""

import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from huggingface_hub import CommitOperationAdd, HfApi
from huggingface_hub.errors import HfHubHTTPError, HTTPError

from .. import __version__


ATTEMPTS = 5


def upload(files: Mapping[str, Path], repository: str, private: bool) -> None:
    """Upload the files in one commit; what the repository holds already stays as it is."""
    api = HfApi()
    attempt(lambda: api.create_repo(repository, private=private, exist_ok=True))
    before = attempt(lambda: api.repo_info(repository)).sha
    # Kept over the attempts, they remember which files are there.
    additions = [CommitOperationAdd(path_in_repo=name, path_or_fileobj=path) for name, path in files.items()]
    message = f"Publish {repository.partition('/')[2]} with vitseg {__version__}"
    commit = attempt(lambda: api.create_commit(repository, additions, commit_message=message))
    print(f"{repository} holds all of this already." if commit.oid == before else f"Published: {commit.commit_url}")


def attempt(request: Callable[[], Any]) -> Any:
    """The answer to a request, made again after a while if the network or the server fails, up to five times."""
    for pause in (2**number for number in range(ATTEMPTS - 1)):
        try:
            return request()
        except (HTTPError, ConnectionError) as error:
            if isinstance(error, HfHubHTTPError) and _is_refusal(error):
                raise
            print(f"{str(error).splitlines()[0]} Trying again in {pause} s.", file=sys.stderr)
        time.sleep(pause)
    return request()


def _is_refusal(error: HfHubHTTPError) -> bool:
    """Whether the server would answer the same again."""
    return error.response is not None and error.response.status_code < 500 and error.response.status_code != 429
