# Copyright 2026 The vitseg authors.
# SPDX-License-Identifier: Apache-2.0
"""
examples/train.py with batch normalisation by its running statistics: no sample's loss depends on its batch then.

With FSDP, it runs on CPU processes, which Accelerate offers for accelerators only.
"""

import os
import sys

from accelerate.state import PartialState
from accelerate.utils import DistributedType
from torch import nn
from train import main


def normalize_by_running_statistics(self, hidden_states):
    return nn.functional.batch_norm(
        hidden_states, self.running_mean, self.running_var, self.weight, self.bias, training=False, eps=self.eps
    )


make_state = PartialState.__init__


def make_state_of_accelerators(self, *args, **kwargs):
    make_state(self, *args, **kwargs)
    if self.distributed_type == DistributedType.MULTI_CPU:
        self.distributed_type = DistributedType.MULTI_GPU


if __name__ == "__main__":
    nn.BatchNorm2d.forward = normalize_by_running_statistics
    if os.environ.get("ACCELERATE_USE_FSDP") == "true":
        PartialState.__init__ = make_state_of_accelerators
    sys.exit(main())
