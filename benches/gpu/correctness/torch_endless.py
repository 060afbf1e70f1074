"""Works until it is interrupted: torch_endless.py loop|spin. Says "running" once it does."""

import ctypes
import sys

from workload import seeded


def main():
    torch = seeded()
    x = torch.randn(2048, 2048, device="cuda")
    torch.cuda.synchronize()
    if sys.argv[1] == "spin":
        from driver import Kernel

        kernel = Kernel("endless", "endless_unconditional")
        kernel.launch(ctypes.c_uint64(x.data_ptr()), stream=torch.cuda.current_stream().cuda_stream)
    print("running", flush=True)
    while True:
        # Natively a Ctrl-C cannot end a program that waits inside the driver, so this polls.
        if torch.cuda.current_stream().query():
            x = torch.tanh(x @ x)


if __name__ == "__main__":
    main()
