#!/usr/bin/env python3
"""Runs CUDA workloads natively and through vgpu, side by side; see README.md beside this file."""

import sys

from runner.cli import main

if __name__ == "__main__":
    sys.exit(main())
