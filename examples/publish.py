# Copyright 2026 The vitseg authors.
# SPDX-License-Identifier: Apache-2.0
"""
Publish a model folder on the Hugging Face Hub, with a model card, after checking that others can load it; the same as
`vitseg publish`:

    python examples/publish.py --model DIR --repo ORG/NAME --dry-run FOLDER
    python examples/publish.py --model DIR --repo ORG/NAME --results runs/measured/results.json --private
"""

import sys

from vitseg.cli import main


if __name__ == "__main__":
    sys.exit(main(["publish", *sys.argv[1:]]))
