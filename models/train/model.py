"""RWKV-7 (Goose; arXiv 2503.14456) in PyTorch, as small as it can be read: the official names and
shapes, so that its state dict is a checkpoint.

Per head of N channels, S is [value][key]:

    w  = exp(-e^-0.5 s(w0 + tanh(x_w w1) w2))          decay, in (0.545, 1)
    a  = s(a0 + (x_a a1) a2)                           in-context learning rate
    v  = v + (v_first - v) s(v0 + (x_v v1) v2)         but in layer 0, whose v is v_first
    kk = k k_k / |k k_k|,  k = k (1 + (a - 1) k_a)
    S  = S (diag(w) - kk (a kk)^T) + v k^T
    y  = group_norm(S r) + (r . k r_k) v               times the gate s(x_g g1) g2
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

CHUNK = 16  # 0.545^-16 = 1.6e4: what a chunk divides by stays within f32
DECAY = math.exp(-0.5)


@dataclass
class Shape:
    vocabulary: int = 1024
    width: int = 128
    layers: int = 6
    head: int = 64
    ranks: int = 32  # of decay, in-context learning rate, value residual and gate
    ffn: int = 4  # hidden channels of the channel mix, in widths

    def __post_init__(self):
        if self.width % self.head:
            raise ValueError(f"the width, {self.width}, is no multiple of the head size, {self.head}")


def recurrence(w: Tensor, r: Tensor, k: Tensor, v: Tensor, kk: Tensor, a: Tensor) -> Tensor:
    """S r after each token, from S = 0; everything is [batch, time, head, N], `w` as ln(w).

    A chunk at once. With W the product of the decays since its start and S' = S / W,

        S'_t = S'_(t-1) + u_t (b_t / W_t)^T + v_t (k_t / W_t)^T,    u_t = -S_(t-1) kk_t,  b = a kk

    so that u solves a triangular system, and the rest is products of small matrices.
    """
    batch, time, heads, n = r.shape
    padding = -time % CHUNK
    # [batch * head, chunk, CHUNK, N]; what pads a chunk keeps the state: ln w = 0, all else 0.
    parts = [F.pad(x, (0, 0, 0, 0, 0, padding)) for x in (w, r, k, v, -kk, kk * a)]
    parts = [x.permute(0, 2, 1, 3).reshape(batch * heads, -1, CHUNK, n).float() for x in parts]
    w, r, k, v, minus_kk, b = parts
    total = w.cumsum(2)  # ln W_t
    r, before = r * total.exp(), minus_kk * (total - w).exp()  # W_t r_t and -W_(t-1) kk_t
    b, k = b * (-total).exp(), k * (-total).exp()
    last = total[:, :, -1:].exp()
    strict = torch.ones(CHUNK, CHUNK, dtype=torch.bool, device=r.device).tril(-1)
    upto = strict | torch.eye(CHUNK, dtype=torch.bool, device=r.device)
    system = torch.eye(CHUNK, device=r.device) - (before @ b.mT) * strict
    from_v, reads_u, reads_v = (before @ k.mT) * strict, (r @ b.mT) * upto, (r @ k.mT) * upto
    state = torch.zeros(batch * heads, n, n, device=r.device)  # [value][key]
    ys = []
    for i in range(r.shape[1]):
        from_state = before[:, i] @ state.mT
        u = torch.linalg.solve_triangular(
            system[:, i], from_state + from_v[:, i] @ v[:, i], upper=False, unitriangular=True
        )
        ys.append(r[:, i] @ state.mT + reads_u[:, i] @ u + reads_v[:, i] @ v[:, i])
        state = (state + u.mT @ b[:, i] + v[:, i].mT @ k[:, i]) * last[:, i]
    y = torch.stack(ys, 1).reshape(batch, heads, -1, n)[:, :, :time]
    return y.permute(0, 2, 1, 3)


def previous(x: Tensor) -> Tensor:
    """Each token's predecessor; that of the first is 0."""
    return F.pad(x, (0, 0, 1, -1))


class TimeMix(nn.Module):
    def __init__(self, shape: Shape, layer: int):
        super().__init__()
        d, rank, deep = shape.width, shape.ranks, layer / max(shape.layers - 1, 1)
        channel = torch.arange(d) / max(d - 1, 1)
        self.head, self.layer = shape.head, layer
        for name, power in {"r": 0.2, "w": 0.9, "k": 0.7, "v": 0.7, "a": 0.9, "g": 0.2}.items():
            mix = 1 - (torch.arange(d) / d) ** (power * (1 - deep) + 0.05)
            setattr(self, f"x_{name}", nn.Parameter(mix.view(1, 1, d)))
        # Decays from slow to fast over the channels; the others begin in the middle of a sigmoid.
        bases = {"w": -6 + 6 * channel ** (0.85 + deep**0.5) + 0.5, "a": torch.zeros(d)}
        bases |= {"v": torch.ones(d)} if layer else {}
        for name, base in bases.items():
            setattr(self, f"{name}0", nn.Parameter(base.view(1, 1, d)))
        for name in [*bases, "g"]:
            setattr(self, f"{name}1", nn.Parameter(torch.zeros(d, rank)))
            setattr(self, f"{name}2", nn.Parameter(nn.init.orthogonal_(torch.empty(rank, d)) * 0.1))
        nn.init.orthogonal_(self.g1)
        nn.init.orthogonal_(self.g2)
        self.k_k = nn.Parameter(torch.full((1, 1, d), 0.85))
        self.k_a = nn.Parameter(torch.ones(1, 1, d))
        self.r_k = nn.Parameter(torch.full((d // shape.head, shape.head), -0.04))
        for name, gain in {"receptance": 0.5, "key": 0.05, "value": 0.5, "output": 0}.items():
            linear = nn.Linear(d, d, bias=False)
            nn.init.uniform_(linear.weight, -gain / d**0.5, gain / d**0.5)
            setattr(self, name, linear)
        self.ln_x = nn.GroupNorm(d // shape.head, d, eps=64e-5)

    def forward(self, x: Tensor, v_first: Tensor | None) -> tuple[Tensor, Tensor]:
        batch, time, d = x.shape
        delta = previous(x) - x
        x_r, x_w, x_k, x_v, x_a, x_g = (
            x + delta * getattr(self, f"x_{name}") for name in ("r", "w", "k", "v", "a", "g")
        )
        r, k, v = self.receptance(x_r), self.key(x_k), self.value(x_v)
        log_w = -DECAY * torch.sigmoid(self.w0 + torch.tanh(x_w @ self.w1) @ self.w2)
        a = torch.sigmoid(self.a0 + (x_a @ self.a1) @ self.a2)
        g = torch.sigmoid(x_g @ self.g1) @ self.g2
        if v_first is None:
            v_first = v
        else:
            v = v + (v_first - v) * torch.sigmoid(self.v0 + (x_v @ self.v1) @ self.v2)
        by_head = lambda x: x.view(batch, time, -1, self.head)
        kk = F.normalize(by_head(k * self.k_k), dim=-1, eps=1e-12)
        k = k * (1 + (a - 1) * self.k_a)
        y = recurrence(*map(by_head, (log_w, r, k, v)), kk, by_head(a))
        y = self.ln_x(y.reshape(batch * time, d)).view(batch, time, d)
        bonus = (by_head(r) * by_head(k) * self.r_k).sum(-1, keepdim=True) * by_head(v)
        return self.output((y + bonus.view(batch, time, d)) * g), v_first


class ChannelMix(nn.Module):
    def __init__(self, shape: Shape, layer: int):
        super().__init__()
        d, deep = shape.width, layer / shape.layers
        self.x_k = nn.Parameter((1 - (torch.arange(d) / d) ** (1 - deep) ** 4).view(1, 1, d))
        self.key = nn.Linear(d, d * shape.ffn, bias=False)
        self.value = nn.Linear(d * shape.ffn, d, bias=False)
        nn.init.uniform_(self.key.weight, -0.5 / d**0.5, 0.5 / d**0.5)
        nn.init.zeros_(self.value.weight)

    def forward(self, x: Tensor) -> Tensor:
        return self.value(torch.relu(self.key(x + (previous(x) - x) * self.x_k)) ** 2)


class Block(nn.Module):
    def __init__(self, shape: Shape, layer: int):
        super().__init__()
        if layer == 0:
            self.ln0 = nn.LayerNorm(shape.width)
        self.ln1, self.ln2 = nn.LayerNorm(shape.width), nn.LayerNorm(shape.width)
        self.att, self.ffn = TimeMix(shape, layer), ChannelMix(shape, layer)

    def forward(self, x: Tensor, v_first: Tensor | None) -> tuple[Tensor, Tensor]:
        mixed, v_first = self.att(self.ln1(x), v_first)
        x = x + mixed
        return x + self.ffn(self.ln2(x)), v_first


class Model(nn.Module):
    """Tokens [batch, time] to logits [batch, time, vocabulary]; every row starts a text."""

    def __init__(self, shape: Shape):
        super().__init__()
        self.emb = nn.Embedding(shape.vocabulary, shape.width)
        nn.init.uniform_(self.emb.weight, -1e-4, 1e-4)
        self.blocks = nn.ModuleList(Block(shape, layer) for layer in range(shape.layers))
        self.ln_out = nn.LayerNorm(shape.width)
        self.head = nn.Linear(shape.width, shape.vocabulary, bias=False)
        nn.init.orthogonal_(self.head.weight, gain=0.5)

    def forward(self, tokens: Tensor) -> Tensor:
        x, v_first = self.blocks[0].ln0(self.emb(tokens)), None
        for block in self.blocks:
            x, v_first = block(x, v_first)
        return self.head(self.ln_out(x))
