"""Steps per second of a training step of a small network, compiled by JAX: many short kernels and a read each step."""

import os
import time

os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")

import jax
import jax.numpy as jnp
from workload import Result

WARM_UP, WINDOWS, STEPS = 20, 5, 100


@jax.jit
def step(weights, inputs, targets):
    """One step of gradient descent, and its loss."""

    def loss(layers):
        x = inputs
        for layer in layers:
            x = jnp.tanh(x @ layer)
        return jnp.mean((x - targets) ** 2)

    value, gradients = jax.value_and_grad(loss)(weights)
    return [layer - 0.1 * gradient for layer, gradient in zip(weights, gradients)], value


def main():
    keys = jax.random.split(jax.random.key(7), 10)
    weights = [jax.random.normal(key, (1024, 1024)) / 32 for key in keys[:8]]
    inputs, targets = jax.random.normal(keys[8], (512, 1024)), jax.random.normal(keys[9], (512, 1024))
    times = []
    for window in range(-1, WINDOWS):
        count = STEPS if window >= 0 else WARM_UP
        begin = time.perf_counter()
        for _ in range(count):
            weights, value = step(weights, inputs, targets)
        value.block_until_ready()
        if window >= 0:
            times.append((time.perf_counter() - begin) / count)
    result = Result()
    result.figure("JAX training step", [1 / seconds for seconds in times], "steps/s")
    result.info["loss"] = float(value)
    result.print()


if __name__ == "__main__":
    main()
