"""The checks of `tools/gpu_check.sh`: what can be tried only on a GPU, and is rehearsed without one."""
