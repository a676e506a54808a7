# Copyright 2026 The vitseg authors.
# SPDX-License-Identifier: Apache-2.0
"""Configurations in Python: what is read of them, as mmengine reads it, and what is refused."""

from pathlib import Path
from typing import Any

import pytest

from vitseg.conversion import python_config
from vitseg.conversion.python_config import parse_python_config, read_python_config


def written(folder: Path, files: dict[str, str]) -> Path:
    """Writes files, whose names are given without .py; the path of the last one."""
    path = folder
    for name, text in files.items():
        path = folder / f"{name}.py"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    return path


def test_values():
    text = """
'''What it is for.'''
norm_cfg = dict(type='SyncBN', requires_grad=True)
crop_size = (512, 512)
root = 'data/' + 'ade'
model = dict(
    backbone={'type': 'VisionTransformer', 'lr': -1e-3, 'img_size': crop_size},
    head=[dict(norm_cfg=norm_cfg, index=index) for index in (0, 1)],
    pretrained=None)
first = second = [+1, 0.5, ()]
rates = dict({'backbone.norm': dict(lr=0.1), 'head': 1})
__version__ = '1'
"""
    norm = {"type": "SyncBN", "requires_grad": True}
    assert parse_python_config(text, "text") == {
        "norm_cfg": norm,
        "crop_size": (512, 512),
        "root": "data/ade",
        "model": {
            "backbone": {"type": "VisionTransformer", "lr": -1e-3, "img_size": (512, 512)},
            "head": [{"norm_cfg": norm, "index": 0}, {"norm_cfg": norm, "index": 1}],
            "pretrained": None,
        },
        "first": [1, 0.5, ()],
        "second": [1, 0.5, ()],
        "rates": {"backbone.norm": {"lr": 0.1}, "head": 1},
    }


MODEL = """
norm_cfg = dict(type='BN')
model = dict(
    backbone=dict(type='VisionTransformer', depth=24, taps=[9, 14, 19, 23], norm_cfg=norm_cfg),
    decode_head=dict(type='SETRUPHead', channels=256))
"""


def test_bases_are_merged_as_mmengine_does(tmp_path):
    """Dictionaries key by key, unless they say `_delete_`; everything else is replaced, lists too."""
    path = written(
        tmp_path,
        {
            "_base_/models/vit": MODEL,
            "_base_/schedule": "lr = 0.01\nhooks = [dict(type='A'), dict(type='B')]",
            "setr/large": """
_base_ = ['../_base_/models/vit.py', '../_base_/schedule.py']
# What a base assigns may be assigned anew; only this file sees it.
norm_cfg = dict(eps=1e-6)
model = dict(backbone=dict(depth=12, taps=(3, 7)))
hooks = [dict(type='C')]
""",
            "setr/linear": """
_base_ = './large.py'
model = dict(
    backbone=dict(copied=_base_.norm_cfg.type, written={{_base_.model.decode_head.channels}}),
    decode_head=dict(_delete_=True, type='FCNHead', new=dict(_delete_=True, a=1)))
hooks = _base_.hooks
""",
        },
    )
    assert read_python_config(path) == {
        "norm_cfg": {"type": "BN", "eps": 1e-6},
        "lr": 0.01,
        "hooks": [{"type": "C"}],
        "model": {
            "backbone": {
                "type": "VisionTransformer",
                "depth": 12,
                "taps": (3, 7),
                "norm_cfg": {"type": "BN"},
                "copied": "BN",
                "written": 256,
            },
            "decode_head": {"type": "FCNHead", "new": {"a": 1}},
        },
    }


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("import os", "import os"),
        ("from torch import nn", "from torch import nn"),
        ("print('x')", "print('x')"),
        ("x = __import__('os').system('true')", "__import__('os').system('true')"),
        ("x = open('/etc/hostname').read()", "open("),
        ("x = dict(y, z=1)", "dict(y, z=1)"),
        ("x = dict(**dict(a=1))", "dict(**dict(a=1))"),
        ("x = lambda: 1", "lambda"),
        ("x = f'{1}'", "f'{1}'"),
        ("x = [1.0] * 10 ** 9", "10 ** 9"),
        ("x = 'a' * 10", "'a' * 10"),
        ("x = 1 + 1", "1 + 1"),
        ("x = [a for a in [1] if a]", "[a for a in [1] if a]"),
        ("x = [a for a in [1] for b in [2]]", "[a for a in [1] for b in [2]]"),
        ("x = y", "y is a name that was not assigned before"),
        ("x = _base_.model", "_base_.model is which no _base_ file assigns"),
        ("x = ().__class__", "().__class__"),
        ("x = {1, 2}", "{1, 2}"),
        ("x = {{'$NUM_CLASSES:80'}}", "NUM_CLASSES"),
        ("x = not 1", "not 1"),
        ("x = b'1'", "b'1'"),
        ("x = ...", "..."),
        ("if 1: x = 1", "if 1: x = 1"),
        ("for x in [1]: y = 1", "for x in [1]"),
        ("with read_base():\n    from .a import *", "with read_base()"),
        ("x, y = 1, 2", "x, y = "),
        ("x: int = 1", "x: int = 1"),
        ("x = [1]; x[0] = 2", "x[0] = 2"),
        ("model.update(dict(a=1))", "model.update(dict(a=1))"),
        ("def f(): pass", "def f(): pass"),
    ],
)
def test_code_is_refused_by_line(line, said, tmp_path):
    path = written(tmp_path, {"code": f"model = dict(\n    type='EncoderDecoder')\n{line}\n"})
    with pytest.raises(ValueError, match=r"code\.py, line 3: ") as refusal:
        read_python_config(path)
    assert said in str(refusal.value)
    assert "A configuration is read, and not run" in str(refusal.value)


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({"a": "_base_ = './b.py'"}, r"There is no configuration file .*b\.py, a _base_ of .*a\.py"),
        ({"a": "_base_ = './a.py'"}, r"a\.py is a _base_ of itself"),
        ({"a": "_base_ = '../../../etc/passwd'"}, r"expected a file that ends in \.py"),
        ({"a": "_base_ = 'mmdet::_base_/models/vit.py'"}, r"line 1, takes 'mmdet::_base_/models/vit.py' from another"),
        ({"a": "_base_ = 3"}, r"_base_=3; expected names of files"),
        ({"a": "x = 1", "b": "x = 2", "c": "_base_ = ['a.py', 'b.py']"}, r"Two _base_ files of .*c\.py assign 'x'"),
        (
            {"a": "x = [1]", "b": "_base_ = 'a.py'\nx = dict(y=1)"},
            r"b\.py changes x by a dictionary, but its base has",
        ),
        ({"a": "x = (1"}, r"a\.py is not a configuration in Python: .*line 1"),
        ({"a": "x = " + "(" * 5000}, r"a\.py is not a configuration in Python"),
        ({"a": "x = " + "-" * 3000 + "1"}, r"a\.py.*(nested too deeply|not a configuration in Python)"),
    ],
)
def test_files_that_are_no_configuration(files, message, tmp_path):
    with pytest.raises(ValueError, match=message):
        read_python_config(written(tmp_path, files))


def test_a_text_without_a_file_has_no_bases():
    with pytest.raises(ValueError, match=r"The text, line 1, names _base_ files"):
        parse_python_config("_base_ = 'a.py'", "The text")


def test_names_that_stand_for_names_do_not_fill_the_memory():
    lines = ["a0 = ['x'] ", *(f"a{n + 1} = [a{n}, a{n}, a{n}, a{n}]" for n in range(40))]
    with pytest.raises(ValueError, match=f"comes to more than {python_config.MAX_VALUES} values"):
        parse_python_config("\n".join(lines), "text")
    lines = ["a0 = 'x'", *(f"a{n + 1} = a{n} + a{n}" for n in range(60))]
    with pytest.raises(ValueError, match="line 18"):
        parse_python_config("\n".join(lines), "text")


def test_what_is_changed_later_is_not_changed_before(tmp_path):
    read: dict[str, Any] = parse_python_config("a = dict(b=1)\nc = dict(d=a)\na = dict(b=2)", "text")
    assert read == {"a": {"b": 2}, "c": {"d": {"b": 1}}}
