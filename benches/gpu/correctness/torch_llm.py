"""The token ids that a small Llama-style decoder generates in fp16, eagerly and from a CUDA graph."""

from workload import DEVICE, Result, seeded

NEW_TOKENS = 48
PROMPT = 16


def main():
    # Nothing here is without order; the deterministic forms of some operations cannot be captured.
    torch = seeded(deterministic=False)
    import models

    kind = torch.float16 if DEVICE == "cuda" else torch.float32
    model = models.Llama(layers=6, width=512, heads=8, kv_heads=2, hidden=1408, vocabulary=8192, length=128)
    model = model.to(DEVICE, kind)
    prompt = torch.randint(0, 8192, (1, PROMPT), device=DEVICE)
    result = Result()
    with torch.inference_mode():
        model.prepare()
        result.exact["tokens"] = tokens = eager(torch, model, prompt)
        if DEVICE == "cuda":
            model.prepare()
            result.exact["graph_tokens"] = graphed(torch, model, prompt)
    # A model with random weights may repeat itself; it must not say the same word always.
    result.holds["several_words"] = len(set(tokens)) > 3
    result.print()


def eager(torch, model, prompt):
    """Greedy decoding, a token at a time, each read back as a chat server does."""
    token = model(prompt, torch.arange(PROMPT, device=DEVICE))
    tokens = [token.item()]
    for at in range(PROMPT, PROMPT + NEW_TOKENS - 1):
        token = model(token, torch.tensor([at], device=DEVICE))
        tokens.append(token.item())
    return tokens


def graphed(torch, model, prompt):
    """The same with the step captured once."""
    token = model(prompt, torch.arange(PROMPT, device=DEVICE))
    place = torch.tensor([PROMPT], device=DEVICE)
    saved = token.clone()
    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        model(token, place)
    torch.cuda.current_stream().wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        token.copy_(model(token, place))
        place.add_(1)
    token.copy_(saved)
    place.fill_(PROMPT)
    tokens = [token.item()]
    for _ in range(NEW_TOKENS - 1):
        graph.replay()
        tokens.append(token.item())
    return tokens


if __name__ == "__main__":
    main()
