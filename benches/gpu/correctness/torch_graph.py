"""CUDA graphs: torch_graph.py replay|streams."""

import sys

from workload import Result, digest, seeded


def replay(torch, result):
    """A training step, captured once and replayed on new data."""
    from torch import nn

    model = nn.Sequential(nn.Linear(256, 512), nn.GELU(), nn.Linear(512, 256)).cuda()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
    inputs, targets = torch.zeros(64, 256, device="cuda"), torch.zeros(64, 256, device="cuda")

    def step():
        optimizer.zero_grad(set_to_none=True)
        loss = nn.functional.mse_loss(model(inputs), targets)
        loss.backward()
        optimizer.step()
        return loss

    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        for _ in range(3):
            step()
    torch.cuda.current_stream().wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    optimizer.zero_grad(set_to_none=True)
    with torch.cuda.graph(graph):
        loss = step()
    losses = []
    for _ in range(10):
        inputs.copy_(torch.randn(64, 256, device="cuda"))
        targets.copy_(torch.randn(64, 256))
        graph.replay()
        losses.append(loss.item().hex())
    result.exact["losses"] = losses
    result.exact["weights"] = digest(model[0].weight)
    callable_ = torch.cuda.make_graphed_callables(nn.Linear(64, 64).cuda(), (torch.randn(8, 64, device="cuda"),))
    result.exact["graphed_callable"] = digest(callable_(torch.ones(8, 64, device="cuda")))


def streams(torch, result):
    """A capture that forks into four streams and joins them; two graphs that share a pool; replays on two streams."""
    x = torch.randn(512, 512, device="cuda")
    others = [torch.cuda.Stream() for _ in range(4)]

    def forked():
        parts = []
        current = torch.cuda.current_stream()
        for at, stream in enumerate(others):
            stream.wait_stream(current)
            with torch.cuda.stream(stream):
                parts.append((x * (at + 1)).sin() @ x)
        for stream in others:
            current.wait_stream(stream)
        return sum(parts)

    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        forked()
    torch.cuda.current_stream().wait_stream(side)
    first, second = torch.cuda.CUDAGraph(), torch.cuda.CUDAGraph()
    with torch.cuda.graph(first):
        total = forked()
    with torch.cuda.graph(second, pool=first.pool()):
        doubled = total * 2
    for at in range(3):
        x.copy_(torch.randn(512, 512, device="cuda"))
        first.replay()
        second.replay()
        result.exact[f"total_{at}"] = digest(total)
        result.exact[f"doubled_{at}"] = digest(doubled)
    with torch.cuda.stream(side):
        side.wait_stream(torch.cuda.default_stream())
        for _ in range(5):
            first.replay()
    side.synchronize()
    result.exact["on_another_stream"] = digest(total)
    result.exact["random_in_graph"] = random_in_graph(torch)


def random_in_graph(torch):
    """A graph that draws random numbers draws new ones at each replay, from the seed."""
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        drawn = torch.rand(1000, device="cuda")
    seen = []
    for _ in range(3):
        graph.replay()
        seen.append(digest(drawn))
    assert len(set(seen)) == 3
    return seen


if __name__ == "__main__":
    # Nothing here is without order; the deterministic forms of some operations cannot be captured.
    outcome = Result()
    {"replay": replay, "streams": streams}[sys.argv[1]](seeded(deterministic=False), outcome)
    outcome.print()
