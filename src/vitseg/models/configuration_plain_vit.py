# Copyright 2026 The vitseg authors.
# SPDX-License-Identifier: Apache-2.0
"""Configuration of the plain ViT backbone."""

from transformers.backbone_utils import BackboneConfigMixin
from transformers.configuration_utils import PreTrainedConfig

from .layers import as_pair
from .strict import strict


INTERPOLATION_MODES = ("bilinear", "bicubic")


@strict
class PlainVitConfig(BackboneConfigMixin, PreTrainedConfig):
    r"""
    Configuration of a [`PlainVitBackbone`]: the Vision Transformer of "An Image is Worth 16x16 Words"
    (https://arxiv.org/abs/2010.11929) without its final norm and classifier, as segmentation decoders use it. The
    defaults are ViT-B/16 at 512 x 512.

    Args:
        hidden_size (`int`, *optional*, defaults to 768):
            Width of the tokens.
        num_hidden_layers (`int`, *optional*, defaults to 12):
            Number of transformer blocks.
        num_attention_heads (`int`, *optional*, defaults to 12):
            Number of attention heads of each block. Must divide `hidden_size`.
        intermediate_size (`int`, *optional*, defaults to 3072):
            Width of the hidden layer of each block's MLP.
        hidden_act (`str`, *optional*, defaults to `"gelu"`):
            Activation of the MLP. `"gelu"` is the exact (erf) GELU.
        hidden_dropout_prob (`float`, *optional*, defaults to 0.0):
            Dropout on the embedded tokens and after each linear layer of a block.
        attention_probs_dropout_prob (`float`, *optional*, defaults to 0.0):
            Dropout on the attention probabilities.
        drop_path_rate (`float`, *optional*, defaults to 0.0):
            Stochastic depth of the last block; it grows linearly from 0 at the first block.
        drop_path_on_attention (`bool`, *optional*, defaults to `True`):
            Whether stochastic depth drops the attention branch too, and not only the MLP (as mmsegmentation does).
        initializer_range (`float`, *optional*, defaults to 0.02):
            Standard deviation of the truncated normal that initialises linear layers and tokens.
        layer_norm_eps (`float`, *optional*, defaults to 1e-6):
            Epsilon of the layer norms.
        image_size (`int` or pair of `int`, *optional*, defaults to 512):
            Side, or height and width, in pixels, of the input that the position embedding is stored for.
        patch_size (`int`, *optional*, defaults to 16):
            Side of a patch in pixels.
        num_channels (`int`, *optional*, defaults to 3):
            Number of channels of the input.
        qkv_bias (`bool`, *optional*, defaults to `True`):
            Whether the query, key and value projections have a bias.
        use_class_token (`bool`, *optional*, defaults to `True`):
            Whether a class token takes part in the attention. It never appears in the feature maps.
        use_distillation_token (`bool`, *optional*, defaults to `False`):
            Whether a second such token, DeiT's, comes after it.
        interpolate_by_token_count (`bool`, *optional*, defaults to `False`):
            Whether the position embedding is resized only when the *number* of patches differs from the stored one,
            and otherwise taken in raster order whatever the shape of the grid (as mmsegmentation does). By default it
            is resized whenever the grid differs.
        interpolation_mode (`str`, *optional*, defaults to `"bilinear"`):
            How the position embedding is resized: `"bilinear"` or `"bicubic"`.
        shrink_layer (`int`, *optional*):
            Number of a block, counted from 1, whose queries are only the patches in every second row and column of the
            grid: all patches take part in its attention, a quarter of them goes on (SegViT's query-based
            down-sampling). By default no block does that.
        token_sharing (`int`, *optional*):
            How many superpatches (2 x 2 patches) of an image of `image_size` share a token, those that a policy
            network thinks most likely to show a single class; in images of another size as large a share of them,
            rounded down. The feature maps still have one position for each patch. Needs patches of 16 pixels. By
            default there is no policy network and no token is shared.
        freeze_policy (`bool`, *optional*, defaults to `False`):
            Whether the policy network stays in evaluation mode while the model is trained. Its weights never get a
            gradient from the model, but in training mode the statistics of its batch norms follow the images, as they
            did in the original.
        use_patch_norm (`bool`, *optional*, defaults to `False`):
            Whether a layer norm follows the patch embedding, before positions are added.
        use_final_norm (`bool`, *optional*, defaults to `False`):
            Whether a layer norm follows the last block; the feature map of the last block is then normalised.
        reshape_hidden_states (`bool`, *optional*, defaults to `True`):
            Whether the backbone returns feature maps. Otherwise it returns the tokens, that of the class first, as
            transformers' DPT takes them.
        out_features (`list[str]`, *optional*):
            Which feature maps the backbone returns: `"stem"` (the embedded tokens) or `"stage1"`, `"stage2"`, ... (the
            output of the first, second, ... block). Defaults to the last block.
        out_indices (`list[int]`, *optional*):
            The same by number: 0 is the stem, `i` the output of the `i`-th block.
    """

    model_type = "plain_vit"
    # Saved folders carry their code, so that they load where vitseg is not installed.
    _auto_class = "AutoConfig"

    hidden_size: int = 768
    num_hidden_layers: int = 12
    num_attention_heads: int = 12
    intermediate_size: int = 3072
    hidden_act: str = "gelu"
    hidden_dropout_prob: float | int = 0.0
    attention_probs_dropout_prob: float | int = 0.0
    drop_path_rate: float | int = 0.0
    drop_path_on_attention: bool = True
    initializer_range: float = 0.02
    layer_norm_eps: float = 1e-6
    image_size: int | list[int] | tuple[int, int] = 512
    patch_size: int = 16
    num_channels: int = 3
    qkv_bias: bool = True
    use_class_token: bool = True
    use_distillation_token: bool = False
    interpolate_by_token_count: bool = False
    interpolation_mode: str = "bilinear"
    shrink_layer: int | None = None
    token_sharing: int | None = None
    freeze_policy: bool = False
    use_patch_norm: bool = False
    use_final_norm: bool = False
    reshape_hidden_states: bool = True
    _out_features: list[str] | None = None
    _out_indices: list[int] | None = None

    def __post_init__(self, **kwargs):
        self.stage_names = ["stem"] + [f"stage{index}" for index in range(1, self.num_hidden_layers + 1)]
        self.set_output_features_output_indices(
            out_indices=kwargs.pop("out_indices", None), out_features=kwargs.pop("out_features", None)
        )
        super().__post_init__(**kwargs)

    @property
    def grid_size(self) -> tuple[int, int]:
        """Rows and columns of patches of an `image_size` input, the last ones possibly padded."""
        height, width = as_pair(self.image_size)
        return -(-height // self.patch_size), -(-width // self.patch_size)

    @property
    def num_prefix_tokens(self) -> int:
        """Tokens before those of the patches."""
        return self.use_class_token + self.use_distillation_token

    def num_shared(self, rows: int, columns: int) -> int:
        """How many superpatches of a grid of `rows` x `columns` patches share a token."""
        stored_rows, stored_columns = self.grid_size
        superpatches = (stored_rows // 2) * (stored_columns // 2)
        return (self.token_sharing or 0) * (rows // 2) * (columns // 2) // max(superpatches, 1)

    def validate_architecture(self):
        super().validate_architecture()
        if self.hidden_size % self.num_attention_heads:
            raise ValueError(
                f"hidden_size {self.hidden_size} is not a multiple of num_attention_heads {self.num_attention_heads}."
            )
        if self.interpolation_mode not in INTERPOLATION_MODES:
            raise ValueError(
                f"interpolation_mode is {self.interpolation_mode!r}; expected one of {INTERPOLATION_MODES}."
            )
        if self.shrink_layer is not None and not 1 <= self.shrink_layer <= self.num_hidden_layers:
            raise ValueError(
                f"shrink_layer is {self.shrink_layer}; expected a block from 1 to {self.num_hidden_layers}, or None."
            )

    def validate_token_sharing(self):
        if self.token_sharing is None:
            return
        if (self.patch_size, self.num_channels) != (16, 3):
            raise ValueError(
                f"token_sharing is {self.token_sharing} with patch_size {self.patch_size} and num_channels "
                f"{self.num_channels}: the policy network scores superpatches of 32 x 32 RGB pixels, so patches must "
                "be of 16 pixels."
            )
        rows, columns = self.grid_size
        superpatches = (rows // 2) * (columns // 2)
        if not 0 <= self.token_sharing <= superpatches:
            raise ValueError(
                f"token_sharing is {self.token_sharing}; an image of {rows} x {columns} patches has {superpatches} "
                "superpatches that can share a token."
            )


__all__ = ["PlainVitConfig"]
