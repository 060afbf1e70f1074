"""Milliseconds per token of a 1.1 B Llama-style model with random weights at batch 1: decode.py eager|graph."""

import sys
import time

import models
import torch
from workload import Result

PROMPT, WARM_UP, TOKENS, WINDOWS = 32, 8, 24, 5


def main():
    torch.manual_seed(7)
    torch.set_default_dtype(torch.bfloat16)
    with torch.device("cuda"):
        model = models.Llama()
    with torch.inference_mode():
        model.prepare()
        prompt = torch.randint(0, 32000, (1, PROMPT), device="cuda")
        token = model(prompt, torch.arange(PROMPT, device="cuda"))
        place = torch.tensor([PROMPT], device="cuda")

        def step():
            token.copy_(model(token, place))
            place.add_(1)

        act = graphed(step) if sys.argv[1] == "graph" else step
        times = []
        for window in range(-1, WINDOWS):
            count = TOKENS if window >= 0 else WARM_UP
            begin = time.perf_counter()
            for _ in range(count):
                act()
                # A chat server reads every token.
                token.item()
            if window >= 0:
                times.append((time.perf_counter() - begin) / count * 1e3)
    result = Result()
    result.figure(f"LLM decode, {sys.argv[1]}", times, "ms/token")
    result.info["last_token"] = token.item()
    result.print()


def graphed(step):
    """The step, captured into a CUDA graph."""
    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        step()
    torch.cuda.current_stream().wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        step()
    return graph.replay


if __name__ == "__main__":
    main()
