"""The losses of 20 training steps, as exact numbers: torch_train.py resnet|gpt [--steps N]."""

import argparse

from workload import DEVICE, Result, digest, hexes, seeded


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("model", choices=("resnet", "gpt"))
    parser.add_argument("--steps", type=int, default=20)
    options = parser.parse_args()
    torch = seeded()
    import models

    if options.model == "resnet":
        model = models.resnet(18, classes=10).to(DEVICE).to(memory_format=torch.channels_last)
        inputs = torch.randn(32, 3, 96, 96, device=DEVICE).to(memory_format=torch.channels_last)
        targets = torch.randint(0, 10, (32,), device=DEVICE)
    else:
        model = models.Gpt(layers=4, width=256, heads=8, vocabulary=1024, length=256).to(DEVICE)
        inputs = torch.randint(0, 1024, (8, 256), device=DEVICE)
        targets = inputs.roll(-1, 1)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    losses = []
    for _ in range(options.steps):
        optimizer.zero_grad(set_to_none=True)
        with torch.autocast(DEVICE, dtype=torch.bfloat16):
            answers = model(inputs)
            loss = torch.nn.functional.cross_entropy(answers.flatten(0, -2).float(), targets.flatten())
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        losses.append(loss.item())
    result = Result()
    result.exact["losses"] = hexes(losses)
    result.exact["weights"] = digest(torch.cat([parameter.flatten() for parameter in model.parameters()]))
    result.holds["learns"] = losses[-1] < losses[0]
    result.info["first_and_last_loss"] = [losses[0], losses[-1]]
    result.print()


if __name__ == "__main__":
    main()
