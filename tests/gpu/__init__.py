"""What needs a CUDA device; each test skips without one."""
