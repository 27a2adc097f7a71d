"""Vision transformers (Dosovitskiy et al.: An image is worth 16x16 words, 2020)."""

from __future__ import annotations

from graphc.dsl import nn
from graphc.dsl.layers import Layer
from graphc.dsl.tensor import Tensor
from graphc.models.classifier import Classifier, classifier
from graphc.ops.indexing import WHOLE, sliced


class VisionTransformer(Layer):
    """Patches as tokens behind a class token, learnt positions, encoder layers, a linear map of the class token."""

    def __init__(
        self, patch: int, classes: int, depth: int, embed_dim: int, num_heads: int, dim_feedforward: int
    ) -> None:
        self.patch_embed = nn.PatchEmbedding(embed_dim, patch)
        self.class_token, self.positions = nn.ClassToken(), nn.LearnedPositions()

        def layer() -> Layer:
            return nn.TransformerEncoderLayer(embed_dim, num_heads, dim_feedforward, 0.0, "gelu", norm_first=True)

        self.encoder = nn.TransformerEncoder(layer, depth, nn.LayerNorm(embed_dim))
        self.head = nn.Dense(classes, weight_init="xavier")

    def forward(self, images: Tensor) -> Tensor:
        tokens = self.positions(self.class_token(self.patch_embed(images)))
        encoded = self.encoder(tokens)
        return self.head(sliced(encoded, index=(WHOLE, 0)))


def vision_transformer(
    image_shape: tuple[int, int, int] = (3, 32, 32),
    classes: int = 10,
    *,
    patch: int = 4,
    depth: int = 6,
    embed_dim: int = 192,
    num_heads: int = 3,
    dim_feedforward: int = 768,
    dtype: str = "float32",
) -> Classifier:
    """A vision transformer; by default the widths of ViT-Tiny, with 64 patches of a small image."""
    network = VisionTransformer(patch, classes, depth, embed_dim, num_heads, dim_feedforward)
    return classifier(f"vit{depth}", network, image_shape, dtype)
