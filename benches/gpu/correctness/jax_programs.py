"""JAX: a compiled matrix product, a gradient step in a loop, sort, FFT and random numbers."""

import os

os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")
# Autotuning picks kernels by time, so two runs could differ by rounding.
os.environ["XLA_FLAGS"] = (
    os.environ.get("XLA_FLAGS", "") + " --xla_gpu_autotune_level=0 --xla_gpu_deterministic_ops=true"
)

import jax
import jax.numpy as jnp
import numpy as np
from workload import Result, digest


@jax.jit
def product(a, b):
    return jnp.tanh(a @ b).sum(0)


@jax.jit
def train(weights, inputs, targets):
    """Fifty steps of gradient descent, all on the device."""

    def loss(w):
        return jnp.mean((jnp.tanh(inputs @ w) - targets) ** 2)

    def step(_, w):
        return w - 0.1 * jax.grad(loss)(w)

    return jax.lax.fori_loop(0, 50, step, weights)


def main():
    keys = jax.random.split(jax.random.key(7), 4)
    a, b = jax.random.normal(keys[0], (1024, 1024)), jax.random.normal(keys[1], (1024, 1024))
    result = Result()
    result.exact["random"] = digest(np.asarray(a))
    result.exact["product"] = digest(np.asarray(product(a, b)))
    result.exact["bf16"] = digest(
        np.asarray(product(a.astype(jnp.bfloat16), b.astype(jnp.bfloat16)).astype(jnp.float32))
    )
    targets = jax.random.normal(keys[2], (1024, 64))
    result.exact["train"] = digest(np.asarray(train(b[:, :64], a, targets)))
    result.exact["sort"] = digest(np.asarray(jnp.sort(a.ravel())))
    result.exact["fft"] = digest(np.asarray(jnp.fft.fft(a[0])))
    result.exact["device"] = jax.devices()[0].device_kind
    result.info["jax"] = jax.__version__
    result.print()


if __name__ == "__main__":
    main()
