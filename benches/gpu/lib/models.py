"""The models of the workloads, written out here so that PyTorch is all they need."""

import torch
from torch import nn
from torch.nn import functional as F


def small_weights(model):
    """Random matrices as language models start with; norms stay 1."""
    for parameter in model.parameters():
        if parameter.dim() > 1:
            nn.init.normal_(parameter, std=0.02)


class Residual(nn.Module):
    """A residual block: two 3x3 convolutions, or 1x1, 3x3, 1x1 with `expansion` 4."""

    def __init__(self, inputs, width, stride, expansion):
        super().__init__()
        outputs = width * expansion
        shapes = [(inputs, width, 3, stride), (width, width, 3, 1)]
        if expansion > 1:
            shapes = [(inputs, width, 1, 1), (width, width, 3, stride), (width, outputs, 1, 1)]
        layers = []
        for at, (before, after, size, step) in enumerate(shapes):
            layers += [nn.Conv2d(before, after, size, step, size // 2, bias=False), nn.BatchNorm2d(after)]
            if at + 1 < len(shapes):
                layers.append(nn.ReLU(inplace=True))
        self.body = nn.Sequential(*layers)
        self.shortcut = nn.Identity()
        if stride != 1 or inputs != outputs:
            convolution = nn.Conv2d(inputs, outputs, 1, stride, bias=False)
            self.shortcut = nn.Sequential(convolution, nn.BatchNorm2d(outputs))

    def forward(self, x):
        return F.relu(self.body(x) + self.shortcut(x))


def resnet(depth, classes=1000):
    """ResNet-18 or ResNet-50 (He et al., 2015)."""
    blocks, expansion = {18: ((2, 2, 2, 2), 1), 50: ((3, 4, 6, 3), 4)}[depth]
    layers = [nn.Conv2d(3, 64, 7, 2, 3, bias=False), nn.BatchNorm2d(64), nn.ReLU(inplace=True), nn.MaxPool2d(3, 2, 1)]
    inputs = 64
    for stage, count in enumerate(blocks):
        width = 64 << stage
        for at in range(count):
            layers.append(Residual(inputs, width, 2 if stage > 0 and at == 0 else 1, expansion))
            inputs = width * expansion
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(inputs, classes))


class GptBlock(nn.Module):
    """Attention and a two-layer network, each with a norm before it."""

    def __init__(self, width, heads):
        super().__init__()
        self.heads = heads
        self.norm_1, self.norm_2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.qkv, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.mlp = nn.Sequential(nn.Linear(width, 4 * width), nn.GELU(approximate="tanh"), nn.Linear(4 * width, width))

    def forward(self, x):
        batch, length, width = x.shape
        qkv = self.qkv(self.norm_1(x)).view(batch, length, 3, self.heads, width // self.heads)
        q, k, v = qkv.permute(2, 0, 3, 1, 4)
        attended = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        x = x + self.out(attended.transpose(1, 2).reshape(batch, length, width))
        return x + self.mlp(self.norm_2(x))


class Gpt(nn.Module):
    """A transformer of GPT-2's shape; the defaults are its small size, 124 M parameters."""

    def __init__(self, layers=12, width=768, heads=12, vocabulary=50304, length=1024):
        super().__init__()
        self.tokens, self.places = nn.Embedding(vocabulary, width), nn.Embedding(length, width)
        self.blocks = nn.Sequential(*(GptBlock(width, heads) for _ in range(layers)))
        self.norm, self.head = nn.LayerNorm(width), nn.Linear(width, vocabulary, bias=False)
        self.head.weight = self.tokens.weight
        small_weights(self)

    def forward(self, ids):
        x = self.tokens(ids) + self.places(torch.arange(ids.shape[1], device=ids.device))
        return self.head(self.norm(self.blocks(x)))


class LlamaLayer(nn.Module):
    """Grouped-query attention with rotary positions over a cache of fixed length, and a gated network."""

    def __init__(self, width, heads, kv_heads, hidden):
        super().__init__()
        self.heads, self.kv_heads, self.size = heads, kv_heads, width // heads
        self.norm_1, self.norm_2 = nn.RMSNorm(width), nn.RMSNorm(width)
        self.q, self.o = nn.Linear(width, width, bias=False), nn.Linear(width, width, bias=False)
        self.k = nn.Linear(width, kv_heads * self.size, bias=False)
        self.v = nn.Linear(width, kv_heads * self.size, bias=False)
        self.gate, self.up = nn.Linear(width, hidden, bias=False), nn.Linear(width, hidden, bias=False)
        self.down = nn.Linear(hidden, width, bias=False)

    def rotate(self, x, cos, sin):
        first, second = x.chunk(2, -1)
        return torch.cat((first * cos - second * sin, second * cos + first * sin), -1)

    def forward(self, x, cos, sin, places, mask, cache):
        batch, length, width = x.shape
        y = self.norm_1(x)
        q = self.q(y).view(batch, length, self.heads, self.size).transpose(1, 2)
        k = self.k(y).view(batch, length, self.kv_heads, self.size).transpose(1, 2)
        v = self.v(y).view(batch, length, self.kv_heads, self.size).transpose(1, 2)
        cache[0].index_copy_(2, places, self.rotate(k, cos, sin))
        cache[1].index_copy_(2, places, v)
        groups = self.heads // self.kv_heads
        keys, values = (part.repeat_interleave(groups, 1) for part in cache)
        attended = F.scaled_dot_product_attention(self.rotate(q, cos, sin), keys, values, attn_mask=mask)
        x = x + self.o(attended.transpose(1, 2).reshape(batch, length, width))
        y = self.norm_2(x)
        return x + self.down(F.silu(self.gate(y)) * self.up(y))


class Llama(nn.Module):
    """A decoder of Llama's shape with a key-value cache; the defaults are those of a 1.1 B model.

    `forward` takes new tokens and their places and returns the token that comes next. All shapes are fixed, so that a
    step can be captured into a CUDA graph.
    """

    def __init__(self, layers=22, width=2048, heads=32, kv_heads=4, hidden=5632, vocabulary=32000, length=256):
        super().__init__()
        self.length, self.size, self.kv_heads = length, width // heads, kv_heads
        self.embed = nn.Embedding(vocabulary, width)
        self.layers = nn.ModuleList(LlamaLayer(width, heads, kv_heads, hidden) for _ in range(layers))
        self.norm, self.head = nn.RMSNorm(width), nn.Linear(width, vocabulary, bias=False)
        small_weights(self)

    def prepare(self, batch=1):
        """Makes the cache and the tables, with the parameters' type and device."""
        like = self.head.weight
        shape = (2, batch, self.kv_heads, self.length, self.size)
        self.cache = [torch.zeros(shape, dtype=like.dtype, device=like.device) for _ in self.layers]
        steps = torch.arange(self.length, device=like.device, dtype=torch.float32)
        rates = 10000.0 ** (-torch.arange(0, self.size, 2, device=like.device, dtype=torch.float32) / self.size)
        angles = steps[:, None] * rates
        self.cos, self.sin = angles.cos().to(like.dtype), angles.sin().to(like.dtype)
        self.all_places = torch.arange(self.length, device=like.device)

    def forward(self, ids, places):
        x = self.embed(ids)
        cos, sin = self.cos[places], self.sin[places]
        mask = self.all_places[None, :] <= places[:, None]
        for layer, cache in zip(self.layers, self.cache):
            x = layer(x, cos, sin, places, mask, cache)
        return self.head(self.norm(x[:, -1])).argmax(-1, keepdim=True)
