"""torch.compile: a transformer's forward and backward pass, and the mode that uses CUDA graphs."""

from workload import Result, digest, seeded


def main():
    torch = seeded()
    import models

    model = models.Gpt(layers=2, width=256, heads=4, vocabulary=512, length=128).cuda()
    ids = torch.randint(0, 512, (4, 128), device="cuda")
    compiled = torch.compile(model)
    with torch.autocast("cuda", dtype=torch.bfloat16):
        answers = compiled(ids)
        loss = torch.nn.functional.cross_entropy(answers.flatten(0, 1).float(), ids.flatten())
    loss.backward()
    result = Result()
    result.exact["loss"] = loss.item().hex()
    result.exact["gradient"] = digest(model.blocks[0].qkv.weight.grad)
    with torch.autocast("cuda", dtype=torch.bfloat16), torch.no_grad():
        plain = model(ids)
    apart = (plain.float() - answers.float()).abs().max() / plain.float().abs().max()
    result.holds["near_eager"] = bool(apart < 0.05)

    @torch.compile(mode="reduce-overhead")
    def fused(x, y):
        return torch.nn.functional.gelu(x @ y).softmax(-1).sum(-1)

    x, y = torch.randn(128, 128, device="cuda"), torch.randn(128, 128, device="cuda")
    for _ in range(4):
        out = fused(x, y).clone()
    result.exact["reduce_overhead"] = digest(out)
    result.print()


if __name__ == "__main__":
    main()
