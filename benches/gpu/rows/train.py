"""Steps per second of training: train.py resnet50|gpt2|compile."""

import sys

import models
import torch
from torch.nn import functional as F
from workload import Result, synchronize, timed_windows

WARM_UP, WINDOWS, STEPS = 8, 5, 10


def resnet50():
    """ResNet-50 on batches of 64, bf16, channels last."""
    model = models.resnet(50).cuda().to(memory_format=torch.channels_last)
    images = torch.randn(64, 3, 224, 224, device="cuda").to(memory_format=torch.channels_last)
    labels = torch.randint(0, 1000, (64,), device="cuda")
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9)
    return trained(model, optimizer, images, labels)


def gpt2(layers=12, compiled=False):
    """A transformer of GPT-2's small size on 8 x 512 tokens, bf16."""
    model = models.Gpt(layers=layers).cuda()
    tokens = torch.randint(0, 50304, (8, 512), device="cuda")
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4)
    return trained(torch.compile(model) if compiled else model, optimizer, tokens, tokens.roll(-1, 1))


def trained(model, optimizer, inputs, targets):
    """One step of training, as a function."""

    def step():
        optimizer.zero_grad(set_to_none=True)
        with torch.autocast("cuda", dtype=torch.bfloat16):
            answers = model(inputs)
        loss = F.cross_entropy(answers.flatten(0, -2).float(), targets.flatten())
        loss.backward()
        optimizer.step()
        return loss

    return step


def main():
    name, make = {
        "resnet50": ("ResNet-50 training", resnet50),
        "gpt2": ("GPT-2 training", gpt2),
        # Fewer layers: they are all alike, and compiling takes long enough.
        "compile": ("torch.compile training", lambda: gpt2(layers=4, compiled=True)),
    }[sys.argv[1]]
    torch.manual_seed(7)
    torch.set_float32_matmul_precision("high")
    step = make()
    for _ in range(WARM_UP):
        loss = step()
    synchronize(torch)
    result = Result()
    result.figure(name, [1 / seconds for seconds in timed_windows(torch, step, WINDOWS, STEPS)], "steps/s")
    result.info["loss"] = loss.item()
    result.print()


if __name__ == "__main__":
    main()
