"""LoRA-like files of every kind for small modules, with the closed form of each written out by index in float64."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch

Roles = dict[str, torch.Tensor]
Make = Callable[[torch.Size, torch.Generator], Roles]

RANK = 3


class Small(torch.nn.Module):
    """One module of each sort that adapters land on."""

    def __init__(self) -> None:
        """Random weights under a seed, among them odd sizes."""
        super().__init__()
        with torch.random.fork_rng():
            torch.manual_seed(5)
            self.linear = torch.nn.Linear(24, 18)
            self.plain = torch.nn.Linear(24, 24, bias=False)
            self.conv1 = torch.nn.Conv2d(8, 12, 1)
            self.conv3 = torch.nn.Conv2d(8, 12, 3, padding=1)
            self.square = torch.nn.Conv2d(6, 6, 3, padding=1)
            self.table = torch.nn.Embedding(20, 12)
            self.norm = torch.nn.GroupNorm(2, 12)
        torch.nn.init.normal_(self.norm.weight, generator=torch.Generator().manual_seed(6))
        self.eval().requires_grad_(requires_grad=False)


def _draw(generator: torch.Generator, *shape: int) -> torch.Tensor:
    return torch.randn(*shape, generator=generator) * 0.5


def lora(weight: torch.Size, g: torch.Generator) -> Roles:
    ones = [1] * len(weight[2:])
    return {"lora_down.weight": _draw(g, RANK, *weight[1:]), "lora_up.weight": _draw(g, weight[0], RANK, *ones)}


def tucker(weight: torch.Size, g: torch.Generator) -> Roles:
    return {
        "lora_down.weight": _draw(g, RANK, weight[1], 1, 1),
        "lora_mid.weight": _draw(g, RANK, RANK, *weight[2:]),
        "lora_up.weight": _draw(g, weight[0], RANK, 1, 1),
    }


def loha(weight: torch.Size, g: torch.Generator) -> Roles:
    columns = weight[1:].numel()
    return {
        f"hada_w{n}_{side}": _draw(g, *((weight[0], RANK) if side == "a" else (RANK, columns)))
        for n in "12"
        for side in "ab"
    }


def loha_tucker(weight: torch.Size, g: torch.Generator) -> Roles:
    roles = {f"hada_t{n}": _draw(g, RANK, RANK, *weight[2:]) for n in "12"}
    return roles | {
        f"hada_w{n}_{side}": _draw(g, RANK, weight[0] if side == "a" else weight[1]) for n in "12" for side in "ab"
    }


def lokr(first: str, second: str) -> Make:
    """LoKr with each block `whole`, as `factors`, or the second with a Tucker core."""

    def make(weight: torch.Size, g: torch.Generator) -> Roles:
        rows, columns, kernel = weight[0] // 2, weight[1] // 4, weight[2:]
        roles: Roles = {}
        if first == "whole":
            roles["lokr_w1"] = _draw(g, 2, 4)
        else:
            roles |= {"lokr_w1_a": _draw(g, 2, RANK), "lokr_w1_b": _draw(g, RANK, 4)}
        if second == "whole":
            roles["lokr_w2"] = _draw(g, rows, columns, *kernel)
        elif second == "factors":
            roles |= {"lokr_w2_a": _draw(g, rows, RANK), "lokr_w2_b": _draw(g, RANK, columns * kernel.numel())}
        else:
            roles["lokr_t2"] = _draw(g, RANK, RANK, *kernel)
            roles |= {"lokr_w2_a": _draw(g, RANK, rows), "lokr_w2_b": _draw(g, RANK, columns)}
        return roles

    return make


def full(weight: torch.Size, g: torch.Generator) -> Roles:
    return {"diff": _draw(g, *weight), "diff_b": _draw(g, weight[0])}


def norm(weight: torch.Size, g: torch.Generator) -> Roles:
    return {"w_norm": _draw(g, *weight), "b_norm": _draw(g, *weight)}


def glora(weight: torch.Size, g: torch.Generator) -> Roles:
    own = lora(weight, g)
    around = {"a1.weight": _draw(g, weight[1], RANK), "a2.weight": _draw(g, RANK, weight[1])}
    return {**around, "b1.weight": own["lora_up.weight"], "b2.weight": own["lora_down.weight"]}


def ia3(axis: int) -> Make:
    """A factor per output (axis 0) or per input (axis 1)."""

    def make(weight: torch.Size, g: torch.Generator) -> Roles:
        return {"weight": _draw(g, weight[axis]), "on_input": torch.tensor(float(axis))}

    return make


def oft(stages: int) -> Make:
    """Rotations of blocks of four outputs; several stages are a BOFT."""

    def make(weight: torch.Size, g: torch.Generator) -> Roles:
        blocks = (weight[0] // 4, 4, 4)
        return {"oft_blocks": _draw(g, *(blocks if stages == 1 else (stages, *blocks)))}

    return make


def with_biases(weight: torch.Size, g: torch.Generator) -> Roles:
    return {**lora(weight, g), "diff_b": _draw(g, weight[0])}


def dora(make: Make, axis: int) -> Make:
    """Another kind with a magnitude per output (axis 0) or per input (axis 1)."""

    def made(weight: torch.Size, g: torch.Generator) -> Roles:
        sizes = [1] * len(weight)
        sizes[axis] = weight[axis]
        return {**make(weight, g), "dora_scale": _draw(g, *sizes).abs() + 0.5}

    return made


def closed_form(roles: Mapping[str, torch.Tensor], weight: torch.Tensor, alpha: float | None) -> torch.Tensor:
    """What the roles add to `weight` at scale 1, in float64, by the sums over indices that define each kind."""
    r = {name: tensor.double() for name, tensor in roles.items()}
    out, into = weight.shape[0], weight.shape[1] if weight.ndim > 1 else 1
    rank = RANK
    if "diff" in r:
        return r["diff"]
    if "w_norm" in r:
        return r["w_norm"]
    if "lora_mid.weight" in r:
        up, down = r["lora_up.weight"][:, :, 0, 0], r["lora_down.weight"][:, :, 0, 0]
        delta = torch.einsum("op,pqyx,qi->oiyx", up, r["lora_mid.weight"], down)
    elif "lora_up.weight" in r:
        delta = torch.einsum("or,r...->o...", r["lora_up.weight"].reshape(out, RANK), r["lora_down.weight"])
    elif "hada_t1" in r:
        one, two = (
            torch.einsum("ijyx,jn,io->onyx", r[f"hada_t{n}"], r[f"hada_w{n}_b"], r[f"hada_w{n}_a"]) for n in "12"
        )
        delta = one * two
    elif "hada_w1_a" in r:
        one, two = (torch.einsum("or,rn->on", r[f"hada_w{n}_a"], r[f"hada_w{n}_b"]) for n in "12")
        delta = one * two
    else:
        first = r["lokr_w1"] if "lokr_w1" in r else torch.einsum("ar,rb->ab", r["lokr_w1_a"], r["lokr_w1_b"])
        if "lokr_w2" in r:
            second = r["lokr_w2"].flatten(2) if weight.ndim > 2 else r["lokr_w2"][:, :, None]
        elif "lokr_t2" in r:
            second = torch.einsum("ijyx,ic,jd->cdyx", r["lokr_t2"], r["lokr_w2_a"], r["lokr_w2_b"]).flatten(2)
        else:
            second = torch.einsum("cr,rk->ck", r["lokr_w2_a"], r["lokr_w2_b"]).reshape(out // 2, into // 4, -1)
        delta = torch.einsum("ab,cdk->acbdk", first, second)
        rank = 0 if {"lokr_w1", "lokr_w2"} <= r.keys() else RANK
    delta = delta.reshape(weight.shape) * (alpha / rank if alpha is not None and rank else 1.0)
    if "dora_scale" not in r:
        return delta
    whole = weight.double() + delta
    magnitude = r["dora_scale"]
    axis = next(axis for axis, size in enumerate(magnitude.shape) if size != 1)
    rows = [torch.linalg.norm(row) for row in whole.unbind(axis)]
    return whole * magnitude / torch.stack(rows).reshape(magnitude.shape) - weight.double()


def file_of(
    kinds: Mapping[str, Make],
    model: torch.nn.Module,
    seed: int,
    alpha: float | None = 2.0,
    *,
    size: float = 1.0,
    prefix: str = "lora_unet",
) -> tuple[dict[str, torch.Tensor], dict[str, Roles]]:
    """Tensors of a file with a kind for each module named, as (keys to tensors, module to roles)."""
    generator = torch.Generator().manual_seed(seed)
    tensors: dict[str, torch.Tensor] = {}
    made: dict[str, Roles] = {}
    for module, make in kinds.items():
        roles = make(model.get_submodule(module).weight.shape, generator)  # type: ignore[arg-type]
        made[module] = {role: tensor * size for role, tensor in roles.items()}
        stem = f"{prefix}_{module.replace('.', '_')}"
        tensors |= {f"{stem}.{role}": tensor for role, tensor in made[module].items()}
        if alpha is not None and not made[module].keys() & {"diff", "w_norm", "on_input"}:
            tensors[f"{stem}.alpha"] = torch.tensor(alpha)
    return tensors, made
